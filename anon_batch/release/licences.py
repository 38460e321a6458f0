"""licences.json: whose terms a release is under, as far as it is known: of its source, itself, its models, donors and the tool.

It repeats what the owner states and what `models.registry` knows; it judges nothing. Weights are known by their digest, because a
job may name a file of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from anon_batch import __version__
from anon_batch.formats import layout
from anon_batch.formats.run_json import RunJson
from anon_batch.formats.services import read_service
from anon_batch.models.registry import MODELS
from anon_batch.release.creative_commons import contradictions, obligations_of
from anon_batch.release.report.finished import FinishedRelease

LICENCES_VERSION = 1
NOT_STATED = "not stated by the owner"
NOT_STATED_BY_JOB = "not stated by the job"
NOT_KNOWN = "not known to anon-batch"
_DONORS = "donors"
_OF_SERVICE = "not known to anon-batch: see the terms of the service"
_SENT = "Originals were sent to it. Its terms say what its provider may do with them, and you answer for having asked."
_KEEP_NOTICE = "To pass the weights on, keep their licence text and notices. This release does not contain them."
_RESEARCH = (
    "The licence is that of the weights. The images that they were trained on are for research; whether that reaches what such "
    "weights find is for you to judge before commercial use."
)
_KEEP_FILE = "Keep licences.json with the release: it names the terms of the donors whose faces the images show."
_NO_FILE = (
    "SFHQ-T2I (SelfishGene/SFHQ-T2I-dataset), the set that the donors' images are from, has no licence file; its README says "
    "that there are no license issues with them."
)
_OUTPUT_TERMS = (
    "FLUX.1, SDXL and DALL-E 3 generated that set. Their output terms bind its authors; those of FLUX.1-dev forbid training a "
    "competing image model. Check whether that reaches you, and those who train on this release."
)


@dataclass(frozen=True, slots=True)
class Licence:
    """The terms of one thing.

    Args:
        of: `source`, `release`, `weights`, `service`, `donors` or `tool`.
        name: of the thing.
        licence: an SPDX identifier, an address, or words; or that it is not stated or not known.
        in_release: whether the release holds it or parts of it.
        trained_on: of weights.
        obligations: what it asks of anyone who publishes or uses the release.
        sha256: of weights.
    """

    of: str
    name: str
    licence: str
    in_release: bool
    trained_on: str = ""
    obligations: tuple[str, ...] = ()
    sha256: str = ""


def list_licences(finished: FinishedRelease) -> tuple[Licence, ...]:
    """Return the terms that matter to a publisher: of source, release, the models that ran, donors included, and the tool."""
    record = finished.run
    stated = {key: record.compliance.get(key) for key in ("source_licence", "licence")}
    declared = declared_models(record)
    return (
        _stated("source", f"the source of {record.name}", stated["source_licence"]),
        _stated("release", record.name, stated["licence"]),
        *(
            _model(*model.partition("@")[::2], finished.stats.summary["methods"], declared)
            for model in all_models(finished)
        ),
        Licence(
            "tool",
            f"anon-batch {__version__}",
            "Apache-2.0",
            in_release=False,
            obligations=("It covers the program, not what the program makes.",),
        ),
    )


def all_models(finished: FinishedRelease) -> tuple[str, ...]:
    """Return the models of the run and of later versions, each once."""
    later = (own for version in finished.release.versions for own in version.models)
    return tuple(dict.fromkeys((*finished.run.models, *later)))


def find_contradictions(finished: FinishedRelease) -> tuple[str, ...]:
    """Return where the licence of the release permits what that of the source forbids, as far as both are Creative Commons."""
    stated = finished.run.compliance
    return tuple(contradictions(stated.get("source_licence") or "", stated.get("licence") or ""))


def write_licences(finished: FinishedRelease) -> None:
    """Write licences.json.

    Raises:
        StorageError: it cannot be written.
    """
    content = {
        "version": LICENCES_VERSION,
        "licences": [asdict(own) for own in list_licences(finished)],
        "contradictions": list(find_contradictions(finished)),
    }
    finished.release.put(layout.LICENCES, json.dumps(content, indent=1).encode())


def models_of(record: RunJson) -> Iterator[tuple[str, str]]:
    """Yield the model that the registry knows by name and digest, and what it was trained on."""
    for model in record.models:
        name, _, digest = model.partition("@")
        if _is_known(name, digest):
            yield name, MODELS[name].trained_on


def declared_models(record: RunJson) -> Mapping[str, tuple[str, str]]:
    """Return what the job says of files of its own: name in `models.files` -> licence and training data."""
    config = record.config
    named = [*_detectors(config.get("detect")), *_detectors(config.get("checks", {}).get("residual"))]
    declared = {}
    for detector in named:
        options = detector.get("options") or {}
        if not {"model", "licence", "trained_on"} & set(options):
            continue
        said = tuple(str(options.get(key) or NOT_STATED_BY_JOB) for key in ("licence", "trained_on"))
        declared[str(options.get("model") or detector.get("name"))] = (said[0], said[1])
    return declared


def _detectors(section: Any) -> Iterator[Mapping[str, Any]]:
    found = section.get("detectors") if isinstance(section, Mapping) else None
    yield from (own for own in found or () if isinstance(own, Mapping))


def _stated(of: str, name: str, licence: str | None) -> Licence:
    if licence is None:
        asks = ("Ask the owner before you use it. Images are works, and persons in them may have rights as well.",)
        return Licence(of, name, NOT_STATED, in_release=True, obligations=asks)
    return Licence(of, name, licence, in_release=True, obligations=tuple(obligations_of(licence, of)))


def _model(name: str, digest: str, methods: Mapping[str, int], declared: Mapping[str, tuple[str, str]]) -> Licence:
    of = "donors" if name == _DONORS else "weights"
    shown = of == "donors" and any(int(methods.get(method, 0)) for method in ("swap", "gan"))
    asks: tuple[str, ...]
    if (service := read_service(f"{name}@{digest}")) is not None:
        return Licence(
            "service", service.said, _OF_SERVICE, in_release=False, trained_on=NOT_KNOWN, obligations=(_SENT,)
        )
    if not _is_known(name, digest):
        asks = ("The job names a file of its own or a plug-in's: its provider knows its terms.",)
        licence, trained_on = declared.get(name, (NOT_KNOWN, NOT_KNOWN))
        return Licence(of, name, licence, in_release=shown, trained_on=trained_on, obligations=asks, sha256=digest)
    entry = MODELS[name]
    if of == "donors":
        asks = (_KEEP_FILE, _NO_FILE, _OUTPUT_TERMS) if shown else (_KEEP_NOTICE,)
    else:
        asks = (_KEEP_NOTICE, _RESEARCH) if "for research" in entry.trained_on else (_KEEP_NOTICE,)
    return Licence(of, name, entry.licence, shown, entry.trained_on, asks, digest)


def _is_known(name: str, digest: str) -> bool:
    return name in MODELS and MODELS[name].sha256 == digest
