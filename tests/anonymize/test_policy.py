from __future__ import annotations

import numpy as np
import pytest
from replacement_scenes import turned

from anon_batch.anonymize.policy import Policy, Treatment
from anon_batch.config import AnonymizeConfig, TreatmentConfig
from anon_batch.errors import ConfigError
from anon_batch.records import Detections

BOX = (40, 30, 70, 70)


def found(*, score=0.9, box=BOX, degrees=10.0, label="face", landmarks=True):
    points = turned(box, degrees) if landmarks else np.full((5, 2), np.nan)
    return Detections(
        np.array([box], np.float32), np.array([score], np.float32), points[None].astype(np.float32), ("d",), (label,)
    )


def region(policy, detections):
    [own] = policy.regions_of(detections, 200, 150)
    return own


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"method": "gan"}, ("face", 1.15, 0.16)),
        ({"method": "swap"}, ("face", 1.15, 0.16)),
        ({"method": "solid"}, ("ellipse", 1.3, 0.0)),
        ({"method": "inpaint"}, ("ellipse", 1.3, 0.0)),
        ({"method": "gan", "shape": "ellipse"}, ("ellipse", 1.3, 0.0)),
        ({"method": "gan", "shape": "rectangle", "expansion": 1.0}, ("rectangle", 1.0, 0.0)),
        ({"method": "gan", "expansion": 1.2, "soft_edge": 0.0}, ("face", 1.2, 0.0)),
        ({"method": "pixelate", "shape": "face"}, ("face", 1.15, 0.0)),
        ({"method": "pixelate", "shape": "face", "soft_edge": 0.1}, ("face", 1.15, 0.1)),
    ],
)
def test_what_is_not_given_depends_on_the_method_in_python_as_in_a_job(settings, expected):
    for how in (Treatment(**settings), Treatment.from_config(TreatmentConfig(**settings))):
        assert (how.shape, how.expansion, how.soft_edge) == expected


def test_another_method_brings_its_own_mask():
    """The method may change after the section was read, as when several are compared."""
    config = AnonymizeConfig()
    assert Policy.from_config(config)["face"].shape == "face"
    assert Policy.from_config(config.with_method("pixelate"))["face"].shape == "ellipse"


def test_a_face_mask_that_is_too_small_is_refused():
    with pytest.raises(ConfigError, match=r"expansion 1\.05 is too small for the shape `face`: expected at least 1\.1"):
        Treatment("gan", expansion=1.05)
    small = AnonymizeConfig(face={"method": "solid", "expansion": 1.0})
    with pytest.raises(ConfigError, match="too small"):
        Policy.from_config(small.with_method("gan"))


def test_a_well_found_face_gets_a_face_mask_turned_with_it():
    own = region(Policy({"face": Treatment("gan")}), found())
    assert own.shape == "face"
    assert own.angle == pytest.approx(np.radians(10), abs=1e-3)
    assert own.edge_px > 0


@pytest.mark.parametrize(
    "doubt",
    [
        {"score": 0.49},
        {"landmarks": False},
        {"degrees": 50},
        {"degrees": 170},
        {"box": (40, 30, 52, 45.9)},
    ],
)
@pytest.mark.parametrize(("expansion", "used"), [(1.15, 1.3), (1.7, 1.7)])
def test_any_other_face_gets_an_upright_ellipse_of_at_least_the_usual_size(doubt, expansion, used):
    own = region(Policy({"face": Treatment("gan", expansion=expansion)}), found(**doubt))
    assert (own.shape, own.angle) == ("ellipse", 0)
    x1, y1, x2, y2 = own.box
    assert own.radii == pytest.approx(((x2 - x1) * used / 2, (y2 - y1) * used / 2))


def test_what_is_no_face_never_gets_a_face_mask():
    policy = Policy({"plate": Treatment("solid", shape="face")})
    own = region(policy, found(label="plate", landmarks=False))
    assert own.shape == "ellipse"


def with_witness(points):
    detections = found(degrees=0)
    return Detections(
        detections.boxes,
        detections.scores,
        detections.landmarks,
        detections.detectors,
        witnesses=np.asarray(points, np.float32)[None, None],
    )


def test_the_mask_grows_for_what_another_detector_found():
    policy = Policy({"face": Treatment("gan")})
    usual, shifted = region(policy, found(degrees=0)), np.add(turned(BOX, 0), (12, 0))
    assert region(policy, with_witness(turned(BOX, 0))).radii == usual.radii
    wider = region(policy, with_witness(shifted))
    assert wider.shape == "face"
    assert wider.radii[0] > usual.radii[0] * 1.05
    assert wider.radii[0] / usual.radii[0] == pytest.approx(wider.radii[1] / usual.radii[1])


def test_landmarks_far_from_the_box_do_not_blow_the_mask_up():
    own = region(Policy({"face": Treatment("gan")}), with_witness(np.add(turned(BOX, 0), (400, 0))))
    assert own.shape == "ellipse"
    assert own.radii == pytest.approx((30 * 1.3 * 1.25 / 2, 40 * 1.3 * 1.25 / 2))


def test_the_shape_face_takes_the_corners_of_a_plate_for_no_eyes():
    policy = Policy({"licence_plate": Treatment("solid", shape="face")})
    own = region(policy, found(label="licence_plate"))
    assert (own.shape, own.angle) == ("ellipse", 0)
    assert own.radii == pytest.approx((1.3 * 15, 1.3 * 20))


def test_plates_get_rectangles_of_their_own_size_unless_the_job_says_otherwise():
    policies = [
        Policy.from_config(AnonymizeConfig(**keys))
        for keys in (
            {},
            {"licence_plate": {"method": "blur"}},
            {"default": {"method": "inpaint", "expansion": 2.0}},
            {"licence_plate": {"shape": "ellipse", "expansion": 1.1}},
        )
    ]
    own = [policy["licence_plate"] for policy in policies]
    masks = [("rectangle", 1.5), ("rectangle", 1.5), ("rectangle", 2.0), ("ellipse", 1.1)]
    assert [(how.shape, how.expansion) for how in own] == masks
    assert [how.method for how in own] == ["solid", "blur", "inpaint", "solid"]
    assert (policies[0]["text"].shape, policies[0]["text"].expansion) == ("rectangle", 1.1)
    assert (policies[0]["other"].shape, policies[0]["other"].expansion) == ("ellipse", 1.3)


@pytest.mark.parametrize(
    ("label", "settings", "what"),
    [
        ("person", {"method": "gan"}, "`gan` draws faces"),
        ("person", {"method": "mannequin", "fallback": ["swap"]}, "`swap` draws faces"),
        ("licence_plate", {"method": "swap"}, "`swap` draws faces"),
        ("text", {"method": "plate"}, "`plate` draws number plates"),
    ],
)
def test_no_face_is_drawn_over_a_whole_person_or_plate(label, settings, what):
    with pytest.raises(ConfigError, match=f"`anonymize.{label}`: {what}"):
        Policy.from_config(AnonymizeConfig(**{label: settings}))
