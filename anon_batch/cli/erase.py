"""`anon-batch erase`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anon_batch.cli.console import err
from anon_batch.cli.erased import for_machines, show_places, show_rows, show_twins, show_version
from anon_batch.cli.keys import read_key_file
from anon_batch.cli.lineage import lineage
from anon_batch.cli.options import Json, Output, StorageJob, storage_of
from anon_batch.cli.release import release as write_release
from anon_batch.errors import ConfigError, ExitCode
from anon_batch.units import format_counted

if TYPE_CHECKING:
    from anon_batch.formats.ledger import Ledger
    from anon_batch.formats.release import Release
    from anon_batch.release.erase.erase import Eraser
    from anon_batch.release.erase.request import EraseRequest, FoundRows
    from anon_batch.release.erase.survivors import Place

_SHOWN = 20


def erase(
    output: Output,
    ids: Annotated[list[str] | None, typer.Option(help="Id of an image; repeatable.", show_default=False)] = None,
    ids_file: Annotated[Path | None, typer.Option(help="File with one id on each line.", show_default=False)] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="Original of the images: a file (of a tar or Parquet file, all that it holds), a folder, or a beginning with * "
            "at its end; repeatable.",
            show_default=False,
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Images with this value in a published column; repeatable.", show_default=False
        ),
    ] = None,
    person: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TOKEN",
            help="Images of this person, by the token that the ledger has for whose face it is (persons.parquet); repeatable.",
            show_default=False,
        ),
    ] = None,
    ignore_missing: Annotated[
        bool, typer.Option("--ignore-missing", help="Erase what is there, though something that is named is not.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be erased.")] = False,
    purge_versions: Annotated[
        bool,
        typer.Option(
            "--purge-versions", help="Delete earlier versions of what held erased rows from the buckets, for good."
        ),
    ] = False,
    sign_key: Annotated[
        Path | None,
        typer.Option(help="Private key: sign the new version, as `anon-batch release` does.", show_default=False),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    ledger: Annotated[str | None, typer.Option(help="Ledger of the run; default OUTPUT-ledger.")] = None,
    job: StorageJob = None,
    json: Json = False,
) -> None:
    """Erase images from a finished release: a new version without them, and a ledger that forgets them.

    Nothing is done unless everything that is named exists. The same command again goes on where it was interrupted. The
    originals are not touched; their addresses are printed and kept nowhere.
    """
    from anon_batch.formats.destroyed_json import LEDGER
    from anon_batch.formats.ledger import Ledger
    from anon_batch.formats.release import Release
    from anon_batch.release.erase.erase import Eraser
    from anon_batch.release.signature.signing_key import read_private

    request = _request(ids or [], ids_file, source or [], column or [], person or [])
    if json and not (yes or dry_run):
        raise ConfigError("--json asks nothing: add --yes or --dry-run")
    if sign_key is not None:
        read_private(read_key_file(sign_key), str(sign_key))  # before anything is done
    place = Release(storage_of(job), output)
    gone = place.read_destroyed(place.read_run_json().run_id).find(LEDGER)
    if gone is not None:
        raise ConfigError(
            f"{place.uri}: its ledger was destroyed ({gone.destroyed_at}), and without it a release gets no new version. Make a "
            "new release without these images, and delete this one"
        )
    private = Ledger(place.storage, ledger or f"{place.uri}-ledger")
    eraser = Eraser(place, private)
    if not dry_run:
        eraser.finish()
    found, version = eraser.find(request), eraser.erased_by(request)
    if found.rows or version is None:
        _check(eraser, found, ignore_missing=ignore_missing)
        if not json:
            show_rows(found, eraser.plan)
            show_twins(found.twins)
        version = None
    if found.rows and not dry_run:
        _ask(found, yes=yes)
        with lineage("erase", place):
            version = eraser.erase(request, found)
    places = [] if dry_run or version is None else _survivors(place, private, purge=purge_versions)
    if json:
        for_machines(found, version, places, dry_run=dry_run)
    elif version is not None:
        show_version(place, version, is_new=bool(found.rows), key=sign_key)
        show_places(private, places)
    if sign_key is not None and version is not None:
        with contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext():
            write_release(output, sign_key, job, ledger)
    if purge_versions and any(own.versions for own in places):
        raise typer.Exit(int(ExitCode.USAGE))


def _request(
    ids: list[str], ids_file: Path | None, sources: list[str], columns: list[str], persons: list[str]
) -> EraseRequest:
    from anon_batch.release.erase.request import EraseRequest

    named = [*ids, *([] if ids_file is None else _lines(ids_file))]
    pairs = [(name, value) for name, _, value in (text.partition("=") for text in columns)]
    if wrong := [text for text in columns if "=" not in text]:
        raise ConfigError(f"--column {wrong[0]}: write NAME=VALUE")
    if wrong := [text for text in sources if not text.strip("*/ ")]:
        raise ConfigError(f"--source {wrong[0]!r}: names everything; name the images by --ids")
    if not (named or sources or pairs or persons):
        raise ConfigError("name what to erase: --ids, --ids-file, --source, --column or --person")
    return EraseRequest(tuple(named), tuple(sources), tuple(pairs), tuple(persons))


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"--ids-file {path} cannot be read: {exc}") from None
    return [line for line in text.splitlines() if line.strip()]


def _check(eraser: Eraser, found: FoundRows, *, ignore_missing: bool) -> None:
    if found.missing and not ignore_missing:
        shown = ", ".join(found.missing[:_SHOWN])
        more = f" and {len(found.missing) - _SHOWN:,} more" if len(found.missing) > _SHOWN else ""
        raise ConfigError(
            f"{shown}{more}: not in this release, or erased before; nothing was done. --ignore-missing erases the others "
            f"({format_counted(len(found.rows), 'row')})"
        )
    if found.missing:
        err.print(f"{format_counted(len(found.missing), 'name')} not in this release, or erased before", markup=False)
    if found.rows:
        eraser.check(found)


def _ask(found: FoundRows, *, yes: bool) -> None:
    if not yes and not typer.confirm(f"Erase {format_counted(len(found.rows), 'row')} for good?", default=False):
        raise ConfigError("nothing was erased; --yes erases without asking")


def _survivors(release: Release, ledger: Ledger, *, purge: bool) -> list[Place]:
    from anon_batch.release.erase import survivors

    places = survivors.list_survivors(release, ledger)
    if purge:
        for refused in survivors.purge(release, ledger, places)[:_SHOWN]:
            name = refused.version
            err.print(f"{name.key}, version {name.version_id}: not deleted ({refused.why})", markup=False)
        places = survivors.list_survivors(release, ledger)
    survivors.write_survivors(ledger, release.version, places)
    return list(places)
