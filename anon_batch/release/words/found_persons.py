"""What a release says about persons that were found by comparing faces: that it is an estimate, and with which error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anon_batch.formats.run_json import RunJson


def found_persons(run: RunJson) -> Mapping[str, Any] | None:
    """Return how persons were found by comparing faces; None where they were not, or were named."""
    identity: Mapping[str, Any] = run.config.get("identity", {})
    return identity if identity.get("source") == "cluster" else None


def say_how_sure(run: RunJson) -> str:
    """Return a sentence about the error of persons that were found by comparing faces; "" where they were not."""
    if (found := found_persons(run)) is None:
        return ""
    compared = f"{found['pairs']:,} pairs of faces compared"
    return (
        f"Who is who was not stated but estimated, by comparing faces: {say_expected(found['expected_false_pairs'])} among "
        f"{compared}. Different people may have been given one face, and a person several."
    )


def say_expected(expected: Mapping[str, float] | None) -> str:
    """Return the expected number of false pairs in words."""
    if expected is None:
        return "an unknown number of false pairs"
    low, value, high = (f"{expected[name]:.2g}" for name in ("low", "value", "high"))
    return f"{value} false pairs expected (95 % interval {low} to {high})"
