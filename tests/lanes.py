"""What decides which tests run where, and what a lane says about the tests that it skipped.

`make test` leaves out tests that are marked `full`; `make test-full` runs those alone. The marks `ceph` and `accuracy`
imply `full`. With pytest-xdist, tests of one file run in one process, and so do all tests that use Ray.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import external_data
import pytest

_RAY_FOLDERS = ("tests/benchmarks/", "tests/cluster/nodes/", "tests/e2e/", "tests/faults/")
_IMPLY_FULL = ("ceph", "accuracy")
_REQUIRE = {
    "--require-data": external_data.NO_DATA,
    "--require-weights": external_data.NO_WEIGHTS,
    "--require-gpu": external_data.NO_GPU,
    "--require-tools": external_data.NO_TOOL,
}
_NOT_REACHED = "time: not reached before --stop-after-s"


def add_options(parser: pytest.Parser) -> None:
    """Add the options of the lanes."""
    group = parser.getgroup("lanes")
    for option, prefix in _REQUIRE.items():
        group.addoption(
            option, action="store_true", help=f"fail where tests would be skipped for lack of {prefix[:-2]}"
        )
    group.addoption(
        "--stop-after-s", type=float, metavar="SECONDS", help="skip tests that have not begun this long after the start"
    )


class Lanes:
    """Hooks of pytest.

    Args:
        config: with the options of `add_options`.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._required = tuple(prefix for option, prefix in _REQUIRE.items() if config.getoption(option))
        self._seconds: float | None = config.getoption("--stop-after-s")
        self._started = time.monotonic()

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Mark a test for its lane."""
        if any(item.get_closest_marker(name) for name in _IMPLY_FULL):
            item.add_marker("full")
        if item.get_closest_marker("gpu") and not _has_cuda():
            item.add_marker(pytest.mark.skip(reason=f"{external_data.NO_GPU}torch finds no CUDA device"))

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put tests that use Ray first, because together they take the longest."""
        items.sort(key=lambda item: not item.nodeid.startswith(_RAY_FOLDERS))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Give pytest-xdist files as units of work, and all of Ray as one unit."""
        from xdist.scheduler import LoadScopeScheduling

        class Files(LoadScopeScheduling):  # type: ignore[misc]
            def _split_scope(self, nodeid: str) -> str:
                return "ray" if nodeid.startswith(_RAY_FOLDERS) else nodeid.partition("::")[0]

        config.option.loadscopereorder = False  # keeps the order of the tests, in which Ray comes first
        return Files(config, log)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Skip a test that begins too late."""
        if self._seconds is not None and time.monotonic() - self._started > self._seconds:
            pytest.skip(_NOT_REACHED)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Iterator[None]:
        """Turn a skip into a failure where what is missing was required."""
        report: pytest.TestReport = yield  # type: ignore[misc, assignment]
        if report.skipped and not hasattr(report, "wasxfail") and _reason(report).startswith(self._required or ("\0",)):
            report.outcome = "failed"
            report.longrepr = _reason(report)
        return report  # type: ignore[return-value]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print how many tests were skipped for which reason, and which variables would let more of them run."""
        reasons = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", []))
        if not reasons:
            return
        terminalreporter.section(f"{reasons.total()} tests were skipped")
        for reason, count in sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0])):
            terminalreporter.line(f"{count:5d}  {reason}")
        for variable in (external_data.DATA_VARIABLE, external_data.MODELS_VARIABLE):
            if variable not in os.environ:
                terminalreporter.line(f"       {variable} is not set; see tests/external_data.py")


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()
