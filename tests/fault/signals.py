"""SIGINT, SIGTERM and SIGHUP at random moments: the command ends in time, says so, and goes on when it is run again.

python -m tests.fault signals --cases 200 --seed 1
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from tests.fault.chains import TASKS, Chain, Tally, chains
from tests.fault.running import OUTCOME, Running, kill, rows_in, work_folder

# Those that whoever started us does not want us to ignore, as `nohup` does with one: what we start ignores it too.
ENDING = tuple(
    number
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    if signal.getsignal(number) is not signal.SIG_IGN
)
SHARES = {signal.SIGINT: 0.5, signal.SIGTERM: 0.4, signal.SIGHUP: 0.1}
SECONDS = 3.0  # from a signal to the end
SECONDS_AFTER_TWO = 1.0
BEGINNING = 10.0  # seconds in which it must see to its signals


class Signalled(Chain):
    """A run that gets a signal: its first process alone or its whole group, as from a terminal; once or twice."""

    def disturb(self, running: Running, *, alive: bool) -> bool:
        """Send it, and see how long it takes."""
        shares = [SHARES[each] for each in ENDING]
        number = ENDING[int(self.rng.choice(len(ENDING), p=[share / sum(shares) for share in shares]))]
        group = bool(self.rng.random() < 0.5)
        twice = bool(self.rng.random() < 0.25)
        if not (alive and handles_signals(running)):
            return True
        acknowledged = rows_in(self.run)
        sent = time.monotonic()
        if not send(running, number, group=group):
            return True
        if twice:
            time.sleep(float(self.rng.uniform(0.0, 0.3)))
            sent = time.monotonic()
            send(running, number, group=group)
        self.times += 1
        self.tally.count(
            f"{number.name}{' to the group' if group else ''}{' twice' if twice else ''}", len(acknowledged)
        )
        ended = self.ended_early(running, acknowledged)
        seconds = ended.at - sent
        with self.tally.lock:
            self.tally.slowest = max(self.tally.slowest, seconds)
        how = f"{number.name}{' twice' if twice else ''}{' to the group' if group else ''}"
        if seconds > (SECONDS_AFTER_TWO if twice else SECONDS):
            self.complain(f"{how}: {seconds:.2f} s to its end")
        if ended.code == 0 and all((self.run / name).exists() for name in OUTCOME if name != "changes.safetensors"):
            return False  # it was over already; once more ends in the same
        if ended.code != 128 + number:
            self.complain(f"{how}: exit code {ended.code}: {ended.err[-500:]}")
        expected = f"error: ended by {number.name}; "
        if not (len(ended.errors) == 1 and ended.errors[0].startswith(expected)) and not (twice and not ended.errors):
            self.complain(f"{how}: said {ended.errors}")
        if "Traceback" in ended.err or ended.out:
            self.complain(f"{how}: said {ended.err[-500:]!r} and {ended.out[-200:]!r}")
        return False


def handles_signals(running: Running) -> bool:
    """Wait until the command sees to signals itself: before, they end the interpreter; whether it lives then."""
    status = Path(f"/proc/{running.process.pid}/status")
    stop = time.monotonic() + BEGINNING
    while running.alive and time.monotonic() < stop:
        try:
            caught = int(status.read_text().split("SigCgt:", 1)[1].split()[0], 16)
        except (OSError, IndexError):
            break
        if all(caught >> (number - 1) & 1 for number in ENDING):
            return running.alive
        time.sleep(0.002)
    return False


def send(running: Running, number: signal.Signals, *, group: bool) -> bool:
    """To its first process or to all of its group; whether it was there."""
    if not running.alive:
        return False
    if not group:
        return kill(running.process.pid, number)
    try:
        os.killpg(running.process.pid, number)
    except ProcessLookupError:
        return False
    return True


def signals(folder: Path, seed: int, cases: int, lanes: int = 2) -> Tally:
    """Send signals `cases` times; to every other run one that has no process besides, which begins soonest."""
    soonest = next(task for task in TASKS if "--in-process" in task.options)
    tasks = [each for task in TASKS if task is not soonest for each in (task, soonest)]
    return chains(Signalled, folder, seed, cases, lanes, tasks)


def main(arguments: list[str]) -> int:
    """The tool: prints complaints and a summary; 1 where there is any."""
    parser = argparse.ArgumentParser(prog="signals", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=200, help="times to send a signal")
    parser.add_argument("--lanes", type=int, default=2, help="runs at a time")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave there what is complained of")
    given = parser.parse_args(arguments)
    with work_folder(given.keep) as folder:
        tally = signals(folder, given.seed, given.cases, given.lanes)
    sys.stdout.write("".join(f"{complaint}\n" for complaint in tally.complaints))
    sys.stdout.write(f"signals: sent {tally}; {tally.slowest:.2f} s to an end at the most\n")
    return 1 if tally.complaints else 0
