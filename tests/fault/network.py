"""No command opens a socket: each is run under the eyes of strace, one of them long enough for a library to call home.

Pipes between our own processes are no network. What is looked for are sockets of any other family than AF_UNIX, every
connection, and the files that a library keeps of what it means to send.

python -m tests.fault network
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.fault.recorded import can_record
from tests.fault.running import MODELS, Running, work_folder

NO_STRACE = "strace, which sees sockets, is not installed"
MODEL, SAMPLES = MODELS / "jv_transformer.onnx", MODELS / "japanese_vowels_test.npz"
CHECKPOINT = MODELS / "jv_transformer.safetensors"
# A call on what is no file, and the family; AF_UNIX is how processes of one machine talk.
SOCKET = re.compile(r"\b(?:socket|socketpair)\((AF_\w+|\w+),")
CALL = re.compile(r"\b(connect|sendto|sendmsg|sendmmsg|bind|listen|accept4?)\(")
LONG_METRIC = """
import time

START = time.monotonic()


def slow(outputs, dense, labels):
    time.sleep(max(0.0, START + {seconds} - time.monotonic()))
    first = next(iter(outputs.values()))
    return abs(first).reshape(len(first), -1).mean(1)
"""


def commands(place: Path, seconds: float) -> Iterator[tuple[Sequence[object], set[int]]]:
    """Each command, in an order in which all have what they need, and the exit codes that it may have.

    Args:
        seconds: that one of them is held up while its sessions are open.
    """
    out = place / "run"
    slow = place / "slow.py"
    slow.write_text(LONG_METRIC.format(seconds=seconds))
    samples = ("-d", SAMPLES, "--scan-samples", 32)
    yield ["--help"], {0}
    yield ["--version"], {0}
    yield ["doctor"], {0}
    yield ["targets"], {0}
    yield ["targets", "xnnpack", MODEL], {0}
    yield ["inspect", MODEL], {0}
    yield ["scan", MODEL, *samples, "--levels", 0.5, "--metric", f"{slow}:slow", "-o", place / "scan"], {0}
    yield ["auto", MODEL, *samples, "--sparsity", 0.5, "--checkpoint", CHECKPOINT, "-o", out], {0}
    yield ["auto", MODEL, *samples, "--sparsity", 0.4, "--update", "none", "--in-process", "-o", place / "second"], {0}
    yield ["plan", out, "--sparsity", 0.4], {0}
    yield ["apply", MODEL, out / "plan.json", "-o", place / "pruned.onnx"], {0}
    yield ["verify", MODEL, out / "plan.json", "-d", SAMPLES, "--max-drop", "kl=0.0001"], {0, 6}
    yield ["map", MODEL, "--checkpoint", CHECKPOINT, "-o", place / "map.json"], {0}
    yield (
        [
            "export",
            out / "plan.json",
            "--model",
            MODEL,
            "--map",
            place / "map.json",
            "--to",
            "torch",
            "-o",
            place / "x",
        ],
        {0},
    )
    yield ["report", out, "-o", place / "report.html"], {0}
    yield ["check", out, "--model", MODEL], {0, 3}


def look_at(arguments: Sequence[object], good: set[int], place: Path) -> list[str]:
    """Run a command; what it did that it should not."""
    log, home = place / "calls", place / "home"
    home.mkdir(exist_ok=True)
    watched = ["strace", "-f", "--seccomp-bpf", "-o", str(log), "-e", "trace=network"]
    known = set(files_in(place))
    surroundings = {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    done = Running(arguments, place, wrap=watched, environment=surroundings).wait()
    name = str(arguments[0])
    wrong = [f"{name}: {what}" for what in calls_home(log.read_text("utf-8", "replace"))]
    wrong += [f"{name}: left {path}" for path in files_in(place) if path not in known]
    if done.code not in good:
        wrong.append(f"{name}: exit code {done.code}: {done.err[-500:]}")
    return wrong


def files_in(place: Path) -> list[str]:
    """Files where only programs that keep something for themselves have any: at home, and for temporary ones."""
    folders = (place / "home", place / "tmp")
    return sorted(str(path.relative_to(place)) for folder in folders for path in folder.rglob("*") if path.is_file())


def calls_home(log: str) -> list[str]:
    """Calls in what strace wrote that are not between processes of ours."""
    families = {family for family in SOCKET.findall(log) if family != "AF_UNIX"}
    calls = {line for line in log.splitlines() if CALL.search(line) and "AF_UNIX" not in line}
    return [*(f"a socket of {family}" for family in sorted(families)), *(line[:200] for line in sorted(calls)[:3])]


def network(place: Path, seconds: float) -> tuple[int, list[str]]:
    """All commands, one held up for so long: how many there were, and what was wrong."""
    number, wrong = 0, []
    for arguments, good in commands(place, seconds):
        number += 1
        wrong += look_at(arguments, good, place)
    return number, wrong


def main(arguments: list[str]) -> int:
    """The tool: prints complaints and a summary; 1 where there is any."""
    parser = argparse.ArgumentParser(prog="network", description=__doc__)
    parser.add_argument("--seconds", type=float, default=40.0, help="that one command is held up, its sessions open")
    given = parser.parse_args(arguments)
    if not can_record():
        sys.stdout.write(f"network: {NO_STRACE}\n")
        return 2
    with work_folder() as folder:
        number, wrong = network(folder, given.seconds)
    sys.stdout.write("".join(f"{complaint}\n" for complaint in wrong))
    sys.stdout.write(f"network: {number} commands, {len(wrong)} complaints\n")
    return 1 if wrong else 0
