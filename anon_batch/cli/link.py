"""`anon-batch link`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anon_batch.cli.console import out, print_json
from anon_batch.cli.options import Json, Output
from anon_batch.cli.reveal import By, Case, Key, PrivateLedger, Reason, check_keys, read_private_keys, who_asks
from anon_batch.errors import ConfigError, StorageError
from anon_batch.storage import Storage, absolute

if TYPE_CHECKING:
    from anon_batch.cli.link_answers import Answer
    from anon_batch.records import FloatArray
    from anon_batch.release.link.index import FaceIndex
    from anon_batch.release.link.tools import LinkTools
    from anon_batch.release.link.virtual import DonorQuery
    from anon_batch.release.reveal.sealed_release import SealedRelease

ModelsJob = Annotated[
    Path | None,
    typer.Option("--job", help="Job file whose `storage` and `models` give access to OUTPUT, ledger and weights."),
]


def link(
    output: Output,
    key: Key,
    photo: Annotated[
        str | None,
        typer.Option(help="Photograph of the person to search for or to compare. It is not kept.", show_default=False),
    ] = None,
    photo_face: Annotated[
        int | None,
        typer.Option(min=0, help="Which of its faces, from left to right, from 0.", show_default=False),
    ] = None,
    face: Annotated[
        str | None,
        typer.Option(
            metavar="ID/INDEX",
            help="Compare the photograph with this region alone: id of the image and index in the provenance's regions.",
            show_default=False,
        ),
    ] = None,
    virtual: Annotated[
        str | None,
        typer.Option(
            help="Image with one new face of this release: list whose it may be, and compare --photo with those alone.",
            show_default=False,
        ),
    ] = None,
    by: By = None,
    reason: Reason = None,
    case: Case = "",
    max_false_hits: Annotated[
        float | None,
        typer.Option(
            min=1e-6, max=1000, help="Hits of other people that may be expected; default the job's.", show_default=False
        ),
    ] = None,
    max_false_rate: Annotated[
        float,
        typer.Option(
            min=1e-9, max=0.5, help="Probability at which a comparison may take somebody else for the person."
        ),
    ] = 0.001,
    embedder: Annotated[
        str | None,
        typer.Option(help="The recogniser, if it is not where the job had it.", show_default=False),
    ] = None,
    run_key: Annotated[
        str | None,
        typer.Option(help="File of the run key, if the job named its own; --virtual needs it.", show_default=False),
    ] = None,
    ledger: PrivateLedger = None,
    json: Json = False,
    job: ModelsJob = None,
) -> None:
    """Find a person's images by a photograph, with the private key of a recipient (`link.recipients`).

    Prints ids of images, regions and scores, and how many hits of other people to expect; never an original. An entry of the
    ledger's access log says who searched and why, before the index is opened. It keeps no photograph, only a code that nobody
    without this key can make.
    """
    from anon_batch.release.link.index import FaceIndex
    from anon_batch.release.link.search import Log

    if photo is None and virtual is None:
        raise ConfigError("name what to search with: --photo FILE or --virtual FILE")
    if face is not None and (photo is None or virtual is not None):
        raise ConfigError("--face compares one region with --photo; leave out --virtual")
    keys = read_private_keys(key)
    place, tools = _open(output, ledger, job, embedder)
    check_keys(place, key, keys)
    asked = who_asks(by, reason, case)
    data = b"" if photo is None else _read(place.release.storage, photo)
    wanted = _Wanted(tools, place, face, max_false_hits, max_false_rate)
    if photo is not None:
        wanted.see(photo, data, photo_face)
    if virtual is not None:
        wanted.see_virtual(virtual, _read(place.release.storage, virtual), run_key)
    log = Log(place, keys, asked, data)
    try:
        answer = wanted.answer(FaceIndex(place, keys))
    except BaseException:
        log.close("failed", ())
        raise
    log.close(answer.outcome, answer.places)
    if json:
        print_json({**answer.values, "access_log": log.number})
    else:
        for line in answer.lines:
            out.print(line, markup=False)


class _Wanted:
    """What is asked for, before the index is opened."""

    def __init__(
        self, tools: LinkTools, place: SealedRelease, face: str | None, max_hits: float | None, max_rate: float
    ) -> None:
        self._tools, self._place, self._face, self._max_rate = tools, place, face, max_rate
        self._max_hits = tools.max_false_hits if max_hits is None else max_hits
        self._photo: FloatArray | None = None
        self._donor: DonorQuery | None = None

    def see(self, name: str, data: bytes, face: int | None) -> None:
        """Compute the feature of the photograph."""
        from anon_batch.release.link.photo import Photo

        self._photo = self._tools.feature_of(Photo(name, data, face))

    def see_virtual(self, name: str, data: bytes, run_key: str | None) -> None:
        """Recognise the donor of a published face."""
        from anon_batch.release.link.photo import Photo
        from anon_batch.release.link.virtual import DonorQuery

        self._donor = DonorQuery(self._tools, self._place, Photo(name, data), run_key)

    def answer(self, index: FaceIndex) -> Answer:
        """Return what the index says."""
        from anon_batch.cli import link_answers as answers
        from anon_batch.release.link.search import compare, find_face, search

        if self._donor is not None:
            persons = self._donor.persons(index)
            compared = None
            if self._photo is not None:
                faces = [own for places in persons.values() for own in places if own not in index.others]
                compared = compare(index, self._photo, faces, self._max_rate)
            return answers.of_virtual(index, self._donor.donor, persons, compared)
        if self._photo is None:
            raise ConfigError("name what to search with: --photo FILE")
        if self._face is not None:
            [found] = compare(index, self._photo, [find_face(index, self._face)], self._max_rate)
            return answers.of_comparison(found, self._max_rate)
        return answers.of_search(index, search(index, self._photo, self._max_hits), self._max_hits)


def _open(output: str, ledger: str | None, job: Path | None, embedder: str | None) -> tuple[SealedRelease, LinkTools]:
    """Return a release with its index of faces, and the tools to search it."""
    from anon_batch.config import ModelsConfig, StorageConfig, load_job
    from anon_batch.formats.ledger import Ledger
    from anon_batch.formats.release import Release
    from anon_batch.release.link.tools import LinkTools
    from anon_batch.release.reveal.sealed_release import SealedRelease

    config = None if job is None else load_job(job, {})
    storage = Storage(StorageConfig() if config is None else config.storage)
    release = Release(storage, output)
    place = SealedRelease(release, Ledger(storage, ledger or f"{release.uri}-ledger"), "link")
    return place, LinkTools(place, ModelsConfig() if config is None else config.models, embedder)


def _read(storage: Storage, address: str) -> bytes:
    try:
        return storage.read(absolute(address))
    except StorageError as exc:
        raise ConfigError(f"{address}: cannot be read ({exc})") from None
