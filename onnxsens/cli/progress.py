"""Progress on stderr: live lines in a terminal, nothing elsewhere; every evaluation with -v."""

import sys
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from onnxsens.cli.shell import Shell
from onnxsens.report.text import inert, message

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress as Bar
    from rich.progress import Task, TaskID


class Progress:
    """An observer that shows the stage, how far it is and how long it takes, what came last, and the best plan."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._what = ""
        self._best = ""
        if sys.stderr.isatty() and shell.verbosity >= 0:
            console = shell.console(stderr=True)
            if not console.is_dumb_terminal:  # which cannot go back to a line
                self._bar = live(console, self)

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def stage(self, name: str, expected: int) -> None:
        """A new line of progress; the one before is done."""
        self._what = ""
        if self._bar:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(name, total=max(expected, 1))
        elif self._shell.verbosity > 0:
            sys.stderr.write(f"{name}\n")

    def evaluated(self, what: str, seconds: float) -> None:
        """One more; a stage that takes longer than expected grows with it."""
        self._shell.check_signals()
        self._what = inert(what)
        if self._shell.verbosity > 0:
            self._say(f"  {inert(what)}: {seconds:.2f} s")
        if self._bar and self._task is not None:
            task = self._bar.tasks[-1]
            self._bar.update(task.id, advance=1, total=max(task.total or 0, task.completed + 2))

    def best(self, text: str) -> None:
        """The best plan so far; it stays until there is a better one."""
        self._best = message(text)
        if self._shell.verbosity > 0:
            self._say(f"  best so far: {self._best}")

    def note(self, text: str) -> None:
        """Above the bar, where there is one."""
        if self._bar and self._shell.verbosity >= 0:
            self._say(f"note: {message(text)}")
        else:
            self._shell.note(text)

    def detail(self, text: str) -> None:
        """With -v."""
        if self._shell.verbosity > 0:
            self.note(text)

    def _say(self, line: str) -> None:
        if self._bar:
            self._bar.console.print(line, markup=False)
        else:
            sys.stderr.write(line + "\n")

    def lines(self, tasks: "Iterable[Task]", width: int, *, plain: bool) -> list[str]:
        """What is to be seen now, each line at most `width` columns.

        Args:
            plain: ASCII only.
        """
        shown = [stage_line(task, width, plain=plain) for task in tasks]
        shown += [f"  now   {self._what}"] if self._what else []
        shown += [f"  best  {self._best}"] if self._best else []
        return [fitted(line, width, plain=plain) for line in shown]


def stage_line(task: "Task", width: int, *, plain: bool) -> str:
    """`choice        ####......  12/40  about 0:03:10 left`; the first to go is the bar."""
    total = round(task.total or 1)
    number = f"{round(task.completed)}/{total}"
    left = "" if task.time_remaining is None else f"  about {clock(task.time_remaining)} left"
    room = min(width - len(task.description) - len(number) - len(left) - 6, 30)
    bar = ""
    if room >= 6:
        done = round(room * min(task.completed / total, 1.0))
        full, empty = ("#", ".") if plain else ("\u2588", "\u2591")
        bar = f"  {full * done}{empty * (room - done)}"
    return f"{task.description}{bar}  {number}{left}"


def clock(seconds: float) -> str:
    """`0:03:10`."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def fitted(line: str, width: int, *, plain: bool) -> str:
    """A line without its middle, where it is too long."""
    from onnxsens.report.tables import cut

    if plain:
        line = line.encode("ascii", "backslashreplace").decode()
    return cut(line, width, width // 2, "..." if plain else "\u2026")


def live(console: "Console", progress: Progress) -> "Bar":
    """Lines at the bottom of a terminal that change in place, and are gone in the end."""
    from rich.progress import Progress as Bar
    from rich.text import Text

    class Lines(Bar):
        def get_renderables(self) -> "Iterable[RenderableType]":
            width = console.width - 1  # some terminals begin a new line after the last column
            for line in progress.lines(self.tasks, width, plain=console.options.ascii_only):
                yield Text(line, no_wrap=True)

    return Lines(console=console, transient=True, refresh_per_second=8)
