"""What makes two submissions one job, as digests that a dashboard may show."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anon_batch.config import JobConfig
from anon_batch.formats.run_json import OUTPUT_SECTIONS
from anon_batch.storage import absolute

_KEYS = ("anon_batch_job", "anon_batch_output", "anon_batch_settings")
_ID = re.compile(r"anon-[0-9a-f]{8}-(\d+)")
_DIGEST_CHARS = 32
# They change how a job runs, not what it makes. `storage` is left out, because a digest of a short secret can be guessed.
_SETTINGS_SECTIONS = ("gates", "compliance", "engine", "models", "sources")


@dataclass(frozen=True, slots=True)
class JobIdentity:
    """Digests of a job.

    Args:
        job: of OUTPUT, ledger, manifest and all that the outputs depend on by configuration.
        output: of the address of OUTPUT alone.
        settings: of what else was asked for, e.g. the number of workers and a deadline.
    """

    job: str
    output: str
    settings: str

    @property
    def metadata(self) -> dict[str, str]:
        """The digests as metadata of a submission."""
        return dict(zip(_KEYS, (self.job, self.output, self.settings), strict=True))

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> JobIdentity | None:
        """Return the identity that metadata hold; None for a job of somebody else."""
        values = [metadata.get(key) for key in _KEYS]
        job, output, settings = values
        return None if job is None or output is None or settings is None else cls(job, output, settings)

    def submission_id(self, number: int) -> str:
        """Return the id of a try, counted from 1."""
        return f"anon-{self.job[:8]}-{number}"

    def number_of(self, submission_id: str) -> int:
        """Return the number of a try from its id; 0 for an id of another job."""
        found = _ID.fullmatch(submission_id)
        return int(found[1]) if found and submission_id.startswith(f"anon-{self.job[:8]}-") else 0


def is_submission_id(text: str) -> bool:
    """Return whether a text is an id that `submit` gives."""
    return _ID.fullmatch(text) is not None


def identity_of(config: JobConfig, limits: Mapping[str, Any]) -> JobIdentity:
    """Return the digests of a job.

    No manifest is read, and neither versions nor models count: the driver compares those when it resumes.

    Args:
        config: the job, with absolute addresses.
        limits: options of this submission that are no part of the job.
    """
    output = absolute(config.output_uri)
    job = {
        "output": output,
        "ledger": absolute(config.ledger_uri),
        "manifest": absolute(config.manifest),
        "run_key_file": config.run_key_file,
        "name": config.name,
        "shard_rows": config.engine.shard_rows,
        "sections": config.model_dump(mode="json", include={*OUTPUT_SECTIONS, "identity", "seal", "link"}),
    }
    settings = config.model_dump(
        mode="json", include=set(_SETTINGS_SECTIONS), exclude={"engine": {"address", "shard_rows"}}
    )
    return JobIdentity(_digest(job), _digest(output), _digest([settings, dict(limits)]))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:_DIGEST_CHARS]
