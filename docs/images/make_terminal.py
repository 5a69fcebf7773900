"""Makes terminal.svg: what the README's first command shows, at a terminal of 100 columns.

    python docs/images/make_terminal.py [FILE]

The command is run in an empty folder, and what it left is shown by the code that shows it to everybody.
"""

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from onnxsens.artefacts import PLAN_FILE
from onnxsens.cli.ending import curves_in
from onnxsens.cli.next_steps import after_plan
from onnxsens.options import Options
from onnxsens.plan import read_plan
from onnxsens.report.commands import broken, shown_steps
from onnxsens.report.terminal import plan

ROOT = Path(__file__).parent.parent.parent
WIDTH = 100
MODEL, DATA, OUT = "models/fashion_cnn.onnx", "models/fashion_mnist_test.npz", "out"
PREPARED = {"scale": 255.0, "mean": "0.2860", "std": "0.3530"}
GOAL = "accuracy=0.01"
# The template of rich loads fonts from the network; a picture in a page of docs asks nobody for anything.
FORMAT = re.sub(r"@font-face\s*\{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def make(target: Path) -> None:
    """Run the command, and draw what it shows."""
    preparing = [
        word for name, value in PREPARED.items() for word in (f"--{name}", f"{value:g}" if name == "scale" else value)
    ]
    words = ["auto", MODEL, "--data", DATA, *map(str, preparing), "--max-drop", GOAL, "-o", OUT]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "models").symlink_to(ROOT / "models")
        subprocess.run([sys.executable, "-m", "onnxsens", *words], cwd=folder, check=True, capture_output=True)
        made = read_plan(folder / OUT / PLAN_FILE)
        curves = curves_in(folder / OUT)
    steps = after_plan(made, Path(OUT), Path(MODEL), Options(DATA, **PREPARED), [GOAL], masks=False, pruned=True)
    console = Console(record=True, width=WIDTH, force_terminal=True, file=io.StringIO(), highlight=False)
    for line in broken(["onnxsens", *words], WIDTH - 2):
        console.print(Text(("$ " if "onnxsens" in line else "  ") + line.removeprefix("    "), style="bold"))
    console.print(plan(made, curves))
    console.print(Text(shown_steps(steps, WIDTH).rstrip("\n")))
    svg = console.export_svg(title="onnxsens", code_format=FORMAT, unique_id="onnxsens")
    target.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "terminal.svg")
