"""How large pages of runs are, and how long they take to write and to open: `python -m benchmarks.report_page`.

Opened is when a headless Chromium has drawn everything and painted it, counted from the start of the navigation, in a
window of its own each time. Needs Chromium and Playwright; without them there are sizes only.
"""

import argparse
import shutil
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.made_runs import made_run
from benchmarks.timing import timed
from onnxsens.report.page import page

PAINTED = """() => new Promise((done) =>
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"""
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def measure(layers: int, points: int, rounds: int, browser: Any) -> None:
    """One row of the table."""
    run = made_run(layers, points=points)
    page(run)  # the template is compiled once a process
    text, written = timed(lambda: page(run))
    content = text.encode()
    opened = "-"
    if browser is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "report.html"
            path.write_bytes(content)
            found = [opening(browser, path) for _ in range(rounds)]
        opened = f"{statistics.median(found):.2f} s ({min(found):.2f} to {max(found):.2f})"
    print(f"| {layers} | {points} | {len(content) / 1000:.0f} kB | {written:.2f} s | {opened} |")


def opening(browser: Any, path: Path) -> float:
    """Seconds from the start of the navigation until the page is painted."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        tab = context.new_page()
        tab.goto(path.as_uri())
        return float(tab.evaluate(PAINTED)) / 1000
    finally:
        context.close()


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; None where there is none, or nothing to drive it with."""
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        print("no Chromium, or no Playwright: nothing is opened")
        yield None
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, nargs="+", default=[13, 50, 100, 500])
    parser.add_argument("--points", type=int, default=6, help="measured of each weight, by each of two metrics")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    with chromium() as browser:
        print("| weights | points | page | written in | opened in |\n|---|---|---|---|---|")
        for layers in given.layers:
            measure(layers, given.points, given.rounds, browser)


if __name__ == "__main__":
    main()
