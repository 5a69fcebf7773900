"""What a process that is started ahead does until it is told what to open: it imports what it will need.

Imports nothing else itself, since the command line begins with it.
"""

from pathlib import Path
from typing import Any

from onnxsens.errors import SetupError
from onnxsens.spawning import spare


def start_ahead() -> None:
    """Start a process for whoever needs the first one."""
    try:
        spare.start(serve_soon)
    except OSError as error:
        raise SetupError(
            f"no process can be started: {error.strerror or error}; free some, or raise the limit"
        ) from error


def serve_soon(connection: Any, folder: Path, parent: int) -> None:
    """The main function of such a process."""
    import onnxsens.native  # noqa: F401 - what is asked for is in it
    from onnxsens.engine.runtime import runtime
    from onnxsens.engine.serving import serve

    runtime()
    serve(connection, folder, parent)
