"""`anon-batch reveal`."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anon_batch.cli.console import err, out
from anon_batch.cli.keys import read_key_file
from anon_batch.cli.options import Output, StorageJob, storage_of
from anon_batch.errors import ConfigError
from anon_batch.process import stoppable
from anon_batch.units import format_counted

if TYPE_CHECKING:
    from anon_batch.release.reveal.reveal import Asked, Revealed
    from anon_batch.release.reveal.sealed_release import SealedRelease, Wanted
    from anon_batch.sealing.key_files import PrivateKey
    from anon_batch.storage import Storage

Image = Annotated[
    list[str] | None,
    typer.Option("--image", help="Id of an image; all of its regions; repeatable.", show_default=False),
]
Region = Annotated[
    list[str] | None,
    typer.Option(
        "--region",
        metavar="ID/INDEX",
        help="One region: id of the image and its index in the provenance's regions, from 0; repeatable.",
        show_default=False,
    ),
]
Key = Annotated[list[Path], typer.Option("--key", help="File of your private key; repeatable, for `seal.need: all`.")]
By = Annotated[str | None, typer.Option("--by", help="Who asks, for the access log.", show_default=False)]
Reason = Annotated[str | None, typer.Option("--reason", help="Why, for the access log.", show_default=False)]
Case = Annotated[str, typer.Option("--case", help="A file number, for the access log.", show_default=False)]
PrivateLedger = Annotated[str | None, typer.Option("--ledger", help="Ledger of the run; default OUTPUT-ledger.")]


def reveal(
    output: Output,
    key: Key,
    to: Annotated[Path, typer.Option("-o", "--to", help="Local folder for the originals, for you alone.")],
    image: Image = None,
    region: Region = None,
    every: Annotated[bool, typer.Option("--all", help="Every image that was anonymized.")] = False,
    ticket: Annotated[
        Path | None,
        typer.Option(help="File of tickets (`anon-batch keys ticket`); needs no ledger.", show_default=False),
    ] = None,
    by: By = None,
    reason: Reason = None,
    case: Case = "",
    ledger: PrivateLedger = None,
    job: StorageJob = None,
) -> None:
    """Restore originals that the job sealed (`seal.recipients`), exactly, with a recipient's private key.

    An entry of the ledger's access log says who asked for what and why, before anything is opened.
    """
    from anon_batch.release.reveal.reveal import write_revealed

    own = read_private_keys(key)
    storage = storage_of(job)
    _check_folder(to, output, ledger)
    if ticket is not None:
        if image or region or every:
            raise ConfigError("--ticket says itself what it opens; leave out --image, --region and --all")
        if len(own) > 1:
            raise ConfigError("--ticket is for one key; give --key once")
        revealed = _by_ticket(storage, output, own[0], ticket)
    else:
        from anon_batch.release.reveal.reveal import reveal as open_seals

        place = open_place(storage, output, ledger)
        check_keys(place, key, own)
        asked = who_asks(by, reason, case)
        revealed = open_seals(place, own, wanted_of(place, image, region, every=every), asked)
    count = 0
    # Closing, because the log's entry about the outcome must not wait for the end of the process.
    with stoppable(f"; what was restored lies below {to}. To go on, name an empty folder"), closing(revealed):
        for found in revealed:
            path = write_revealed(to, found)
            out.print(f"{path}  {_what(found)}", markup=False)
            count += 1
    if count:
        err.print(f"{format_counted(count, 'image')} restored below {to}. They are personal data.", markup=False)
    else:
        err.print("nothing was anonymized in this release, so that there is nothing to restore", markup=False)


def open_place(storage: Storage, output: str, ledger: str | None) -> SealedRelease:
    """Return a release with its seals."""
    from anon_batch.formats.ledger import Ledger
    from anon_batch.formats.release import Release
    from anon_batch.release.reveal.sealed_release import SealedRelease

    release = Release(storage, output)
    return SealedRelease(release, Ledger(storage, ledger or f"{release.uri}-ledger"))


def read_private_keys(paths: Sequence[Path]) -> list[PrivateKey]:
    """Return the private keys of some files.

    Raises:
        ConfigError: one cannot be read, or two hold the same key.
    """
    from anon_batch.sealing.key_files import read_private_key

    keys = [read_private_key(read_key_file(path), str(path)) for path in paths]
    if len({own.public.key_id for own in keys}) < len(keys):
        raise ConfigError("--key: the same key twice")
    return keys


def check_keys(place: SealedRelease, paths: Sequence[Path], keys: Sequence[PrivateKey]) -> None:
    """Check that private keys open the seals; raise ConfigError otherwise."""
    for path, own in zip(paths, keys, strict=True):
        place.check_key(own, str(path))
    place.check_keys(keys)


def who_asks(by: str | None, reason: str | None, case: str) -> Asked:
    """Return what the log says about the one who asks.

    Raises:
        ConfigError: name or reason is missing, or a text is more than one line.
    """
    from anon_batch.release.reveal.reveal import Asked

    if not (by and by.strip()) or not (reason and reason.strip()):
        raise ConfigError("--by and --reason: say who asks and why; both stay in the access log")
    # Because `keys list` would show lines that are no entries.
    if not all(text.isprintable() for text in (by, reason, case)):
        raise ConfigError("--by, --reason and --case: one line of printable characters each")
    return Asked(by.strip(), reason.strip(), case.strip())


def wanted_of(
    place: SealedRelease, images: list[str] | None, regions: list[str] | None, *, every: bool = False
) -> list[Wanted]:
    """Return what is asked for.

    Raises:
        ConfigError: nothing, or something that is no region.
    """
    from anon_batch.release.reveal.sealed_release import Wanted

    if every:
        if images or regions:
            raise ConfigError("--all opens everything; leave out --image and --region")
        return place.all_images()
    found: dict[str, tuple[int, ...]] = {}
    for text in regions or ():
        image_id, _, index = text.rpartition("/")
        if not image_id or not (index.isascii() and index.isdigit() and len(index) < 10):
            raise ConfigError(f"--region {text}: expected ID/INDEX, for example people/a.jpg/0")
        found[image_id] = (*found.get(image_id, ()), int(index))
    found.update(dict.fromkeys(images or (), ()))
    if not found:
        raise ConfigError("name what to open: --image or --region")
    return [Wanted(image_id, tuple(sorted(set(own)))) for image_id, own in found.items()]


def _by_ticket(storage: Storage, output: str, key: PrivateKey, path: Path) -> Generator[Revealed, None, None]:
    from anon_batch.formats.release import Release
    from anon_batch.formats.ticket import read_tickets
    from anon_batch.release.reveal.reveal import reveal_tickets
    from anon_batch.shards import effective

    release = Release(storage, output)
    run_id = release.read_run_json().run_id
    tickets = read_tickets(read_key_file(path), str(path))
    if any(own.sealed.place.run_id != run_id for own in tickets):
        raise ConfigError(f"{path}: tickets of another release")
    asked = {own.sealed.place.image_id for own in tickets}
    rows = {
        row["image_id"]: row
        for spec in effective(release.parts())
        for row in release.read_part(spec).table.to_pylist()
        if row["image_id"] in asked and row["output"] is not None
    }
    return reveal_tickets(release, key, tickets, rows)


def _check_folder(to: Path, output: str, ledger: str | None) -> None:
    from anon_batch.storage import absolute, is_local

    own = to.expanduser().resolve()
    for place in (absolute(output), absolute(ledger or f"{output.rstrip('/')}-ledger")):
        if is_local(place) and own.is_relative_to(Path(place).resolve()):  # resolved, because links lead there too
            raise ConfigError(f"-o {to}: lies inside {place}; originals need a place of their own")


def _what(found: Revealed) -> str:
    if found.whole:
        return "the source's file, with its metadata"
    if found.regions == found.of:
        return f"all {format_counted(found.of, 'region')}: the coefficients of the source"
    return f"{found.regions} of {format_counted(found.of, 'region')}"
