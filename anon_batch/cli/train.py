"""`anon-batch train`."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.text import Text

from anon_batch.cli.console import count, duration, err, out
from anon_batch.config import parse_override
from anon_batch.errors import AnonBatchError


class InterruptedTrainingError(AnonBatchError):
    """SIGINT or SIGTERM ended the training; its checkpoint stays."""

    exit_code = 130


def train(
    training: Annotated[Path, typer.Argument(help="Training file, YAML; --set and --steps win over it.")],
    settings: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Sets any key, e.g. batch_size=32 or weights.truth=2."),
    ] = [],  # noqa: B006  typer reads it as the default, nobody changes it
    steps: Annotated[int | None, typer.Option(help="Key `steps`: steps in all.", show_default=False)] = None,
    export_only: Annotated[
        bool,
        typer.Option("--export-only", help="Write generator and model card from the checkpoint, train no further."),
    ] = False,
) -> None:
    """Trains the generator on own faces, or resumes: the same command again goes on from the last checkpoint."""
    from anon_batch.train.config import load_training

    overrides = dict(parse_override(text) for text in settings)
    if steps is not None:
        overrides["steps"] = steps
    config = load_training(training, overrides)
    from anon_batch.train.run import export_checkpoint
    from anon_batch.train.run import train as run

    if export_only:
        outcome = export_checkpoint(config)
    else:
        with _stop_requests() as stop, TrainingProgress(config.steps) as progress:
            outcome = run(config, progress.note, progress.say, stop)
    if not outcome.first:
        raise typer.Exit(0 if outcome.step >= config.steps else InterruptedTrainingError.exit_code)
    if outcome.weights is None:
        raise InterruptedTrainingError(
            f"interrupted at step {count(outcome.step)}; the same command goes on from the checkpoint in {config.output}, with "
            "--export-only it writes the generator as it is"
        )
    out.print(f"step {count(outcome.step)}: {outcome.weights}, model card beside it", markup=False)


class StopRequests:
    """Asks for the end at SIGINT or SIGTERM: a training that has begun to step ends after its step, others at once."""

    def __init__(self) -> None:
        self._stepping = self._asked = False

    def __call__(self) -> bool:
        """Whether to stop; asked before each step."""
        self._stepping = True
        return self._asked

    def ask(self, *_: Any) -> None:
        """The signal's handler."""
        if not self._stepping or self._asked:
            raise InterruptedTrainingError(
                "interrupted; the same command goes on from the last checkpoint, if there is one"
            )
        self._asked = True


@contextmanager
def _stop_requests() -> Iterator[StopRequests]:
    stop = StopRequests()
    before = {name: signal.signal(name, stop.ask) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


class TrainingProgress:
    """How a training goes: a live line on a terminal, plain lines elsewhere.

    Args:
        steps: in all.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._live = Live(console=err, refresh_per_second=4) if err.is_terminal else None
        self._begin: tuple[float, int] | None = None

    def __enter__(self) -> TrainingProgress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def note(self, text: str) -> None:
        """A line that stays."""
        err.print(text, markup=False)

    def say(self, metrics: dict[str, Any]) -> None:
        """Metrics of a step: those on held-out faces stay, the others are a live line where there is a terminal."""
        line = self.line(metrics)
        if self._live is not None and "faces_per_s" in metrics:
            self._live.update(Text(line))
        else:
            err.print(line, markup=False)

    def line(self, metrics: dict[str, Any]) -> str:
        """`step 150/5,000, 21.3 faces/s, left 45 min 10 s; judges 5.93, adversarial 0.6, ...`."""
        losses = {name: value for name, value in metrics.items() if name not in ("step", "faces_per_s")}
        told = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in losses.items())
        head = f"step {count(metrics['step'])}/{count(self._steps)}"
        if "faces_per_s" not in metrics:
            return f"{head}; {told}"
        return f"{head}, {metrics['faces_per_s']:.1f} faces/s, left {duration(self._left_s(metrics['step']))}; {told}"

    def _left_s(self, step: int) -> float | None:
        now = time.monotonic()
        if self._begin is None:
            self._begin = (now, step)
        seconds, done = now - self._begin[0], step - self._begin[1]
        return (self._steps - step) * seconds / done if done else None
