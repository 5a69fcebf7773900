"""A process that sweeps a list of models and may be lost: `python -m tests.conformance.worker LIST RESULTS SCRATCH`.

Appends a line to RESULTS before each case, before each stage, and after each case, so that whoever watches knows what
was being done when it died.
"""

import json
import os
import sys
import time
import warnings
from pathlib import Path

from tests.conformance.cases import Case
from tests.conformance.stages import run_case


def main(cases: Path, results: Path, scratch: Path) -> None:
    """Sweep the cases in order."""
    warnings.simplefilter("ignore")
    with results.open("a", encoding="utf-8") as file:

        def tell(record: dict[str, object]) -> None:
            file.write(json.dumps(record) + "\n")
            file.flush()

        for fields in json.loads(cases.read_text(encoding="utf-8")):
            case = Case.from_dict(fields)
            tell({"begun": case.key})
            started = time.monotonic()
            row = run_case(case, scratch / str(os.getpid()), lambda stage: tell({"stage": stage}))
            row["seconds"] = round(time.monotonic() - started, 2)
            tell({"row": row})


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
