"""kill -9 at random moments of a run, and the same command again: nothing lost, nothing done twice, the same plan.

python -m tests.fault crash --cases 500 --seed 1
"""

import argparse
import sys
from pathlib import Path

from tests.fault.chains import Chain, Tally, chains
from tests.fault.running import Running, kill, rows_in, work_folder


class Killed(Chain):
    """A run whose first process, a worker, or all of whose processes are killed."""

    def disturb(self, running: Running, *, alive: bool) -> bool:
        """Kill; a worker's death is for the run to get over."""
        victim = str(self.rng.choice(["parent", "parent", "worker", "all"]))
        workers = running.workers() if victim == "worker" else []
        if not alive:
            return True
        if workers:
            if kill(int(self.rng.choice(workers))):
                self.times += 1
                self.deaths = 1
                self.tally.count("workers")
            return True
        acknowledged = rows_in(self.run)
        for pid in running.members() if victim == "all" else [running.process.pid]:
            kill(pid)
        self.times += 1
        self.tally.count("all at once" if victim == "all" else "first processes", len(acknowledged))
        self.ended_early(running, acknowledged)
        return False


def crash(folder: Path, seed: int, cases: int, lanes: int = 2) -> Tally:
    """Kill `cases` times."""
    return chains(Killed, folder, seed, cases, lanes)


def main(arguments: list[str]) -> int:
    """The tool: prints complaints and a summary; 1 where there is any."""
    parser = argparse.ArgumentParser(prog="crash", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=50, help="times to kill")
    parser.add_argument("--lanes", type=int, default=2, help="runs at a time")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave there what is complained of")
    given = parser.parse_args(arguments)
    with work_folder(given.keep) as folder:
        tally = crash(folder, given.seed, given.cases, given.lanes)
    sys.stdout.write("".join(f"{complaint}\n" for complaint in tally.complaints))
    sys.stdout.write(f"crash: killed {tally}\n")
    return 1 if tally.complaints else 0
