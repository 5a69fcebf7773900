"""Runs a file that the user named, and says in one line what went wrong in it.

Trusted to run, not to behave: it may raise, exit, or print. Only ever called for a file named on the command line or
in Python; never for one that a plan or a store names.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

LONGEST_CAUSE = 200


def is_code(spec: str) -> bool:
    """Whether a spec of samples or of a metric names Python code, `FILE.py:FUNCTION`."""
    return ".py:" in spec or spec.endswith(".py")


def without_folder(spec: str) -> str:
    """`FILE.py:FUNCTION` without the folder; other specs as they are."""
    return spec.replace("\\", "/").rpartition("/")[2] if is_code(spec) else spec


def run_file(path: Path) -> ModuleType:
    """The file as a module under a name of its own, so that it replaces nothing that is imported.

    Other modules in its folder can be imported by it, after everything else on the path. Whatever it raises passes
    through, `SystemExit` too.
    """
    place = path.absolute()
    module = ModuleType(f"onnxsens_user_file_{place}")
    module.__file__ = str(place)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    if str(place.parent) not in sys.path:
        sys.path.append(str(place.parent))
    try:
        with quiet():
            # Compiled here, since the import system would leave a cache beside the user's file.
            exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), vars(module))
    except BaseException:
        del sys.modules[module.__name__]
        raise
    return module


class Announcing:
    """Who is told when code of the user's begins, in case it never comes back; nobody at first."""

    def __init__(self) -> None:
        self.to: Callable[[str], None] | None = None


announcing = Announcing()


@contextlib.contextmanager
def quiet(doing: str = "") -> Iterator[None]:
    """What the user's code prints goes to stderr: stdout holds results only.

    Args:
        doing: announced before it begins: `ran metric 'm.py:score'`.
    """
    if doing and announcing.to:
        announcing.to(doing)
    before = None
    with contextlib.suppress(OSError):  # a folder that is gone
        before = Path.cwd()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if before is not None:
            with contextlib.suppress(OSError):
                os.chdir(before)  # paths that were given hold from there


def cause_of(error: BaseException, path: Path) -> str:
    """`ValueError: too short at line 7`: type, text, and the last line of the user's file that it came through."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    try:
        text = " ".join(str(error).split())[:LONGEST_CAUSE]
    except Exception:
        text = "and does not say why"
    return type(error).__name__ + (f": {text}" if text else "") + (f" at line {lines[-1]}" if lines else "")
