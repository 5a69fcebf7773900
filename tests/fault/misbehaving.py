"""Metrics that do what no metric should, at one variant of a scan: what that costs, and what is said of it.

The scan is of two weights at two levels. At one of the four variants all samples give the same output; there the metric
does it.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import indent
from typing import Any

from tests.fault.running import MODELS, Ended, Running

FIRST, SECOND = "onnx::GRU_105", "onnx::GRU_106"
FUNCTION = """
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


def once():
    try:
        open(os.path.join(HERE, "done-once"), "x").close()
    except FileExistsError:
        return False
    return True


def judge(outputs, dense, labels):
    logits = outputs["logits"]
    if np.ptp(logits, axis=0).max() < 1e-6:
{what}
    return (logits.argmax(1) == labels).astype(float)
"""


@dataclass(frozen=True)
class Misdeed:
    """What a metric does, and what becomes of the scan.

    Attributes:
        code: of Python; what follows it is the right answer.
        reason: what is said of the variant that cannot be measured; empty where it can.
        options: of the scan.
        spares: whether other metrics of the same variant are measured.
        died: whether processes died of it, and how many.
    """

    name: str
    code: str
    reason: str = ""
    options: tuple[str, ...] = ()
    spares: bool = False
    died: int = 0

    def allowed(self, *options: str) -> "Misdeed":
        """The same with other options of the scan."""
        return replace(self, options=options)


def deadly(name: str, code: str, how: str, *options: str) -> Misdeed:
    """One that ends the process each time, and how that is told."""
    return Misdeed(name, code, f"the process died 2 times while it ran metric '{{spec}}' ({how})", options, died=2)


def refused(name: str, code: str, reason: str) -> Misdeed:
    """One that ends the metric only."""
    return Misdeed(name, code, reason, spares=True)


PATIENCE = ("--patience", "3")
MISDEEDS = (
    refused("raises", "raise ValueError('no\\nway')", "metric '{spec}' raised ValueError: no way"),
    refused("sys.exit", "sys.exit(0)", "metric '{spec}' raised SystemExit: 0"),
    refused("recursion", "judge(outputs, dense, labels)", "metric '{spec}' raised RecursionError: "),
    refused("text", "return 'good'", "metric '{spec}' returned str"),
    refused("too few", "return np.zeros(3)", "metric '{spec}' returned "),
    refused("writes to inputs", "logits[:] = 0", "metric '{spec}' raised ValueError: assignment destination is"),
    deadly("os._exit", "os._exit(3)", "exit code 3"),
    deadly("os._exit(0)", "os._exit(0)", "exit code 0"),
    deadly("kills itself", "os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    deadly("terminates itself", "os.kill(os.getpid(), signal.SIGTERM)", "SIGTERM"),
    deadly("null pointer", "ctypes.string_at(0)", "SIGSEGV"),
    deadly("abort", "os.abort()", "SIGABRT"),
    deadly("closes all files", "os.closerange(3, 4096); time.sleep(99)", "", *PATIENCE),
    deadly("loops", "while True: pass", "no answer in 3 s", *PATIENCE),
    deadly("stops itself", "os.kill(os.getpid(), signal.SIGSTOP)", "no answer in 3 s", *PATIENCE),
    deadly("blocks signals and waits", "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(99)",
           "no answer in 3 s", *PATIENCE),
    Misdeed("dies once", "if once(): os._exit(3)", died=1),
    Misdeed("waits once", "if once(): time.sleep(99)", options=PATIENCE, died=1),
    Misdeed("prints", "print('x' * 300_000); os.write(1, b'y' * 300_000)"),
    Misdeed("chdir", "os.chdir('/'); os.umask(0o777)"),
    Misdeed("forks", "os.fork()"),
    Misdeed("forks, and the fork waits", "os.fork() or time.sleep(99)"),
    Misdeed("starts a process", "subprocess.Popen(['sleep', '99'])"),
    Misdeed("starts threads", "[threading.Thread(target=time.sleep, args=(0.1,)).start() for _ in range(20)]"),
    Misdeed("random state", "np.random.seed(0); os.environ.clear()"),
    Misdeed("signal handlers", "[signal.signal(number, lambda *_: None) for number in (2, 15, 1)]"),
)  # fmt: skip


@dataclass(frozen=True)
class Scanned:
    """How a scan with such a metric ended.

    Attributes:
        spec: of the metric.
        document: that it gave.
        left: processes that outlived it.
    """

    spec: str
    ended: Ended
    document: Any
    left: Sequence[str]

    def of(self, weight: str, level: float) -> Any:
        """What the document says of a variant."""
        found = [point for point in self.document["points"] if (point["weight"], point["level"]) == (weight, level)]
        return found[0]


def scan_with(misdeed: Misdeed, place: Path, watch: Callable[[Running], None] = lambda running: None) -> Scanned:
    """Scan with a metric that does it.

    Args:
        watch: called again and again while the scan runs.
    """
    place.mkdir(parents=True, exist_ok=True)
    file = place / "metric.py"
    file.write_text(FUNCTION.format(what=indent(misdeed.code, " " * 8)))
    spec = f"{file}:judge"
    weights = ("--weights", FIRST, "--weights", SECOND)
    samples = ("-d", MODELS / "japanese_vowels_test.npz", "--scan-samples", 64, "--levels", "0.5,1.0")
    given = (*samples, *weights, "--metric", spec, *misdeed.options, "-o", place / "run", "--json")
    running = Running(["scan", MODELS / "jv_gru1.onnx", *given], place)
    while running.alive:
        watch(running)
        time.sleep(0.02)
    ended = running.wait()
    left = running.orphans()
    running.kill()
    return Scanned(spec, ended, json.loads(ended.out) if ended.out else None, left)


def judged(misdeed: Misdeed, found: Scanned) -> list[str]:
    """What is not as it should be."""
    wrong = [f"orphans: {found.left}"] if found.left else []
    expected = 7 if misdeed.reason else 0
    if found.ended.code != expected or found.document is None:
        return [*wrong, f"exit code {found.ended.code} in place of {expected}: {found.ended.err[-800:]}"]
    reason = misdeed.reason.format(spec=found.spec)
    variant = found.of(FIRST, 1.0)
    said = variant["failures"].get(found.spec, "")
    if not said.startswith(reason[:-2] if reason.endswith("()") else reason) or bool(said) != bool(reason):
        wrong.append(f"said '{said}' in place of '{reason}'")
    if ("kl" in variant["measurements"]) != (misdeed.spares or not reason):
        wrong.append(f"measured {sorted(variant['measurements'])}")
    for weight, level in ((FIRST, 0.5), (SECOND, 0.5), (SECOND, 1.0)):
        if found.spec not in found.of(weight, level)["measurements"]:
            wrong.append(f"'{weight}' at {level} was not measured")
    deaths = found.ended.err.count("died while")
    if deaths != misdeed.died:
        wrong.append(f"{deaths} processes died in place of {misdeed.died}: {found.ended.err[-500:]}")
    if "Traceback" in found.ended.err:
        wrong.append(f"said {found.ended.err[-500:]}")
    return wrong
