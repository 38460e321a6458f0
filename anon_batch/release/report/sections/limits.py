"""Limits: what the evidence cannot say, as far as it was measured at all."""

from __future__ import annotations

from anon_batch.release.report.document import Block, Section, Text
from anon_batch.release.report.measures import Measures
from anon_batch.units import format_count

_ALWAYS = (
    (
        "Nothing here proves that nobody can be recognised. A face that nothing found is published unchanged. Bodies, "
        "clothes, text, number plates and places are anonymized only if the job has detectors for them."
    ),
    (
        "A person with a copy of a source image can match it with its output, because the pixels outside the regions "
        "are unchanged."
    ),
)
_BY_SUBJECT = {
    "missed": (
        "The share of missed faces holds for the images that were labelled. Labels made by people, or by the detectors "
        "that are judged, miss faces as well. Faces of one image, and near-duplicates of an image, are alike, so many "
        "images of one scene prove less than their number says."
    ),
    "review": (
        "The bound of a review holds for the sample that was drawn and for reviewers who see what these saw, corrected "
        "by the planted faces that they caught. Near-duplicates in the release make it look stronger than it is."
    ),
    "residual": (
        "The residual check knows only what its detectors can see. Its recall was measured on planted synthetic faces, "
        "which are easier than real ones that are turned, hidden or blurred."
    ),
    "reidentification": (
        "Attackers were tried on the persons of the given pairs, seen from the front in good light if those were such. "
        "A person who is in many images of the release can be recognised more easily than in one pair. Few persons "
        "cannot support a small rate of false matches: the resolution is 1 divided by the number of impostor pairs. A "
        "stronger attacker than those tried may exist."
    ),
    "utility": (
        "Utility was measured with the named networks and features. Another task may lose more. Of many classes some "
        "move by chance; intervals are corrected for their number where it says so."
    ),
    "groups": (
        "Age group, sex and skin tone are those of the generated faces as people labelled them by eye, not of the "
        "persons in the sources."
    ),
}


def limits_section(measures: Measures) -> Section:
    """Return what the measures at hand cannot say."""
    blocks: list[Block] = [Text(text) for text in _ALWAYS]
    blocks += [Text(text) for subject, text in _BY_SUBJECT.items() if subject in measures.subjects]
    for origin, (sample, when) in measures.samples.items():
        blocks.append(
            Text(
                f"The {origin} of {when} looked at {format_count(sample.rows)} of {format_count(sample.of)} rows "
                f"(seed {sample.seed})."
            )
        )
    blocks += [Text(f"Not counted: {why}.", "warning") for why in measures.refused.values()]
    return Section("limits", "Limits of the evidence", tuple(blocks))
