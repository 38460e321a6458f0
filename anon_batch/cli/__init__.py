"""The command line. In `main` every exception becomes a message and an exit code; `start` is a process that does nothing else."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import signal
import sys
import tempfile
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anon_batch.errors import ExitCode


def start() -> None:
    """Run the command line as a process of its own, and end it when all is done.

    Libraries are not unloaded: that takes up to 3 s on a busy machine, and 3 s after SIGTERM Ray kills a job. From the end of the
    command on SIGTERM is ignored, because its exit code stands.
    """
    code = 1  # an error that `main` does not know
    atexit.register(lambda: _leave(code))  # the first that is registered is called last
    try:
        main()
    except SystemExit as exc:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
        raise


def _leave(code: int) -> None:
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with contextlib.suppress(OSError, ValueError):  # its reader is gone
            stream.flush()
    os._exit(code)


def main() -> None:
    """Run the command line and exit."""
    from anon_batch.errors import AnonBatchError, ExitCode
    from anon_batch.process import stoppable

    if isinstance(sys.stdout, io.TextIOWrapper):  # because a terminal may lack letters of a file name
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with stoppable("; run the same command again"):
            from anon_batch.cli.app import app  # here, because it takes a while in which signals may arrive

            app(standalone_mode=True)
    except AnonBatchError as exc:
        sys.exit(_fail(str(exc), exc.exit_code))
    except BrokenPipeError:  # the reader of our output is gone
        os._exit(141)
    except Exception as exc:
        sys.exit(_fail(_report_crash(exc), ExitCode.UNEXPECTED))


def _fail(message: str, exit_code: ExitCode) -> int:
    from anon_batch.cli.console import fail

    return fail(message, exit_code)


def _report_crash(exc: Exception) -> str:
    """Keep the traceback where the user can find it; return the message that says where."""
    from anon_batch.redaction import redact

    text = redact(traceback.format_exc())
    if sys.stderr.isatty():
        with tempfile.NamedTemporaryFile(
            "w", prefix="anon-batch-", suffix=".log", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
        place = file.name
    else:  # a log: keep everything in it
        sys.stderr.write(text)
        place = "above"
    summary = " ".join(redact(str(exc)).split())[:200]
    return f"unexpected error: {type(exc).__name__}: {summary}. This is a bug; please report it with the traceback ({place})"
