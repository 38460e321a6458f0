"""Call commands of `link` in this process."""

from __future__ import annotations

from typer.testing import CliRunner

from anon_batch.cli.app import app
from anon_batch.errors import AnonBatchError

WHO = ("--by", "Jane Doe", "--reason", "a request of the person", "--case", "12/26")


def cli(*args: object) -> tuple[int, str]:
    """Run a command; return its exit code, and its output or its error."""
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    if isinstance(done.exception, AnonBatchError):
        return int(done.exception.exit_code), str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output
