"""Damaged models through what a command and its workers do with them, and damaged files through their readers.

    python -m tests.fault fuzz [--seed N] [--cases N] [--what bytes,structure,readers] [--only KIND:N] [--keep DIR]

A process that dies of a model is what workers are for, and is counted. A finding is what must not be: an exception that
is not ours, a message of several lines, the command's own part dying or never coming to an end, any death in a reader.
"""

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from tests.fault import corpus, fuzz_commands, fuzz_models, fuzz_readers
from tests.fault.fuzz_loop import Case, Fuzzer, Tally
from tests.fault.store_damage import in_memory

SHARES = {"bytes": 5, "structure": 2, "readers": 10}
MODELS = ("bytes", "structure")
MEMORY = 3 << 30  # bytes, of a process
READING = 1 << 30  # the same, where no model is run


@contextlib.contextmanager
def working_folder() -> Iterator[Path]:
    """For all that is written meanwhile, in memory where that can be had; removed at the end."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(dir=in_memory()) as made:
        tempfile.tempdir = made  # processes that are started have their folders in it
        try:
            yield Path(made)
        finally:
            tempfile.tempdir = before


def fuzz_models_of(seed: int, cases: Sequence[Case], folder: Path, *, workers: int, limit: float) -> Tally:
    """Models; `folder` has the seeds."""
    scratch = folder.parent / f"{folder.name}-scratch"
    fuzzer = Fuzzer(fuzz_models.open_cases, (seed, folder), scratch, workers=workers, limit=limit, memory=MEMORY)
    return fuzzer.run(cases)


def kept_models_of(kept: Path, folder: Path, *, workers: int, limit: float) -> Tally:
    """Models that were kept, since a process died of them once or something else was wrong; `folder` has the seeds."""
    scratch = folder.parent / f"{folder.name}-kept"
    cases = numbered("kept", len(fuzz_models.kept_models(kept)))
    fuzzer = Fuzzer(fuzz_models.open_kept, (kept, folder), scratch, workers=workers, limit=limit, memory=MEMORY)
    return fuzzer.run(cases)


def fuzz_readers_of(seed: int, cases: Sequence[Case], folder: Path, *, workers: int, limit: float) -> Tally:
    """Files of all other kinds; `folder` has the seeds."""
    scratch = folder.parent / f"{folder.name}-scratch"
    arguments = (seed, folder)
    fuzzer = Fuzzer(
        fuzz_readers.open_cases, arguments, scratch, workers=workers, limit=limit, memory=READING, expected=False
    )
    return fuzzer.run(cases)


def fuzz_commands_of(
    seed: int, cases: Sequence[Case], folder: Path, *, workers: int, kept: Path | None = None
) -> fuzz_commands.Result:
    """The same models through the command line; those that were kept first."""
    made = fuzz_models.ModelCases(seed, folder)
    models = [(each.name, each.content) for each in (fuzz_models.kept_models(kept) if kept else [])]
    models += [(f"{case.kind}:{case.number}", made.content(case.kind, case.number)) for case in cases]
    scratch = folder.parent / f"{folder.name}-commands"
    return fuzz_commands.run_models(models, folder / corpus.DATA_FILE, scratch, workers=workers)


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
    parser.add_argument("--commands", action="store_true", help="models go through the command line instead")
    parser.add_argument("--only", action="append", default=[], metavar="KIND:N", help="one case, alone")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=float, default=20.0, help="seconds of a processor that a case may take")
    parser.add_argument("--keep", type=Path, help="where to put what processes died of, and what was found")
    given = parser.parse_args(arguments)
    return 1 if run(given) else 0


def run(given: argparse.Namespace) -> int:
    """How many findings there are."""
    kinds = [kind for kind in given.what.split(",") if kind]
    total = sum(SHARES.get(kind, 1) for kind in kinds)
    if given.only:
        pairs = [text.rpartition(":") for text in given.only]
        cases = [Case(kind, int(number)) for kind, _, number in pairs]
    else:
        cases = [
            each for kind in kinds for each in numbered(kind, given.cases * SHARES.get(kind, 1) // total, given.start)
        ]
    found = 0
    with working_folder() as made:
        models = [case for case in cases if case.kind in MODELS]
        if models:
            folder = made / "models"
            corpus.write_models(folder)
        if models and given.commands:
            found += report_commands(fuzz_commands_of(given.seed, models, folder, workers=given.workers))
        elif models:
            tally = fuzz_models_of(given.seed, models, folder, workers=given.workers, limit=given.limit)
            found += report("models", tally)
            if given.keep:
                keep(given.keep, tally, fuzz_models.ModelCases(given.seed, folder), given.seed)
        others = [case for case in cases if case.kind not in MODELS]
        if others:
            folder = made / "files"
            corpus.write_files(folder)
            tally = fuzz_readers_of(given.seed, others, folder, workers=given.workers, limit=given.limit)
            found += report("files", tally)
            if given.keep:
                keep(given.keep, tally, fuzz_readers.ReaderCases(given.seed, folder), given.seed)
    return found


def report(what: str, tally: Tally) -> int:
    """Print it; how many findings there are."""
    sys.stdout.write("\n".join([what, *tally.lines(), ""]))
    return len(tally.findings)


def report_commands(result: fuzz_commands.Result) -> int:
    """Print it; how many failures there are."""
    lines = [f"{result.cases} commands, the longest {result.seconds:.0f} s"]
    lines += [f"  {command} ends with {code}: {count}" for (command, code), count in sorted(result.codes.items())]
    sys.stdout.write("\n".join([*lines, *result.failures[:20], f"{len(result.failures)} findings", ""]))
    return len(result.failures)


class Cases(Protocol):
    """From a case to what it is."""

    def content(self, kind: str, number: int) -> bytes:
        """The damaged file."""


def keep(folder: Path, tally: Tally, cases: Cases, seed: int) -> None:
    """Write down what processes died of, and the first case of each finding, with a line on each."""
    folder.mkdir(parents=True, exist_ok=True)
    suffix = ".onnx" if isinstance(cases, fuzz_models.ModelCases) else ""
    kept = [(each.case, each.ending, each.phase, each.said) for each in tally.examples]
    kept += [(found.case, "finding", what, "") for what, (found, *_) in tally.causes().items() if found.case.kind]
    with (folder / "deaths.tsv").open("a", encoding="utf-8") as file:
        for case, *about in kept:
            name = f"{case.kind}-{seed}-{case.number}{suffix}"
            (folder / name).write_bytes(cases.content(case.kind, case.number))
            file.write("\t".join([name, *about]) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
