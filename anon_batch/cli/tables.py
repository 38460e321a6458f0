"""Tables that several commands print."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from anon_batch.cli.console import duration, out
from anon_batch.stats import TimeShares


def table(title: str, *columns: str) -> Table:
    """An empty table; columns after the first hold numbers."""
    made = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE, pad_edge=False)
    for at, column in enumerate(columns):
        made.add_column(column, justify="right" if at else "left", no_wrap=bool(at), overflow="fold")
    return made


def add(made: Table, *cells: str) -> None:
    """Adds a row as plain text: names of plug-ins are never read as markup."""
    made.add_row(*(Text(cell) for cell in cells))


def show(made: Table) -> None:
    """Prints a table to standard output."""
    out.print(made, soft_wrap=False)


def percent(share: float | None) -> str:
    """`12.3 %`."""
    return "-" if share is None else f"{100 * share:.1f} %"


def seconds(value: float | None) -> str:
    """Short times with a digit, long ones as people say them."""
    if value is None:
        return "-"
    return f"{value:.2f} s" if value < 60 else duration(value)


def show_time_shares(shares: TimeShares) -> None:
    """Where the time went: the thread that drives the networks, then all stages."""
    if shares.phases:
        phases = table(
            f"The thread that drives the networks: idle for {percent(shares.idle_share)}", "phase", "time", "share"
        )
        for phase in shares.phases:
            add(phases, phase.text, seconds(phase.seconds), percent(phase.share))
        show(phases)
    stages = table("Stages, all threads together (waiting included)", "stage", "time", "share", "CPU", "share of CPU")
    for stage in shares.stages:
        cells = (seconds(stage.wall_s), percent(stage.wall_share), seconds(stage.cpu_s), percent(stage.cpu_share))
        add(stages, stage.text, *cells)
    if shares.process_cpu_s:
        elsewhere = shares.elsewhere_cpu_s
        add(
            stages,
            "elsewhere in the process",
            "",
            "",
            seconds(elsewhere),
            percent(elsewhere / shares.process_cpu_s),
        )
    show(stages)
