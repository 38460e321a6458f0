"""Ground truth in the formats that datasets come with."""

from anon_batch.manifest.truth.read import TruthTable, read_ground_truth

__all__ = ["TruthTable", "read_ground_truth"]
