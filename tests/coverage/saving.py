"""A plug-in of coverage.py: a worker is killed when nobody needs it any more, so it saves as it goes."""

import sys
import threading
import time
from typing import Any

import coverage

SECONDS = 0.5  # between two savings; what a worker does in its last part of one is not counted


def coverage_init(registry: Any, options: Any) -> None:
    """Called by coverage.py in every process that it measures, before anything else runs there."""
    if "--multiprocessing-fork" in sys.orig_argv:  # the others come to their own end
        threading.Thread(target=save_again_and_again, daemon=True).start()


def save_again_and_again() -> None:
    """While the process lives."""
    while True:
        time.sleep(SECONDS)
        measured = coverage.Coverage.current()
        if measured is not None:
            try:
                measured.save()
            except Exception:  # dictionaries that grow meanwhile, or the end of the process: the next time is soon
                continue
