"""Every exception that onnxsens raises on purpose, and the exit code each ends a command with.

    OnnxsensError                     1   base; on its own, a bug of ours
    ├── EngineBugError                1   the engine contradicts a freshly saved model
    ├── UsageError                    2   options that do not go together, unknown names
    ├── InputError                    3   something that was handed in is unusable
    │   ├── ModelError                3   the ONNX file
    │   │   ├── OutOfMemoryError      3   it needs more memory, of the host or a device, than there is
    │   │   └── WorkerLostError       3   it, or code of the user's, ends every process that opens it
    │   ├── DataError                 3   samples or labels
    │   ├── CheckpointError           3   a file of the source framework's weights
    │   ├── MetricError               3   a metric that cannot be computed on these outputs
    │   ├── PlanError                 3   plan.json, or a plan for another model
    │   ├── RunMismatchError          3   a run folder made from another model, data or recipe
    │   └── RunDamagedError           3   `check` found something in a run folder that is not as it was left
    ├── SetupError                    4   the machine
    │   ├── ProviderError             4   an execution provider that is not active
    │   ├── StorageError              4   disk full, no permission, cannot write
    │   ├── StoreInUseError           4   another process holds the run folder
    │   └── MissingPackageError       4   an optional package is not installed
    ├── GoalError                     5   the goal cannot be met or decided
    ├── VerificationFailedError       5   the plan was written, and failed its check
    ├── LimitExceededError            6   `verify` found a limit exceeded
    ├── DifferenceError               6   `diff --exit-code` found more than noise
    └── IncompleteError               7   finished, but some weights could not be measured

    KeyboardInterrupt               130
    └── TerminatedError    128 + signal   a signal that wants us gone; what was measured is saved

A message is one line: what is wrong, with the value; what to do. This module knows nothing of what raises them.
"""

import errno
from typing import ClassVar

# What the system says of a path that somebody named, before anything of ours was done with it.
OUT_OF_REACH = frozenset({errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.ESTALE, errno.ENOTDIR})
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
BAD_DISK = frozenset({errno.EIO, errno.EROFS})
NO_PATH = "embedded null byte"  # Python's own words, in a ValueError


class OnnxsensError(Exception):
    """Base of every deliberate error; `str()` is one line for the user."""

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        """Names out of files are in it: whatever would break the line, or cannot be seen, is escaped."""
        text = super().__str__()
        if text.isprintable():
            return text
        return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


class EngineBugError(OnnxsensError):
    """The evaluator's answer differs from that of a freshly saved model."""


class UsageError(OnnxsensError):
    """Options that do not go together, or an unknown name."""

    exit_code = 2


class InputError(OnnxsensError):
    """Something that was handed in cannot be used."""

    exit_code = 3


class ModelError(InputError):
    """The ONNX file is missing, unreadable, or holds nothing to prune."""


class OutOfMemoryError(ModelError):
    """A run needs more memory, of the host or of a device, than there is; fewer samples at once may fit."""


class WorkerLostError(ModelError):
    """Processes that open or run the model die, or never come to an end."""


class DataError(InputError):
    """Samples or labels are missing or do not fit the model."""


class CheckpointError(InputError):
    """A checkpoint of the source framework is missing, damaged, or of a format that is not read."""


class MetricError(InputError):
    """A metric that does not exist, raised, or does not fit outputs and labels."""


class PlanError(InputError):
    """A plan that breaks its schema or belongs to another model."""


class RunMismatchError(InputError):
    """The run folder was made from another model, data or recipe."""


class RunDamagedError(InputError):
    """Something in a run folder is damaged, or does not belong to the rest."""


class SetupError(OnnxsensError):
    """The machine is not ready: provider, disk, permission, package."""

    exit_code = 4


class ProviderError(SetupError):
    """The execution provider that was asked for is not active."""


class StorageError(SetupError):
    """Writing failed: no space, no permission, I/O error."""


class StoreInUseError(SetupError):
    """Another process works in this run folder."""


class MissingPackageError(SetupError):
    """An optional package is needed; the message holds the install line."""


class GoalError(OnnxsensError):
    """The goal cannot be met, or cannot be decided with these samples."""

    exit_code = 5


class VerificationFailedError(OnnxsensError):
    """The plan was written but did not pass its check on the hold-out split."""

    exit_code = 5


class LimitExceededError(OnnxsensError):
    """`verify` found a drop above its limit."""

    exit_code = 6


class DifferenceError(OnnxsensError):
    """Two runs differ by more than noise, and that was asked for as a gate."""

    exit_code = 6


class IncompleteError(OnnxsensError):
    """The command finished, but some weights could not be measured."""

    exit_code = 7


class TerminatedError(KeyboardInterrupt):
    """SIGTERM or SIGHUP. A `KeyboardInterrupt`, so that no `except Exception` around native code swallows it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


def about_path(error: BaseException) -> OnnxsensError | None:
    """What an error of the system says of a path that cannot be reached; None where it is of another kind.

    Even to ask whether a file is there may be refused, so this can come from anywhere.
    """
    if isinstance(error, ValueError) and str(error) == NO_PATH:
        return InputError("a path has a NUL character in it, which none can have; check the names that were given")
    if not isinstance(error, OSError):
        return None
    said = error.strerror or type(error).__name__
    if error.errno in OUT_OF_REACH and error.filename is not None:
        name = error.filename if isinstance(error.filename, str) else repr(error.filename)
        return InputError(f"'{name}' cannot be used: {said}; check the path and its permissions")
    what = "the result" if error.filename is None else f"'{error.filename}'"
    if error.errno in NO_ROOM:
        return StorageError(f"{what} cannot be written: {said}; make room")
    if error.errno in BAD_DISK:
        return StorageError(f"{what} cannot be read or written: {said}; check the disk")
    return None
