"""Keys of `gates`: limits that a finished release must keep."""

from __future__ import annotations

from pydantic import Field

from anon_batch.config.section import Section


class GatesConfig(Section):
    """Limits that a finished release must keep; a gate that is exceeded ends the run with exit code 10.

    Gates are no part of the job that a resume compares: change one and run the same command again to evaluate it.
    """

    withheld: float | None = Field(
        0.01, ge=0, le=1, description="Highest share of rows with status `withheld`; null switches the gate off."
    )
    failed: float | None = Field(
        0.01, ge=0, le=1, description="Highest share of rows with status `failed`; null switches the gate off."
    )
    residual: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Highest share of images in which something is left, by the check `residual`: the upper bound of what "
        "remains after its treatment, or of what a sample finds; corrected by its measured recall. null: no gate.",
    )
    missed: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Highest share of missed faces: of labelled faces from 16 px that published images still show, and of images "
        "with a missed face by `anon-batch review`. Of both the upper bound counts, and the worse; null: no gate.",
    )
    recall: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Lowest recall of the detectors on the ground truth, the measured value; null: no gate. It compares "
        "detectors; what a release still shows is judged by `missed`.",
    )
    reidentification: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Highest share of persons that the strongest attacker of `anon-batch evaluate OUTPUT` recognizes at rank 1 "
        "(upper bound of its interval); null: no gate.",
    )
    ap_kept: float | None = Field(
        None,
        ge=0,
        description="Lowest share of the average precision that a second detector keeps on the anonymized images, measured by "
        "`anon-batch evaluate OUTPUT` (lower bound of its interval); null: no gate.",
    )
