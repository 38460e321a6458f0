from __future__ import annotations

import numpy as np
import pytest

from anon_batch import geometry
from anon_batch.anonymize.checks.structure import kept_structure, untreated_faces
from anon_batch.anonymize.ladder import Ladder, build_ladder
from anon_batch.anonymize.methods.pixelate import Pixelate
from anon_batch.anonymize.methods.solid import Solid
from anon_batch.config import AnonymizeConfig
from anon_batch.errors import ConfigError, UnknownNameError, WithheldError
from anon_batch.records import AnonymizedImage, DecodedImage, Detections

KEY = bytes(32)
FACE, SECOND = (20, 20, 50, 50), (60, 20, 90, 50)


def picture(name="p", seed=0):
    return DecodedImage(name, np.random.default_rng(seed).integers(0, 256, (80, 100, 3), np.uint8))


def regions(*boxes):
    n = len(boxes)
    found = Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.full(n, 0.9, np.float32),
        np.full((n, 5, 2), np.nan, np.float32),
        ("d",) * n,
    )
    return geometry.regions_of(found, 100, 80, 1.0, "ellipse")


class Scripted:
    """A method whose work on each picture is done by a function: (image, regions) -> result."""

    model_names = ("weights-of-scripted",)

    def __init__(self, act, name="scripted"):
        self.name, self.act, self.batches = name, act, []

    def anonymize(self, batch, run_key):
        self.batches.append([image.image_id for image, _ in batch])
        return [self.act(image, faces) for image, faces in batch]


def solid(image, faces, name="scripted"):
    (result,) = Solid((1, 2, 3)).anonymize([(image, faces)], KEY)
    return AnonymizedImage(result.pixels, result.touched, {face.index: name for face in faces})


def no_op(image, faces):
    result = solid(image, faces)
    return AnonymizedImage(image.pixels.copy(), result.touched, result.methods)


def raise_it(exc):
    def act(image, faces):
        raise exc

    return act


LAST = Solid((9, 9, 9))


def run(act, *boxes, then=(LAST,), image=None):
    (outcome,) = Ladder([Scripted(act), *then]).anonymize([(image or picture(), regions(*boxes))], KEY)
    return outcome


def test_the_first_method_treats_when_it_can():
    outcome = run(solid, FACE, SECOND)
    assert outcome.methods == {0: "scripted", 1: "scripted"}
    assert (outcome.pixels[outcome.touched] == (1, 2, 3)).all()
    assert outcome.refused == {}


def test_a_picture_without_regions_comes_back_as_it_is():
    outcome = run(raise_it(RuntimeError("must not be called")), then=())
    assert np.array_equal(outcome.pixels, picture().pixels)
    assert not outcome.touched.any()
    assert outcome.methods == {}


def grown_by_one(image, faces):
    result = solid(image, faces)
    pixels = np.pad(result.pixels, ((0, 1), (0, 0), (0, 0)))
    touched = np.pad(result.touched, ((0, 1), (0, 0)))
    return AnonymizedImage(pixels, touched, result.methods)


def changed_outside(image, faces):
    result = solid(image, faces)
    result.pixels[0, 0] ^= 1
    return result


def touched_too_small(image, faces):
    result = solid(image, faces)
    touched = result.touched.copy()
    touched[35, 35] = False
    pixels = result.pixels.copy()
    pixels[35, 35] = image.pixels[35, 35]
    return AnonymizedImage(pixels, touched, result.methods)


def half_treated(image, faces):
    result = solid(image, faces)
    pixels = result.pixels.copy()
    pixels[:35] = image.pixels[:35]
    return AnonymizedImage(pixels, result.touched, result.methods)


def wrong_name(image, faces):
    return solid(image, faces, name="pixelate")


def unknown_face(image, faces):
    result = solid(image, faces)
    return AnonymizedImage(result.pixels, result.touched, {**result.methods, 7: "scripted"})


def forgotten_face(image, faces):
    result = solid(image, faces)
    return AnonymizedImage(result.pixels, result.touched, {})


def treated_and_refused(image, faces):
    result = solid(image, faces)
    return AnonymizedImage(result.pixels, result.touched, result.methods, {0: "not sure"})


def wrong_type(image, faces):
    return solid(image, faces).pixels


def writes_into_its_input(image, faces):
    image.pixels[:] = 0
    return solid(image, faces)


def touched_of_numbers(image, faces):
    result = solid(image, faces)
    return AnonymizedImage(result.pixels, result.touched.astype(np.uint8), result.methods)


BAD = [
    no_op,
    grown_by_one,
    changed_outside,
    touched_too_small,
    half_treated,
    wrong_name,
    unknown_face,
    forgotten_face,
    treated_and_refused,
    wrong_type,
    writes_into_its_input,
    touched_of_numbers,
    raise_it(RuntimeError("broken")),
    raise_it(MemoryError()),
    raise_it(WithheldError("no_boxes")),
]


@pytest.mark.parametrize("act", BAD, ids=lambda act: act.__qualname__)
def test_what_a_bad_method_did_falls_to_the_next(act):
    image = picture()
    before = image.pixels.copy()
    outcome = run(act, FACE, image=image)
    assert outcome.methods == {0: "solid"}
    x1, y1, x2, y2 = regions(FACE)[0].extent
    mask = geometry.region_mask(regions(FACE)[0])
    assert (outcome.pixels[y1:y2, x1:x2][mask] == 9).all()
    assert np.array_equal(outcome.pixels[~outcome.touched], before[~outcome.touched])
    assert np.array_equal(image.pixels, before)


@pytest.mark.parametrize("act", BAD, ids=lambda act: act.__qualname__)
def test_after_the_last_method_the_picture_is_withheld(act):
    outcome = run(act, FACE, then=())
    assert isinstance(outcome, WithheldError)
    assert outcome.reason == "anonymize"
    assert outcome.detail.startswith("p: 1 faces untreated: scripted: ")


def test_a_face_that_was_only_made_lighter_is_not_believed():
    image = DecodedImage("p", picture().pixels // 2)

    def act(given, faces):
        result = solid(given, faces)
        pixels = np.where(result.touched[:, :, None], given.pixels + 40, given.pixels).astype(np.uint8)
        return AnonymizedImage(pixels, result.touched, result.methods)

    assert run(act, FACE, image=image).methods == {0: "solid"}


def test_untreated_beside_treated():
    # One face is painted, its neighbour, which the first partly covers, is not: only the first is believed.
    def act(image, faces):
        result = solid(image, faces[:1])
        full = solid(image, faces)
        return AnonymizedImage(result.pixels, full.touched, full.methods)

    outcome = run(act, (20, 20, 50, 50), (30, 20, 62, 50))
    assert outcome.methods == {0: "scripted", 1: "solid"}


def test_refused_faces_alone_fall():
    def act(image, faces):
        result = solid(image, faces[1:])
        return AnonymizedImage(result.pixels, result.touched, result.methods, {0: "profile"})

    outcome = run(act, FACE, SECOND)
    assert outcome.methods == {0: "solid", 1: "scripted"}
    assert outcome.refused == {}
    assert (outcome.pixels[35, 35] == 9).all()
    assert (outcome.pixels[35, 75] == (1, 2, 3)).all()


def test_a_bad_picture_costs_its_neighbours_nothing():
    def act(image, faces):
        if image.image_id == "bad":
            raise RuntimeError("cannot do this one")
        return solid(image, faces)

    first = Scripted(act)
    names = ["a", "bad", "b"]
    outcomes = Ladder([first]).anonymize([(picture(n, i), regions(FACE)) for i, n in enumerate(names)], KEY)
    assert first.batches == [["a", "bad", "b"], ["a"], ["bad"], ["b"]]
    assert [isinstance(outcome, WithheldError) for outcome in outcomes] == [False, True, False]
    assert "cannot do this one" in outcomes[1].detail


def test_a_wrong_number_of_results_is_retried_picture_by_picture():
    class Short(Scripted):
        def anonymize(self, batch, run_key):
            return super().anonymize(batch, run_key)[:1]

    outcomes = Ladder([Short(solid)]).anonymize([(picture(n), regions(FACE)) for n in "ab"], KEY)
    assert [outcome.methods for outcome in outcomes] == [{0: "scripted"}] * 2


def test_the_next_method_sees_the_picture_as_treated_so_far():
    def act(image, faces):
        result = solid(image, faces[:1])
        return AnonymizedImage(result.pixels, result.touched, result.methods, {1: "no"})

    seen = []

    def look(image, faces):
        seen.append((image.pixels[35, 35].tolist(), [face.index for face in faces]))
        return solid(image, faces, "second")

    run(act, FACE, SECOND, then=(Scripted(look, "second"),))
    assert seen == [([1, 2, 3], [1])]


def test_a_later_method_cannot_bring_a_face_back():
    original = picture()

    def act(image, faces):
        result = solid(image, faces[:1])
        return AnonymizedImage(result.pixels, result.touched, result.methods, {1: "no"})

    def restore(image, faces):
        result = solid(image, faces, "second")
        pixels = original.pixels.copy()
        pixels[result.touched] = 0
        return AnonymizedImage(pixels, np.ones_like(result.touched), result.methods)

    outcome = run(act, FACE, SECOND, then=(Scripted(restore, "second"),), image=original)
    first, second = regions(FACE, SECOND)
    assert outcome.methods == {0: "scripted", 1: "second"}
    kept = solid(original, [first])
    x1, y1, x2, y2 = first.extent
    mask = geometry.region_mask(first)
    assert np.array_equal(outcome.pixels[y1:y2, x1:x2][mask], kept.pixels[y1:y2, x1:x2][mask])
    assert not untreated_faces(original.pixels, outcome, [first, second])


def test_a_later_method_does_not_paint_over_faces_that_are_done():
    original = picture()
    overlapping = (FACE[0] + 4, FACE[1] + 4, FACE[2] + 10, FACE[3] + 10)

    def act(image, faces):
        result = solid(image, faces[:1])
        return AnonymizedImage(result.pixels, result.touched, result.methods, {1: "no"})

    outcome = run(act, FACE, overlapping, then=(Solid((200, 100, 50)),), image=original)
    first, second = regions(FACE, overlapping)
    before = solid(original, [first])
    x1, y1, x2, y2 = first.extent
    mask = geometry.region_mask(first)
    assert np.array_equal(outcome.pixels[y1:y2, x1:x2][mask], before.pixels[y1:y2, x1:x2][mask])
    assert outcome.methods == {0: "scripted", 1: "solid"}
    x1, y1, x2, y2 = second.extent
    assert outcome.touched[y1:y2, x1:x2][geometry.region_mask(second)].all()


def test_a_later_method_may_return_what_cannot_be_written():
    def act(image, faces):
        result = solid(image, faces[:1])
        return AnonymizedImage(result.pixels, result.touched, result.methods, {1: "no"})

    def frozen(image, faces):
        result = solid(image, faces, "second")
        result.pixels.flags.writeable = False
        return result

    assert run(act, FACE, SECOND, then=(Scripted(frozen, "second"),)).methods == {0: "scripted", 1: "second"}


@pytest.mark.parametrize("value", [0, 9, 255])
def test_flat_pictures_are_no_false_alarm(value):
    for method in (Solid((value,) * 3), Solid((0, 0, 0)), Pixelate()):
        image = DecodedImage("p", np.full((80, 100, 3), value, np.uint8))
        (outcome,) = Ladder([method]).anonymize([(image, regions(FACE, SECOND))], KEY)
        assert outcome.methods == {0: method.name, 1: method.name}


def test_a_nearly_black_picture_is_no_false_alarm_under_black():
    pixels = np.zeros((80, 100, 3), np.uint8)
    pixels[30:33, 30:40] = 1
    (outcome,) = Ladder([Solid()]).anonymize([(DecodedImage("p", pixels), regions(FACE))], KEY)
    assert outcome.methods == {0: "solid"}


def test_regions_that_no_method_could_be_trusted_with():
    twice = [regions(FACE)[0], regions(SECOND)[0]]  # both are face 0
    outside = geometry.regions_of(
        Detections(
            np.array([[90, 70, 140, 130]], np.float32),
            np.ones(1, np.float32),
            np.full((1, 5, 2), np.nan, np.float32),
            ("d",),
        ),
        200,
        200,
        1.0,
        "ellipse",
    )
    batch = [(picture(), twice), (picture(), outside), (picture(), regions(FACE))]
    outcomes = Ladder([Solid()]).anonymize(batch, KEY)
    assert "share a face index" in outcomes[0].detail
    assert "leaves the picture" in outcomes[1].detail
    assert outcomes[2].methods == {0: "solid"}


def test_ladder_needs_different_methods():
    for methods in ([], [Solid(), Solid()]):
        with pytest.raises(ConfigError, match="at least one, each once"):
            Ladder(methods)


def test_names_and_models():
    ladder = Ladder([Scripted(solid), Solid()])
    assert ladder.names == ("scripted", "solid")
    assert ladder.model_names == ("weights-of-scripted",)


def test_build_ladder_follows_the_job_file():
    config = AnonymizeConfig(method="blur", fallback=("pixelate", "blur", "solid"))
    assert build_ladder(config, None, 1, "cpu").names == ("blur", "pixelate", "solid")
    assert AnonymizeConfig(method="gan").ladder == ("gan", "swap", "pixelate", "solid")
    assert AnonymizeConfig(method="swap").ladder == ("swap", "pixelate", "solid")
    with pytest.raises(UnknownNameError, match="`solid`"):
        build_ladder(AnonymizeConfig(method="solidd"), None, 1, "cpu")
    with pytest.raises(UnknownNameError):
        build_ladder(AnonymizeConfig(method="solid", fallback=("nothing",)), None, 1, "cpu")


def test_settings_reach_the_methods():
    config = AnonymizeConfig(method="solid", fallback=(), color=(5, 6, 7), soft_edge=0.2)
    (outcome,) = build_ladder(config, None, 1, "cpu").anonymize([(picture(), regions(FACE))], KEY)
    assert outcome.pixels[35, 35].tolist() == [5, 6, 7]
    assert outcome.touched.sum() > geometry.region_mask(regions(FACE)[0]).sum()


def test_kept_structure():
    before = picture().pixels
    mask = np.ones(before.shape[:2], bool)
    assert kept_structure(before, before, mask) == 1
    assert kept_structure(before, np.zeros_like(before), mask) == 0
    half = before.copy()
    half[:40] = 0
    assert kept_structure(before, half, mask) == pytest.approx(0.5, abs=0.05)
    assert kept_structure(np.zeros_like(before), np.zeros_like(before), mask) == 0
    large = np.random.default_rng(1).integers(0, 256, (900, 700, 3), np.uint8)
    part = large.copy()
    part[450:] = 0
    assert kept_structure(large, part, np.ones((900, 700), bool)) == pytest.approx(0.5, abs=0.02)
