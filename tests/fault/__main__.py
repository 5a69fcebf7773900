"""Tools that try to break onnxsens, from a seed and at any size.

    python -m tests.fault TOOL [--seed N] [--cases N] ...

Each prints a short summary, and ends with 0 where nothing was found. `tests/fault/test_fault_*.py` run the same
functions at the size that fits a test run.
"""

import sys
from importlib import import_module
from pathlib import Path

TOOLS = (
    "crash",
    "determinism",
    "fuzz",
    "hostile",
    "iofault",
    "memory",
    "network",
    "replay",
    "signals",
    "soak",
    "store_damage",
)
TESTS = Path(__file__).parent.parent


def main(arguments: list[str]) -> int:
    """Run the tool that is named first."""
    name = arguments[0] if arguments else ""
    if name not in TOOLS or not (TESTS / "fault" / f"{name}.py").is_file():
        known = ", ".join(tool for tool in TOOLS if (TESTS / "fault" / f"{tool}.py").is_file())
        sys.stderr.write(f"usage: python -m tests.fault TOOL [--seed N] [--cases N]\ntools: {known}\n")
        return 2
    if str(TESTS) not in sys.path:
        sys.path.insert(1, str(TESTS))  # as pytest does: tests import their neighbours by name
    code: int = import_module(f"tests.fault.{name}").main(arguments[1:])
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
