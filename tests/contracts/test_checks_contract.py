"""What every check of a result must do. It runs for each built-in check and for those of a plug-in."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from anonymizer_fixtures import checked_image
from method_harness import KEY, RUNTIME, make, make_ladder, make_regions
from sample_checks import NoRed, NotBlack

from anon_batch import plugins
from anon_batch.anonymize.protocol import Finding, ImageCheck, RegionCheck
from anon_batch.config import DetectConfig
from anon_batch.records import DecodedImage

HEIGHT, WIDTH = 60, 80
BOXES = (8, 8, 28, 30), (40, 8, 70, 40), (50, 20, 64, 50)

OPTIONS = {"residual": {"detectors": ["centerface"]}}
BUILT_IN = [plugins.load("checks", name, OPTIONS.get(name, {}), RUNTIME) for name in plugins.built_in("checks")]
REGION_CHECKS = [
    *(check for check in BUILT_IN if isinstance(check, RegionCheck)),
    NotBlack(NotBlack.Options(max_share=0.9)),
]
IMAGE_CHECKS = [*(check for check in BUILT_IN if isinstance(check, ImageCheck)), NoRed(NoRed.Options())]
for image_check in IMAGE_CHECKS:
    image_check.prepare(DetectConfig(detectors="manifest"))
region_checks = pytest.mark.parametrize("check", REGION_CHECKS, ids=lambda check: check.name)
image_checks = pytest.mark.parametrize("check", IMAGE_CHECKS, ids=lambda check: check.name)


def noise(seed=0):
    return np.random.default_rng(seed).integers(1, 255, (HEIGHT, WIDTH, 3), np.uint8)


def regions():
    return make_regions(*BOXES, width=WIDTH, height=HEIGHT, soft_edge=0.1)


def anonymized(method="pixelate"):
    (result,) = make_ladder(make(method)).anonymize([(DecodedImage("p", noise()), regions())], KEY)
    return result.pixels


def freeze(pixels):
    pixels = pixels.copy()
    pixels.flags.writeable = False
    return pixels


@region_checks
def test_anonymized_regions_pass(check):
    assert dict(check.check(freeze(noise()), freeze(anonymized()), regions())) == {}


@region_checks
def test_failures_name_regions_and_give_a_reason(check):
    # Untouched noise fails `structure`, black pixels fail the plug-in.
    after = noise() if check.name == "structure" else np.zeros_like(noise())
    failed = check.check(freeze(noise()), freeze(after), regions())
    assert set(failed) == {0, 1, 2}
    assert all(isinstance(why, str) and why for why in failed.values())


@region_checks
def test_one_region_fails_by_itself(check):
    after = anonymized().copy()
    x1, y1, x2, y2 = regions()[0].extent
    after[y1:y2, x1:x2] = noise()[y1:y2, x1:x2] if check.name == "structure" else 0
    assert set(check.check(freeze(noise()), freeze(after), regions())) == {0}
    assert set(check.check(freeze(noise()), freeze(after), regions()[1:])) == set()


@region_checks
def test_order_of_regions_does_not_matter(check):
    before, after = freeze(noise()), freeze(noise())
    assert dict(check.check(before, after, regions())) == dict(check.check(before, after, regions()[::-1]))


@region_checks
def test_no_regions_give_no_failures(check):
    assert dict(check.check(freeze(noise()), freeze(noise()), [])) == {}


@image_checks
def test_each_image_has_a_finding(check):
    images = [
        checked_image(anonymized(), regions()),
        checked_image(noise(1)),
        checked_image(anonymized("blur"), regions()),
    ]
    findings = list(check.check(images))
    assert [type(finding) for finding in findings] == [Finding] * 3
    assert all(len(finding.add) == 0 and finding.withhold is None for finding in findings)
    assert list(check.check([])) == []


@image_checks
def test_findings_do_not_depend_on_other_images(check):
    red = noise(2)
    red[10, 20] = (255, 0, 0)
    images = [checked_image(own, regions()) for own in (anonymized(), red, np.full_like(red, (255, 0, 0)))]
    together = list(check.check(images))
    alone = [check.check([item])[0] for item in images]
    for a, b in zip(together, alone, strict=True):
        assert np.array_equal(a.add.boxes, b.add.boxes)
        assert (a.withhold, dict(a.counts)) == (b.withhold, dict(b.counts))


def test_image_check_adds_detections_and_withholds():
    red = noise(2)
    red[10, 20] = (255, 0, 0)
    added, all_red = NoRed(NoRed.Options()).check([checked_image(red), checked_image(np.full_like(red, (255, 0, 0)))])
    assert added.add.boxes.tolist() == [[20, 10, 21, 11]]
    assert (added.withhold, dict(added.counts)) == (None, {"red": 1})
    assert all_red.withhold == "all red"


@pytest.mark.parametrize("check", [*REGION_CHECKS, *IMAGE_CHECKS], ids=lambda check: check.name)
def test_checks_are_picklable_and_declare_what_they_use(check):
    again = pickle.loads(pickle.dumps(check))
    assert (again.name, again.models) == (check.name, check.models)
    assert isinstance(check.models, tuple)
    assert again.options == check.options
