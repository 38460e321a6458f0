"""Limits of a release that no setting removes, as its card lists them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from anon_batch.config.treatment_defaults import BODY_METHOD, PLATE_METHOD
from anon_batch.formats.run_json import RunJson
from anon_batch.formats.services import used_services
from anon_batch.label_words import join_nouns
from anon_batch.records import DEFAULT_LABEL, PERSON_LABEL
from anon_batch.release.words.found_persons import say_how_sure
from anon_batch.release.words.table import TREATMENTS, count_treatments, kept_secrets
from anon_batch.units import format_counted

_MORE_THAN_FACES = (
    "People can be recognised by more than a face: hair, ears and the outline of the head around a region, body, clothes, "
    "tattoos, place, text, other images of the same scene."
)
_NEW_FACES = (
    "A person who is in several images gets another face in each, and so do near-duplicates of an image and the images of a "
    "burst."
)
_ALIKE = "Where the surroundings are alike, the new faces may be alike too, so that they do not rule out linking."
_NEW_PLATES = (
    "A car that is in several images gets another plate in each; its make, colour, dents and place may link these images, and a "
    "new plate may resemble a real one."
)
_FIGURES = (
    "Figures in place of persons keep postures and the lengths of limbs; place, posture and company may link images of a person, "
    "and hair, clothes and bags that reach beyond a region stay."
)
_OUTLINES = (
    "Regions of persons follow the bodies, so that their outlines may show build, posture and what is carried; hair, clothes and "
    "bags that reach beyond a region stay."
)
_SAME_FACE = "A person keeps the same new face in several images, so that these images are linked."
_BY_ITSELF = (
    "Each image is anonymized by itself: nothing marks a person as the same in several images, in near-duplicates or in a "
    "burst."
)
_SUMS_UP = (
    "Near-duplicates, bursts and several images of a person each keep something of the same face; together they may give away "
    "more than one of them alone."
)
_NO_FACES = (PLATE_METHOD, BODY_METHOD)  # methods that replace something else
_SENT = (
    "The originals were sent to a service, {}, which looked for faces in them: what its provider keeps of them is for its terms "
    "and settings to say. The service may change at any time, so that the same job may find other faces next time; the private "
    "audit has what it answered."
)
_IDS = "Ids and published columns are the source's. Names of persons in texts are not recognised."


def list_limits(
    run: RunJson,
    methods: Mapping[str, int],
    kept: int,
    missed: Sequence[str],
    labels: Mapping[str, Mapping[str, Any]] | None = None,
    models: Iterable[str] = (),
) -> tuple[str, ...]:
    """Return the limits of a release.

    Args:
        run: its run.json.
        methods: method -> regions that it anonymized.
        kept: regions left as they are on the owner's word.
        missed: sentences with what was measured about missed faces; none if nothing was.
        labels: label of what was found -> its part of stats.json; faces are always among what could be.
        models: of the run and of later versions; a service among them is named.
    """
    measured = " ".join(missed) or "How many there are was not measured."
    labels = labels or {}
    nouns = join_nouns((DEFAULT_LABEL, *labels))
    limits = [f"{nouns[0].upper()}{nouns[1:]} that no detector found are published as they are. {measured}"]
    if kept:
        regions = f"{format_counted(kept, 'region')} {'was' if kept == 1 else 'were'}"
        limits.append(
            f"{regions} left as in the source, because the owner marked {'it' if kept == 1 else 'them'} to be kept."
        )
    limits += [_SENT.format(service.said) for service in used_services(models)]
    if _shows_outlines(run, labels.get(PERSON_LABEL, {}).get("methods", {})):
        limits.append(_OUTLINES)
    return (*limits, _MORE_THAN_FACES, *_across_images(run, methods), _IDS)


def _shows_outlines(run: RunJson, methods: Mapping[str, int]) -> bool:
    """Return whether regions of persons have the shape of bodies; `methods`: those that anonymized persons. Figures hide it."""
    treatments = run.config.get("anonymize", {})
    own = treatments.get(PERSON_LABEL) or treatments.get("default") or {}
    return own.get("shape") in (None, "outline") and bool(methods.keys() - {BODY_METHOD})


def _across_images(run: RunJson, methods: Mapping[str, int]) -> Iterator[str]:
    used = count_treatments({method: count for method, count in methods.items() if method not in _NO_FACES})
    if PLATE_METHOD in methods:
        yield _NEW_PLATES
    if BODY_METHOD in methods:
        yield _FIGURES
    if "replaced" in used and any(secret.consistent for secret in kept_secrets(run)):
        yield f"{_SAME_FACE} {say_how_sure(run)}".rstrip()
    elif "replaced" in used:
        yield f"{_NEW_FACES} {_ALIKE}" if _follows_surroundings(run, methods) else _NEW_FACES
    elif "removed" in used:
        yield _BY_ITSELF
    if "obfuscated" in used:
        yield _SUMS_UP


def _follows_surroundings(run: RunJson, methods: Mapping[str, int]) -> bool:
    options: Mapping[str, Any] = run.config.get("anonymize", {}).get("options", {})
    new = [method for method in methods if TREATMENTS.get(method) == "replaced" and method not in _NO_FACES]
    return any(options.get(method, {}).get("donor_by", "surroundings") != "subject" for method in new)
