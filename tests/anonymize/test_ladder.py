from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from method_harness import KEY, RUNTIME, make, make_detections, make_ladder, make_regions

from anon_batch import geometry, keys
from anon_batch.anonymize.checks.structure import Structure
from anon_batch.anonymize.ladder import Ladder, build_ladder
from anon_batch.anonymize.policy import Policy, Treatment
from anon_batch.anonymize.protocol import Method, Patch, Refusal, RegionCheck
from anon_batch.config import AnonymizeConfig
from anon_batch.errors import ConfigError, UnknownNameError, WithheldError
from anon_batch.records import AnonymizedImage, DecodedImage

FACE, SECOND = (20, 20, 50, 50), (60, 20, 90, 50)
OVERLAPPING = (24, 24, 60, 60)


def make_image(name="p", seed=0):
    return DecodedImage(name, np.random.default_rng(seed).integers(0, 256, (80, 100, 3), np.uint8))


def regions(*boxes, **kind):
    return make_regions(*boxes, width=100, height=80, **kind)


def mask_of(region):
    return geometry.union_of_masks([region], 100, 80)


class Scripted(Method):
    """A method whose patches a function makes: target -> patch or refusal."""

    name = "scripted"
    models = ("weights-of-scripted",)

    def __init__(self, act: Callable, name="scripted", **declared):
        self.name, self.act, self.batches = name, act, []
        for key, value in declared.items():
            setattr(self, key, value)

    def render(self, targets):
        self.batches.append([(target.image_id, target.region.index) for target in targets])
        return [self.act(target) for target in targets]


def blue(target):
    return Patch(np.broadcast_to(np.array([1, 2, 3], np.uint8), target.shape))


def refuse(*indices):
    return lambda target: Refusal("profile") if target.region.index in indices else blue(target)


def run(act, *boxes, then=("solid",), image=None, **kind):
    methods = [Scripted(act), *(make(name, color=[9, 9, 9]) if name == "solid" else make(name) for name in then)]
    (outcome,) = make_ladder(*methods).anonymize([(image or make_image(), regions(*boxes, **kind))], KEY)
    return outcome


def test_first_method_renders_when_it_can():
    outcome = run(blue, FACE, SECOND)
    assert outcome.methods == {0: "scripted", 1: "scripted"}
    assert (outcome.pixels[outcome.touched] == (1, 2, 3)).all()
    assert outcome.details == ()
    assert outcome.failures == {}


def test_image_without_regions_comes_back_as_it_is():
    outcome = run(lambda _: 1 / 0, then=())
    assert np.array_equal(outcome.pixels, make_image().pixels)
    assert not outcome.touched.any()
    assert outcome.methods == {}


def raise_error(error):
    def act(target):
        raise error

    return act


def do_nothing(target):
    return Patch(geometry.crop(target.pixels, target.region.extent).copy())


def half_done(target):
    pixels = do_nothing(target).pixels
    pixels[len(pixels) // 2 :] = 3
    return Patch(pixels)


def write_into_the_image(target):
    target.pixels[:] = 0
    return blue(target)


def write_into_the_mask(target):
    target.erased[:] = False
    return blue(target)


BAD = {
    "nothing": lambda target: None,
    "an array": lambda target: blue(target).pixels,
    "one pixel too many": lambda target: Patch(np.pad(blue(target).pixels, ((0, 1), (0, 0), (0, 0)))),
    "wrong dtype": lambda target: Patch(blue(target).pixels.astype(np.int64)),
    "alpha below 1": lambda target: Patch(blue(target).pixels, np.full(target.shape[:2], 0.5, np.float32)),
    "alpha not finite": lambda target: Patch(blue(target).pixels, np.full(target.shape[:2], np.nan, np.float32)),
    "a refusal": lambda target: Refusal("profile"),
    "writes into the image": write_into_the_image,
    "writes into the mask": write_into_the_mask,
    "an error": raise_error(RuntimeError("broken")),
    "an error of the package": raise_error(WithheldError("no_boxes")),
}


@pytest.mark.parametrize("act", BAD.values(), ids=BAD)
def test_region_that_a_method_fails_on_goes_to_the_next(act):
    image = make_image()
    before = image.pixels.copy()
    outcome = run(act, FACE, image=image)
    assert outcome.methods == {0: "solid"}
    assert (outcome.pixels[mask_of(regions(FACE)[0])] == 9).all()
    assert np.array_equal(outcome.pixels[~outcome.touched], before[~outcome.touched])
    assert np.array_equal(image.pixels, before)
    assert len(outcome.details) == 1
    assert outcome.details[0].startswith("scripted: ")


@pytest.mark.parametrize("act", BAD.values(), ids=BAD)
def test_image_is_withheld_after_the_last_method(act):
    outcome = run(act, FACE, then=())
    assert isinstance(outcome, WithheldError)
    assert outcome.reason == "anonymize"
    assert outcome.detail.startswith("p: 1 regions not anonymized: scripted: ")


@pytest.mark.parametrize("act", [do_nothing, half_done])
def test_method_that_leaves_a_region_as_it_was_is_caught(act):
    (outcome,) = make_ladder(Scripted(act, sees_original=True), make("solid")).anonymize(
        [(make_image(), regions(FACE, SECOND))], KEY
    )
    assert outcome.methods == {0: "solid", 1: "solid"}
    assert outcome.failures == {"structure": 2}
    assert "region 0: structure: " in outcome.details[0]


def test_region_that_was_only_made_lighter_is_caught():
    def lighten(target):
        return Patch(do_nothing(target).pixels + np.uint8(40))

    image = DecodedImage("p", make_image().pixels // 2)
    (outcome,) = make_ladder(Scripted(lighten, sees_original=True), make("solid")).anonymize(
        [(image, regions(FACE))], KEY
    )
    assert outcome.methods == {0: "solid"}


def lazy_second(target):
    return do_nothing(target) if target.region.index else blue(target)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((20, 20, 50, 50), (60, 20, 90, 50)),
        # The second is larger, so its patch, which shows the original, covers little or much of the first.
        ((20, 20, 50, 50), (46, 20, 90, 70)),
        ((20, 20, 50, 50), (30, 20, 62, 50)),
    ],
)
def test_patch_that_fails_covers_no_neighbour(first, second):
    image = make_image()
    (outcome,) = make_ladder(Scripted(lazy_second, sees_original=True), make("solid")).anonymize(
        [(image, regions(first, second))], KEY
    )
    assert outcome.methods == {0: "scripted", 1: "solid"}
    masks = geometry.union_of_masks(regions(first, second), 100, 80)
    assert (outcome.pixels != image.pixels).any(axis=2)[masks].all()
    assert (outcome.pixels[mask_of(regions(first)[0])] == (1, 2, 3)).all()


def test_refused_regions_alone_go_to_the_next_method():
    outcome = run(refuse(0), FACE, SECOND)
    assert outcome.methods == {0: "solid", 1: "scripted"}
    assert (outcome.pixels[35, 35] == 9).all()
    assert (outcome.pixels[35, 75] == (1, 2, 3)).all()
    assert outcome.details == ("scripted: region 0: profile",)


def test_one_bad_patch_does_not_cost_its_neighbour():
    def act(target):
        return Patch(np.zeros((1, 1, 3), np.uint8)) if target.region.index == 0 else blue(target)

    assert run(act, FACE, SECOND).methods == {0: "solid", 1: "scripted"}


def test_image_that_fails_does_not_cost_the_others():
    def act(target):
        if target.image_id == "bad":
            raise RuntimeError("cannot do this one")
        return blue(target)

    method = Scripted(act)
    batch = [(make_image(name, seed), regions(FACE)) for seed, name in enumerate(["a", "bad", "b"])]
    outcomes = make_ladder(method).anonymize(batch, KEY)
    halves = [[("a", 0)], [("bad", 0), ("b", 0)], [("bad", 0)], [("b", 0)]]
    assert method.batches == [[("a", 0), ("bad", 0), ("b", 0)], *halves]
    assert [isinstance(outcome, WithheldError) for outcome in outcomes] == [False, True, False]
    assert "cannot do this one" in outcomes[1].detail


def test_a_batch_that_does_not_fit_into_memory_is_rendered_in_halves():
    class Small(Scripted):
        def render(self, targets):
            patches = super().render(targets)
            if len(targets) > 2:
                raise MemoryError
            return patches

    method = Small(blue)
    batch = [(make_image(str(seed), seed), regions(FACE)) for seed in range(8)]
    outcomes = make_ladder(method, make("solid")).anonymize(batch, KEY)
    assert [len(targets) for targets in method.batches] == [8, 4, 2, 2, 4, 2, 2]
    assert [outcome.methods for outcome in outcomes] == [{0: "scripted"}] * 8


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")])
def test_an_image_that_does_not_fit_into_memory_alone_is_withheld_whatever_other_methods_need(error):
    def act(target):
        if target.image_id == "large":
            raise error
        return blue(target)

    batch = [(make_image(name, seed), regions(FACE)) for seed, name in enumerate(["a", "large", "b"])]
    first, large, last = make_ladder(Scripted(act), make("solid")).anonymize(batch, KEY)
    assert first.methods == last.methods == {0: "scripted"}
    assert large.reason == "out_of_memory"


@pytest.mark.parametrize("change", [lambda patches: patches[:1], lambda patches: [*patches, *patches]])
def test_wrong_number_of_patches_is_tried_again_image_by_image(change):
    class Miscounting(Scripted):
        def render(self, targets):
            patches = super().render(targets)
            return change(patches) if len(targets) > 1 else patches

    outcomes = make_ladder(Miscounting(blue)).anonymize([(make_image(name), regions(FACE)) for name in "ab"], KEY)
    assert [outcome.methods for outcome in outcomes] == [{0: "scripted"}] * 2


def test_wrong_number_of_patches_for_one_image_goes_to_the_next_method():
    class Short(Scripted):
        def render(self, targets):
            return super().render(targets)[1:]

    (outcome,) = make_ladder(Short(blue), make("solid")).anonymize([(make_image(), regions(FACE, SECOND))], KEY)
    assert outcome.methods == {0: "solid", 1: "solid"}


def _spy(seen):
    def act(target):
        points = [(35, 35), (35, 75), (5, 5)]
        shown = [target.pixels[point].tolist() for point in points]
        seen.append((target.region.index, shown, [bool(target.erased[point]) for point in points]))
        assert not target.pixels.flags.writeable
        assert not target.erased.flags.writeable
        return blue(target)

    return act


def test_targets_show_erased_masks_and_what_is_done():
    original, seen = make_image(), []
    spies = Scripted(_spy(seen), "second"), Scripted(_spy(seen), "third", sees_original=True)
    for spy in spies:
        make_ladder(Scripted(refuse(1)), spy).anonymize([(original, regions(FACE, SECOND))], KEY)
    background, face = original.pixels[5, 5].tolist(), original.pixels[35, 75].tolist()
    assert seen == [
        (1, [[1, 2, 3], [0, 0, 0], background], [False, True, False]),
        (1, [[1, 2, 3], face, background], [False, False, False]),
    ]


def test_all_masks_are_erased_for_the_first_method():
    seen = []
    make_ladder(Scripted(_spy(seen))).anonymize([(make_image(), regions(FACE, SECOND))], KEY)
    assert [(index, shown[:2]) for index, shown, _ in seen] == [(0, [[0, 0, 0]] * 2), (1, [[0, 0, 0]] * 2)]


def test_targets_of_several_images_show_their_own():
    images = [make_image(name, seed) for seed, name in enumerate("abc")]
    shown = {}

    def act(target):
        shown.setdefault(target.image_id, []).append(target.pixels[0, 0].tolist())
        return blue(target)

    class Backwards(Scripted):
        def render(self, targets):
            return super().render(targets[::-1])[::-1]

    make_ladder(Backwards(act)).anonymize([(image, regions(FACE, SECOND)) for image in images], KEY)
    assert shown == {image.image_id: [image.pixels[0, 0].tolist()] * 2 for image in images}


def test_seed_comes_from_run_key_image_and_subject():
    seen = []

    def act(target):
        seen.append(target.seed)
        return blue(target)

    faces = Policy({"face": Treatment("scripted")}).regions_of(
        make_detections(FACE, SECOND), 100, 80, subjects=[7, "anna"]
    )
    make_ladder(Scripted(act)).anonymize([(make_image("img"), faces)], KEY)
    assert seen == [keys.seed(KEY, "img", 7), keys.seed(KEY, "img", "anna")]


def test_subject_without_a_seed_withholds_the_image():
    (face,) = Policy().regions_of(make_detections(FACE), 100, 80, subjects=[-1])
    (outcome,) = make_ladder(make("solid")).anonymize([(make_image(), [face])], KEY)
    assert isinstance(outcome, WithheldError)


def test_later_method_does_not_write_over_regions_that_are_done():
    original = make_image()
    outcome = run(refuse(1), FACE, OVERLAPPING, image=original)
    first, second = map(mask_of, regions(FACE, OVERLAPPING))
    assert (outcome.pixels[first] == (1, 2, 3)).all()
    assert (outcome.pixels[second & ~first] == 9).all()
    assert outcome.methods == {0: "scripted", 1: "solid"}
    assert outcome.touched[first | second].all()


class Changed(RegionCheck):
    """Fails the regions that a function names."""

    name = "changed"

    def __init__(self, act):
        self.act, self.asked = act, []

    def check(self, before, after, regions):
        self.asked.append([region.index for region in regions])
        assert not before.flags.writeable
        assert not after.flags.writeable
        return self.act(after, regions)


def _with_check(act, *methods):
    check = Changed(act)
    names = [method.name for method in methods]
    policy = Policy({"face": Treatment(names[0], tuple(names[1:]))}, Treatment(names[-1]))
    ladder = Ladder(policy, {method.name: method for method in methods}, [check])
    return check, ladder.anonymize([(make_image(), regions(FACE, SECOND))], KEY)[0]


def test_regions_that_fail_a_check_go_to_the_next_method():
    def act(after, asked):
        return {region.index: "blue" for region in asked if region.index and (after[35, 75] == (1, 2, 3)).all()}

    check, outcome = _with_check(act, Scripted(blue), make("solid"))
    assert outcome.methods == {0: "scripted", 1: "solid"}
    assert outcome.failures == {"changed": 1}
    assert outcome.details == ("scripted: region 1: changed: blue",)
    # Region 0 again once the patch of region 1 lies below it, and both at the end, because methods are mixed.
    assert check.asked == [[0, 1], [0], [1], [0, 1]]


@pytest.mark.parametrize(
    "act",
    [lambda *_: {5: "which?"}, lambda *_: None, lambda *_: 1 / 0, raise_error],
    ids=["unknown region", "no mapping", "an error", "another"],
)
def test_check_that_breaks_withholds_the_image(act):
    _, outcome = _with_check(act, Scripted(blue), make("solid"))
    assert isinstance(outcome, WithheldError)
    assert "cannot be composed or checked" in outcome.detail


def test_region_that_a_later_method_brings_back_withholds_the_image():
    calls = []

    def act(after, asked):
        calls.append(len(asked))
        return {0: "back"} if len(calls) == 4 else ({1: "no"} if len(calls) == 1 else {})

    _, outcome = _with_check(act, Scripted(blue), make("solid"))
    assert isinstance(outcome, WithheldError)
    assert "undone by a later method" in outcome.detail


@pytest.mark.parametrize("value", [0, 9, 255])
def test_flat_images_are_no_false_alarm(value):
    for method in (make("solid", color=[value] * 3), make("solid"), make("pixelate")):
        image = DecodedImage("p", np.full((80, 100, 3), value, np.uint8))
        (outcome,) = make_ladder(method).anonymize([(image, regions(FACE, SECOND))], KEY)
        assert outcome.methods == {0: method.name, 1: method.name}


def test_nearly_black_image_is_no_false_alarm_under_black():
    pixels = np.zeros((80, 100, 3), np.uint8)
    pixels[30:33, 30:40] = 1
    (outcome,) = make_ladder(make("solid")).anonymize([(DecodedImage("p", pixels), regions(FACE))], KEY)
    assert outcome.methods == {0: "solid"}


def test_regions_that_do_not_fit_the_image_withhold_it():
    twice = [regions(FACE)[0], regions(SECOND)[0]]  # both have index 0
    outside = make_regions((90, 70, 140, 130), width=200, height=200)
    batch = [(make_image(), twice), (make_image(), outside), (make_image(), regions(FACE))]
    outcomes = make_ladder(make("solid")).anonymize(batch, KEY)
    assert "share an index" in outcomes[0].detail
    assert "leaves the image" in outcomes[1].detail
    assert outcomes[2].methods == {0: "solid"}


# Labels


def labelled(*labels, soft_edge=0.0):
    boxes = [(4 + 32 * at, 20, 28 + 32 * at, 60) for at in range(len(labels))]
    return make_detections(*boxes, labels=labels)


def anonymize_labels(policy: Policy, methods: Sequence[Method], *labels: str):
    ladder = Ladder(policy, {method.name: method for method in methods})
    (outcome,) = ladder.anonymize([(make_image(), policy.regions_of(labelled(*labels), 100, 80))], KEY)
    return outcome


def test_each_label_gets_its_own_method():
    policy = Policy({"face": Treatment("scripted"), "plate": Treatment("pixelate")}, Treatment("solid"))
    outcome = anonymize_labels(policy, [Scripted(blue), make("pixelate"), make("solid")], "plate", "face", "person")
    assert outcome.methods == {0: "pixelate", 1: "scripted", 2: "solid"}


def test_label_without_a_policy_gets_the_default_and_its_shape():
    policy = Policy({"face": Treatment("scripted", expansion=1.0)}, Treatment("solid", shape="rectangle", expansion=2))
    face, other = policy.regions_of(labelled("face", "other"), 100, 80)
    assert (face.shape, face.mask_extent) == ("ellipse", (4, 20, 28, 60))
    assert (other.shape, other.mask_extent) == ("rectangle", (24, 0, 72, 80))


def test_masks_of_other_labels_are_erased_too_and_labels_share_a_call():
    seen = []
    spy = Scripted(_spy(seen))
    policy = Policy({"face": Treatment("pixelate"), "plate": Treatment("scripted")}, Treatment("scripted"))
    detections = make_detections(FACE, SECOND, (2, 2, 8, 8), labels=("face", "plate", "other"))
    ladder = Ladder(policy, {"pixelate": make("pixelate"), "scripted": spy})
    (outcome,) = ladder.anonymize([(make_image(), policy.regions_of(detections, 100, 80))], KEY)
    assert outcome.methods == {0: "pixelate", 1: "scripted", 2: "scripted"}
    assert spy.batches == [[("p", 1), ("p", 2)]]
    assert seen[0][2] == [True, True, True]  # the face too, because methods that see the original run last


def test_methods_run_in_the_order_of_the_policy_level_by_level():
    order = []

    def named(name, act=blue):
        def note(target):
            order.append(name)
            return act(target)

        return Scripted(note, name)

    reject = refuse(0, 1)
    methods = [named("a", reject), named("b", reject), named("c")]
    policy = Policy({"face": Treatment("b", ("c",)), "plate": Treatment("a", ("b", "c"))}, Treatment("c"))
    outcome = anonymize_labels(policy, methods, "plate", "face")
    assert order == ["b", "a", "c", "b", "c"]
    assert outcome.methods == {0: "c", 1: "c"}


def test_synthetic_methods_skip_small_and_doubtful_regions():
    generating = Scripted(blue, "generating", synthetic=True)
    how = Treatment("generating", ("plain",), min_side_px=20, min_score=0.5, expansion=1.0)
    boxes = [(4, 4, 24, 20), (40, 4, 59, 20), (4, 40, 24, 60)]
    found = make_detections(*boxes)
    found.scores[2] = 0.4
    policy = Policy({"face": how}, Treatment("plain"))
    ladder = Ladder(policy, {"generating": generating, "plain": Scripted(blue, "plain")})
    (outcome,) = ladder.anonymize([(make_image(), policy.regions_of(found, 100, 80))], KEY)
    assert outcome.methods == {0: "generating", 1: "plain", 2: "plain"}
    assert outcome.details == (
        "generating: region 1: smaller than 20 px",
        "generating: region 2: score below 0.5",
    )
    assert ladder.is_synthetic("generating")
    assert not ladder.is_synthetic("plain")


# Building


def test_ladder_needs_every_method_of_its_policy():
    with pytest.raises(ConfigError, match="swap"):
        Ladder(Policy({"face": Treatment("solid", ("swap",))}, Treatment("solid")), {"solid": make("solid")})
    with pytest.raises(ConfigError, match="blur"):
        Ladder(Policy({}, Treatment("blur")), {"blur": make("solid")})


def test_names_and_models():
    ladder = make_ladder(Scripted(blue), make("solid"))
    assert ladder.names == ("scripted", "solid")
    assert ladder.models == ("weights-of-scripted",)
    assert ladder["solid"].name == "solid"


def build(**keys):
    return build_ladder(AnonymizeConfig.model_validate(keys), RUNTIME)


def test_ladder_follows_the_job_file():
    ladder = build(face={"method": "blur", "fallback": ["pixelate", "blur"]}, plate={"method": "inpaint"})
    assert ladder.policy["face"].ladder == ("blur", "pixelate")
    assert ladder.policy["plate"].ladder == ("inpaint", "pixelate", "solid")
    assert ladder.policy["anything"].ladder == ("solid", "pixelate")
    assert set(ladder.names) == {"blur", "pixelate", "inpaint", "solid"}
    with pytest.raises(UnknownNameError, match="solid"):
        build(face={"method": "solidd"})
    with pytest.raises(UnknownNameError):
        build(face={"method": "solid"}, plate={"fallback": ["nothing"]})


def test_options_reach_the_methods():
    how = {"method": "solid", "fallback": [], "soft_edge": 0.2}
    ladder = build(face=how, options={"solid": {"color": [5, 6, 7]}})
    faces = ladder.policy.regions_of(make_detections(FACE), 100, 80)
    (outcome,) = ladder.anonymize([(make_image(), faces)], KEY)
    assert outcome.pixels[35, 35].tolist() == [5, 6, 7]
    assert outcome.touched.sum() > geometry.region_mask(faces[0]).sum()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"pixelate": {"cell": 8}}, ConfigError, "`anonymize.options.pixelate.cells`"),
        ({"pixelate": {"cells": 1}}, ConfigError, "`anonymize.options.pixelate.cells`"),
        ({"blur": {"sigma": 0.01}}, ConfigError, "`anonymize.options.blur.sigma`"),  # of a method that is not used
        ({"inpaint": {"x": 1}}, ConfigError, "unknown key `anonymize.options.inpaint.x`"),
        ({"pixelatte": {}}, UnknownNameError, "pixelate"),
    ],
)
def test_wrong_options_name_their_key(options, error, text):
    with pytest.raises(error, match=text.replace(".", r"\.")):
        build(face={"method": "solid"}, options=options)


def test_results_are_records():
    assert isinstance(run(blue, FACE), AnonymizedImage)
    assert isinstance(Structure(Structure.Options(), RUNTIME), RegionCheck)


@pytest.mark.parametrize("first", ["blur", "pixelate"])
@pytest.mark.parametrize("second", ["inpaint", "swap", "solid"])
@pytest.mark.parametrize("levels", [1, 2])
def test_neighbour_that_sees_the_original_does_not_show_it_to_another_method(first, second, levels):
    """The second method's region stays hidden from the first one, also when the second method gets it one level later."""
    refusing = Scripted(refuse(1), "refusing")
    method, *fallback = ("refusing", second)[2 - levels :]
    policy = Policy(
        {
            "plate": Treatment(first, expansion=1.0),
            "face": Treatment(method, tuple(fallback), expansion=1.0, shape="ellipse"),
        },
        Treatment("solid"),
    )
    ladder = Ladder(policy, {name: make(name) for name in (first, second, "solid")} | {"refusing": refusing})
    found = make_detections((20, 20, 60, 60), (50, 20, 90, 60), labels=("plate", "face"))
    both = ladder.policy.regions_of(found, 100, 80)
    image, other = make_image(), make_image(seed=1)
    face = mask_of(both[1])
    changed = DecodedImage("p", np.where(face[:, :, None], other.pixels, image.pixels))
    outcomes = ladder.anonymize([(image, both), (changed, both)], KEY)
    assert [outcome.methods for outcome in outcomes] == [{0: first, 1: second}] * 2
    assert np.array_equal(outcomes[0].pixels, outcomes[1].pixels)


def test_method_that_never_stops_answering_is_one_step():
    class Endless(Scripted):
        def render(self, targets):
            while True:
                yield blue(targets[0])

    ladder = make_ladder(Endless(blue), make("solid"))
    (outcome,) = ladder.anonymize([(make_image(), regions(FACE))], KEY)
    assert outcome.methods == {0: "solid"}
    assert "rendered more than 1 patches for 1 targets" in outcome.details[0]
