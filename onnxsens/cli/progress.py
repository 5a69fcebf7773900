"""Progress on stderr: a live bar in a terminal, nothing elsewhere; every evaluation with -v."""

import sys
from types import TracebackType
from typing import Any

from onnxsens.cli.shell import Shell
from onnxsens.report.text import inert, message


class Progress:
    """An observer that shows stage, evaluations done, and about how long the stage still takes."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._bar: Any = None
        self._task: Any = None
        if sys.stderr.isatty() and shell.verbosity >= 0:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left about"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[what]}", style="dim", markup=False),
                console=shell.console(stderr=True),
                transient=True,
            )

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def stage(self, name: str, expected: int) -> None:
        """A new line of progress; the one before is done."""
        if self._bar:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(name, total=max(expected, 1), what="")
        elif self._shell.verbosity > 0:
            sys.stderr.write(f"{name}\n")

    def evaluated(self, what: str, seconds: float) -> None:
        """One more; a stage that takes longer than expected grows with it."""
        self._shell.check_signals()
        if self._shell.verbosity > 0:
            line = f"  {inert(what)}: {seconds:.2f} s"
            if self._bar:
                self._bar.console.print(line, markup=False)
            else:
                sys.stderr.write(line + "\n")
        if self._bar and self._task is not None:
            task = self._bar.tasks[-1]
            total = max(task.total, task.completed + 2)
            self._bar.update(self._task, advance=1, total=total, what=inert(what)[:40])

    def note(self, text: str) -> None:
        """Above the bar, where there is one."""
        if self._bar and self._shell.verbosity >= 0:
            self._bar.console.print(f"note: {message(text)}", markup=False)
        else:
            self._shell.note(text)

    def detail(self, text: str) -> None:
        """With -v."""
        if self._shell.verbosity > 0:
            self.note(text)
