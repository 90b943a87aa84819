"""Progress and result for people: bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from warifu.demo.main_job import Report

CHECK: Final = "check everything"
LINE_EVERY: Final = 5
"""Of a step's residents, those after which a line of plain text tells how far it is."""


class ProgressScreen:
    """Shows a run. A context: bars live inside.

    Args:
        console: where.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._totals: dict[str, int] = {}
        self._ended: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description:>16}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def expect(self, step: str, count: int) -> None:
        """So many of this step are to come."""
        if count:
            self._totals[step] = count
            self._bars[step] = self._progress.add_task(step, total=count, note="", start=False)

    def ended(self, step: str, seconds: float, *, failed: bool) -> None:  # noqa: ARG002 - the table tells durations
        """One is over."""
        self._failures[step] = self._failures.get(step, 0) + failed
        self._advance(step)

    def checked(self, count: int, total: int) -> None:
        """So many residents have been checked."""
        if CHECK not in self._totals:
            self.expect(CHECK, total)
        self._ended[CHECK] = count - 1
        self._advance(CHECK)

    def _advance(self, step: str) -> None:
        self._ended[step] = self._ended.get(step, 0) + 1
        done, total = self._ended[step], self._totals.get(step, 0)
        failures = self._failures.get(step, 0)
        note = f"{failures} failed" if failures else ""
        if step in self._bars:
            self._progress.start_task(self._bars[step])
            self._progress.update(self._bars[step], completed=done, note=note)
        if not self._console.is_terminal and (done == total or done % max(LINE_EVERY, total // LINE_EVERY) == 0):
            seconds = time.monotonic() - self._began
            self._console.print(f"{seconds:6.1f} s  {step}: {done} of {total} {note}".rstrip(), highlight=False)


def show_report(console: Console, report: Report, urls: Mapping[str, str]) -> None:
    """The table at the end, what is wrong, and where what runs is reached."""
    table = Table("step", "count", "failed", "p50", "p99", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, one in report.steps.items():
        table.add_row(name, str(one.count), str(one.failed), f"{one.seconds_p50:.3f} s", f"{one.seconds_p99:.3f} s")
    console.print(table)
    for problem in report.problems:
        console.print(f"problem: {problem}", highlight=False, markup=False, soft_wrap=True)
    verdict = "database, chips and PKI agree" if report.consistent else "database, chips and PKI do NOT agree"
    retried = f"; {report.retries} requests were sent again" if report.retries else ""
    console.print(
        f"{report.residents} residents, {len(report.cards)} cards in {report.seconds:.1f} s{retried}; {verdict}",
        highlight=False,
        soft_wrap=True,
    )
    for name, url in urls.items():
        console.print(f"{name}: {url}", highlight=False, markup=False, soft_wrap=True)
