"""A run as a page for a browser."""

from dataclasses import dataclass

from onnxsens.report.page import page
from onnxsens.results import RunRecord


@dataclass(frozen=True)
class HtmlReport:
    """One file that needs no other."""

    name: str = "html"
    suffixes: tuple[str, ...] = (".html", ".htm")

    def content(self, run: RunRecord) -> bytes:
        """The page."""
        return page(run).encode("utf-8", "backslashreplace")


FORMAT = HtmlReport()
