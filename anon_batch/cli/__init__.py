"""The command line. `main` is the entry point: every error of this package becomes a message and an exit code."""

from __future__ import annotations

import io
import os
import sys


def main() -> None:
    """Runs the command line and exits."""
    from anon_batch.cli.app import app
    from anon_batch.cli.console import fail
    from anon_batch.errors import AnonBatchError

    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that lacks a name's letters shows them escaped
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(standalone_mode=True)
    except AnonBatchError as exc:
        sys.exit(fail(str(exc), exc.exit_code))
    except KeyboardInterrupt:
        sys.exit(fail("interrupted; run the same command again to resume", 130))
    except BrokenPipeError:  # the reader of our output went away
        os._exit(141)
