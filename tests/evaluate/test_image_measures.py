"""Average precision kept by a method that changes nothing, and by one that covers faces."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import pytest
from method_harness import make, make_ladder
from PIL import Image

from anon_batch.anonymize.policy import Policy, Treatment
from anon_batch.anonymize.protocol import Method, Refusal, Target
from anon_batch.anonymizer import Anonymizer
from anon_batch.config import ModelsConfig, load_job
from anon_batch.errors import WithheldError
from anon_batch.evaluate.appearance import Appearance
from anon_batch.evaluate.average_precision import BandPrecision, OutcomeMeasures, PrecisionMeasures, anonymized_truth
from anon_batch.evaluate.images import ImageMeasures, measure_images
from anon_batch.evaluate.samples import Selection
from anon_batch.evaluate.setup import EvaluationConfig, Setup
from anon_batch.evaluate.speed import SpeedSample, measure_speed
from anon_batch.evaluate.subjects import EvaluatedMethod, detect_faces
from anon_batch.evaluate.utility.of_methods import MethodUtility
from anon_batch.evaluate.wider.lists import WiderFaces, WiderLists
from anon_batch.evaluate.wider.precision import WiderPrecision
from anon_batch.imaging.source import SourceImage
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.records import AnonymizedImage, Detections, GroundTruth, ManifestRow, Preview, Region
from anon_batch.storage import Storage

BIG, SMALL = (20, 30, 60, 70), (100, 40, 110, 50)


class Bright:
    """Detect white rectangles in black images."""

    name, models, labels = "bright", (), ("face",)

    def __init__(self, smallest_px: int = 1) -> None:
        self._smallest_px = smallest_px

    def detect(self, images: Sequence[Preview], given: Any = None) -> list[Detections]:
        return [self._one(image) for image in images]

    def _one(self, image: Preview) -> Detections:
        _, _, rows, _ = cv2.connectedComponentsWithStats((image.pixels[:, :, 0] > 200).astype(np.uint8))
        boxes = [(x, y, x + w, y + h) for x, y, w, h, _ in rows[1:] if max(w, h) >= self._smallest_px]
        count = len(boxes) + 1
        return Detections(
            np.array([*boxes, (0, 0, 9, 9)], np.float32),
            np.full(count, 0.8, np.float32),
            np.full((count, 5, 2), np.nan, np.float32),
            (self.name,) * count,
            (*["face"] * len(boxes), "plate"),
        )


class Nothing:
    """A ladder that reports success and changes nothing, or that withholds every image."""

    names, models = ("nothing",), ()
    policy = Policy({"face": Treatment("solid", shape="rectangle")})

    def __init__(self, *, withholds: bool = False) -> None:
        self._withholds = withholds

    def is_synthetic(self, method: str) -> bool:
        return False

    def prepare(self, regions: Sequence[Region], source: Any) -> list[Region]:
        return list(regions)

    def anonymize(self, batch: Any, run_key: bytes) -> list[AnonymizedImage | WithheldError]:
        if self._withholds:
            return [WithheldError("anonymize") for _ in batch]
        return [
            AnonymizedImage(
                image.pixels, np.zeros(image.pixels.shape[:2], np.bool_), {r.index: "nothing" for r in regions}
            )
            for image, regions in batch
        ]


def _method(name: str, ladder: Any = None, smallest_px: int = 1) -> EvaluatedMethod:
    anonymizer = Anonymizer("manifest", {"face": {"method": "solid" if ladder else name, "shape": "rectangle"}})
    anonymizer.detector = Bright(smallest_px)  # type: ignore[assignment]
    anonymizer.ladder = ladder or anonymizer.ladder
    return EvaluatedMethod(name, anonymizer)


def _runtime() -> Runtime:
    return Runtime(ModelStore(Storage(), ModelsConfig()))


def _appearance(methods: Sequence[EvaluatedMethod]) -> Appearance:
    return Appearance([method.name for method in methods], (), None, 0)


def _utility(methods: tuple[EvaluatedMethod, ...]) -> MethodUtility:
    return MethodUtility([method.name for method in methods], (), (), None, 0)


def _precision(state: ImageMeasures, method: str) -> PrecisionMeasures:
    return state.methods[method].scores.measures(state.before)


@pytest.fixture
def selection(tmp_path: Path) -> Selection:
    """Return four images, each with two faces, a third to ignore, and a licence plate that does not count."""
    truth = GroundTruth(
        np.array([BIG, SMALL, (130, 10, 150, 30), (0, 0, 9, 9)], np.float32),
        np.array([False, False, True, False]),
        ("face", "face", "face", "plate"),
    )
    rows = []
    for index in range(4):
        pixels = np.zeros((90, 160, 3), np.uint8)
        for x1, y1, x2, y2 in (BIG, SMALL):
            pixels[y1:y2, x1:x2] = 255
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "PNG")
        (tmp_path / f"{index}.png").write_bytes(data.getvalue())
        rows.append(ManifestRow(index, f"{index}.png", str(tmp_path / f"{index}.png"), regions=truth))
    return Selection(str(tmp_path), lambda: iter(rows), 4, 4, 4)


def _measured(
    selection: Selection, methods: tuple[EvaluatedMethod, ...], wider: WiderLists = MappingProxyType({})
) -> Any:
    job = load_job(None, {"manifest": "m", "output": "o", "detect.batch_size": 3})
    config = EvaluationConfig(job, tuple(m.name for m in methods), "o")
    setup = Setup(_runtime(), Bright(), (), methods, methods[0], ())  # type: ignore[arg-type]
    sample = SpeedSample()
    ticks: list[int] = []
    state = measure_images(
        config, Storage(), setup, selection, sample, _appearance(methods), _utility(methods), ticks.append, wider
    )
    assert ticks == [3, 1]
    return state, sample


def test_images_in_the_lists_of_wider_face_are_measured_by_its_rules_too(selection: Selection) -> None:
    boxes = np.array([BIG, SMALL], np.float64)
    counted = {"easy": np.array([True, False]), "medium": np.array([True, True]), "hard": np.array([True, True])}
    lists = {name: WiderFaces(boxes, counted) for name in ("0", "1", "3")}
    state, _ = _measured(selection, (_method("nothing", Nothing()), _method("solid", smallest_px=20)), lists)
    assert state.before.wider_measures()["easy"] == WiderPrecision(3, 3, 1.0, interval=(1.0, 1.0))
    kept = state.methods["nothing"].scores.wider_measures(state.before)
    assert kept["hard"] == WiderPrecision(3, 6, 1.0, 1.0, 1.0, (1.0, 1.0))
    lost = state.methods["solid"].scores.wider_measures(state.before)
    assert lost["easy"].kept == 0
    assert _measured(selection, (_method("solid"),))[0].before.wider_measures() == {}


def test_no_change_keeps_all_precision_and_black_keeps_none(selection: Selection) -> None:
    state, _ = _measured(selection, (_method("nothing", Nothing()), _method("solid")))
    assert state.images == 4
    before = state.before.measures().labelled_faces
    assert before["all"] == BandPrecision(8, pytest.approx(1))  # ignored ones do not count
    assert before["from_16_px"].faces == 4
    kept, lost = _precision(state, "nothing"), _precision(state, "solid")
    for all_kept, all_lost in (
        (kept.labelled_faces, lost.labelled_faces),
        (kept.anonymized_faces, lost.anonymized_faces),
    ):
        for band in ("all", "from_16_px"):
            assert all_kept[band].kept == pytest.approx(1)
            assert all_lost[band] == BandPrecision(before[band].faces, 0, pytest.approx(1), 0, (0, 0))
    assert kept.labelled_faces["large"].kept is None, "there is no such face"
    outcomes = state.methods["solid"].outcomes("solid")
    assert outcomes.by_method == {"solid": 8}
    assert outcomes.own_share == 1


def test_missed_faces_count_as_kept_only_among_labelled_faces(selection: Selection) -> None:
    state, _ = _measured(selection, (_method("solid", smallest_px=16),))
    figures = _precision(state, "solid")
    assert figures.labelled_faces["all"].kept == pytest.approx(0.5, abs=0.01)  # the small half is unchanged
    assert figures.anonymized_faces["all"].faces == 4
    assert figures.anonymized_faces["all"].kept == 0


def test_faces_of_withheld_images_are_lost(selection: Selection) -> None:
    state, _ = _measured(selection, (_method("nothing", Nothing(withholds=True)),))
    assert state.methods["nothing"].outcomes("nothing") == OutcomeMeasures(0, {}, {}, None, 4)
    assert _precision(state, "nothing").labelled_faces["all"].kept == 0
    assert all(face.outputs == {"nothing": None} for face in state.sample.faces())


def test_an_image_that_cannot_be_decoded_is_counted_and_skipped(selection: Selection) -> None:
    rows = list(selection.iterate())
    Path(rows[2].uri).write_bytes(b"not an image")
    job = load_job(None, {"manifest": "m", "output": "o"})
    methods = (_method("solid"),)
    setup = Setup(_runtime(), Bright(), (), methods, methods[0], ())  # type: ignore[arg-type]
    config = EvaluationConfig(job, ("solid",), "o")
    state = measure_images(
        config, Storage(), setup, selection, SpeedSample(), _appearance(methods), _utility(methods), lambda _: None
    )
    assert (state.images, dict(state.failures)) == (3, {"unsupported_format": 1})


def test_anonymized_truth_ignores_what_was_not_chosen() -> None:
    truth = GroundTruth(np.array([BIG, SMALL, (130, 10, 150, 30)], np.float32), np.array([False, False, True]))
    chosen = Detections(
        np.array([BIG], np.float32), np.ones(1, np.float32), np.full((1, 5, 2), np.nan, np.float32), ("x",)
    )
    assert anonymized_truth(chosen, truth).ignore.tolist() == [False, True, True]
    assert anonymized_truth(Detections.empty(), truth).ignore.all()


def test_faces_that_the_owner_keeps_are_not_anonymized() -> None:
    pixels = np.zeros((90, 160, 3), np.uint8)
    for x1, y1, x2, y2 in (BIG, SMALL):
        pixels[y1:y2, x1:x2] = 255
    boxes = np.array([BIG, SMALL], np.float32)
    row = ManifestRow(0, "a", "a", regions=GroundTruth(boxes, np.zeros(2, np.bool_), keep=np.array([True, False])))
    failures: Counter[str] = Counter()
    method = _method("solid")
    [found] = detect_faces(method.anonymizer, [(row, SourceImage.from_array("a", pixels))], failures)
    assert found.detections.boxes.tolist() == [list(SMALL)]
    [output] = method.anonymize([(found.image, found.detections)], bytes(32))
    assert output is not None
    assert (output.pixels[30:70, 20:60] == 255).all()
    assert (output.pixels[42:48, 102:108] == 0).all()


def test_speed_counts_faces_that_the_method_accepts(selection: Selection) -> None:
    methods = (_method("solid"),)
    _, sample = _measured(selection, methods)
    assert sample.faces == 8
    figures = measure_speed(methods[0], sample, _runtime(), 3, bytes(32))
    alone = figures.alone
    assert alone is not None
    assert alone.faces == figures.with_checks.faces == 8
    assert alone.slowest <= alone.faces_per_s <= alone.fastest
    assert (figures.threads, figures.device, figures.images, figures.batch_size) == (1, "cpu", 4, 3)

    class Refuses(Method):
        name = "refuses"

        def render(self, targets: Sequence[Target]) -> list[Refusal]:
            return [Refusal("no") for _ in targets]

    method = _method("refuses", make_ladder(Refuses(None, _runtime()), make("solid")))
    figures = measure_speed(method, sample, _runtime(), 3, bytes(32))
    assert figures.alone is None
    assert figures.with_checks.faces == 8


def test_faces_that_no_mask_covers_are_counted_by_method(selection: Selection) -> None:
    state, _ = _measured(selection, (_method("solid", smallest_px=20), _method("nothing", Nothing(withholds=True))))
    found = state.methods["solid"].missed.summary()["groups"]["all"]["all"]
    assert (found["faces"], found["uncovered"], found["share"]) == (
        8,
        4,
        0.5,
    )  # without the ignored ones and the plates
    withheld = state.methods["nothing"].missed.summary()
    assert (withheld["images"], withheld["unpublished_images"], withheld["unpublished_faces"]) == (0, 4, 8)
