"""Whether a job may compare faces: it processes biometric data, so its owner has to say who does so and why."""

from __future__ import annotations

from anon_batch.config import JobConfig
from anon_batch.errors import ConfigError

_NEEDED = ("controller", "legal_basis", "art9_basis", "dpia_reference", "retention")


def compares_faces(config: JobConfig) -> bool:
    """Return whether persons of a job are found by comparing faces."""
    return config.identity.scope != "none" and config.identity.source == "cluster"


def check_basis(config: JobConfig) -> None:
    """Check, before anything is read or written, that a job may compare faces.

    Raises:
        ConfigError: `compliance` does not say who compares them and why.
    """
    if not compares_faces(config):
        return
    stated = {name: getattr(config.compliance, name) for name in _NEEDED}
    stated["retention"] = stated["retention"] or config.compliance.retention_until
    if missing := [name for name in _NEEDED if not stated[name]]:
        raise ConfigError(
            "identity.source: cluster compares faces, which are biometric data (Article 9 GDPR), and who does so has to say so; "
            f"state {', '.join(f'compliance.{name}' for name in missing)}"
        )
