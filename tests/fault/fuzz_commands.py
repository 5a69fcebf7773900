"""Damaged models through the command line, as a user hands them in: documented exit code, one line, nothing left."""

import shutil
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.fault.running import Ended, Running, stale_files, strange_files

COMMANDS = ("inspect", "inspect", "scan", "auto")  # in turn
DOCUMENTED = {0, 3, 5, 7}  # done; the model or its samples; the goal; some weights could not be measured
LONGEST = 240.0  # seconds of any command
PATIENCE = "15"  # seconds, for what never comes to an end
MEMORY = "2GB"
ERROR = "error: "
FOREIGN = ("Traceback (most recent call last)", "Fatal Python error")  # what a dying worker says itself may be there


@dataclass
class Result:
    """What became of the commands.

    Attributes:
        codes: how many ended how, by command.
        seconds: the longest.
        failures: what must not be.
    """

    codes: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    @property
    def cases(self) -> int:
        """All of them."""
        return self.codes.total()


def run_models(models: Sequence[tuple[str, bytes]], data: Path, folder: Path, *, workers: int = 2) -> Result:
    """Each model through one of the commands.

    Args:
        models: what each is called in messages, and its bytes.
        data: the file that has values of some of them.
    """
    result = Result()
    with ThreadPoolExecutor(workers) as pool:
        jobs = [
            pool.submit(one, name, content, COMMANDS[number % len(COMMANDS)], data, folder / f"{number}")
            for number, (name, content) in enumerate(models)
        ]
        for job in jobs:
            command, ended, failures = job.result()
            result.codes[command, ended.code] += 1
            result.seconds = max(result.seconds, ended.seconds)
            result.failures += failures
    return result


def one(name: str, content: bytes, command: str, data: Path, place: Path) -> tuple[str, Ended, list[str]]:
    """Run it, and look at what it said and left."""
    place.mkdir(parents=True)
    (place / data.name).write_bytes(data.read_bytes())
    (place / "m.onnx").write_bytes(content)
    running = Running(arguments(command), place)
    try:
        ended = running.wait(LONGEST)
    except TimeoutError:
        shutil.rmtree(place)
        return command, Ended(-1, "", "", LONGEST, 0.0), [f"{name}, {command}: it does not come to an end"]
    found = list(complaints(ended))
    found += [f"left running: {each}" for each in running.orphans()]
    found += [f"left behind: {each}" for each in stale_files(place)]
    if (place / "run").is_dir():
        found += [f"in the run folder: {each}" for each in strange_files(place / "run")]
    shutil.rmtree(place)
    return command, ended, [f"{name}, {command}: {each}" for each in found]


def arguments(command: str) -> list[str]:
    """Of a command on the model of its folder."""
    guard = ["--patience", PATIENCE, "--worker-memory", MEMORY]
    if command == "inspect":
        return ["inspect", "m.onnx", *guard]
    goal = ["--sparsity", "0.5"] if command == "auto" else ["--levels", "0.5"]
    return [command, "m.onnx", "-d", "random:4", "-o", "run", *goal, *guard, "--threads", "1"]


def complaints(ended: Ended) -> list[str]:
    """What is wrong with how it ended."""
    found = []
    errors = [line for line in ended.err.splitlines() if line.startswith(ERROR)]
    if ended.code not in DOCUMENTED:
        found.append(f"exit code {ended.code}: {ended.err[-300:]!r}")
    if ended.code == 0 and errors:
        found.append(f"it says that it failed, and ends well: {errors[0]}")
    if ended.code == 3 and len(errors) != 1:
        found.append(f"{len(errors)} lines say what is wrong: {ended.err[-300:]!r}")
    found += [f"it says {foreign!r}: {ended.err[-300:]!r}" for foreign in FOREIGN if foreign in ended.err + ended.out]
    return found
