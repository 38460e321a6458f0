"""`anon-batch train`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from anon_batch.cli.console import out
from anon_batch.cli.progress import TrainingProgress
from anon_batch.config import parse_override
from anon_batch.errors import AnonBatchError, ExitCode, StoppedError, TerminatedError


def train(
    training: Annotated[Path, typer.Argument(help="Training file, YAML; --set and --steps override it.")],
    settings: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Set any key, e.g. batch_size=32 or weights.truth=2."),
    ] = [],  # noqa: B006  typer reads it as the default, nobody changes it
    steps: Annotated[int | None, typer.Option(help="Key `steps`: number of steps.", show_default=False)] = None,
    export_only: Annotated[
        bool,
        typer.Option("--export-only", help="Export generator and model card from the checkpoint without training."),
    ] = False,
) -> None:
    """Train the generator on your own faces. The same command again resumes from the last checkpoint."""
    from anon_batch.train.config import load_training

    overrides = dict(parse_override(text) for text in settings)
    if steps is not None:
        overrides["steps"] = steps
    config = load_training(training, overrides)
    from anon_batch.train.run import export_checkpoint
    from anon_batch.train.run import train as run

    stop = StopRequests()
    if export_only:
        outcome = export_checkpoint(config)
    else:
        with _installed(stop), TrainingProgress(config.steps) as progress:
            outcome = run(config, progress.note, progress.step, stop)
    if not outcome.is_first:
        raise typer.Exit(int(ExitCode.FINISHED if outcome.step >= config.steps else stop.error("").exit_code))
    if outcome.weights is None:
        raise stop.error(
            f"stopped at step {outcome.step:,}; run the same command again to resume from the checkpoint in "
            f"{config.output}, or add --export-only to export the generator as it is"
        )
    out.print(f"step {outcome.step:,}: {outcome.weights}, model card beside it", markup=False)


class StopRequests:
    """Signal handler that ends a training after its present step, or at once before the first step and at a second signal."""

    def __init__(self) -> None:
        self._stepping = False
        self._signal: int | None = None

    def __call__(self) -> bool:
        """Return whether to stop; the training calls it before each step."""
        self._stepping = True
        return self._signal is not None

    def handle(self, number: int, *_: object) -> None:
        """Handle SIGINT or SIGTERM."""
        at_once = not self._stepping or self._signal is not None
        self._signal = number
        if at_once:
            raise self.error("stopped; run the same command again to resume from the last checkpoint, if there is one")

    def error(self, message: str) -> AnonBatchError:
        """Return the error that ends the command."""
        return TerminatedError(message) if self._signal == signal.SIGTERM else StoppedError(message)


@contextmanager
def _installed(stop: StopRequests) -> Iterator[None]:
    before = {number: signal.signal(number, stop.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
