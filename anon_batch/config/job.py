"""The whole job."""

from __future__ import annotations

from pydantic import Field, field_validator

from anon_batch.config.anonymize import AnonymizeConfig
from anon_batch.config.detection import DetectConfig
from anon_batch.config.engine import EngineConfig
from anon_batch.config.limits import LimitsConfig
from anon_batch.config.models import ModelsConfig
from anon_batch.config.section import Section
from anon_batch.config.storage import StorageConfig
from anon_batch.config.write import WriteConfig


class SampleConfig(Section):
    """A seeded sample of the rows, as a release of its own."""

    limit: int | None = Field(
        None,
        ge=1,
        description="Number of rows; null takes all. The output's and ledger's names get `-sample-N` appended.",
    )
    seed: int = Field(0, ge=0, description="Which sample.")


class JobConfig(Section):
    """A whole job."""

    name: str = Field("release", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", description="Name of the release.")
    manifest: str = Field(description="Address of the manifest, Parquet.")
    output: str = Field(description="Address of the release: a folder or a bucket prefix.")
    ledger: str | None = Field(
        None, description="Address of the private ledger; null: `OUTPUT-ledger` beside the output."
    )
    run_key_file: str | None = Field(
        None, description="A file with at least 32 secret bytes; null: made once, kept in the ledger."
    )
    sample: SampleConfig = Field(default_factory=SampleConfig, description="A sample instead of everything.")
    detect: DetectConfig = Field(default_factory=DetectConfig, description="Finding the faces.")
    anonymize: AnonymizeConfig = Field(default_factory=AnonymizeConfig, description="Treating them.")
    write: WriteConfig = Field(default_factory=WriteConfig, description="Storing the outputs.")
    limits: LimitsConfig = Field(default_factory=LimitsConfig, description="What is refused.")
    engine: EngineConfig = Field(default_factory=EngineConfig, description="Where it runs.")
    models: ModelsConfig = Field(default_factory=ModelsConfig, description="Where weights come from.")
    storage: StorageConfig = Field(default_factory=StorageConfig, description="How bytes are reached.")

    @field_validator("manifest", "output", "ledger")
    @classmethod
    def _not_blank(cls, value: str | None) -> str | None:
        if value is not None and not value.strip().strip("/"):
            raise ValueError("must not be empty, nor the root")
        return value

    @property
    def output_uri(self) -> str:
        """OUTPUT without trailing slash, with the sample's suffix."""
        return self.output.rstrip("/") + self._sample_suffix

    @property
    def ledger_uri(self) -> str:
        """LEDGER without trailing slash, with the sample's suffix; by default a sibling of OUTPUT."""
        if self.ledger is None:
            return f"{self.output_uri}-ledger"
        return self.ledger.rstrip("/") + self._sample_suffix

    @property
    def _sample_suffix(self) -> str:
        return "" if self.sample.limit is None else f"-sample-{self.sample.limit}"
