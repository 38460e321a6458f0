"""`anon-batch apply-tombstones`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anon_batch.cli.console import err, out, print_json
from anon_batch.cli.keys import read_key_file
from anon_batch.cli.options import Json, StorageJob, storage_of
from anon_batch.errors import ConfigError, ExitCode
from anon_batch.units import format_counted

if TYPE_CHECKING:
    from anon_batch.formats.release import Release
    from anon_batch.release.apply.by_digest import Removal
    from anon_batch.release.apply.news import News
    from anon_batch.release.apply.whole_copy import Update

_SHOWN = 20


def apply_tombstones(
    copy: Annotated[str, typer.Argument(help="Your copy of a release, of any version, or of its images alone.")],
    new: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="NEW",
            help="The new release, with or without its images; or its folder `versions`, for --by-digest.",
        ),
    ],
    key: Annotated[
        Path | None, typer.Option(help="Public key of the one who signed the new version; checks the signature first.")
    ] = None,
    by_digest: Annotated[
        bool,
        typer.Option(
            "--by-digest",
            help="Look for erased images by their digests alone, in any folder: for copies without provenance.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    job: StorageJob = None,
    json: Json = False,
) -> None:
    """Remove from a copy of a release what a later version has erased; needs no network and no ledger.

    A copy with provenance becomes the new version, and `verify` finds it complete. Exit code 3 if something in it could not be
    read or replaced.
    """
    from anon_batch.formats.release import Release
    from anon_batch.release.apply.by_digest import remove_by_digest
    from anon_batch.release.apply.news import read_news
    from anon_batch.release.apply.whole_copy import update_copy
    from anon_batch.release.signature.signing_key import read_public

    public = None if key is None else read_public(read_key_file(key), str(key))
    storage = storage_of(job)
    news, place = read_news(storage, new, public), Release(storage, copy)
    _check_places(place, news, by_digest=by_digest)
    if by_digest:
        removal = remove_by_digest(place, news.versions, dry_run=dry_run)
        if json:
            print_json({"dry_run": dry_run, "wanted": removal.wanted, "found": len(removal.found), **_counts(removal)})
        else:
            _show_removal(place, removal, dry_run=dry_run)
        raise typer.Exit(int(ExitCode.INTEGRITY if removal.unread else ExitCode.FINISHED))
    update = update_copy(place, news, dry_run=dry_run)
    if json:
        facts = {name: getattr(update, name) for name in ("was", "removed", "replaced", "written", "missing")}
        print_json({"dry_run": dry_run, "version": len(news.versions), **facts})
    else:
        _show_update(place, news, update, dry_run=dry_run)
    raise typer.Exit(int(ExitCode.INTEGRITY if update.missing else ExitCode.FINISHED))


def _counts(removal: Removal) -> dict[str, Any]:
    return {"removed": removal.removed, "changed": removal.changed, "unread": removal.unread}


def _check_places(copy: Release, news: News, *, by_digest: bool) -> None:
    if copy.uri == news.release.uri:
        raise ConfigError(f"{copy.uri}: the copy and --from are the same folder")
    if next(copy.objects(""), None) is None:
        raise ConfigError(f"{copy.uri}: nothing is there")
    if by_digest:
        return
    if not copy.parts():
        raise ConfigError(
            f"{copy.uri}: has no provenance, so nobody can tell whether it is a copy of this release. --by-digest looks for "
            "erased images by their digests alone"
        )
    if not news.has_parts:
        raise ConfigError(
            f"{news.release.uri}: has no provenance, which the copy needs to become the new version: get it too (images are not "
            "needed). Or --by-digest removes erased images, and leaves a copy that `verify` does not know"
        )


def _show_update(copy: Release, news: News, update: Update, *, dry_run: bool) -> None:
    number = len(news.versions)
    if update.was == number:
        out.print(f"{copy.uri} is version {number}", markup=False)
        return
    done = [
        f"{format_counted(update.removed, 'image')} {'to remove' if dry_run else 'removed'}",
        *([f"{format_counted(update.replaced, 'image')} that a patch changed"] if update.replaced else []),
        *([f"{format_counted(update.written, 'shard file')} written again"] if update.written and not dry_run else []),
    ]
    becomes = "would become" if dry_run else "is now"
    out.print(f"{copy.uri} {'is' if dry_run else 'was'} version {update.was}, {becomes} version {number}", markup=False)
    out.print(", ".join(done), markup=False)
    for name in update.missing[:_SHOWN]:
        err.print(f"{name}: not in {news.release.uri}; copy it from there", markup=False)
    if len(update.missing) > _SHOWN:
        err.print(f"... and {len(update.missing) - _SHOWN:,} more", markup=False)
    if not (update.missing or dry_run):
        out.print(f"next    anon-batch verify {copy.uri} --no-ledger --key PUBLIC_KEY", markup=False)


def _show_removal(copy: Release, removal: Removal, *, dry_run: bool) -> None:
    out.print(
        f"{len(removal.found):,} of {format_counted(removal.wanted, 'erased image')} found in {copy.uri}: "
        f"{format_counted(removal.removed, 'image')} {'to remove' if dry_run else 'removed'}",
        markup=False,
    )
    for name in removal.changed:
        out.print(f"  {name}", markup=False)
    for name in removal.unread:
        err.print(f"{name}: cannot be read, so nobody knows what it holds", markup=False)
    out.print(
        "An image that was encoded again, or that a patch had changed before it was erased, has another digest. Other files of "
        "the folder may still name an image.",
        markup=False,
    )
