"""Damaged models through what a command and its workers do with them, and damaged files through their readers.

    python -m tests.fault fuzz [--seed N] [--cases N] [--what bytes,structure,readers] [--only KIND:N] [--keep DIR]

A process that dies of a model is what workers are for, and is counted. A finding is what must not be: an exception that
is not ours, a message of several lines, the command's own part dying or never coming to an end, any death in a reader.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.fault import corpus, fuzz_models
from tests.fault.fuzz_loop import Case, Fuzzer, Tally

SHARES = {"bytes": 5, "structure": 2, "readers": 10}
MODELS = ("bytes", "structure")
MEMORY = 3 << 30  # bytes, of a process


def in_memory() -> str | None:
    """A folder that takes no disk's time to write to, where there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def fuzz_models_of(seed: int, cases: Sequence[Case], folder: Path, *, workers: int, limit: float) -> Tally:
    """Models; `folder` has the seeds."""
    scratch = folder.parent / f"{folder.name}-scratch"
    fuzzer = Fuzzer(fuzz_models.open_cases, (seed, folder), scratch, workers=workers, limit=limit, memory=MEMORY)
    return fuzzer.run(cases)


def numbered(kind: str, count: int, start: int = 0) -> list[Case]:
    """So many of a kind."""
    return [Case(kind, number) for number in range(start, start + count)]


def main(arguments: list[str]) -> int:
    """Run, print what became of the cases, and end with 1 where something must not be."""
    parser = argparse.ArgumentParser(prog="fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=17_000, help="of all kinds together")
    parser.add_argument("--what", default="bytes,structure,readers", help="kinds, separated by commas")
    parser.add_argument("--start", type=int, default=0, help="number of the first case of each kind")
    parser.add_argument("--only", action="append", default=[], metavar="KIND:N", help="one case, alone")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=float, default=20.0, help="seconds of a processor that a case may take")
    parser.add_argument("--keep", type=Path, help="where to put what processes died of, and what was found")
    given = parser.parse_args(arguments)
    return 1 if run(given) else 0


def run(given: argparse.Namespace) -> int:
    """How many findings there are."""
    kinds = [kind for kind in given.what.split(",") if kind]
    total = sum(SHARES[kind] for kind in kinds)
    if given.only:
        pairs = [text.rpartition(":") for text in given.only]
        cases = [Case(kind, int(number)) for kind, _, number in pairs]
    else:
        cases = [each for kind in kinds for each in numbered(kind, given.cases * SHARES[kind] // total, given.start)]
    found = 0
    with tempfile.TemporaryDirectory(dir=in_memory()) as made:
        models = [case for case in cases if case.kind in MODELS]
        if models:
            folder = Path(made) / "models"
            corpus.write_models(folder)
            tally = fuzz_models_of(given.seed, models, folder, workers=given.workers, limit=given.limit)
            found += report("models", tally)
            if given.keep:
                keep(given.keep, tally, fuzz_models.ModelCases(given.seed, folder), given.seed)
    return found


def report(what: str, tally: Tally) -> int:
    """Print it; how many findings there are."""
    sys.stdout.write("\n".join([what, *tally.lines(), ""]))
    return len(tally.findings)


def keep(folder: Path, tally: Tally, cases: fuzz_models.ModelCases, seed: int) -> None:
    """Write down what processes died of, with a line on each."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    count: Counter[str] = Counter()
    for death in tally.examples:
        name = f"{death.case.kind}-{seed}-{death.case.number}.onnx"
        (folder / name).write_bytes(cases.content(death.case.kind, death.case.number))
        lines.append(f"{name}\t{death.ending}\t{death.phase}\t{death.said}\n")
        count[death.ending] += 1
    with (folder / "deaths.tsv").open("a", encoding="utf-8") as file:
        file.writelines(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
