"""What `anon-batch erase` prints. Addresses of originals are printed here and written nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anon_batch.cli.console import err, out, print_json
from anon_batch.cli.gates import show_gates
from anon_batch.formats import layout
from anon_batch.units import format_counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anon_batch.formats.ledger import Ledger
    from anon_batch.formats.plan import Plan
    from anon_batch.formats.release import Release
    from anon_batch.formats.version_json import Version
    from anon_batch.release.erase.request import FoundRows
    from anon_batch.release.erase.survivors import Place

_SHOWN = 20


def show_rows(found: FoundRows, plan: Plan) -> None:
    """Print the rows with the addresses of their originals, all of them, because nobody can find them later."""
    if not found.rows:
        out.print("nothing to erase", markup=False)
        return
    out.print(f"{format_counted(len(found.rows), 'row')} to erase, and where the originals are:", markup=False)
    for row in found.rows:
        out.print(f"  {_shown(row.image_id)}  {_shown(row.source)}", markup=False)
    out.print(
        "The originals stay: delete them yourself. Their addresses are kept nowhere after this.",
        markup=False,
    )
    if manifest := plan.sources.get("manifest"):
        out.print(
            f"Delete the rows from the manifest too, or another run of it publishes them: {manifest}", markup=False
        )


def show_twins(twins: Sequence[str]) -> None:
    """Print images that show the same original and are not erased."""
    if twins:
        shown = ", ".join(_shown(own) for own in twins[:_SHOWN])
        more = f" and {len(twins) - _SHOWN:,} more" if len(twins) > _SHOWN else ""
        err.print(f"not erased, though made of the same originals: {shown}{more}", markup=False)


def _shown(name: str) -> str:
    """Return a whole name as a terminal may show it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name)


def show_version(release: Release, version: Version, *, is_new: bool, key: Path | None) -> None:
    """Print what the new version is, and what is to be done next."""
    rows = format_counted(len(version.tombstones), "row")
    statuses = release.read_stats().statuses
    left = statuses.get("anonymized", 0) + statuses.get("clean", 0)
    said = f"erased {rows}" if is_new else f"erased these before, with {rows} in all"
    out.print(f"version {version.number} {said}; {format_counted(left, 'image')} left", markup=False)
    if key is None:  # because signing shows them
        show_gates(release.read_gates())
    out.print(
        f"others  who has a copy runs: anon-batch apply-tombstones COPY --from {release.uri}",
        markup=False,
    )
    if key is None:
        out.print(f"next    anon-batch release {release.uri} --sign-key KEY", markup=False)


def show_places(ledger: Ledger, places: Sequence[Place]) -> None:
    """Print what survives in buckets, and what nobody can know."""
    from anon_batch.release.erase.survivors import EXPLANATIONS

    for place in places:
        if place.known != "asked":
            out.print(f"unknown {place.uri}: {EXPLANATIONS[place.known]}", markup=False)
        elif not place.versions:
            out.print(f"none    {place.uri}: its bucket holds no earlier version of what was erased", markup=False)
        else:
            _show_versions(place)
    if any(own.versions for own in places):
        err.print(
            f"{ledger.address(layout.LEDGER_SURVIVORS)} lists them; the same command with --purge-versions deletes them for good",
            markup=False,
        )
    out.print("Backups, replicas, caches (a CDN) and copies of others are not seen from here.", markup=False)


def _show_versions(place: Place) -> None:
    out.print(
        f"left    {place.uri}: its bucket holds {format_counted(len(place.versions), 'earlier version')} of what was erased",
        markup=False,
    )
    for own in place.versions[:_SHOWN]:
        out.print(
            f"  {_shown(own.key)}  {'mark of a deletion' if own.is_marker else 'version'} {own.version_id}",
            markup=False,
        )
    if len(place.versions) > _SHOWN:
        out.print(f"  and {len(place.versions) - _SHOWN:,} more", markup=False)


def for_machines(found: FoundRows, version: Version | None, places: Sequence[Place], *, dry_run: bool) -> None:
    """Print the same as JSON."""
    print_json(
        {
            "dry_run": dry_run,
            "same_originals": list(found.twins),
            "rows": [{"row": own.number, "image_id": own.image_id, "source": own.source} for own in found.rows],
            "missing": list(found.missing),
            "version": None if version is None else version.number,
            "places": [
                {
                    "uri": own.uri,
                    "known": own.known,
                    "versions": [
                        {"key": one.key, "version_id": one.version_id, "is_marker": one.is_marker}
                        for one in own.versions
                    ],
                }
                for own in places
            ],
        }
    )
