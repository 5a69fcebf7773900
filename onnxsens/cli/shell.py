"""What every command shares: where output goes, how errors and signals end it, the options for that."""

import contextlib
import functools
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from onnxsens.ahead import start_ahead
from onnxsens.cli.config import NOTES, configured, save_config
from onnxsens.cli.options import PATH, TARGET
from onnxsens.cli.streams import ready_streams
from onnxsens.errors import OnnxsensError, TerminatedError, UsageError, about_path
from onnxsens.signals import TIME_LIMIT, heeded, watched
from onnxsens.spawning import spare

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

UNWRAPPED = 100_000  # columns
RUNS_MODELS = frozenset({"auto", "doctor", "inspect", "plan", "scan", "verify"})
LAST_WAIT = 0.3  # seconds, for the last words of somebody else
LONGEST_TIME = 1e8  # seconds, of a clock
BUG = "this is a bug of ours; run again with --debug and report what it prints"
SEE = "run again with --debug to see where"


@dataclass
class Shell:
    """Results go to stdout, everything else to stderr.

    Attributes:
        saved: a run folder in which measurements are safe, once there is one.
        printed: whether the JSON document is out; there is only one.
        ending: the number of a signal that wants us gone.
        time_limit: in seconds, where there is one.
        told: whether it was said how all ended, which is said once.
    """

    verbosity: int
    as_json: bool
    color: bool
    debug: bool
    saved: Path | None = None
    printed: bool = False
    ending: int | None = None
    time_limit: float = 0.0
    told: bool = False
    _telling: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        ready_streams()

    def console(self, *, stderr: bool) -> "Console":
        """A rich console; without colour where asked, or where NO_COLOR is set."""
        from rich.console import Console

        # Without a terminal there is no edge to wrap at; whoever reads a log wants whole lines.
        stream = sys.stderr if stderr else sys.stdout
        width = None if stream.isatty() or os.environ.get("COLUMNS") else UNWRAPPED
        if not self.color or os.environ.get("NO_COLOR"):
            return Console(stderr=stderr, color_system=None, highlight=False, width=width)  # not even bold
        return Console(stderr=stderr, highlight=False, width=width)

    def result(self, shown: "RenderableType", document: Any) -> None:
        """The command's result: for people, or as the one JSON document."""
        if self.as_json:
            self.printed = True
            sys.stdout.write(json.dumps(document, indent=2, sort_keys=True, allow_nan=False, default=str) + "\n")
        elif self.verbosity >= 0:
            self.console(stderr=False).print(shown)

    def text(self, content: bytes) -> None:
        """A result that is a file's content already, as it is; so also with `--quiet`, since it is all there is.

        Raises:
            UsageError: a document was asked for too, or a terminal would get bytes that are no text.
        """
        if self.as_json:
            raise UsageError("--json and '-o -' both go to standard output; leave one out")
        if b"\0" in content and sys.stdout.isatty():
            raise UsageError("a terminal cannot show this; give a file, or send it to a program")
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()

    def wrote(self, paths: Sequence[Path]) -> None:
        """Say which files are new, on stderr."""
        from onnxsens.report.text import inert

        if not self.as_json and self.verbosity >= 0:
            sys.stderr.write("\n" + "".join(f"wrote {inert(str(path))}\n" for path in paths))

    def next(self, steps: Sequence[tuple[str, str | Sequence[str]]]) -> None:
        """Say on stderr what can be done now.

        Args:
            steps: what for, and a text, or the words of a command.
        """
        from onnxsens.report.commands import shown_steps

        if steps and not self.as_json and self.verbosity >= 0:
            width = self.console(stderr=True).width if sys.stderr.isatty() else UNWRAPPED
            sys.stderr.write(shown_steps(steps, width))

    def note(self, text: str) -> None:
        """Something the user should know, on stderr."""
        from onnxsens.report.text import message

        if self.verbosity >= 0:
            sys.stderr.write(f"note: {message(text)}\n")

    def fail(self, error: OnnxsensError, code: int | None = None) -> int:
        """Say what went wrong, on one line; the exit code, the error's own unless given."""
        from onnxsens.report.text import message

        code = error.exit_code if code is None else code
        text = message(str(error))
        with self._telling:
            if self.told:
                return code  # by `last_words`, which waited for us no longer
            self.told = True
            sys.stderr.write(f"error: {text}\n")
            if self.as_json and not self.printed:
                sys.stdout.write(json.dumps({"error": text, "exit_code": code}) + "\n")
            flush_streams()  # whoever waits for us may end the process now
        return code

    def last_words(self, number: int) -> None:
        """Where it takes too long to end in order: what is on disk is whole at any moment."""
        # Whoever holds it is saying the same, and may be stuck in that: nobody reads what we write.
        if not self._telling.acquire(timeout=LAST_WAIT):
            return
        try:
            if self.told:
                return
            self.told = True
            text = interrupted(number, self)
            os.write(2, f"error: {text}\n".encode("utf-8", "backslashreplace"))
            if self.as_json and not self.printed:
                os.write(1, (json.dumps({"error": text, "exit_code": 128 + number}) + "\n").encode())
        finally:
            self._telling.release()

    @contextlib.contextmanager
    def limited(self, seconds: float | None) -> Iterator[None]:
        """End the command after so many seconds, as a signal does.

        Raises:
            UsageError: that is no time, or the system has no such clock.
        """
        if seconds is None:
            yield
            return
        if not 0 < seconds < LONGEST_TIME:
            raise UsageError(f"--time-limit {seconds:g} is no time; give a number of seconds above 0")
        if TIME_LIMIT is None:
            raise UsageError("--time-limit needs a clock that this system does not have; leave it out")
        self.time_limit = seconds
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def check_signals(self) -> None:
        """Go, if a signal was lost in foreign code that lets no exception through."""
        if self.ending is not None:
            raise TerminatedError(self.ending)


def shared(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `-v`, `-q`, `--no-color`, `--json`, `--debug`, `--config`, `--save-config`, and its manners at the
    end.

    The command gets a `Shell` as its first argument.
    """

    @click.option(
        "--config",
        type=PATH,
        is_eager=True,
        expose_value=False,
        callback=configured,
        envvar="ONNXSENS_CONFIG",
        metavar="FILE",
        help="Options in TOML, under [COMMAND] or for all. What is typed here, and ONNXSENS_* variables, go first.",
    )
    @click.option("--save-config", type=TARGET, metavar="FILE", help="Write the options in effect, for --config.")
    @click.option("-v", "--verbose", count=True, help="Say more: every evaluation.")
    @click.option("-q", "--quiet", is_flag=True, help="Only errors.")
    @click.option("--no-color", is_flag=True, help="Plain text. NO_COLOR does the same.")
    @click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(command)
    def wrapper(
        save_config: Path | None,
        verbose: int,
        quiet: bool,
        no_color: bool,
        as_json: bool,
        debug: bool,
        **arguments: Any,
    ) -> None:
        shell = Shell(-1 if quiet else verbose, as_json, not no_color, debug)
        ctx = click.get_current_context()
        ahead = not arguments.get("in_process", True) and ctx.info_name in RUNS_MODELS

        def run() -> None:
            tell_settings(shell, ctx, save_config, force=bool(arguments.get("force")))
            command(shell, **arguments)

        code = guarded(shell, run, ahead=ahead)
        leave_on_signals(code)  # what was decided; but code of the user's may still keep us from leaving
        if shell.ending is not None:
            leave_at_once(code)  # an interpreter that ends in order hears signals no more, and dies of a second one
        sys.exit(code)

    return wrapper


def tell_settings(shell: Shell, ctx: click.Context, target: Path | None, *, force: bool) -> None:
    """Notes on where options came from; and where they are to be kept, the file of them."""
    for note in ctx.meta.get(NOTES, ()):
        shell.note(note)
    if target is not None:
        for note in save_config(ctx, target, force=force):
            shell.note(note)
        shell.wrote([target])


def flush_streams() -> None:
    """Let go of what was said."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or there is none
            stream.flush()


def leave_at_once(code: int) -> NoReturn:
    """Everything has been put away and said."""
    flush_streams()
    os._exit(code)


def leave_on_signals(code: int | None) -> None:
    """From now on a signal ends us at once.

    Args:
        code: that was decided; the signal's own where nothing was.
    """

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        os._exit(128 + number if code is None else code)

    for number in heeded():
        signal.signal(number, leave)


def unwind_on_signals(shell: Shell) -> None:
    """From now on a signal becomes an exception, so that work is put away in order."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        if shell.ending is not None and number != TIME_LIMIT:
            os._exit(128 + number)  # a second one: at once; what is on disk is whole at any moment
        shell.ending = number
        raise TerminatedError(number)

    for number in (*heeded(), *([TIME_LIMIT] if TIME_LIMIT else [])):
        signal.signal(number, end)


def guarded(shell: Shell, run: Callable[[], None], *, ahead: bool) -> int:
    """Run; turn every way of ending into an exit code.

    Args:
        ahead: start a process already, since one will be needed.
    """
    try:
        if ahead:
            start_ahead()
        import_module("onnxsens.api")  # native libraries that must not be torn while they load
        unwind_on_signals(shell)
        with watched(shell.last_words):
            run()
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # the last line of defence: every end is one line
        leave_on_signals(None)
        if shell.debug:
            traceback.print_exc()
        return ending(shell, error)
    finally:
        leave_on_signals(None)
        spare.drop()
    return 0


def ending(shell: Shell, error: BaseException) -> int:
    """Say how it ended; the exit code."""
    if shell.ending is not None:
        # Whatever was raised: native code may turn the signal's exception into one of its own.
        return shell.fail(OnnxsensError(interrupted(shell.ending, shell)), 128 + shell.ending)
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has gone; that is no error, but Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return shell.fail(told_as(error))


def told_as(error: BaseException) -> OnnxsensError:
    """What an exception means for the user."""
    if isinstance(error, OnnxsensError):
        return error
    if isinstance(error, MemoryError):
        return ProcessMemoryError("out of memory; give fewer --scan-samples or a smaller --batch-size")
    if isinstance(error, SystemExit):
        return OnnxsensError(f"code that is not ours ended the command with {error.code!r}; {SEE}")
    return about_path(error) or OnnxsensError(f"{type(error).__name__}: {' '.join(str(error).split())}; {BUG}")


class ProcessMemoryError(OnnxsensError):
    """The machine has too little memory for this."""

    exit_code = 4


def interrupted(number: int, shell: Shell) -> str:
    """The message that ends an interrupted run."""
    by = signal.Signals(number).name if number != TIME_LIMIT else f"--time-limit {shell.time_limit:g}"
    if shell.saved is None or not shell.saved.is_dir():
        return f"ended by {by}; nothing was written"
    return f"ended by {by}; everything measured is saved in '{shell.saved}', run the same command again to go on"
