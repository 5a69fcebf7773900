"""Commits to a store until something fails, in a process of its own: it says which it was told of.

python -m tests.fault.commits FOLDER [--file-limit BYTES] [--filler BYTES]
"""

import argparse
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from onnxsens.errors import StorageError
from onnxsens.scan.store import Store

IDENTITY = {"model_sha256": "1f" * 32, "seed": "0", "onnxruntime": "1.0"}
SETTINGS = {"model": "m.onnx", "scan_samples": 2000}
MADE_BY = "onnxsens, damaged"
COMMITS = 25


def value(number: str) -> str:
    """What is put under a number."""
    return number * 5000


def put(folder: Path, freed: Callable[[], None]) -> None:
    """Commit as far as it goes; where that fails, free what was in the way and go on, once."""
    for _ in range(2):
        try:
            with Store(folder, IDENTITY, SETTINGS, MADE_BY) as store:
                known = store.artefacts()
                for number in map(str, range(COMMITS)):
                    if number not in known:
                        store.put_artefact(number, value(number))
                        tell(f"told {number}")
        except StorageError as error:
            tell(f"error {error}")
            freed()
        else:
            tell("complete")
            return
    tell("given up")


def tell(text: str) -> None:
    """A line that the one who started this process reads."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Put in the way what was asked for, and commit."""
    parser = argparse.ArgumentParser(prog="commits")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--file-limit", type=int, default=0)
    parser.add_argument("--filler", type=int, default=0)
    given = parser.parse_args(arguments)
    filler = given.folder / "filler"
    if given.filler:
        filler.write_bytes(bytes(given.filler))
    if given.file_limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (given.file_limit, resource.RLIM_INFINITY))

    def freed() -> None:
        filler.unlink(missing_ok=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    put(given.folder, freed)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
