"""Makes the pictures of the page from a run and the code that ships: `python docs/images/make.py RUN`.

RUN is what the README's first command leaves, with `--pareto`. Needs Chromium, and Playwright of the extra `test`.
Pictures have few colours, so that they stay small.
"""

import argparse
import io
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from onnxsens import report

HERE = Path(__file__).parent
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
COLOURS = 256


def pictures(browser: Any, page: Path) -> dict[str, bytes]:
    """PNG by name: the top of the page, curves, heat map, the front with its slider in the dark, a phone."""
    made = {}
    for name, width, height, scheme, first, last in (
        ("report-answer", 1100, 1000, "light", "header", "#bars-key"),
        ("report-curves", 1100, 1000, "light", "#curves-title", "#overlay-key"),
        ("report-heat", 1100, 1000, "light", "#heat-title", "#map-key"),
        ("report-front", 1100, 1000, "dark", "#front-title", "#budget-made"),
        ("report-phone", 390, 844, "dark", "header", "#bars-key"),
    ):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        tab = context.new_page()
        tab.goto(page.as_uri())
        # The bar that sticks to the window would lie on what is scrolled under it.
        tab.evaluate("document.getElementById('finder').style.position = 'static'")
        top, bottom = (tab.locator(place).bounding_box() for place in (first, last))
        start = max(0, top["y"] - 12)
        area = {"x": 0, "y": start, "width": width, "height": bottom["y"] + bottom["height"] + 14 - start}
        made[name] = tab.screenshot(full_page=True, clip=area)
        context.close()
    return made


def small(content: bytes) -> bytes:
    """The same picture in few colours."""
    out = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
        out, "PNG", optimize=True
    )
    return out.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    """Write them beside this file."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--to", type=Path, default=HERE)
    given = parser.parse_args(arguments)
    program = next(found for name in PROGRAMS if (found := shutil.which(name)))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = Path(folder) / "report.html"
        report(given.run, page)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            for name, content in pictures(browser, page).items():
                (given.to / f"{name}.png").write_bytes(small(content))
        finally:
            browser.close()


if __name__ == "__main__":
    main()
