"""Tables that several commands print."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from anon_batch.cli.console import out
from anon_batch.stats import TimeShares
from anon_batch.units import format_duration, format_share


def table(title: str, *columns: str) -> Table:
    """Return an empty table; columns after the first hold numbers."""
    made = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE, pad_edge=False)
    for at, column in enumerate(columns):
        made.add_column(column, justify="right" if at else "left", no_wrap=bool(at), overflow="fold")
    return made


def add(made: Table, *cells: str) -> None:
    """Add a row as plain text, because a name of a plug-in may look like markup."""
    made.add_row(*(Text(cell) for cell in cells))


def show(made: Table) -> None:
    """Print a table to standard output."""
    out.print(made, soft_wrap=False)


def show_time_shares(shares: TimeShares) -> None:
    """Print where the time went: in the thread that runs the networks, then in all stages."""
    if shares.phases:
        phases = table(
            f"The thread that runs the networks: idle for {format_share(shares.idle_share)}", "phase", "time", "share"
        )
        for phase in shares.phases:
            add(phases, phase.text, format_duration(phase.seconds), format_share(phase.share))
        show(phases)
    stages = table("Stages, all threads together (waiting included)", "stage", "time", "share", "CPU", "share of CPU")
    for stage in shares.stages:
        cells = (
            format_duration(stage.wall_s),
            format_share(stage.wall_share),
            format_duration(stage.cpu_s),
            format_share(stage.cpu_share),
        )
        add(stages, stage.text, *cells)
    if shares.process_cpu_s:
        elsewhere = shares.elsewhere_cpu_s
        add(
            stages,
            "elsewhere in the process",
            "",
            "",
            format_duration(elsewhere),
            format_share(elsewhere / shares.process_cpu_s),
        )
    show(stages)
