"""The ladder: each region tries the methods of its policy in order; an image with a region that none renders is withheld.

Whatever a method does, raise or return nonsense, cannot leave a region as it was: each patch is checked before it is written,
each result after it, and what fails goes to the next method. Where memory runs out, fewer images are rendered at a time; an image
that does not fit alone is withheld.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from anon_batch import plugins
from anon_batch.anonymize.checks.structure import Structure
from anon_batch.anonymize.compose import compose, fault_of_patch
from anon_batch.anonymize.policy import Policy
from anon_batch.anonymize.protocol import Method, Patch, Refusal, RegionCheck
from anon_batch.anonymize.render import Batch, Scene, render_scenes
from anon_batch.config import AnonymizeConfig
from anon_batch.detect.pose import PoseFinder
from anon_batch.errors import ConfigError, RowError, WithheldError, row_error
from anon_batch.geometry import longer_side_px
from anon_batch.memory import in_halves, is_out_of_memory
from anon_batch.models.runtime import Runtime
from anon_batch.records import DEFAULT_LABEL, AnonymizedImage, BoolArray, DecodedImage, PixelArray, Region, read_only

WITHHELD_REASON = "anonymize"
_MAX_DETAILS = 20


@dataclass(frozen=True, slots=True, eq=False)
class _Failure:
    """Why a method gave nothing for one image alone."""

    text: str
    lacks_memory: bool

    @classmethod
    def of(cls, exc: Exception) -> _Failure:
        # Not the exception itself, because it keeps the arrays of the failed call alive.
        return cls(f"{type(exc).__name__}: {exc}"[:500], is_out_of_memory(exc))


@dataclass(slots=True, eq=False)
class _Progress:
    """One image on its way down the ladder."""

    image: DecodedImage
    regions: tuple[Region, ...]
    pixels: PixelArray
    touched: BoolArray
    pending: list[Region]
    methods: dict[int, str] = field(default_factory=dict)
    details: list[str] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    traits: dict[int, Mapping[str, str]] = field(default_factory=dict)
    lacks_memory: bool = False

    def note(self, what: str, failure: _Failure) -> None:
        """Note a failure. Any is one step of the ladder, except a lack of memory, which withholds the image.

        Otherwise another method would render it that needs less, and the release would depend on the machine.
        """
        self.details.append(f"{what}: {failure.text}")
        self.lacks_memory = self.lacks_memory or failure.lacks_memory

    @property
    def done(self) -> list[Region]:
        return [region for region in self.regions if region.index in self.methods]

    def with_parts(self, regions: Sequence[Region]) -> list[Region]:
        """Return regions and those that are parts of them."""
        own = {region.index for region in regions}
        return [*regions, *(region for region in self.regions if region.within in own)]

    def label_of(self, region: Region) -> str:
        """Return the label whose methods render a region: that of the region that it is a part of."""
        return next((other.label for other in self.regions if other.index == region.within), region.label)


class Ladder:
    """Methods in the order in which each label's regions try them.

    Args:
        policy: a treatment for every label.
        methods: name -> method, all that the policy names.
        checks: every result must pass them; None takes the structure check alone.
        poses: finds the keypoints of persons, for methods that use them; None finds none.

    Raises:
        ConfigError: the policy names a method that is not there, or a method has another name.
    """

    def __init__(
        self,
        policy: Policy,
        methods: Mapping[str, Method],
        checks: Sequence[RegionCheck] | None = None,
        poses: PoseFinder | None = None,
    ) -> None:
        if missing := [name for name in policy.methods if name not in methods or methods[name].name != name]:
            raise ConfigError(f"ladder: the policy names the methods {missing}, which are not loaded")
        self.policy = policy
        self._methods = {name: methods[name] for name in policy.methods}
        self._checks = (Structure(Structure.Options()),) if checks is None else tuple(checks)
        self._poses = poses

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all methods that any label may try."""
        return tuple(self._methods)

    @property
    def models(self) -> tuple[str, ...]:
        """Models that any of the methods and checks uses, and the one of keypoints, each once."""
        parts = (*self._methods.values(), *self._checks)
        names = [name for part in parts for name in part.models] + list(
            () if self._poses is None else self._poses.models
        )
        return tuple(dict.fromkeys(names))

    def __getitem__(self, name: str) -> Method:
        return self._methods[name]

    @property
    def keeps_faces(self) -> bool:
        """Whether a face of one subject is recognisably the same in different images."""
        return self._methods[self.policy[DEFAULT_LABEL].method].keeps_faces

    def is_synthetic(self, method: str) -> bool:
        """Return whether a method of this ladder shows what a model generated."""
        return self._methods[method].synthetic

    def prepare(self, regions: Sequence[Region], source: Callable[[], DecodedImage]) -> list[Region]:
        """Return regions with what the methods of their labels need: keypoints, and masks that hold what will be drawn.

        Args:
            regions: of one image, as the policy makes them.
            source: returns the image; called only where a method uses keypoints.

        Raises:
            WithheldError: the network of keypoints gave nonsense.
        """
        return [self._prepare(region, source) for region in regions]

    def _prepare(self, region: Region, source: Callable[[], DecodedImage]) -> Region:
        methods = [self._methods[name] for name in self.policy[region.label].ladder]
        if self._poses is None or not any(method.uses_keypoints for method in methods):
            return region
        image = source()
        [keypoints] = self._poses.find(image.pixels, [region.box])
        region = replace(region, keypoints=keypoints)
        for method in methods:
            region = method.claim(region, image.width, image.height)
        return region

    def anonymize(self, batch: Batch, run_key: bytes) -> list[AnonymizedImage | RowError]:
        """Anonymize every region of every image, or withhold the image.

        Args:
            batch: images with their regions; never modified. An image without regions comes back as it is.
            run_key: the run's secret.

        Returns:
            One entry for each image, in order: the result, whose `methods` holds every region; or a
            WithheldError("anonymize", detail), the detail for the private audit.
        """
        states = [_start(image, regions) for image, regions in batch]
        open_states = [state for state in states if isinstance(state, _Progress)]
        ladders = [treatment.ladder for treatment in self.policy.treatments]
        for level in range(max(map(len, ladders))):
            names = dict.fromkeys(ladder[level] for ladder in ladders if len(ladder) > level)
            # Methods that see the original last, so that they see what the others rendered.
            for method in sorted((self._methods[name] for name in names), key=lambda method: method.sees_original):
                self._run_step(method, level, open_states, run_key)
        return [state if isinstance(state, WithheldError) else self._finish(state) for state in states]

    def _run_step(self, method: Method, level: int, states: Sequence[_Progress], run_key: bytes) -> None:
        """Let one method render the pending regions that try it at this level, of all images in one call."""
        going = [state for state in states if not state.lacks_memory]
        work = [(state, regions) for state in going if (regions := self._regions_for(method, level, state))]
        if not work:
            return
        scenes = [
            Scene(state.image.image_id, state.pixels, self._erased_for(method, level, state), regions)
            for state, regions in work
        ]
        answers: list[list[object] | _Failure] = in_halves(
            scenes, lambda some: [*render_scenes(method, some, run_key)], _Failure.of
        )
        for (state, regions), answer in zip(work, answers, strict=True):
            if isinstance(answer, _Failure):
                state.note(method.name, answer)
                continue
            try:
                self._take_over(method, state, list(zip(regions, answer, strict=True)))
            except Exception as exc:  # a patch so odd that the checks break on it, or memory
                state.note(f"{method.name}: the result cannot be composed or checked", _Failure.of(exc))

    def _regions_for(self, method: Method, level: int, state: _Progress) -> list[Region]:
        """Return the pending regions of an image that try a method at a level, and note those that skip it."""
        regions = []
        for region in state.pending:
            if region.within is not None:
                continue
            how = self.policy[region.label]
            if how.ladder[level : level + 1] != (method.name,):
                continue
            if method.synthetic and longer_side_px(region) < how.min_side_px:
                state.details.append(f"{method.name}: region {region.index}: smaller than {how.min_side_px:g} px")
            elif method.synthetic and region.score < how.min_score:
                state.details.append(f"{method.name}: region {region.index}: score below {how.min_score:g}")
            else:
                regions.append(region)
        return regions

    def _erased_for(self, method: Method, level: int, state: _Progress) -> Sequence[Region]:
        """Return the pending regions whose masks a method must not see at a level.

        A method that sees the original sees it in its own regions and in those of other such methods alone. Otherwise its
        patches would carry the pixels of a region on to the method that must not see them.
        """
        if not method.sees_original:
            return state.pending
        return [region for region in state.pending if not self._sees_original(state.label_of(region), level)]

    def _sees_original(self, label: str, level: int) -> bool:
        return any(self._methods[name].sees_original for name in self.policy[label].ladder[level : level + 1])

    def _take_over(self, method: Method, state: _Progress, answers: Sequence[tuple[Region, object]]) -> None:
        """Write the patches of one image that pass all checks, and keep the other regions pending.

        Patches that fail are written below those that pass, and the result is checked again, until all on top pass. So no pixel
        of a region that is done shows a failed patch. The other pixels of a failed patch stay until the next method overwrites
        them.
        """
        passing: list[tuple[Region, Patch]] = []
        for region, answer in answers:
            fault = answer.reason if isinstance(answer, Refusal) else fault_of_patch(region, answer)
            if fault is None and isinstance(answer, Patch):
                passing.append((region, answer))
            else:
                state.details.append(f"{method.name}: region {region.index}: {fault}")
        if not passing:
            return
        failed: list[tuple[Region, Patch]] = []
        faults: dict[int, str] = {}
        while True:
            pixels, touched = state.pixels, state.touched
            for patches in (failed, passing):
                if patches:
                    pixels, changed = compose(pixels, patches, state.regions, state.done, method.overlap)
                    touched = touched | changed
            pixels.flags.writeable = False
            found = self._faults_with_parts(state, pixels, [region for region, _ in passing]) if passing else {}
            if not found:
                break
            faults |= found
            failed += [item for item in passing if item[0].index in found]
            passing = [item for item in passing if item[0].index not in found]
        state.pixels, state.touched = pixels, touched
        state.methods.update(
            {region.index: method.name for region in state.with_parts([region for region, _ in passing])}
        )
        state.traits.update({region.index: dict(patch.traits) for region, patch in passing if patch.traits})
        state.details.extend(f"{method.name}: region {index}: {why}" for index, why in faults.items())
        state.pending = [region for region in state.pending if region.index not in state.methods]

    def _faults_with_parts(self, state: _Progress, pixels: PixelArray, regions: Sequence[Region]) -> dict[int, str]:
        """Return the regions that fail a check, or of which a part does: index -> why."""
        asked = state.with_parts(regions)
        owners = {region.index: region.index if region.within is None else region.within for region in asked}
        return {owners[index]: why for index, why in self._faults(state, pixels, asked).items()}

    def _faults(self, state: _Progress, pixels: PixelArray, regions: Sequence[Region]) -> dict[int, str]:
        """Return the regions that fail a check: index -> why.

        Raises:
            ValueError: a check names regions that it was not asked about.
        """
        faults: dict[int, str] = {}
        before = read_only(state.image.pixels)
        asked = {region.index for region in regions}
        for check in self._checks:
            failed = dict(check.check(before, pixels, regions))
            if not failed.keys() <= asked:
                raise ValueError(f"check {check.name} names regions {sorted(failed.keys() - asked)[:5]}")
            state.failures[check.name] += len(failed)
            faults |= {index: f"{check.name}: {why}" for index, why in failed.items()}
        return faults

    def _finish(self, state: _Progress) -> AnonymizedImage | RowError:
        if state.lacks_memory:
            return WithheldError("out_of_memory", f"{state.image.image_id}: {state.details[-1]}")
        if state.pending:
            shown = "; ".join(state.details[-_MAX_DETAILS:])
            return _withhold(state.image, f"{len(state.pending)} regions not anonymized: {shown}")
        if len(set(state.methods.values())) > 1:
            # A later method must not bring back what an earlier one removed.
            try:
                undone = self._faults(state, state.pixels, state.regions)
            except Exception as exc:
                return row_error(exc, WithheldError, WITHHELD_REASON, f"{state.image.image_id}: ")
            if undone:
                return _withhold(state.image, f"undone by a later method: {undone}")
        failures = {name: count for name, count in state.failures.items() if count}
        return AnonymizedImage(state.pixels, state.touched, state.methods, tuple(state.details), failures, state.traits)


def build_ladder(config: AnonymizeConfig, runtime: Runtime, checks: Sequence[RegionCheck] | None = None) -> Ladder:
    """Return the ladder of a job file.

    Args:
        config: section `anonymize`.
        runtime: weights, threads and device.
        checks: the region checks of the job; None takes the structure check alone.

    Raises:
        UnknownNameError: no such method.
        ConfigError: an option is wrong, or a method cannot be loaded; nothing is replaced by something else.
        ModelError: the weights are missing or are not the pinned ones.
    """
    policy = Policy.from_config(config)
    for name in config.options:  # those of methods that no label uses too, because they may be a typing error
        plugins.check_options("methods", name, config.options[name])
    loaded = {name: plugins.load("methods", name, config.options.get(name, {}), runtime) for name in policy.methods}
    poses = PoseFinder.load(runtime) if any(method.uses_keypoints for method in loaded.values()) else None
    return Ladder(policy, loaded, checks, poses)


def _start(image: DecodedImage, regions: Sequence[Region]) -> _Progress | WithheldError:
    own = {region.index for region in regions if region.within is None}
    if any(region.within is not None and region.within not in own for region in regions):
        return _withhold(image, "a region is a part of one that is not there, or is a part itself")
    if len({region.index for region in regions}) < len(regions):
        return _withhold(image, "two regions share an index")
    for region in regions:
        if region.extent[2] > image.width or region.extent[3] > image.height:
            return _withhold(
                image,
                f"region {region.index}: extent {region.extent} leaves the image of {image.width} x {image.height} px",
            )
    untouched = np.zeros(image.pixels.shape[:2], np.bool_)
    return _Progress(image, tuple(regions), read_only(image.pixels), untouched, list(regions))


def _withhold(image: DecodedImage, why: str) -> WithheldError:
    return WithheldError(WITHHELD_REASON, f"{image.image_id}: {why}")
