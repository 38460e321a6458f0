"""The job file: every key with its description, default and check.

A key that exists nowhere else in the package. `JobConfig` is what the rest of the package sees; `load_job` reads YAML and
applies `--set` overrides; errors name the key, its value and the nearest legal name.
"""

from anon_batch.config.anonymize import AnonymizeConfig
from anon_batch.config.checking import validate
from anon_batch.config.description import describe
from anon_batch.config.detection import DetectConfig, DetectorConfig, TileConfig
from anon_batch.config.engine import EngineConfig
from anon_batch.config.job import JobConfig, SampleConfig
from anon_batch.config.limits import LimitsConfig
from anon_batch.config.loading import load_job, parse_override
from anon_batch.config.models import ModelsConfig
from anon_batch.config.storage import StorageConfig
from anon_batch.config.write import WriteConfig

__all__ = [
    "AnonymizeConfig",
    "DetectConfig",
    "DetectorConfig",
    "EngineConfig",
    "JobConfig",
    "LimitsConfig",
    "ModelsConfig",
    "SampleConfig",
    "StorageConfig",
    "TileConfig",
    "WriteConfig",
    "describe",
    "load_job",
    "parse_override",
    "validate",
]
