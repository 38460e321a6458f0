"""Statistics of a run as mergeable states: `ShardStats` for all rows, `DetectionStats` where there is ground
truth.
"""

from anon_batch.stats.detection import BandStats, DetectionStats
from anon_batch.stats.matching import BANDS, IOU_THRESHOLD, Matches, match, match_bands
from anon_batch.stats.shard import ShardStats, merge, merge_all

__all__ = [
    "BANDS",
    "IOU_THRESHOLD",
    "BandStats",
    "DetectionStats",
    "Matches",
    "ShardStats",
    "match",
    "match_bands",
    "merge",
    "merge_all",
]
