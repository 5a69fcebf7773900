"""What stdout and stderr can show. Imports nothing that takes time, since errors are told before anything is."""

import os
import sys


def ready_streams() -> None:
    """Let nothing that is written fail: what an encoding does not have is escaped.

    Python writes UTF-8 where the locale is C, to keep texts whole that programs pass on. A terminal that is set to C
    with LC_ALL shows that as rubbish, so it gets ASCII.
    """
    told = "PYTHONIOENCODING" in os.environ or os.environ.get("PYTHONUTF8") == "1"
    only_ascii = os.environ.get("LC_ALL") in ("C", "POSIX") and not told
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace", **({"encoding": "ascii"} if only_ascii else {}))
