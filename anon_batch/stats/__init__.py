"""Statistics of a run as mergeable states: `ShardStats` for all rows, `DetectionStats` where there is ground truth."""

from anon_batch.stats.clustered import ClusteredShare
from anon_batch.stats.detection import BandStats, DetectionStats
from anon_batch.stats.intervals import mean_interval, wilson
from anon_batch.stats.label import LabelStats
from anon_batch.stats.matching import BANDS, IOU_THRESHOLD, Matches, match, match_bands
from anon_batch.stats.missed import MissedStats
from anon_batch.stats.shard import ShardStats, merge, merge_all
from anon_batch.stats.shares import TimeShares, time_shares
from anon_batch.stats.summary import summarise
from anon_batch.stats.uncovered import LabelledRegions, judge_regions

__all__ = [
    "BANDS",
    "IOU_THRESHOLD",
    "BandStats",
    "ClusteredShare",
    "DetectionStats",
    "LabelStats",
    "LabelledRegions",
    "Matches",
    "MissedStats",
    "ShardStats",
    "TimeShares",
    "judge_regions",
    "match",
    "match_bands",
    "mean_interval",
    "merge",
    "merge_all",
    "summarise",
    "time_shares",
    "wilson",
]
