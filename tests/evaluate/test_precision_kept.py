"""Average precision kept by methods that change nothing and that paint faces over; nothing is held but a batch."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from anon_batch.anonymize.ladder import Ladder
from anon_batch.anonymize.registry import load_method
from anon_batch.config import AnonymizeConfig, load_job
from anon_batch.errors import WithheldError
from anon_batch.evaluate.average_precision import treated_truth
from anon_batch.evaluate.images import SpeedSample, measure_pictures, measure_speed
from anon_batch.evaluate.samples import Selection
from anon_batch.evaluate.setup import EvaluationPlan, Instruments
from anon_batch.evaluate.subjects import Method
from anon_batch.records import AnonymizedImage, DecodedImage, Detections, GroundTruth, ManifestRow
from anon_batch.storage import Storage

BIG, SMALL = (20, 30, 60, 70), (100, 40, 110, 50)


class Bright:
    """Finds the white rectangles of black pictures."""

    name, models, labels = "bright", (), ("face",)

    def __init__(self, smallest_px: int = 1) -> None:
        self._smallest_px = smallest_px

    def detect(self, images: Sequence[DecodedImage]) -> list[Detections]:
        return [self._one(image) for image in images]

    def _one(self, image: DecodedImage) -> Detections:
        _, _, rows, _ = cv2.connectedComponentsWithStats((image.pixels[:, :, 0] > 200).astype(np.uint8))
        boxes = [(x, y, x + w, y + h) for x, y, w, h, _ in rows[1:] if max(w, h) >= self._smallest_px]
        count = len(boxes)
        return Detections(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.full(count, 0.8, np.float32),
            np.full((count, 5, 2), np.nan, np.float32),
            (self.name,) * count,
        )


class Nothing:
    """A ladder that says it has treated all, and has changed nothing; or that withholds every picture."""

    names, model_names = ("nothing",), ()

    def __init__(self, *, withholds: bool = False) -> None:
        self._withholds = withholds

    def anonymize(self, batch: Any, run_key: bytes) -> list[AnonymizedImage | WithheldError]:
        if self._withholds:
            return [WithheldError("anonymize") for _ in batch]
        return [
            AnonymizedImage(
                image.pixels, np.zeros(image.pixels.shape[:2], np.bool_), {r.index: "nothing" for r in regions}
            )
            for image, regions in batch
        ]


def _method(name: str, ladder: Any = None) -> Method:
    config = AnonymizeConfig(method="solid" if ladder else name, shape="rectangle")
    alone = ladder or load_method(name, config, None, 1, "cpu")
    return Method(name, alone, ladder or Ladder([alone]), config)


@pytest.fixture
def selection(tmp_path: Path) -> Selection:
    """Four pictures, each with two faces and a third that is to be ignored."""
    truth = GroundTruth(np.array([BIG, SMALL, (130, 10, 150, 30)], np.float32), np.array([False, False, True]))
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


def _measured(selection: Selection, methods: tuple[Method, ...], smallest_px: int = 1) -> Any:
    job = load_job(None, {"manifest": "m", "output": "o", "detect.batch_size": 3})
    plan = EvaluationPlan(job, tuple(m.name for m in methods), "o")
    instruments = Instruments(Bright(smallest_px), Bright(), None, methods, ())  # type: ignore[arg-type]
    sample = SpeedSample()
    ticks: list[int] = []
    state = measure_pictures(plan, Storage(), instruments, selection, sample, ticks.append)
    assert ticks == [3, 1]
    return state, plan, sample


def test_nothing_done_keeps_everything_and_black_keeps_nothing(selection: Selection) -> None:
    state, _, _ = _measured(selection, (_method("nothing", Nothing()), _method("solid")))
    assert state.pictures == 4
    before = state.before.summary()["labelled_faces"]
    assert before["all"] == {"faces": 8, "average_precision": pytest.approx(1)}  # the ignored ones count nowhere
    assert before["from_16_px"]["faces"] == 4
    kept = state.summary("nothing")["average_precision"]
    gone = state.summary("solid")["average_precision"]
    for which in ("labelled_faces", "treated_faces"):
        for band in ("all", "from_16_px"):
            assert kept[which][band]["kept"] == pytest.approx(1)
            assert gone[which][band] == {
                "faces": before[band]["faces"],
                "before": pytest.approx(1),
                "average_precision": 0,
                "kept": 0,
            }
    assert kept["labelled_faces"]["large"]["kept"] is None  # there is no such face
    treatment = state.summary("solid")["treatment"]
    assert treatment["treated_by"] == {"solid": 8}
    assert treatment["own_share"] == 1


def test_faces_that_were_missed_keep_the_first_figure_up_and_not_the_second(selection: Selection) -> None:
    state, _, _ = _measured(selection, (_method("solid"),), smallest_px=16)
    figures = state.summary("solid")["average_precision"]
    assert figures["labelled_faces"]["all"]["kept"] == pytest.approx(0.5, abs=0.01)  # the small half is as it was
    assert figures["treated_faces"]["all"]["faces"] == 4
    assert figures["treated_faces"]["all"]["kept"] == 0


def test_withheld_pictures_are_lost_and_counted(selection: Selection) -> None:
    state, _, _ = _measured(selection, (_method("nothing", Nothing(withholds=True)),))
    sections = state.summary("nothing")
    assert sections["treatment"] == {
        "faces": 0,
        "treated_by": {},
        "shares": {},
        "own_share": None,
        "withheld_pictures": 4,
    }
    assert sections["average_precision"]["labelled_faces"]["all"]["kept"] == 0
    assert all(strip.outputs == {"nothing": None} for strip in state.strips.strips())


def test_a_picture_that_does_not_decode_is_counted_and_left_out(selection: Selection) -> None:
    rows = list(selection.iterate())
    Path(rows[2].uri).write_bytes(b"no picture")
    job = load_job(None, {"manifest": "m", "output": "o"})
    methods = (_method("solid"),)
    instruments = Instruments(Bright(), Bright(), None, methods, ())  # type: ignore[arg-type]
    plan = EvaluationPlan(job, ("solid",), "o")
    state = measure_pictures(plan, Storage(), instruments, selection, SpeedSample(), lambda _: None)
    assert (state.pictures, dict(state.failures)) == (3, {"unsupported_format": 1})


def test_treated_truth_ignores_what_was_not_chosen() -> None:
    truth = GroundTruth(np.array([BIG, SMALL, (130, 10, 150, 30)], np.float32), np.array([False, False, True]))
    chosen = Detections(
        np.array([BIG], np.float32), np.ones(1, np.float32), np.full((1, 5, 2), np.nan, np.float32), ("x",)
    )
    assert treated_truth(chosen, truth).ignore.tolist() == [False, True, True]
    assert treated_truth(Detections.empty(), truth).ignore.all()


def test_speed_counts_what_the_method_itself_treats(selection: Selection) -> None:
    methods = (_method("solid"),)
    _, plan, sample = _measured(selection, methods)
    assert sample.faces == 8
    figures = measure_speed(plan, methods[0], sample)
    assert figures["alone"]["faces"] == figures["with_checks"]["faces"] == 8
    assert figures["alone"]["slowest"] <= figures["alone"]["faces_per_s"] <= figures["alone"]["fastest"]
    assert (figures["threads"], figures["device"], figures["pictures"], figures["batch_size"]) == (1, "cpu", 4, 3)

    class Refuses:
        name, model_names = "refuses", ()

        def anonymize(self, batch: Any, run_key: bytes) -> list[AnonymizedImage]:
            empty = np.zeros((90, 160), np.bool_)
            return [AnonymizedImage(i.pixels, empty, {}, {r.index: "no" for r in rs}) for i, rs in batch]

    refusing = Refuses()
    solid = load_method("solid", AnonymizeConfig(), None, 1, "cpu")
    method = dataclasses.replace(methods[0], name="refuses", alone=refusing, ladder=Ladder([refusing, solid]))
    figures = measure_speed(plan, method, sample)
    assert figures["alone"] is None
    assert figures["with_checks"]["faces"] == 8
