"""The entries that count over the whole release: rows, regions, columns, limits, versions, and what was destroyed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from anon_batch.formats import layout
from anon_batch.formats.services import used_services
from anon_batch.release.licences import all_models
from anon_batch.release.report.finished import FinishedRelease
from anon_batch.release.risk.entries import Entry, count, not_measured, share
from anon_batch.release.words.found_persons import found_persons, say_expected
from anon_batch.release.words.table import kept_secrets

_NEW_FACES = ("swap", "gan")


def persons_found(finished: FinishedRelease) -> Entry:
    """Return how many regions were found in how many images."""
    summary = finished.stats.summary
    searched = int(summary["images_searched"])
    what = "faces and other regions found, persons seen twice counted twice"
    return count(what, int(summary["detections"]), searched, "searched images", f"{layout.STATS}: detections")


def with_regions(finished: FinishedRelease) -> Entry:
    """Return the share of the images in which something was found."""
    summary = finished.stats.summary
    found, searched = int(summary["images_with_regions"]), int(summary["images_searched"])
    return _share("images in which something was found", found, searched, "searched images", "images_with_regions")


def status(finished: FinishedRelease, name: str, what: str) -> Entry:
    """Return the share of the rows with a status."""
    return _share(what, finished.stats.statuses.get(name, 0), finished.stats.rows, "rows", f"statuses.{name}")


def methods_used(finished: FinishedRelease) -> tuple[Entry, ...]:
    """Return how many of the found regions were anonymized by each method, and how many were kept."""
    summary = finished.stats.summary
    kept = int(summary["regions_kept"])
    methods = {str(name): int(number) for name, number in summary["methods"].items()}
    regions = sum(methods.values()) + kept
    if not regions:
        return (count("regions anonymized", 0, 0, "regions", f"{layout.STATS}: regions_anonymized"),)
    own = [
        _share(f"regions anonymized by {name}", number, regions, "regions", f"methods.{name}")
        for name, number in methods.items()
    ]
    return (
        *own,
        _share("regions kept as in the source, on the owner's word", kept, regions, "regions", "regions_kept"),
    )


def new_faces(finished: FinishedRelease) -> Entry:
    """Return the share of the regions that show a donor's face, which may carry traits of the person."""
    methods = finished.stats.summary["methods"]
    regions, new = sum(map(int, methods.values())), sum(int(methods.get(name, 0)) for name in _NEW_FACES)
    note = "a donor is chosen to fit what lies around the face, so that age, sex and skin tone may follow those of the person"
    what = "regions that show another face now"
    return _share(what, new, regions, "regions", "methods", note if new else "")


def persons_twice(finished: FinishedRelease, what: str) -> tuple[Entry, ...]:
    """Return how many faces are of a person with several, as comparing faces estimated it, where that was done."""
    if (found := found_persons(finished.run)) is None:
        return (not_measured(what, "names or numbers of persons in the source; anon-batch computes none"),)
    linked, compared = int(found["linked"]), int(found["compared"])
    note = f"of {found['persons']:,} persons, as estimated by comparing faces; others may show one person too"
    return (
        share(
            "faces of a person with several", linked, compared, "faces compared", f"{layout.RUN}: config.identity", note
        ),
    )


def false_links(finished: FinishedRelease) -> tuple[Entry, ...]:
    """Return how many pairs of different people are expected to share a face; nothing where persons were not estimated."""
    what = "pairs of different people who may have one face, because persons were found by comparing faces"
    if (found := found_persons(finished.run)) is None:
        return ()
    if found["expected_false_pairs"] is None:
        return (not_measured(what, "200 pairs of faces of one image, in 30 images"),)
    note = f"{say_expected(found['expected_false_pairs'])}; rounded up here"
    number = math.ceil(found["expected_false_pairs"]["value"])
    return (count(what, number, int(found["pairs"]), "pairs compared", f"{layout.RUN}: config.identity", note),)


def published_columns(finished: FinishedRelease) -> Entry:
    """Return how many columns of the source are published."""
    columns = finished.run.columns
    names = [str(name) for name in columns.get("published", [])]
    number = len(names) + len(columns.get("withheld", {}))
    what = "columns of the source published beside the image and its id"
    return count(what, len(names), number, "columns", f"{layout.RUN}: columns.published", ", ".join(names))


def withheld_columns(finished: FinishedRelease) -> Entry:
    """Return how many columns are withheld because they may lead to the source or to a person."""
    columns = finished.run.columns
    names = [str(name) for name in columns.get("withheld", {})]
    number = len(names) + len(columns.get("published", []))
    what = "columns and keys withheld, because they may lead to a person or the source"
    return count(what, len(names), number, "columns", f"{layout.RUN}: columns.withheld", ", ".join(names))


def limits_kept(finished: FinishedRelease, names: Sequence[str]) -> Entry:
    """Return how many of the owner's limits were kept, of those that concern a risk."""
    own = [gate for gate in finished.gates.results if gate.name in names]
    what = "limits that the owner set before, and that were kept"
    if not own:
        return not_measured(what, f"a limit in the job: {', '.join(f'`gates.{name}`' for name in names)}")
    notes = "; ".join(f"{gate.name}: {gate.note}" for gate in own)
    return count(what, sum(gate.passed for gate in own), len(own), "limits", layout.GATES, notes)


def later_versions(finished: FinishedRelease) -> Entry:
    """Return how many versions followed the run, by what made them."""
    later = [version.kind for version in finished.release.versions if version.kind != "run"]
    note = ", ".join(f"{later.count(kind)} by `anon-batch {kind}`" for kind in sorted(set(later)))
    what, unit = "versions after the first: images repaired, rows erased, images signed", "versions, the first included"
    return count(
        what,
        len(later),
        len(later) + 1,
        unit,
        "versions/",
        note,
        "anon-batch patch, erase or c2pa",
    )


def destroyed(finished: FinishedRelease) -> Entry:
    """Return how many of the private things that lead back to persons are recorded as destroyed."""
    ways = [secret.name for secret in kept_secrets(finished.run)]
    gone = [what for what in ways if (own := finished.destroyed.find(what)) is not None and own.counts]
    note = ", ".join(gone) or f"as long as the {' or the '.join(ways)} exists, its holder can link"
    what = f"ways back that are recorded as destroyed: the {' and the '.join(ways)}"
    return count(what, len(gone), len(ways), "ways back", layout.DESTROYED, note, "anon-batch keys destroy")


def services(finished: FinishedRelease) -> tuple[Entry, ...]:
    """Return how many services originals were sent to; nothing if there is none."""
    used = used_services(all_models(finished))
    if not used:
        return ()
    what, note = "services that originals were sent to", "; ".join(own.said for own in used)
    return (count(what, len(used), len(used), "services", f"{layout.RUN}: models", note),)


def _share(what: str, part: int, whole: int, unit: str, key: str, note: str = "") -> Entry:
    return share(what, part, whole, unit, f"{layout.STATS}: {key}", note)
