"""A finished release together with its sealed originals or its index of faces, and a private key that opens them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats.destroyed_json import LINK, SEAL
from anon_batch.formats.layout import Kind
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.formats.seal_store import SealStore
from anon_batch.formats.seals_json import Seals
from anon_batch.pipeline.versions.begin import check_finished
from anon_batch.records import ShardSpec
from anon_batch.sealing.envelope import WHOLE_IMAGE, Kek, Sealed, WrappedKek
from anon_batch.sealing.key_files import PrivateKey, WrongKeyError
from anon_batch.shards import effective

NAMES: Mapping[Kind, str] = {"seal": SEAL, "link": LINK}
_MISSING: Mapping[Kind, tuple[str, str]] = {
    "seal": ("seal was destroyed ({}); nothing can be restored", "nothing is sealed"),
    "link": ("index of faces was destroyed ({}); nobody can be found", "there is no index of faces"),
}


class Wanted(NamedTuple):
    """What is to be opened of one image.

    Args:
        image_id: the release's id.
        regions: indices in its published regions; empty for all of them.
    """

    image_id: str
    regions: tuple[int, ...] = ()


class Found(NamedTuple):
    """What is sealed of one image.

    Args:
        row: its number in the release.
        public: its row of the provenance.
        records: what is to be opened, in the order of the regions.
        keks: wrap their data keys.
    """

    row: int
    public: dict[str, Any]
    records: tuple[Sealed, ...]
    keks: tuple[WrappedKek, ...]


class SealedRelease:
    """A finished release with what its run kept encrypted.

    Args:
        release: the public files.
        ledger: the private ones.
        kind: `seal` for sealed originals, `link` for the index of faces.

    Raises:
        ConfigError: it is not finished, it has another ledger, nothing is kept, or it was destroyed.
        ResumeRefusedError, IntegrityError: the ledger is another run's, or damaged.
    """

    def __init__(self, release: Release, ledger: Ledger, kind: Kind = "seal") -> None:
        self.release, self.ledger, self.kind = release, ledger, kind
        self.run_id = check_finished(release, ledger).run_id
        gone = release.read_destroyed(self.run_id).find(NAMES[kind])
        self.store = SealStore(ledger, kind)
        seals = self.store.recipients()
        destroyed, never = _MISSING[kind]
        if seals is None and gone is not None:
            raise ConfigError(f"{release.uri}: its {destroyed.format(gone.destroyed_at)}")
        if seals is None:
            raise ConfigError(f"{ledger.uri}: {never}, because the job named no `{kind}.recipients`")
        self.seals: Seals = seals

    def check_key(self, key: PrivateKey, name: str) -> None:
        """Check that a private key is a recipient's; `name` is its file, for messages.

        Raises:
            ConfigError: it is another key.
        """
        if not self.seals.opens(key, self.run_id):
            known = ", ".join(own[:16] for own in self.seals.key_ids)
            raise ConfigError(
                f"{name}: key {key.public.key_id[:16]} opens nothing here; the recipients' keys are {known}"
            )

    def check_keys(self, keys: Sequence[PrivateKey]) -> None:
        """Check that some recipients' private keys are enough to open the seals.

        Raises:
            ConfigError: `need` is `all`, and a key is missing.
        """
        missing = [own[:16] for own in self.seals.key_ids if own not in {key.public.key_id for key in keys}]
        if missing and self.seals.need == "all":
            raise ConfigError(
                f"this opens to {len(self.seals.recipients)} recipients, whose keys are needed together ({self.kind}.need: all); "
                f"missing: {', '.join(missing)}. Give --key once for each"
            )

    def find(self, wanted: Sequence[Wanted]) -> Iterator[Found]:
        """Yield what is sealed of some images, in the order of the release.

        Raises:
            ConfigError: an image or region is not in the release, was not anonymized, or is not sealed by itself.
            IntegrityError: release or ledger is damaged.
        """
        asked = {own.image_id: own for own in wanted}
        for spec, attempt, rows in self.shards():
            hits = [(number, row) for number, row in rows if row["image_id"] in asked]
            if not hits:  # because what is sealed is the costly part
                continue
            sealed = self.store.read(spec, attempt, self.run_id)
            for number, row in hits:
                own = asked.pop(row["image_id"])
                records = tuple(r for r in sealed.records if r.place.image_id == own.image_id)
                yield Found(number, row, _choose(own, row, records), sealed.keks)
        if asked:
            raise ConfigError(f"{', '.join(sorted(asked)[:5])}: not in this release, or without an output")

    def all_images(self) -> list[Wanted]:
        """Return every image that was anonymized."""
        return [
            Wanted(row["image_id"]) for _, _, rows in self.shards() for _, row in rows if row["status"] == "anonymized"
        ]

    def count(self) -> tuple[int, int]:
        """Return how many regions or files are sealed, and of how many images; only keys are read."""
        places: list[tuple[str, int]] = []
        for spec, meta in self.release.read_metas(effective(self.release.parts())):
            places += self.store.places(spec, meta.attempt)
        return len(places), len({image_id for image_id, _ in places})

    def shards(self) -> Iterator[tuple[ShardSpec, str, list[tuple[int, dict[str, Any]]]]]:
        """Yield each shard with the name of its attempt and its published rows, each with its number."""
        for spec in effective(self.release.parts()):
            part = self.release.read_part(spec)
            rows = [(n, row) for n, row in enumerate(part.table.to_pylist(), spec.start) if row["output"] is not None]
            yield spec, part.meta.attempt, rows


def open_keks(keks: Sequence[WrappedKek], keys: Sequence[PrivateKey]) -> dict[str, Kek]:
    """Return the keys of a shard by their names.

    Raises:
        IntegrityError: one does not open although the keys are the recipients': it was changed.
    """
    try:
        return {own.kek_id: Kek.unwrap(own, *keys) for own in keks}
    except WrongKeyError:
        names = " and ".join(key.public.key_id[:16] for key in keys)
        raise IntegrityError(
            f"a key of shards does not open with key {names}: it was changed, or sealed to others alone"
        ) from None


def name_keys(keys: Sequence[PrivateKey]) -> str:
    """Return what the access log calls the keys that open."""
    return "+".join(sorted(key.public.key_id for key in keys))


def _choose(own: Wanted, row: dict[str, Any], records: tuple[Sealed, ...]) -> tuple[Sealed, ...]:
    if row["status"] != "anonymized":
        raise ConfigError(f"{own.image_id}: nothing was anonymized in it; the output shows what the source shows")
    if not records:
        raise IntegrityError(f"{own.image_id}: nothing is sealed of it; restore the ledger from a copy")
    if any(not 0 <= index < len(row["regions"]) for index in own.regions):
        raise ConfigError(f"{own.image_id}: has regions 0 to {len(row['regions']) - 1}")
    if not own.regions or records[0].place.region != WHOLE_IMAGE:
        return tuple(r for r in records if not own.regions or r.place.region in own.regions)
    raise ConfigError(
        f"{own.image_id}: sealed as a whole file, so that no region can be opened by itself; --image {own.image_id} opens "
        "the file"
    )
