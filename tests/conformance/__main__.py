"""Sweep every model that packages bring along: `python -m tests.conformance`, from the repository's root.

Exit code 0: no crash, hang, traceback, wrong account or mismatch with the oracle. What the tool refuses in its own
words is listed, and is none of these.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.conformance.cases import Case, joined
from tests.conformance.node_cases import node_cases
from tests.conformance.onnx_data import filled_networks, onnx_data
from tests.conformance.pool import Pool, Watcher
from tests.conformance.stages import Row
from tests.conformance.summary import markdown, text
from tests.conformance.wheels import missing, wheel_models

Maker = Callable[[Path, Sequence[str]], Iterator[Case]]
MAKERS: dict[str, Maker] = {"wheels": wheel_models, "filled": filled_networks, "data": onnx_data, "nodes": node_cases}


def main(arguments: Sequence[str] | None = None) -> int:
    """Sweep, report, and say whether all was well."""
    options = parsed(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that no process is left behind
    started = time.monotonic()
    notes = [f"note: {gap}" for gap in missing()] if "wheels" in options.source else []
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        scratch = Path(folder)
        cases = gathered(options, scratch)
        rows = Pool(scratch, options.jobs, options.limit_s, progress(len(cases))).run(cases)
    order = {case.key: position for position, case in enumerate(cases)}
    rows.sort(key=lambda row: order[row["key"]])
    if options.json:
        options.json.write_text(json.dumps({"notes": notes, "rows": rows}, indent=1), encoding="utf-8")
    seconds = time.monotonic() - started
    sys.stdout.write(markdown(rows, notes) if options.markdown else text(rows, notes, seconds))
    return 1 if any(row["trouble"] for row in rows) else 0


def gathered(options: argparse.Namespace, scratch: Path) -> list[Case]:
    """All cases that were asked for."""
    cases: list[Case] = []
    for source in options.source:
        if source == "nodes":
            cases += node_cases(scratch, options.only, options.operator)
        else:
            cases += MAKERS[source](scratch, options.only)
    return [joined(case) for case in cases] if options.joined else cases


def progress(total: int) -> Watcher:
    """A line on stderr for each row that took long or went wrong, and for each hundredth."""
    done = 0

    def watch(row: Row) -> None:
        nonlocal done
        done += 1
        if done % 100 == 0 or row["trouble"] or row.get("seconds", 0) > 5:
            trouble = f": {row['trouble'][0]}" if row["trouble"] else ""
            sys.stderr.write(f"{done}/{total} {row['key']} {row.get('seconds', '-')} s{trouble}\n")

    return watch


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--source", action="append", choices=[*MAKERS], help="sweep this one only; repeatable")
    add(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="cases whose name holds or matches this; repeatable",
    )
    add("--operator", metavar="OP", help="node cases of this operator only, which are collected faster")
    add("--jobs", type=int, default=os.cpu_count(), metavar="N", help="processes side by side (all cores)")
    add("--limit-s", type=float, default=900, metavar="S", help="seconds for one model (900)")
    add("--joined", action="store_true", help="feed samples joined along the first axis, not whole inputs")
    add("--json", type=Path, metavar="FILE", help="write every row there")
    add("--markdown", action="store_true", help="print the tables of docs/conformance.md")
    options = parser.parse_args(arguments)
    options.source = options.source or [*MAKERS]
    return options


if __name__ == "__main__":
    sys.exit(main())
