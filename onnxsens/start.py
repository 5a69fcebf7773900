"""Where the command begins: signals and streams first, then all the rest."""

import os
import sys

from onnxsens.signals import guard_start


def main() -> None:
    """The console script."""
    guard_start()
    hold_standard_streams()
    from onnxsens.cli import main as run

    run()


def hold_standard_streams() -> None:
    """Let a stream that whoever started us has closed lead nowhere.

    Else the next file that is opened gets its number, a run's database for instance, and what is said would go there.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
            os.set_inheritable(number, True)
            stream = open(number, "w" if number else "r", closefd=False)  # noqa: SIM115 — for as long as we live
            setattr(sys, name, stream)
