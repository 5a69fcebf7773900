"""The signals that want us gone, and what they do before there is anything to put away.

Imports next to nothing, so that it can be in place before anything else is.
"""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """A signal while nothing has been begun, perhaps in the middle of an import: no unwinding through half of it."""
    text = f"ended by {signal.Signals(number).name}; nothing was written"
    os.write(2, f"error: {text}\n".encode())
    if "--json" in sys.argv:
        os.write(1, f'{{"error": "{text}", "exit_code": {128 + number}}}\n'.encode())
    os._exit(128 + number)


def guard_start() -> None:
    """Until work begins, end at once."""
    for number in ENDING:
        signal.signal(number, end_at_once)
