"""What attackers find out about a release, as figures, tables and curves of its evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from anon_batch.config import JobConfig
from anon_batch.evaluate.attacks.attackers import NAMES
from anon_batch.evaluate.attacks.audit import AttackSettings, Audit
from anon_batch.evaluate.attacks.measures import Reidentification, SceneMeasures
from anon_batch.evaluate.attacks.training_faces import load_training
from anon_batch.evaluate.pairs_csv import read_pairs, sample_pairs
from anon_batch.evaluate.person_pairs import read_persons
from anon_batch.evaluate.setup import ERASER, EvaluationConfig, load_method
from anon_batch.formats.evidence_json import Cell, Curve, Table
from anon_batch.models.runtime import Runtime
from anon_batch.recognition.embedder import load_embedders
from anon_batch.stats.figure import Figure
from anon_batch.storage import Storage

PREFIX = "reidentification"
_TITLES = {
    "face_alone": "the anonymized face alone",
    "whole_image": "the whole image, with hair, clothes and background",
    "surroundings": "the image with every face erased",
}
_COLUMNS = ("seen", "attack", "recogniser", "rank 1", "p", "FNMR at FMR 0.01", "FNMR at FMR 0.001", "FNIR at FPIR 0.1")


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of an `Evidence`.

    Args:
        figures, tables, curves: by name.
        models: `name@sha256` of the recognisers.
        skipped: measure -> why it was not taken, and what it needs.
    """

    figures: Mapping[str, Figure] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)


def audit_release(
    job: JobConfig,
    storage: Storage,
    *,
    pairs: str | None,
    embedders: Sequence[str],
    settings: AttackSettings | None = None,
    seed: int = 0,
    limit: int | None = None,
    on_message: Callable[[str], None] = lambda _: None,
) -> Parts:
    """Attack the method of a job, with all settings of the job, on images of persons that the user provides.

    Args:
        job: of the release; where its images are read from, `sources` counts.
        storage: of pairs and recognisers.
        pairs: address of the CSV, see `pairs_csv`; None gives figures without values.
        embedders: addresses of the recognisers, see `embedder`; likewise if there is none.
        settings: which attackers there are.
        seed: of copies, training, splits and tests.
        limit: most persons.
        on_message: gets progress messages.

    Raises:
        ConfigError, UnknownNameError, ModelError: an input or the job is invalid.
        StorageError: a file cannot be read.
    """
    lacking = [name for name, there in (("--pairs FILE", pairs), ("--embedder FILE", embedders)) if not there]
    if pairs is None or lacking:
        return missing(f"give {' and '.join(lacking)}")
    settings = settings or AttackSettings()
    listed = read_pairs(storage, pairs)
    config = EvaluationConfig(job, (job.anonymize.face.method,), "", pairs=pairs, limit=limit, seed=seed)
    runtime = Runtime.for_job(job, storage)
    method, eraser = (
        load_method(job, name, runtime, config.run_key("release")) for name in (job.anonymize.face.method, ERASER)
    )
    recognisers = load_embedders(runtime.store, embedders, runtime.threads)
    training = load_training(settings, job, storage, runtime, method, seed)
    persons = read_persons(config, storage, method.anonymizer, sample_pairs(listed, limit, seed))
    audit = Audit(persons, recognisers, eraser, settings, config.run_key, seed, training, on_message)
    models = tuple(f"{own.name}@{own.sha256}" for own in recognisers)
    return parts_of(audit.of(method), audit.of_originals(), settings, models)


def missing(why: str) -> Parts:
    """Return the figures of an audit that was not made."""
    names = ("rank_1", "p_value", "fnmr_at_fmr_0.01", "fnmr_at_fmr_0.001", "fnir_at_fpir_0.1")
    figures = {f"{PREFIX}.{name}": Figure.missing(f"not measured: {why}") for name in names}
    return Parts(figures, skipped={PREFIX: why})


def parts_of(
    found: Reidentification, originals: Reidentification, settings: AttackSettings, models: tuple[str, ...]
) -> Parts:
    """Return what was found as parts of an evidence."""
    scenes = {"face_alone": found.face_alone, "whole_image": found.whole_image, "surroundings": found.surroundings}
    measured = {name: scene for name, scene in scenes.items() if scene is not None}
    rows = [row for name, scene in measured.items() for row in _rows(_TITLES[name], scene)]
    lines = {_TITLES[name]: list(scene.det) for name, scene in measured.items() if scene.det}
    lines |= {"originals": list(originals.whole_image.det)} if originals.whole_image.det else {}
    skipped = {f"{PREFIX}.{name}": f"give --attack {name}" for name in NAMES if name not in settings.attacks}
    return Parts(
        figures=_figures(measured, originals),
        tables={f"{PREFIX}.attackers": Table("Every attacker, the strongest first", _COLUMNS, tuple(rows), _NOTE)},
        curves={f"{PREFIX}.det": Curve(_CURVE, "false match rate", "false non-match rate", lines, log_x=True)},
        models=models,
        skipped=skipped,
    )


_CURVE = "Errors of the strongest attacker: the higher the line, the less is recognised"
_NOTE = (
    "rank 1: share of persons whose image is named as theirs, exact 95 % interval; p: of a guess, corrected for the number of "
    "attackers; outputs before they are encoded"
)


def _figures(scenes: Mapping[str, SceneMeasures], originals: Reidentification) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for name, scene in scenes.items():
        prefix = PREFIX if name == "face_alone" else f"{PREFIX}.{name}"
        figures |= {f"{prefix}.{key}": own for key, own in _of_scene(scene, _TITLES[name]).items()}
    face, persons = scenes["face_alone"], scenes["face_alone"].persons
    figures[f"{PREFIX}.chance"] = Figure(face.chance, n=persons, unit="persons", note="rank 1 of a guess")
    least = face.least_recognisable
    figures[f"{PREFIX}.least_recognisable"] = (
        Figure.missing(f"{persons} persons are too few to tell a leak from chance")
        if least is None
        else Figure(least, n=persons, unit="persons", note="the smallest rank 1 of one attacker that would show")
    )
    best = originals.face_alone.strongest
    if best is not None:
        figures[f"{PREFIX}.originals.rank_1"] = best.rank_1
    return figures


def _of_scene(scene: SceneMeasures, seen: str) -> dict[str, Figure]:
    best = scene.strongest
    if best is None or best.rank_1.value is None:
        return {"rank_1": Figure.missing("every image of these persons was withheld")}
    rank, note = best.rank_1, f"{seen}; by {best.attack}, {best.embedder}; chance {scene.chance:.2%}"
    figures = {"rank_1": Figure(rank.value, rank.low, rank.high, rank.n, rank.unit, note)}
    verdict = {None: "too few persons to tell", True: "above chance", False: "chance"}[scene.above_chance]
    note = f"of the strongest of {len(scene.attackers)} attackers, corrected for that number: {verdict}"
    figures["p_value"] = Figure(best.p_value, n=scene.persons, unit="persons", note=note)
    figures |= {f"fnmr_at_fmr_{rate}": _least(scene, "false_non_match", rate) for rate in best.false_non_match}
    figures |= {f"fnir_at_fpir_{rate}": _least(scene, "open_set", rate) for rate in best.open_set}
    return figures


def _least(scene: SceneMeasures, kind: str, rate: str) -> Figure:
    """Return the figure of the attacker who has the least errors at this rate."""
    found: list[Figure] = [getattr(attacker, kind)[rate] for attacker in scene.attackers]
    return min(found, key=lambda own: 2.0 if own.value is None else own.value)


def _rows(seen: str, scene: SceneMeasures) -> list[tuple[Cell, ...]]:
    return [
        (
            seen,
            own.attack,
            own.embedder,
            own.rank_1,
            own.p_value,
            own.false_non_match["0.01"],
            own.false_non_match["0.001"],
            own.open_set["0.1"],
        )
        for own in scene.attackers
    ]
