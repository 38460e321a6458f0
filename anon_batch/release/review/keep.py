"""Write what a review found: private verdicts first, then public figures, then the gates that they feed."""

from __future__ import annotations

from anon_batch.errors import ConfigError
from anon_batch.formats import layout
from anon_batch.formats.evidence_json import Evidence
from anon_batch.formats.gates_json import Gates
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.formats.verdicts_json import Verdicts
from anon_batch.pipeline.refresh_gates import refresh_gates
from anon_batch.storage import Storage, absolute, is_local


def outside_release(release: Release, uri: str, what: str) -> str:
    """Return an absolute address.

    Args:
        release: whose folder is published.
        uri: where to write.
        what: the content, for the message.

    Raises:
        ConfigError: it lies below OUTPUT.
    """
    target = absolute(uri)
    if target == release.uri or target.startswith(f"{release.uri}/"):
        raise ConfigError(f"{uri}: lies below {release.uri}, which is published; write {what} somewhere else")
    return target


def verdicts_address(
    release: Release, private: Storage, ledger: str | None, verdicts_to: str | None, review_id: str
) -> str:
    """Return where the private verdicts belong, and have `private` keep files private there.

    Args:
        release: that was reviewed.
        private: a storage of their own, because on the local disk it writes files for their owner alone.
        ledger: its address; None means beside the release.
        verdicts_to: a file that replaces the ledger.
        review_id: of the review.

    Raises:
        ConfigError: there is no ledger, it is of another run, or the file lies below OUTPUT.
    """
    if verdicts_to is not None:
        target = outside_release(release, verdicts_to, "private verdicts")
        if is_local(target):
            private.keep_private(target.rpartition("/")[0])
        return target
    found = Ledger(private, ledger or f"{release.uri}-ledger")
    outside_release(release, found.uri, "private verdicts")
    plan = found.plan()
    if plan is None:
        raise ConfigError(
            f"no ledger at {found.uri}: name it with --ledger, or a file for the private verdicts with --verdicts-to"
        )
    if plan.run_id != release.read_run_json().run_id:
        raise ConfigError(f"ledger {found.uri}: of run {plan.run_id}, not of this release")
    return found.address(f"{layout.LEDGER_REVIEW}/verdicts-{review_id}.json")


def keep_review(release: Release, private: Storage, address: str, verdicts: Verdicts, evidence: Evidence) -> Gates:
    """Write the verdicts to `address` and review.json into the release; evaluate its gates again and return them.

    Args:
        release: that was reviewed.
        private: see `verdicts_address`.
        address: of the private verdicts.
        verdicts: on single images.
        evidence: public figures.

    Raises:
        StorageError: something cannot be written; running the same command again is safe.
    """
    private.put(address, verdicts.to_json())
    release.write_evidence(layout.REVIEW, evidence)
    return refresh_gates(release)
