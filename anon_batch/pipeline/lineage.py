"""OpenLineage events of one command: where they go, and what all of them hold.

Off unless the variables OPENLINEAGE_* of the official client name a place; the extra `lineage` installs that client. No event
names a source: the manifest is known by the digest of its rows. An event holds the address of the output, because that is the
name of a dataset; it goes to nobody but the user's own place.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from anon_batch import __version__
from anon_batch.errors import ExitCode
from anon_batch.pipeline.observers import STOPPED, Ending
from anon_batch.redaction import redact
from anon_batch.storage import is_local

PRODUCER = "https://github.com/anon-batch/anon-batch"
NAMESPACE = "anon-batch"
_IDS = uuid.uuid5(uuid.NAMESPACE_URL, PRODUCER)
_LAST_EVENT_S = 20.0
_LAST_EVENT_WHEN_STOPPED_S = 1.0  # because Ray kills a driver 3 s after SIGTERM
_PLACES = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT")
# The working directory's repository is not where this command's code comes from.
_CLIENT_CONFIG = {"facets": {"source_code_location": {"disabled": True}}}


class Sink:
    """Sends events in a thread of its own, so that a slow place stops nothing.

    Args:
        client: an OpenLineageClient.
        warn: called once when an event cannot be sent.
    """

    def __init__(self, client: Any, warn: Callable[[str], None]) -> None:
        self._client, self._warn, self._has_warned = client, warn, False
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send_all, name="lineage", daemon=True)
        self._thread.start()

    def send(self, event: Any) -> None:
        """Send an event soon."""
        self._events.put(event)

    def close(self, seconds: float) -> None:
        """Wait until all events are sent, but not for long."""
        self._events.put(None)
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._warn_once(f"no answer within {seconds:g} s")

    def _send_all(self) -> None:
        while (event := self._events.get()) is not None:
            try:
                self._client.emit(event)
            except Exception as exc:  # whatever a transport raises, the run goes on
                self._warn_once(f"{type(exc).__name__}: {exc}")

    def _warn_once(self, why: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._warn(f"OpenLineage events cannot be sent ({' '.join(redact(why).split())[:300]}); the run goes on")


def open_sink(warn: Callable[[str], None]) -> Sink | None:
    """Return where the environment sends events; None if nowhere, or if that cannot be used, which is said to `warn`."""
    if os.environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return None
    if not (given := [name for name in os.environ if name.startswith(_PLACES)]):
        return None
    try:
        from openlineage.client import OpenLineageClient, event_v2
    except ImportError:
        warn(f"{given[0]} asks for OpenLineage events, but its client is missing: pip install 'anon-batch[lineage]'")
        return None
    if "OPENLINEAGE_CLIENT_LOGGING" not in os.environ:  # because what fails is said once, by `Sink`
        for name in ("openlineage", "urllib3"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    event_v2.set_producer(PRODUCER)
    try:
        client = OpenLineageClient(config=_CLIENT_CONFIG)
        if not (client.config.transport or os.environ.get("OPENLINEAGE_URL")):
            raise ValueError("no transport is named")
    except Exception as exc:
        warn(
            f"OpenLineage is not set up right, so no events are sent ({given[0]}: {redact(str(exc))}); the run goes on"
        )
        return None
    return Sink(client, warn)


@dataclass(frozen=True, slots=True)
class Named:
    """A dataset of an event.

    Args:
        namespace, name: as OpenLineage names datasets.
        facets: of the dataset.
        own_facets: of it as an input, or as an output.
    """

    namespace: str
    name: str
    facets: Mapping[str, Any] = field(default_factory=dict)
    own_facets: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def at(cls, uri: str) -> Named:
        """Return the dataset at an address, e.g. namespace `s3://bucket` and name `folder/release`."""
        if is_local(uri):
            return cls("file", uri)
        scheme, _, rest = redact(uri).partition("://")
        store, _, path = rest.partition("/")
        return cls(f"{scheme}://{store}", path or "/")


class LineageRun:
    """The events of one start of a command.

    Args:
        sink: where they go.
        job: name of the job in the release.
        command: of the command line; part of the job's name.
        run_id: of the release's run; all commands on it have the same parent.
        invocation: names this start.
    """

    def __init__(self, sink: Sink, job: str, command: str, run_id: str, invocation: str) -> None:
        self._sink = sink
        self._job, self._command, self._run_id = job, command, run_id
        self._id = str(uuid.uuid5(_IDS, f"{run_id}/{command}/{invocation}"))
        self._namespace = os.environ.get("OPENLINEAGE_NAMESPACE", NAMESPACE)

    def start(self, inputs: Sequence[Named], outputs: Sequence[Named]) -> None:
        """Send START."""
        self._sink.send(self._event("START", {}, inputs, outputs))

    def end(self, ending: Ending, inputs: Sequence[Named], outputs: Sequence[Named]) -> None:
        """Send COMPLETE, ABORT (stopped on purpose, or by SIGTERM) or FAIL, and wait until it is sent."""
        from openlineage.client import facet_v2

        state, facets = "COMPLETE", {}
        if ending.error or ending.exit_code not in (ExitCode.FINISHED, ExitCode.GATE_EXCEEDED):
            state = "ABORT" if ending.error in STOPPED else "FAIL"
            facets["errorMessage"] = facet_v2.error_message_run.ErrorMessageRunFacet(ending.describe(), "Python")
        if ending.gates is not None and ending.gates.results:
            facets["test"] = _tests(ending)
        self._sink.send(self._event(state, facets, inputs, outputs))
        self._sink.close(_LAST_EVENT_WHEN_STOPPED_S if ending.error in STOPPED else _LAST_EVENT_S)

    def _event(self, state: str, facets: Mapping[str, Any], inputs: Sequence[Named], outputs: Sequence[Named]) -> Any:
        from openlineage.client import event_v2, facet_v2

        parent = facet_v2.parent_run
        run_facets = {
            "parent": parent.ParentRunFacet(
                parent.Run(str(uuid.uuid5(_IDS, self._run_id))), parent.Job(self._namespace, self._job)
            ),
            "processing_engine": facet_v2.processing_engine_run.ProcessingEngineRunFacet(
                version("ray"), "Ray", __version__
            ),
            **facets,
        }
        kind = facet_v2.job_type_job.JobTypeJobFacet("BATCH", "ANON_BATCH", self._command.upper())
        return event_v2.RunEvent(
            eventType=event_v2.RunState[state],
            eventTime=datetime.now(UTC).isoformat(),
            run=event_v2.Run(self._id, run_facets),
            job=event_v2.Job(self._namespace, f"{self._job}.{self._command}", {"jobType": kind}),
            inputs=[
                event_v2.InputDataset(
                    own.namespace, own.name, facets=dict(own.facets), inputFacets=dict(own.own_facets)
                )
                for own in inputs
            ],
            outputs=[
                event_v2.OutputDataset(
                    own.namespace, own.name, facets=dict(own.facets), outputFacets=dict(own.own_facets)
                )
                for own in outputs
            ],
            producer=PRODUCER,
        )


def _tests(ending: Ending) -> Any:
    from openlineage.client.facet_v2 import test_run

    bounds = {"at_most": "at most", "at_least": "at least"}
    return test_run.TestRunFacet(
        [
            test_run.TestExecution(
                name=result.name,
                status="pass" if result.passed else "fail",
                severity="error",
                type="gate",
                expected=f"{bounds[result.kind]} {result.limit:g}",
                actual="not measured" if result.value is None else f"{result.value:g}",
            )
            for result in ending.gates.results  # type: ignore[union-attr]
        ]
    )
