"""How much of the labelled plates the default masks cover, on photographs of cars of three regions; false boxes on people."""

from __future__ import annotations

import numpy as np
import pytest
from external_data import PHOTOS, PLATES, needs_data
from labelled_images import half_of, images_of

from anon_batch import Anonymized, Anonymizer
from anon_batch.anonymize.policy import Policy
from anon_batch.config import AnonymizeConfig, DetectConfig, ModelsConfig
from anon_batch.detect.ensemble import build_detector
from anon_batch.geometry import pairwise_iou, union_of_masks
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.records import Preview
from anon_batch.stats.intervals import wilson
from anon_batch.storage import Storage

COVERED = 0.9  # share of a labelled plate's pixels that must lie in masks
MOST_LEFT, MOST_FALSE = 0.08, 0.1  # share of plates not covered, by region; boxes an image of people

pytestmark = pytest.mark.accuracy


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    cache = str(tmp_path_factory.mktemp("models"))
    return build_detector(
        DetectConfig(detectors="licence_plate"), Runtime(ModelStore(Storage(), ModelsConfig(cache=cache)))
    )


def share_covered(box, masks):
    height, width = masks.shape
    x1, y1, x2, y2 = np.clip(np.rint(box).astype(int), 0, [width, height, width, height])
    return masks[y1:y2, x1:x2].mean()


@needs_data(PLATES)
def test_the_default_masks_cover_plates_of_all_regions(detector):
    policy, left, regions, images = Policy.from_config(AnonymizeConfig()), {}, 0, 0
    for entry, image in images_of(PLATES):
        [found] = detector.detect([image])
        masks = union_of_masks(policy.regions_of(found, image.width, image.height), image.width, image.height)
        regions, images = regions + len(found), images + 1
        for box in entry["boxes"]:
            key = half_of(entry["file"]), entry["region"]
            missed, plates = left.get(key, (0, 0))
            left[key] = missed + (share_covered(box, masks) < COVERED), plates + 1
    for (half, region), (missed, plates) in sorted(left.items()):
        low, high = wilson(missed, plates)
        print(
            f"half {half}, {region}: {missed} of {plates} not covered ({missed / plates:.1%}; {low:.1%} to {high:.1%})"
        )
        if half == 1:
            assert missed <= MOST_LEFT * plates
    print(f"{regions / images:.2f} regions an image")
    assert len(left) == 6


@needs_data(PHOTOS)
def test_hardly_anything_in_photographs_of_people_is_taken_for_a_plate(detector):
    """None of the boxes that it finds there shows a plate, as somebody saw who looked at all of them."""
    boxes = images = 0
    for _, image in images_of(PHOTOS):
        boxes, images = boxes + len(detector.detect([image])[0]), images + 1
    print(f"{boxes} boxes in {images} photographs of people ({boxes / images:.3f} an image)")
    assert boxes <= MOST_FALSE * images


@needs_data(PLATES)
def test_new_plates_are_found_again_where_the_old_ones_were():
    """So a release still serves to train detectors of plates; the detector is the one that found them, as there is no other."""
    again = {}
    images = [(entry, image) for entry, image in images_of(PLATES) if half_of(entry["file"]) == 1][::2]
    for method in ("plate", "solid", "inpaint"):
        anonymizer = Anonymizer({"detectors": ["licence_plate"]}, {"licence_plate": {"method": method}}, key=bytes(32))
        again[method] = 0
        for entry, image in images:
            [outcome] = anonymizer([np.asarray(image.pixels)])
            shown = outcome.pixels if isinstance(outcome, Anonymized) else image.pixels
            [found] = anonymizer.detector.detect([Preview(entry["file"], np.ascontiguousarray(shown))])
            again[method] += bool((pairwise_iou(found.boxes, np.float32(entry["boxes"])) >= 0.5).any())
        print(f"{method}: {again[method]} of {len(images)} plates found again")
    assert again["plate"] >= 0.8 * len(images)
    assert max(again["solid"], again["inpaint"]) <= 0.3 * len(images)
