"""The command line. `main` is the entry point: every exception becomes a message and an exit code."""

from __future__ import annotations

import io
import os
import sys
import tempfile
import traceback


def main() -> None:
    """Run the command line and exit."""
    from anon_batch.cli.app import app
    from anon_batch.cli.console import fail
    from anon_batch.errors import AnonBatchError, ExitCode
    from anon_batch.process import stoppable

    if isinstance(sys.stdout, io.TextIOWrapper):  # because a terminal may lack letters of a file name
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with stoppable():
            app(standalone_mode=True)
    except AnonBatchError as exc:
        sys.exit(fail(str(exc), exc.exit_code))
    except BrokenPipeError:  # the reader of our output is gone
        os._exit(141)
    except Exception as exc:
        sys.exit(fail(_report_crash(exc), ExitCode.UNEXPECTED))


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
