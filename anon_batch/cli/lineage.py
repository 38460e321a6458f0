"""OpenLineage events of commands that change a finished release."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from anon_batch.cli.console import err
from anon_batch.errors import ExitCode, trace_without_text

if TYPE_CHECKING:
    from anon_batch.formats.release import Release
    from anon_batch.pipeline.lineage import Sink
    from anon_batch.pipeline.observers import Ending


@contextlib.contextmanager
def lineage(command: str, place: Release) -> Iterator[None]:
    """Send the events of a block that works on a release, if the environment names a place for them.

    Args:
        command: of the command line.
        place: the release.
    """
    from anon_batch.pipeline.lineage import open_sink
    from anon_batch.pipeline.observers import Ending

    sink = open_sink(lambda text: err.print(text, markup=False))
    if sink is None:
        yield
        return
    events = _Events(command, place, sink)
    with _stops_nothing():
        events.start()
    try:
        yield
    except BaseException as exc:
        with _stops_nothing():
            events.end(_ending(exc))
        raise
    with _stops_nothing():
        events.end(Ending(ExitCode.FINISHED, gates=place.read_gates()))


class _Events:
    """The release as it was is the input, the release as it is then the output."""

    def __init__(self, command: str, place: Release, sink: Sink) -> None:
        from anon_batch.pipeline.lineage import LineageRun
        from anon_batch.pipeline.lineage_datasets import release_at

        self._place, self._release_at = place, release_at
        record = place.read_run_json()
        self._before = release_at(place.uri, place.version)
        self._run = LineageRun(sink, record.config["name"], command, record.run_id, secrets.token_hex(4))

    def start(self) -> None:
        self._run.start([self._before], [self._before])

    def end(self, ending: Ending) -> None:
        after = self._before
        if not ending.error:
            self._place.look_up_versions()
            after = self._release_at(self._place.uri, self._place.version, self._place.read_stats())
        self._run.end(ending, [self._before], [after])


@contextlib.contextmanager
def _stops_nothing() -> Iterator[None]:
    try:
        yield
    except Exception as exc:  # because the command has done its work
        err.print(f"an OpenLineage event was not sent: {trace_without_text(exc)}", markup=False)


def _ending(exc: BaseException) -> Ending:
    from anon_batch.pipeline.observers import Ending, ending_of

    if isinstance(exc, typer.Exit):
        return Ending(next(code for code in ExitCode if code == exc.exit_code), error="refused")
    return ending_of(exc, is_terminated=False)
