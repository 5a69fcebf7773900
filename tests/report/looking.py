"""Pages as a browser shows them: Debian's Chromium, driven by Playwright, and axe-core for what people cannot use."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

CLASHES = Path(__file__).with_name("clashes.js").read_text("utf-8")
FAULTS = """async () => (await axe.run()).violations.filter((found) => ['serious', 'critical'].includes(found.impact))
  .map((found) => `${found.id}: ${found.nodes.map((node) => node.target.join(' ')).slice(0, 5).join(', ')}`)"""


@dataclass
class Opened:
    """A page in a tab.

    Attributes:
        tab: Playwright's page.
        complaints: errors and warnings of the console, uncaught exceptions.
        requests: addresses other than the page's own.
    """

    tab: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def clashes(self) -> list[str]:
        """Texts on each other, out of their drawings, and a page that is too wide."""
        found: list[str] = self.tab.evaluate(CLASHES)
        return found

    def faults(self) -> list[str]:
        """What axe-core finds serious or critical."""
        self.tab.evaluate(axe_source())
        found: list[str] = self.tab.evaluate(FAULTS)
        return found

    def data(self) -> Any:
        """What the script of the page was given."""
        return json.loads(self.tab.locator("#data").text_content())


def axe_source() -> str:
    """axe-core, as its Python package ships it."""
    return (files("axe_playwright_python") / "axe.min.js").read_text("utf-8")


@contextmanager
def chromium_started(program: str) -> Iterator[Any]:
    """A browser, ended whatever happens."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Any, page: Path, width: int = 1024, scheme: str = "light", *, scripts: bool = True, **settings: Any
) -> Iterator[Opened]:
    """A page in a window of its own; it is open when it is drawn."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=scripts, **settings
    )
    try:
        tab = context.new_page()
        seen, address = Opened(tab), page.resolve().as_uri()
        tab.on("console", lambda said: seen.complaints.append(said.text))
        tab.on("pageerror", lambda error: seen.complaints.append(str(error)))
        tab.on("request", lambda asked: seen.requests.append(asked.url) if asked.url.split("#")[0] != address else None)
        tab.goto(address)
        yield seen
    finally:
        context.close()
