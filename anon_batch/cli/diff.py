"""`anon-batch diff`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anon_batch.cli.console import UNFINISHED, err, out, print_json
from anon_batch.cli.options import Json
from anon_batch.cli.tables import add, show, table
from anon_batch.config import SourcesConfig, StorageConfig, load_job
from anon_batch.errors import ConfigError, ExitCode
from anon_batch.manifest.importers.report import printable
from anon_batch.storage import Storage, absolute
from anon_batch.units import format_share

if TYPE_CHECKING:
    from anon_batch.release.diff.result import Difference

_SHOWN_GROUPS = 20
_SHOWN_NAMES = 5


def diff(
    source: Annotated[str, typer.Argument(help="Manifest of the source.")],
    output: Annotated[str, typer.Argument(help="OUTPUT of the run.")],
    by: Annotated[
        str | None,
        typer.Option(
            help="Columns of the manifest to count by, comma-separated; default split, label, cls, class and class_name, as far "
            "as they are there, else the first folder of the ids.",
            show_default=False,
        ),
    ] = None,
    share: Annotated[
        float,
        typer.Option(help="Share of the images whose pixels are compared; rows are always compared.", min=0, max=1),
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the choice of these images.", min=0)] = 0,
    job: Annotated[
        Path | None, typer.Option("--job", help="Job file whose sections `storage` and `sources` give access.")
    ] = None,
    json: Json = False,
) -> None:
    """Prove that a release has the rows of its source in their order, and that no pixel outside the regions changed.

    It needs no ledger. Exit code 3 if something else differs.
    """
    from anon_batch.formats.release import Release
    from anon_batch.manifest import open_manifest
    from anon_batch.manifest.allowed import AllowedSources
    from anon_batch.manifest.fetch import SourceReader
    from anon_batch.release.diff.compare_rows import DiffSettings, compare_rows

    config = None if job is None else load_job(job, {})
    storage = Storage(StorageConfig() if config is None else config.storage)
    sources = SourcesConfig() if config is None else config.sources
    release = Release(storage, output)
    if not release.read_run_json().is_finished:
        raise ConfigError(f"{release.uri}: {UNFINISHED}; run the same job again to finish it")
    manifest = open_manifest(storage, absolute(source), sources.columns)
    columns = tuple(name.strip() for name in (by or "").split(",") if name.strip())
    if unknown := set(columns) - set(manifest.extra_schema.names):
        names = ", ".join(sorted(manifest.extra_schema.names)) or "none"
        raise ConfigError(f"--by {', '.join(sorted(unknown))}: no such column; the manifest has {names}")
    reader = SourceReader(storage, AllowedSources.of(sources, source))
    settings = DiffSettings(columns, share, seed)
    for step in compare_rows(manifest, reader, release, settings):
        result = step
    if json:
        print_json(result.to_json())
    else:
        _show(result)
    raise typer.Exit(int(ExitCode.INTEGRITY if result.faults_count else ExitCode.FINISHED))


def _show(result: Difference) -> None:
    counts = result.counts
    part = " (a sample)" if result.is_part else ""
    out.print(
        f"{counts['source']:,} rows in the source, {counts['released']:,} in the release{part}, in the same order"
    )
    lost = {name: n for name, n in counts.items() if name.startswith(("withheld:", "failed:"))}
    out.print(f"  with an image        {_published(counts):>12,}")
    for name, count in sorted(lost.items()):
        out.print(f"  {name.replace(':', ': '):20} {count:>12,}", markup=False)
    if counts["erased"]:
        out.print(f"  erased since         {counts['erased']:>12,}")
    out.print("pixels of the images")
    for name, text in _OUTCOMES.items():
        if counts[name] or name in ("equal", "changed in regions"):
            out.print(f"  {text:62} {counts[name]:>12,}", markup=False)
    if result.share_in_regions is not None:
        out.print(
            f"regions hold {format_share(result.share_in_regions)} of these images' pixels, which are not compared"
        )
    if counts["mostly in regions"]:
        out.print(
            f"  images that are mostly regions, so that little of them is compared {counts['mostly in regions']:>5,}"
        )
    _show_groups(result)
    for name, ids in result.names.items():
        if name == "missing" and result.is_part:
            continue
        more = f", and {counts[name] - _SHOWN_NAMES:,} more" if counts[name] > _SHOWN_NAMES else ""
        err.print(f"{name}: {', '.join(ids[:_SHOWN_NAMES])}{more}", markup=False)
    if result.faults_count:
        out.print(f"DIFFERENT: {result.faults_count:,} rows differ in something else than the regions' pixels")
    elif not any(counts[name] for name in _OUTCOMES):
        out.print("no row differs, and no pixels were compared")
    else:
        out.print("only pixels inside the regions changed")


def _show_groups(result: Difference) -> None:
    if len(result.groups) < 2:
        return
    rows = sorted(result.groups.items(), key=lambda own: (_published(own[1]) - own[1]["source"], own[0]))
    reasons: tuple[str, ...] = ("withheld", "failed", "missing")
    if result.counts["erased"]:  # because a terminal has no room for all
        reasons = (*(name for name in reasons if result.counts[name]), "erased")
    columns = ("source", "with an image", *reasons, "anonymized")
    made = table("By group, those that lost most first", "group", *columns)
    for name, own in rows[:_SHOWN_GROUPS]:
        lost = [own[what] for what in reasons]
        add(
            made,
            printable(name),
            *(f"{number:,}" for number in (own["source"], _published(own), *lost, own["anonymized"])),
        )
    show(made)
    if len(rows) > _SHOWN_GROUPS:
        out.print(f"{len(rows) - _SHOWN_GROUPS:,} more groups: --json shows all")


def _published(counts: Counter[str]) -> int:
    return counts["anonymized"] + counts["clean"]


_OUTCOMES = {
    "equal": "no pixel changed",
    "changed in regions": "changed inside the regions (JPEG: up to one block around them)",
    "encoded again": "encoded again as a whole; no difference but that of coding",
    "changed outside": "CHANGED OUTSIDE THE REGIONS",
    "other size": "OF ANOTHER SIZE",
    "output damaged": "OUTPUT MISSING OR DAMAGED",
    "source unreadable": "not compared, because the source cannot be read",
    "source changed": "not compared, because the source has another digest than the manifest says",
}
