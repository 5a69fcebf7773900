"""Metrics that take memory without end, in workers that may have so much: each costs one evaluation, and no more.

python -m tests.fault memory --limit 2000
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.fault.misbehaving import Misdeed, judged, refused, scan_with
from tests.fault.running import Running, work_folder
from tests.fault.soak import resident

BASE = 150  # MB: the libraries' code, which is shared, and is not counted as a process's own
FIRST_PROCESS = 250  # MB, that the first process may have, whatever a worker does
GREEDY = {
    "objects": "held = []\nwhile True: held.append([0] * 10_000)",
    "arrays": "held = []\nwhile True: held.append(np.ones(1_000_000))",
    "one array": "np.ones(10 ** 13)",
    "text": "held = 'x'\nwhile True: held += held",
}


@dataclass
class Taken:
    """The most MB that were resident at any time."""

    parent: float = 0.0
    worker: float = 0.0

    def look(self, running: Running) -> None:
        """Look again."""
        self.parent = max(self.parent, resident(running.process.pid))
        self.worker = max(self.worker, *map(resident, running.workers()), 0.0)


def greedy(name: str, limit: int) -> Misdeed:
    """A metric that takes all it can get, where a process may have `limit` MB of its own."""
    return refused(name, GREEDY[name], "metric '{spec}' raised ").allowed("--worker-memory", f"{limit}MB")


def memory(place: Path, name: str, limit: int) -> tuple[Taken, list[str]]:
    """Scan with such a metric: what was taken, and what is wrong."""
    taken, misdeed = Taken(), greedy(name, limit)
    found = scan_with(misdeed, place, taken.look)
    wrong = judged(misdeed, found)
    if taken.parent > FIRST_PROCESS:
        wrong.append(f"the first process had {taken.parent:.0f} MB")
    if taken.worker > limit + BASE:
        wrong.append(f"a worker had {taken.worker:.0f} MB")
    return taken, wrong


def main(arguments: list[str]) -> int:
    """The tool: prints complaints and a summary; 1 where there is any."""
    parser = argparse.ArgumentParser(prog="memory", description=__doc__)
    parser.add_argument("--limit", type=int, default=600, help="MB that a worker may have")
    given = parser.parse_args(arguments)
    complaints = 0
    with work_folder() as folder:
        for name in GREEDY:
            taken, wrong = memory(folder / name, name, given.limit)
            complaints += len(wrong)
            sys.stdout.write("".join(f"{name}: {what}\n" for what in wrong))
            sys.stdout.write(
                f"memory: {name}: {taken.worker:.0f} MB in the worker, {taken.parent:.0f} MB in the first process\n"
            )
    return 1 if complaints else 0
