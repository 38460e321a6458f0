"""What the release says it is: computed from what was done, never configured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anon_batch.units import format_count

_TREATMENTS: Mapping[str, str] = {
    "pixelate": "obfuscated",
    "blur": "obfuscated",
    "gan": "replaced",
    "swap": "replaced",
    "solid": "removed",
    "inpaint": "removed",
}
_WEAKEST_FIRST = ("obfuscated", "replaced", "removed")
_MEANINGS: Mapping[str, str] = {
    "obfuscated": "what is left of the original pixels may be partly reversed or recognised by a trained attacker",
    "replaced": "what a region shows now was made without its original pixels, or by another face",
    "removed": "what a region showed is gone, and nothing is in its place",
}
_HOLDER = "Pseudonymised, as long as either exists. Unlinked once all copies of both are destroyed, which this page cannot see."
_MATCH = (
    "A person with a copy of a source image can match it with its output, as pixels outside the regions are unchanged."
)
_RECIPIENT = f"Unlinked: no file of the release holds an address, a digest or a detection's box of its source. {_MATCH}"
_NOT_CLAIMED = (
    "That the release is “anonymous” as laws use the word. That depends on what was missed, on what else the images show, and "
    "on what others know."
)


def state_what_it_is(methods: Mapping[str, int], kept: int, asked_for: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return what the release is in each aspect, as (aspect, words): treatment, linkage, and what is not claimed.

    Args:
        methods: method -> regions that it anonymized. One that this version does not know counts as obfuscation, the weakest.
        kept: regions left as they are on the owner's word.
        asked_for: columns and keys that the job publishes although they look like addresses, digests or persons.
    """
    regions = dict.fromkeys(_WEAKEST_FIRST, 0)
    for method, count in methods.items():
        regions[_TREATMENTS.get(method, "obfuscated")] += count
    used = [(word, count) for word, count in regions.items() if count]
    if used:
        parts = ", ".join(f"{format_count(count)} {word}" for word, count in used)
        meanings = "; ".join(f"{word}: {_MEANINGS[word]}" for word, _ in used)
        treatment = (
            f"{used[0][0].capitalize()}. Of the regions that were found: {parts}; the weakest treatment names the whole. "
            f"{meanings[0].upper()}{meanings[1:]}."
        )
    else:
        treatment = "None. No region was found that had to be anonymized."
    if kept:
        untouched = "1 region was" if kept == 1 else f"{format_count(kept)} regions were"
        treatment += f" {untouched} left as in the source, because the owner marked them to be kept."
    return (
        ("Treatment", treatment),
        ("For the holder of the ledger or the run key", _HOLDER),
        ("For a recipient of the release alone", _recipient(asked_for)),
        ("Not claimed", _NOT_CLAIMED),
    )


def _recipient(asked_for: Sequence[str]) -> str:
    if not asked_for:
        return _RECIPIENT
    listed = ", ".join(f"`{name.replace('`', chr(39))}`" for name in asked_for)
    return f"Linked as far as these columns lead, which the job publishes although they look like a link: {listed}. {_MATCH}"
