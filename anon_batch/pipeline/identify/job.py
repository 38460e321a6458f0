"""What a pass that compares faces has to do, as the ledger holds it: so it resumes, and starts again with other settings."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from anon_batch import __version__
from anon_batch.config import JobConfig
from anon_batch.errors import ConfigError, IntegrityError, ManifestError, ObjectExistsError, ObjectNotFoundError
from anon_batch.formats import layout
from anon_batch.formats.faces import FacesPart, open_faces, seal_faces
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.persons import PersonsJson, PersonStore
from anon_batch.manifest.chunks import PlannedRows
from anon_batch.pipeline.fingerprint import differences
from anon_batch.pipeline.identify.columns import Groups, faces_settings, settings_of
from anon_batch.pipeline.run import check_separate
from anon_batch.pipeline.scan_manifest import scan_manifest
from anon_batch.records import ShardSpec
from anon_batch.shards import effective
from anon_batch.storage import Storage, absolute
from anon_batch.storage.faults import writing


@dataclasses.dataclass(frozen=True, slots=True)
class FacesPlan:
    """Content of faces/plan.json.

    Args:
        pass_id: names the pass in every part.
        rows_id: folder of the ledger with the rows.
        total: number of rows.
        rows_sha256: digest of the rows and their groups.
        fingerprint: what the faces and their features depend on, as JSON values by dotted name.
    """

    pass_id: str
    rows_id: str
    total: int
    rows_sha256: str
    fingerprint: Mapping[str, Any]

    def to_json(self) -> bytes:
        """Return the content of the file."""
        return json.dumps({"version": 1, **dataclasses.asdict(self)}, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> FacesPlan | None:
        """Parse the file; None if this version cannot use it, so that the pass starts again."""
        try:
            fields = json.loads(data)
            return cls(**fields) if fields.pop("version") == 1 else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


@dataclasses.dataclass(frozen=True, slots=True)
class IdentifyJob:
    """Everything that a worker needs to look for faces. Picklable; it holds no key.

    Args:
        config: the job.
        ledger: the private files.
        plan: of the pass.
        embedder: `name@sha256` of the recogniser.
    """

    config: JobConfig
    ledger: Ledger
    plan: FacesPlan
    embedder: str

    def planned_rows(self) -> PlannedRows:
        """Return a reader of the pass's rows."""
        return PlannedRows(self.ledger, self.plan.rows_id, self.plan.total)

    def read_key(self) -> bytes:
        """Return the key of the features.

        Raises:
            IntegrityError: it does not exist any more.
        """
        if (key := self.ledger.key(layout.LEDGER_FEATURES_KEY)) is None:
            raise IntegrityError(
                f"{self.ledger.address(layout.LEDGER_FEATURES_KEY)}: missing; run the same command again"
            )
        return key

    def parts(self) -> list[ShardSpec]:
        """Return the rows of the parts that exist, those that count."""
        found = (layout.parse_shards_file(info.key) for info in self.ledger.objects(layout.LEDGER_FACES))
        return effective([spec for spec in found if spec is not None])

    def put_part(self, spec: ShardSpec, part: FacesPart, key: bytes) -> None:
        """Write the faces of some rows unless they are there."""
        data = seal_faces(part, spec, self.plan.pass_id, key)
        with contextlib.suppress(ObjectExistsError):  # of another driver, which looked at the same rows
            self.ledger.storage.put_if_absent(self.ledger.address(layout.faces_part(spec.name)), data)

    def read_part(self, spec: ShardSpec, key: bytes) -> FacesPart:
        """Return the faces of some rows.

        Raises:
            IntegrityError: the part is damaged.
        """
        uri = self.ledger.address(layout.faces_part(spec.name))
        return open_faces(self.ledger.storage.read(uri), spec, self.plan.pass_id, key, uri)


def open_pass(
    config: JobConfig, models: Sequence[str], embedder: str, note: Any = lambda text: None
) -> IdentifyJob | PersonsJson:
    """Begin a pass, resume the one that the ledger holds, or return its result if it has ended.

    Args:
        config: a job that compares faces.
        models: `name@sha256` of every model of its run.
        embedder: the same of the recogniser.
        note: called with messages for the user.

    Raises:
        ConfigError: the job's places are wrong, or a run with other persons has begun.
        ManifestError: the manifest is wrong.
        IntegrityError: the ledger is damaged.
        StorageError: manifest or ledger cannot be reached.
    """
    ledger = Ledger(Storage(config.storage), config.ledger_uri)
    check_separate(absolute(config.output_uri), ledger.uri, absolute(config.manifest))
    old, ended = read_plan(ledger), PersonStore(ledger).summary()
    rows_id = secrets.token_hex(4)
    total, rows_sha256 = _scan(config, ledger, None if old or ended else rows_id)
    current = _fingerprint(config, rows_sha256, total, models, embedder)
    is_same = ended is not None and dict(ended.settings) == settings_of(config.identity)
    if ended is not None and is_same and not differences(ended.fingerprint, current):
        return ended
    if ledger.exists():
        raise ConfigError(
            f"{ledger.uri}: a run has begun here, whose persons stay as they are: later images, and other settings of "
            "detectors or persons, need another output. `anon-batch identify` comes before the first `run`"
        )
    if old is not None and (found := differences(old.fingerprint, current)):
        note(f"the faces found before are of other settings ({'; '.join(found)}), so all images are searched again")
        discard(ledger)
        old = None
    if old is None:
        if ended is not None:
            note("persons were found before with other settings; they are replaced")
        total, rows_sha256 = _scan(config, ledger, rows_id)
        old = _publish(ledger, FacesPlan(secrets.token_hex(8), rows_id, total, rows_sha256, current))
    return IdentifyJob(config, ledger, old, embedder)


def read_plan(ledger: Ledger) -> FacesPlan | None:
    """Return the plan of a pass that has begun and can go on; None if there is none."""
    try:
        plan = FacesPlan.from_json(ledger.storage.read(ledger.address(layout.LEDGER_FACES_PLAN)))
    except ObjectNotFoundError:
        return None
    return plan if plan is not None and ledger.key(layout.LEDGER_FEATURES_KEY) is not None else None


def discard(ledger: Ledger) -> int:
    """Delete faces and features, the key first, because nobody can read them without it; return the number of parts."""
    ledger.delete([layout.LEDGER_FEATURES_KEY])
    keys = [f"{layout.LEDGER_FACES}/{info.key}" for info in ledger.objects(layout.LEDGER_FACES)]
    plan_key = layout.LEDGER_FACES_PLAN
    with contextlib.suppress(ObjectNotFoundError):
        if (plan := FacesPlan.from_json(ledger.storage.read(ledger.address(plan_key)))) is not None:
            folder = layout.rows_folder(plan.rows_id)
            ledger.delete([f"{folder}/{info.key}" for info in ledger.objects(folder)])
    ledger.delete([key for key in keys if key != plan_key])
    ledger.delete([plan_key])
    return sum(key != plan_key for key in keys)


def _publish(ledger: Ledger, plan: FacesPlan) -> FacesPlan:
    """Write the key and the plan of a pass; return the plan that counts."""
    with writing("the ledger", "`ledger` or --output"):
        ledger.create_key(layout.LEDGER_FEATURES_KEY)
        uri = ledger.address(layout.LEDGER_FACES_PLAN)
        try:
            ledger.storage.put_if_absent(uri, plan.to_json())
        except ObjectExistsError:  # because another driver started the same pass at the same time
            winner = FacesPlan.from_json(ledger.storage.read(uri))
            if winner is None or differences(winner.fingerprint, plan.fingerprint):
                raise ConfigError(f"{uri}: another `anon-batch identify` with other settings is at work here") from None
            return winner
    return plan


def _scan(config: JobConfig, ledger: Ledger, rows_id: str | None) -> tuple[int, str]:
    """Return the number and the digest of the rows; write them into the ledger if they get an id."""
    groups: list[Groups] = []

    def columns(schema: pa.Schema) -> Groups:
        groups.append(Groups(config.identity, schema, config.manifest))
        return groups[0]

    total = scan_manifest(config, ledger, rows_id, columns).total
    if total == 0:
        raise ManifestError(f"{config.manifest}: no rows")
    return total, groups[0].sha256


def _fingerprint(
    config: JobConfig, rows_sha256: str, total: int, models: Sequence[str], embedder: str
) -> dict[str, Any]:
    return {
        **faces_settings(config),
        "identity.min_face_px": config.identity.min_face_px,
        "embedder": embedder,
        "models": list(models),
        "rows": rows_sha256,
        "row count": total,
        "package version": __version__,
    }
