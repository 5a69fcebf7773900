"""Progress as the library tells it: to a function of the caller's, or as a bar in a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from onnxsens.errors import UsageError
from onnxsens.library.arguments import shown
from onnxsens.report.text import inert, message
from onnxsens.scan import Observer

Kind: TypeAlias = Literal["stage", "evaluated", "note", "best", "detail"]


@dataclass(frozen=True)
class Progress:
    """Something happened in a run.

    Attributes:
        kind: `stage` where one begins, `evaluated` after each evaluation, which is stored by then, `note` for what the
            user should know, `best` for a whole plan that is better than all before it, where these are told, `detail`
            for how something is done.
        stage: what is under way, such as `scan`; empty before the first stage.
        done: evaluations of this stage so far.
        expected: evaluations of this stage, about; `done` may go beyond it.
        what: what was evaluated, such as `conv1.weight at 0.5`; empty otherwise.
        seconds: that it took; 0 otherwise.
        text: of a note, a best plan or a detail, one line; names in it are the model's, and not escaped.
    """

    kind: Kind
    stage: str
    done: int
    expected: int
    what: str = ""
    seconds: float = 0.0
    text: str = ""


Listener: TypeAlias = Callable[[Progress], object]
Telling: TypeAlias = bool | Listener | None


class Teller:
    """An observer that tells a function. What the function raises ends the run and reaches the caller."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._stage = ""
        self._done = self._expected = 0

    def stage(self, name: str, expected: int) -> None:
        """Counts from 0 again."""
        self._stage, self._done, self._expected = name, 0, expected
        self._tell("stage")

    def evaluated(self, what: str, seconds: float) -> None:
        """One more."""
        self._done += 1
        self._tell("evaluated", what=what, seconds=seconds)

    def note(self, text: str) -> None:
        """Passed on."""
        self._tell("note", text=text)

    def detail(self, text: str) -> None:
        """Passed on."""
        self._tell("detail", text=text)

    def best(self, text: str) -> None:
        """Passed on."""
        self._tell("best", text=text)

    def _tell(self, kind: Kind, **said: Any) -> None:
        self._listener(Progress(kind, self._stage, self._done, self._expected, **said))


class Bar:
    """A listener that draws. Notes go above the bar."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._task: Any = None

    def __call__(self, told: Progress) -> None:
        """Draw it."""
        if told.kind == "stage":
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(inert(told.stage), total=max(told.expected, 1), what="")
        elif told.kind == "evaluated" and self._task is not None:
            total = max(told.expected, told.done + 1)
            self._bar.update(self._task, completed=told.done, total=total, what=inert(told.what)[:40])
        elif told.kind in ("note", "best"):
            self._bar.console.print(
                f"{'best so far' if told.kind == 'best' else 'note'}: {message(told.text)}", markup=False
            )


def noted(told: Progress) -> None:
    """A listener for where no bar can be drawn: notes alone, on stderr."""
    if told.kind == "note":
        sys.stderr.write(f"note: {message(told.text)}\n")


@contextmanager
def observing(progress: Any) -> Iterator[Observer | None]:
    """Whoever is to be told.

    Args:
        progress: None or False for nobody, True for a bar, or a function of one `Progress`.

    Raises:
        UsageError: it is none of these.
    """
    if progress is None or progress is False:
        yield None
    elif callable(progress):
        yield Teller(progress)
    elif progress is not True:
        raise UsageError(
            f"progress={shown(progress)} is no function; give True, or a function of one onnxsens.Progress"
        )
    elif not sys.stderr.isatty():
        yield Teller(noted)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Columns

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("left about"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[what]}", style="dim", markup=False),
        )
        with Columns(*columns, console=Console(stderr=True, highlight=False), transient=True) as bar:
            yield Teller(Bar(bar))
