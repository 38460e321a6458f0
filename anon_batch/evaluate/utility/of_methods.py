"""Utility of the methods that an evaluation compares, on the images of its manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anon_batch.errors import ManifestError
from anon_batch.evaluate.probe_features import FaceFeatures
from anon_batch.evaluate.subjects import DetectedImage, Output, labelled_faces
from anon_batch.evaluate.utility.findings import Findings, utility_findings
from anon_batch.evaluate.utility.meter import SeenImage, UtilityMeter
from anon_batch.evaluate.utility.state import UtilityState
from anon_batch.outcomes import Anonymized
from anon_batch.recognition.network_file import FeatureNetwork
from anon_batch.records import Detections, ManifestRow

Found = Mapping[str, Detections | None]


class MethodUtility:
    """Collects what the measures of utility need, for several methods.

    Args:
        methods: their names.
        networks: feature networks with different names.
        face_features: of the naturalness probe.
        label_column: column of the manifest that holds the classes; None skips the canary.
        seed: of samples, folds and bootstraps.
    """

    def __init__(
        self,
        methods: Sequence[str],
        networks: Sequence[FeatureNetwork],
        face_features: Sequence[FaceFeatures],
        label_column: str | None,
        seed: int,
    ) -> None:
        self._networks, self._label_column, self._seed = tuple(network.name for network in networks), label_column, seed
        self._meter = UtilityMeter(networks, face_features, seed=seed)
        self._states = {name: UtilityState() for name in methods}

    def add(
        self,
        image: DetectedImage,
        outputs: Mapping[str, Output | None],
        before: Detections | None,
        after: Mapping[str, Detections],
    ) -> None:
        """Add an image.

        Args:
            image: the original.
            outputs: method -> output, None where the image is withheld.
            before: found by the second detector in the original, clipped; None without one.
            after: method -> found in its output.

        Raises:
            ManifestError: the manifest has no such column of classes.
        """
        for name, output in outputs.items():
            done = output if isinstance(output, Anonymized) else None
            seen = SeenImage(
                image.row.image_id,
                image.image.decode().pixels,
                None if output is None else output.pixels,
                () if done is None else done.regions,
                {} if done is None else done.result.traits,
                labelled_faces(image.row),
                self._label_of(image.row),
                None if before is None else (before, after[name]),
            )
            self._meter.add(self._states[name], seen)

    def _label_of(self, row: ManifestRow) -> str | None:
        if self._label_column is None:
            return None
        if self._label_column not in row.extra:
            columns = ", ".join(sorted(row.extra)) or "none besides its own"
            raise ManifestError(
                f"--label-column {self._label_column}: the manifest has no such column; it has {columns}"
            )
        value = row.extra[self._label_column]
        return None if value is None else str(value)

    def findings(self, method: str) -> Findings:
        """Return the figures of a method. Classes keep their names, because nothing of an evaluation is published."""
        return utility_findings(self._states[method], self._networks, seed=self._seed)
