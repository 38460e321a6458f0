"""OpenLineage events of commands that change a finished release."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from anon_batch.cli.console import err
from anon_batch.errors import ExitCode

if TYPE_CHECKING:
    from anon_batch.formats.release import Release
    from anon_batch.pipeline.observers import Ending


@contextlib.contextmanager
def lineage(command: str, place: Release) -> Iterator[None]:
    """Send the events of a block that works on a release, if the environment names a place for them.

    The release as it was is the input, the release as it is then the output.

    Args:
        command: of the command line.
        place: the release.
    """
    from anon_batch.pipeline.lineage import LineageRun, open_sink
    from anon_batch.pipeline.lineage_datasets import release_at
    from anon_batch.pipeline.observers import Ending

    sink = open_sink(lambda text: err.print(text, markup=False))
    if sink is None:
        yield
        return
    record = place.read_run_json()
    before = [release_at(place.uri, place.version)]
    events = LineageRun(sink, record.config["name"], command, record.run_id, secrets.token_hex(4))
    events.start(before, [release_at(place.uri, place.version)])
    try:
        yield
    except BaseException as exc:
        events.end(_ending(exc), before, [release_at(place.uri, place.version)])
        raise
    place.look_up_versions()
    ending = Ending(ExitCode.FINISHED, gates=place.read_gates())
    events.end(ending, before, [release_at(place.uri, place.version, place.read_stats())])


def _ending(exc: BaseException) -> Ending:
    from anon_batch.pipeline.observers import Ending, ending_of

    if isinstance(exc, typer.Exit):
        return Ending(next(code for code in ExitCode if code == exc.exit_code), error="refused")
    return ending_of(exc, is_terminated=False)
