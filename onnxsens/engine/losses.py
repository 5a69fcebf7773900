"""What a lost process leaves behind: exceptions of this process that say what happened in that one."""

from onnxsens.engine.serving import Failed
from onnxsens.errors import OnnxsensError, WorkerLostError

OUT_OF_MEMORY = "out of memory"
TRIES = 2  # a question, or the opening, that kills so many processes is at fault itself


def lost(doing: str, how: str) -> WorkerLostError:
    """What is wrong where nothing can go on, and what may be done."""
    if how.startswith("no answer"):
        remedy = "give more time with --patience SECONDS, if it only is slow"
    elif how in ("SIGKILL", OUT_OF_MEMORY):
        remedy = "give a smaller --batch-size, fewer processes (-j 1), or more --worker-memory"
    else:
        remedy = "the model or the user's code brings it down; run again with --in-process to see where"
    return WorkerLostError(f"a process died {TRIES} times while it {doing} ({how}); {remedy}")


class WorkerTraceback(Exception):  # noqa: N818 — shown as where an error comes from, and no error itself
    """Where an exception comes from, in its own process: the cause of the one that is raised here, for --debug."""


def raised(message: Failed) -> Exception:
    """The exception of a worker, as one of this process."""
    if message.kind is None:
        error: Exception = OnnxsensError(f"{message.text}, in a worker process; this is a bug of ours: report it")
    else:
        error = message.kind(message.text)
    error.__cause__ = WorkerTraceback(message.trace)
    return error
