"""Top-level keys of a job file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from anon_batch.config.anonymize import AnonymizeConfig
from anon_batch.config.checks import ChecksConfig
from anon_batch.config.compliance import ComplianceConfig
from anon_batch.config.detect import DetectConfig
from anon_batch.config.engine import EngineConfig
from anon_batch.config.gates import GatesConfig
from anon_batch.config.identity import IdentityConfig
from anon_batch.config.limits import LimitsConfig
from anon_batch.config.link import LinkConfig
from anon_batch.config.models import ModelsConfig
from anon_batch.config.publish import PublishConfig
from anon_batch.config.seal import SealConfig
from anon_batch.config.section import Section
from anon_batch.config.sources import SourcesConfig
from anon_batch.config.storage import StorageConfig
from anon_batch.config.write import WriteConfig

KEEPS_FACES = ("gan", "swap")  # methods that can give a person one face


class SampleConfig(Section):
    """A seeded random subset of the rows, as a release of its own."""

    limit: int | None = Field(
        None,
        ge=1,
        description="Number of rows; null processes all. `-sample-N` is appended to the addresses of output and ledger.",
    )
    seed: int = Field(0, ge=0, description="Seed of the random subset.")


class ImageConfig(Section):
    """The sections of a job that decide what happens to one image."""

    detect: DetectConfig = Field(default_factory=DetectConfig)
    anonymize: AnonymizeConfig = Field(default_factory=AnonymizeConfig)
    checks: ChecksConfig = Field({"structure": {}})
    write: WriteConfig = Field(default_factory=WriteConfig)
    limits: LimitsConfig = Field(default_factory=LimitsConfig)


class JobConfig(Section):
    """A job."""

    name: str = Field("release", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", description="Name of the release.")
    manifest: str = Field(description="Address of the manifest (Parquet).")
    output: str = Field(description="Address of the release: a folder or a bucket prefix.")
    ledger: str | None = Field(None, description="Address of the private ledger; null: OUTPUT with `-ledger` appended.")
    run_key_file: str | None = Field(
        None,
        description="Address of a file with at least 32 secret bytes that seed the fakes; null: generated into the ledger.",
    )
    sample: SampleConfig = Field(default_factory=SampleConfig, description="Process a random subset.")
    detect: DetectConfig = Field(default_factory=DetectConfig, description="Detectors.")
    anonymize: AnonymizeConfig = Field(default_factory=AnonymizeConfig, description="What happens to the regions.")
    checks: ChecksConfig = Field(
        {"structure": {}}, description="Checks of every result: name -> options. `structure` always runs."
    )
    write: WriteConfig = Field(default_factory=WriteConfig, description="Layout and format of the outputs.")
    publish: PublishConfig = Field(
        default_factory=PublishConfig, description="Columns of the manifest that are published."
    )
    limits: LimitsConfig = Field(default_factory=LimitsConfig, description="Input size limits.")
    gates: GatesConfig = Field(default_factory=GatesConfig, description="Limits that a finished release must keep.")
    compliance: ComplianceConfig = Field(
        default_factory=ComplianceConfig, description="What only the owner can say about the release; published."
    )
    identity: IdentityConfig = Field(
        default_factory=IdentityConfig, description="Whether a person gets the same new face in several images."
    )
    seal: SealConfig = Field(
        default_factory=SealConfig, description="Whether originals are kept, encrypted, in the ledger."
    )
    link: LinkConfig = Field(
        default_factory=LinkConfig, description="Whether a person's images can be found by a photograph."
    )
    engine: EngineConfig = Field(default_factory=EngineConfig, description="Workers and resources.")
    models: ModelsConfig = Field(default_factory=ModelsConfig, description="Sources of model weights.")
    sources: SourcesConfig = Field(default_factory=SourcesConfig, description="What the manifest may name.")
    storage: StorageConfig = Field(default_factory=StorageConfig, description="Access to object stores.")

    @property
    def image(self) -> ImageConfig:
        """The sections that decide what happens to one image."""
        return ImageConfig(**{name: getattr(self, name) for name in ImageConfig.model_fields})

    @model_validator(mode="before")
    @classmethod
    def _subjects_choose_faces(cls, value: Any) -> Any:
        """Let `donor_by` be `subject` where a person keeps a face, unless the job says something else, which is refused later."""
        identity = value.get("identity") if isinstance(value, Mapping) else None
        scope = identity.get("scope") if isinstance(identity, Mapping) else getattr(identity, "scope", None)
        anonymize = value.get("anonymize") or {} if isinstance(value, Mapping) else None
        if scope in (None, "none") or not isinstance(anonymize, Mapping):
            return value
        options = dict(anonymize.get("options") or {})
        for method in KEEPS_FACES:
            options[method] = {"donor_by": "subject", **(options.get(method) or {})}
        return {**value, "anonymize": {**anonymize, "options": options}}

    @field_validator("manifest", "output", "ledger")
    @classmethod
    def _not_blank(cls, value: str | None) -> str | None:
        if value is not None and not value.strip().strip("/"):
            raise ValueError("must not be empty or the root folder")
        return value

    @property
    def output_uri(self) -> str:
        """Address of OUTPUT without trailing slash, with the suffix of a sample."""
        return self.output.rstrip("/") + self._sample_suffix

    @property
    def ledger_uri(self) -> str:
        """Address of LEDGER without trailing slash, with the suffix of a sample; by default a sibling of OUTPUT."""
        if self.ledger is None:
            return f"{self.output_uri}-ledger"
        return self.ledger.rstrip("/") + self._sample_suffix

    @property
    def _sample_suffix(self) -> str:
        return "" if self.sample.limit is None else f"-sample-{self.sample.limit}"
