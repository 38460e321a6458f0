"""The steps that an image passes in an `Anonymizer`: decode, detect, choose regions, render, check.

Each step works on a list of `Item`. Whatever goes wrong with an image sets its `error`, and later steps skip it, so that one
image cannot harm the others and nothing passes by default. These are the only rules that turn an error into an outcome.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral

import numpy as np
import numpy.typing as npt

from anon_batch import keys
from anon_batch.anonymize.ladder import Ladder
from anon_batch.anonymize.parts import join_parts
from anon_batch.anonymize.protocol import CheckedImage, ImageCheck
from anon_batch.detect.drawn import is_drawn
from anon_batch.detect.ensemble import Ensemble
from anon_batch.detect.given_boxes import GivenBoxes
from anon_batch.detect.kept import kept_by_owner
from anon_batch.detect.turn import turn_detections
from anon_batch.errors import (
    CredentialsError,
    FailedError,
    RowError,
    ServiceUnavailableError,
    WithheldError,
    row_error,
)
from anon_batch.imaging.source import SourceImage
from anon_batch.memory import in_halves
from anon_batch.outcomes import Anonymized, Clean, Outcome, Withheld
from anon_batch.records import (
    DEFAULT_LABEL,
    PERSON_LABEL,
    AnonymizedImage,
    Detections,
    GroundTruth,
    IdentifiedFaces,
    Persons,
    Region,
    read_only,
)
from anon_batch.stats import match

# What a detector that is a service raises where it can search no image: the run stops, because otherwise all would be withheld.
_OF_A_SERVICE = (CredentialsError, ServiceUnavailableError)
MAX_CHECK_ROUNDS = 2  # times that an image check may add regions before the image is withheld


@dataclass(slots=True, eq=False)
class Item:
    """One image on its way through the steps.

    Args:
        source: the image.
        ground_truth: boxes for the detector `manifest`, and regions to keep.
        detections: what was found; None before detection.
        regions: what to anonymize.
        result: the new pixels; None before rendering, or when there is nothing to render.
        error: why the image is withheld.
        checks: (check, what it counts) -> count.
        drawn: what people drew, to anonymize besides what is found.
        persons: whom the regions of the ground truth show; see `ManifestRow.persons`.
    """

    source: SourceImage
    ground_truth: GroundTruth | None = None
    detections: Detections | None = None
    regions: tuple[Region, ...] = ()
    result: AnonymizedImage | None = None
    error: RowError | None = None
    checks: Counter[tuple[str, str]] = field(default_factory=Counter)
    drawn: Detections | None = None
    persons: Persons | None = None


def new_item(
    source: SourceImage, ground_truth: GroundTruth | None = None, detections: Detections | None = None
) -> Item:
    """Return an image that has passed no step; boxes in shares of its sides become px."""
    truth = None if ground_truth is None else ground_truth.in_pixels(source.width, source.height)
    return Item(source, truth, detections)


def decode_preview(source: SourceImage, max_side_px: int | None) -> RowError | None:
    """Decode what the detectors will see. Return why that fails, or None."""
    try:
        source.preview(max_side_px)
    except Exception as exc:
        return row_error(exc, FailedError, "decode")
    return None


def check_given_boxes(items: Sequence[Item], given: GivenBoxes) -> None:
    """Withhold the images whose given boxes cannot be right, because what they should cover would be published."""
    for item in items:
        if item.error is None and item.ground_truth is not None:
            fault = given.fault(item.ground_truth, (item.source.width, item.source.height))
            item.error = None if fault is None else WithheldError("bad_box", fault)


def detect(items: Sequence[Item], detector: Ensemble, max_side_px: int | None) -> None:
    """Search all images in one call; if that fails, in halves down to single images, so that only the culprit is withheld.

    Images that have detections already are not searched.

    Raises:
        CredentialsError, ServiceUnavailableError: a detector that is a service can search no image.
    """
    to_search = [item for item in items if item.error is None and item.detections is None]
    if not to_search:
        return
    answers = in_halves(
        to_search,
        lambda some: _detect_in_one_call(some, detector, max_side_px),
        lambda exc: row_error(exc, WithheldError, "detect"),
        passing=_OF_A_SERVICE,
    )
    for item, answer in zip(to_search, answers, strict=True):
        if isinstance(answer, RowError):
            item.error = answer
        else:
            # Never merged with what is found, because the one would then lie where the other is no longer covered. After it, so
            # that what was found keeps its indices and so its seeds.
            item.detections = answer if item.drawn is None else Detections.merge([answer, item.drawn])


def _detect_in_one_call(
    items: Sequence[Item], detector: Ensemble, max_side_px: int | None
) -> list[Detections | RowError]:
    previews = [item.source.preview(max_side_px) for item in items]
    found = list(detector.detect(previews, [item.ground_truth for item in items]))
    if len(found) != len(items):  # because it is unknown which image a result belongs to
        raise WithheldError("detect", f"{len(found)} results for {len(items)} images")
    if wrong := {type(own).__name__ for own in found if not isinstance(own, Detections)}:
        raise WithheldError("detect", f"detector {detector.name} returned {wrong}, expected Detections")
    more = _detect_in_other_views(items, detector, max_side_px)
    return [detector.merge(own, added) if added else own for own, added in zip(found, more, strict=True)]


def _detect_in_other_views(
    items: Sequence[Item], detector: Ensemble, max_side_px: int | None
) -> list[list[Detections]]:
    """Search the images as other readers show them; return what is found in each view of each, as the image stands."""
    views = [(at, view) for at, item in enumerate(items) for view in item.source.other_views(max_side_px)]
    found = detector.detect_again([view.preview for _, view in views]) if views else []
    more: list[list[Detections]] = [[] for _ in items]
    for (at, view), own in zip(views, found, strict=True):
        more[at].append(turn_detections(own, *view.preview.whole_size, view.back))
    return more


def choose_regions(items: Sequence[Item], ladder: Ladder) -> None:
    """Choose the regions of each image, and decode the images that have one.

    Args:
        items: searched images.
        ladder: its policy says how each label's regions look.
    """
    for item in items:
        if item.error is not None or item.detections is None:
            continue
        try:
            _choose_regions(item, item.detections, ladder)
            if item.regions:
                item.source.decode()
        except Exception as exc:
            item.error = row_error(exc, WithheldError, "detect")


def _choose_regions(item: Item, detections: Detections, ladder: Ladder) -> None:
    subjects = subjects_of(detections, item.ground_truth, item.persons)
    regions = ladder.policy.regions_of(detections, item.source.width, item.source.height, subjects)
    if item.persons is not None:
        named = sum(isinstance(subject, str) for subject in subjects)
        item.checks["identity", "named"] += named
        item.checks["identity", "unnamed"] += len(subjects) - named
    if isinstance(item.persons, IdentifiedFaces):
        other = zip(detections.labels, _found_again(detections, item.persons).tolist(), strict=True)
        item.checks["identity", "unmatched"] += sum(label == DEFAULT_LABEL and face < 0 for label, face in other)
    if len(regions) != len(detections):
        raise WithheldError("incomplete", f"{len(regions)} regions for {len(detections)} detections")
    kept = kept_by_owner(detections, item.ground_truth) & ~is_drawn(detections)  # because a person saw it in the output
    wanted = [region for region in regions if not kept[region.index]]
    joined = join_parts(wanted, ladder.policy, item.source.width, item.source.height)
    item.regions = tuple(ladder.prepare(joined, item.source.decode))


def subjects_of(detections: Detections, truth: GroundTruth | None, persons: Persons | None) -> list[int | str]:
    """Return what each region's seed derives from: the token of the person that it shows, else its position.

    A detection shows the person of the region that it finds (IoU 0.5). One name for an image is that of its only detection, or of
    the detection that finds its only region, or of its only face, whatever else is found beside at most one person. Elsewhere a
    face is of nobody, because a wrong name would link two people.
    """
    subjects: list[int | str] = list(range(len(detections)))
    if isinstance(persons, IdentifiedFaces):
        for at, face in enumerate(_found_again(detections, persons).tolist()):
            person = persons.persons[face] if face >= 0 else None
            subjects[at] = at if person is None else person
        return subjects
    if isinstance(persons, str) and len(detections) == 1:
        return [persons]
    if isinstance(persons, str) and (truth is None or len(truth) != 1):
        labelled = () if truth is None else truth.labels
        if _shows_one_face(labelled) and _shows_one_face(detections.labels, at_least=1):
            subjects[detections.labels.index(DEFAULT_LABEL)] = persons
        return subjects
    if persons is None or truth is None:
        return subjects
    named = (persons,) if isinstance(persons, str) else persons
    for person, at in zip(named, match(detections, truth).region_detection.tolist(), strict=True):
        if person is not None and at >= 0:
            subjects[at] = person
    return subjects


def _shows_one_face(labels: Sequence[str], at_least: int = 0) -> bool:
    """Return whether an image shows one face, and no second person whose name its name may be."""
    return at_least <= labels.count(DEFAULT_LABEL) <= 1 >= labels.count(PERSON_LABEL)


def _found_again(detections: Detections, known: IdentifiedFaces) -> npt.NDArray[np.intp]:
    """Return for each detection the position of the known face that it is; -1 if it is none, as for another label."""
    n = len(known.persons)
    faces = GroundTruth(known.boxes, np.zeros(n, np.bool_))
    return match(detections, faces).detection_region


def render(items: Sequence[Item], ladder: Ladder, key: bytes) -> None:
    """Render and compose the regions of all images. The ladder withholds the images where that fails."""
    work = [item for item in items if item.error is None and item.regions]
    if not work:
        return
    results = in_halves(
        work,
        lambda some: _render_in_one_call(some, ladder, key),
        lambda exc: row_error(exc, WithheldError, "anonymize"),
    )
    for item, result in zip(work, results, strict=True):
        item.result = result if isinstance(result, AnonymizedImage) else None
        if isinstance(result, RowError):
            item.error = result


def _render_in_one_call(items: Sequence[Item], ladder: Ladder, key: bytes) -> list[AnonymizedImage | RowError]:
    results = ladder.anonymize([(item.source.decode(), item.regions) for item in items], key)
    if len(results) != len(items):
        raise WithheldError("anonymize", f"{len(results)} results for {len(items)} images")
    return results


def check_images(items: Sequence[Item], checks: Sequence[ImageCheck], ladder: Ladder, key: bytes) -> None:
    """Run the image checks, render what they add, and repeat at most `MAX_CHECK_ROUNDS` times."""
    pending = [item for item in items if item.error is None]
    for look in range(MAX_CHECK_ROUNDS + 1):
        pending = [item for item in pending if _check_image(item, checks, ladder, key, look)]
        if look < MAX_CHECK_ROUNDS:
            render(pending, ladder, key)
    for item in pending:
        if item.error is None:
            item.error = WithheldError("check", f"checks still add regions after {MAX_CHECK_ROUNDS} rounds")


def _check_image(item: Item, checks: Sequence[ImageCheck], ladder: Ladder, key: bytes, look: int) -> bool:
    """Run the checks on one image. Return whether one added regions, which must be rendered now."""
    before = len(item.regions)
    for check in checks:
        if item.error is not None:
            break
        try:
            [finding] = check.check([_as_checked(item, check, key, look)])
            _add_counts(item, check.name, finding.counts)
            if finding.withhold is not None:
                raise WithheldError("check", f"{check.name}: {finding.withhold}")
            if len(finding.add):
                if not np.isfinite(finding.add.scores).all():
                    raise WithheldError("check", f"{check.name}: added detections whose scores are not finite")
                _add_regions(item, finding.add, ladder)
        except Exception as exc:
            item.error = row_error(exc, WithheldError, "check", f"{check.name}: ")
    return item.error is None and len(item.regions) > before


def _as_checked(item: Item, check: ImageCheck, key: bytes, look: int) -> CheckedImage:
    source, result = item.source, item.result
    done = () if result is None else result.methods
    return CheckedImage(
        source.image_id,
        source.width,
        source.height,
        [region for region in item.regions if region.index in done],  # not those that another check added
        item.ground_truth,
        int.from_bytes(keys.derive(key, "check", check.name, source.image_id)[:8], "big"),
        look,
        look == MAX_CHECK_ROUNDS,
        lambda: read_only(source.decode().pixels if result is None else result.pixels),
    )


def _add_counts(item: Item, check: str, counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        if not isinstance(name, str) or not isinstance(count, Integral) or count < 0:
            # Because the statistics of a whole shard cannot hold anything else.
            raise WithheldError("check", f"{check}: count {name!r} is {count!r}, expected a whole number from 0")
        item.checks[check, name] += int(count)


def _add_regions(item: Item, added: Detections, ladder: Ladder) -> None:
    """Add regions after the present ones, which keep their indices and so their seeds."""
    added = replace(added, finders=(frozenset(),) * len(added))  # because the check saw the output, not the image
    item.detections = Detections.merge([item.detections or Detections.empty(), added])
    regions = ladder.policy.regions_of(item.detections, item.source.width, item.source.height)
    item.regions = (*item.regions, *ladder.prepare(regions[len(regions) - len(added) :], item.source.decode))


def finish(item: Item, ladder: Ladder) -> Outcome:
    """Return the outcome of an image. One without an error must have a result for every region."""
    checks = _checks_by_name(item)
    image_id, detections, result = item.source.image_id, item.detections, item.result
    if item.error is None and (detections is None or (result is None and item.regions)):
        item.error = WithheldError("incomplete", "a step gave no result")
    if item.error is not None or detections is None:
        return Withheld(image_id, item.error or WithheldError("incomplete"), detections, checks)
    if result is None:
        return Clean(item.source, detections, checks)
    if missing := [region.index for region in item.regions if region.index not in result.methods]:
        return Withheld(image_id, WithheldError("anonymize", f"regions {missing} not anonymized"), detections, checks)
    synthetic = frozenset(at for at, method in result.methods.items() if ladder.is_synthetic(method))
    return Anonymized(item.source, result, detections, item.regions, synthetic, checks)


def _checks_by_name(item: Item) -> dict[str, dict[str, int]]:
    """Return check -> what it counts -> count, with the failures of region checks as `failed`."""
    counted = Counter(item.checks)
    for name, count in ({} if item.result is None else item.result.failures).items():
        counted[name, "failed"] += count
    checks: dict[str, dict[str, int]] = {name: {} for name, _ in counted}
    for (name, what), count in counted.items():
        checks[name][what] = count
    return checks
