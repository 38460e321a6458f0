"""The job file: every key with its type, default, description and validation, one file for each section.

`load_job` reads YAML and applies `--set` overrides; the rest of the package sees a `JobConfig`. Errors name the key, its value
and the nearest valid name.
"""

from anon_batch.config.anonymize import AnonymizeConfig, FaceConfig, TreatmentConfig
from anon_batch.config.checking import validate
from anon_batch.config.checks import ChecksConfig
from anon_batch.config.compliance import ComplianceConfig
from anon_batch.config.description import describe
from anon_batch.config.detect import DetectConfig, DetectorConfig, TileConfig
from anon_batch.config.engine import EngineConfig
from anon_batch.config.gates import GatesConfig
from anon_batch.config.identity import IdentityConfig
from anon_batch.config.job import ImageConfig, JobConfig, SampleConfig
from anon_batch.config.limits import LimitsConfig
from anon_batch.config.link import LinkConfig
from anon_batch.config.loading import load_job, parse_override
from anon_batch.config.models import ModelsConfig
from anon_batch.config.publish import PublishConfig
from anon_batch.config.seal import SealConfig
from anon_batch.config.sources import SourcesConfig
from anon_batch.config.storage import StorageConfig
from anon_batch.config.terraform import keys_from_terraform
from anon_batch.config.write import WriteConfig

__all__ = [
    "AnonymizeConfig",
    "ChecksConfig",
    "ComplianceConfig",
    "DetectConfig",
    "DetectorConfig",
    "EngineConfig",
    "FaceConfig",
    "GatesConfig",
    "IdentityConfig",
    "ImageConfig",
    "JobConfig",
    "LimitsConfig",
    "LinkConfig",
    "ModelsConfig",
    "PublishConfig",
    "SampleConfig",
    "SealConfig",
    "SourcesConfig",
    "StorageConfig",
    "TileConfig",
    "TreatmentConfig",
    "WriteConfig",
    "describe",
    "keys_from_terraform",
    "load_job",
    "parse_override",
    "validate",
]
