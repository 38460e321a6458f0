"""Write everything that describes a finished release, and sign it last."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from anon_batch.errors import IntegrityError
from anon_batch.formats.current_run import as_recorded
from anon_batch.release.card.card import write_card
from anon_batch.release.card.metadata import write_metadata
from anon_batch.release.card.shard_index import write_shard_index
from anon_batch.release.checksums import write_checksums
from anon_batch.release.croissant.describe import write_croissant
from anon_batch.release.licences import write_licences
from anon_batch.release.public_files import hash_public_files
from anon_batch.release.report.compute import compute_report
from anon_batch.release.report.finished import FinishedRelease
from anon_batch.release.report.page import write_report
from anon_batch.release.risk.page import write_risk
from anon_batch.release.signature.attestation import write_attestation
from anon_batch.release.verdict import kept_verdict
from anon_batch.release.words.check import check_words


def describe_release(finished: FinishedRelease, key: Ed25519PrivateKey) -> int:
    """Write run.json with what its owner says, columns, report, then the files of `layout.WRITTEN_AT_RELEASE` in that order.

    The same release and key give the same bytes. If it dies on its way, `verify` says so, and a second call writes all again.

    Args:
        finished: a release that `verify` found complete, and whose gates passed.
        key: signs.

    Returns:
        The number of signed files.

    Raises:
        IntegrityError: a part of the provenance is damaged, or a file claims what no release may claim.
        StorageError: storage fails or refuses.
    """
    release = finished.release
    release.write_run_json(as_recorded(finished.run, release.read_run_json()))
    write_metadata(release)
    write_shard_index(release)
    write_report(release, compute_report(finished, kept_verdict(release, finished.run, finished.stats)))
    write_licences(finished)
    write_risk(finished)
    write_croissant(finished)
    write_card(finished)
    _check_words(finished)
    digests = write_checksums(release, finished.run, hash_public_files(release))
    write_attestation(release, key, digests)
    return len(digests)


def _check_words(finished: FinishedRelease) -> None:
    if found := check_words(finished):
        raise IntegrityError(
            f"not signed: the release claims what no release may claim: {'; '.join(found[:5])}. If a measure was written by "
            "hand, repeat it; otherwise report this"
        )
