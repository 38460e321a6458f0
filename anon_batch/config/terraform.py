"""Turns the outputs of infra/terraform into keys of the job file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from anon_batch.config.checking import validate
from anon_batch.config.job import JobConfig
from anon_batch.errors import ConfigError

_WANTED = "expected what `terraform output -json` prints in infra/terraform after `terraform apply`"


def keys_from_terraform(text: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return name, output, ledger and storage of a job whose release lies in the buckets that infra/terraform made.

    Args:
        text: what `terraform output -json` printed.
        settings: dotted key -> value; only `name`, the folder below both buckets, is known here.

    Raises:
        ConfigError: `text` is something else, or the name cannot be one.
    """
    if unknown := sorted(set(settings) - {"name"}):
        raise ConfigError(f"--from-terraform takes --set name=NAME only, not {', '.join(unknown)}")
    try:
        outputs = json.loads(text)
    except ValueError:
        raise ConfigError(f"--from-terraform: not JSON; {_WANTED}") from None
    if not isinstance(outputs, Mapping) or not isinstance(outputs.get("job"), Mapping):
        raise ConfigError(f"--from-terraform: there is no output `job`; {_WANTED}")
    made = outputs["job"].get("value")
    if not isinstance(made, Mapping) or set(made) != {"output", "ledger", "storage"}:
        raise ConfigError(f"--from-terraform: output `job` has other keys than output, ledger and storage; {_WANTED}")
    name = settings.get("name", JobConfig.model_fields["name"].default)
    keys = {"name": name, **{key: f"{made[key]}/{name}" for key in ("output", "ledger")}, "storage": made["storage"]}
    if not all(str(made[key]).startswith("s3://") for key in ("output", "ledger")):
        raise ConfigError(f"--from-terraform: output `job` does not name buckets; {_WANTED}")
    validate(JobConfig, {"manifest": "needed", **keys}, "--from-terraform")
    return keys
