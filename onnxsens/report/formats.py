"""What a run can be written as. To add a format: a file with a `Format`, a line in the table below, a contract test.

The laws that all keep are `onnxsens.report.contract`.
"""

from collections.abc import Sequence
from typing import Protocol

from onnxsens.errors import UsageError
from onnxsens.plugins import Registry, unknown
from onnxsens.results import RunRecord


class Format(Protocol):
    """Writes what is known of a run in one format."""

    @property
    def name(self) -> str:
        """What it is chosen by, and its line in the table."""

    @property
    def suffixes(self) -> Sequence[str]:
        """Of files that are taken to be of this format, with the dot; the first is what it is written to."""

    def content(self, run: RunRecord) -> bytes:
        """The file. Opens nothing, names no folder of this machine, and is the same of the same run.

        Raises:
            MissingPackageError: it needs a package that is not installed; the message has the install line.
        """


formats: Registry[Format] = Registry(
    "reports",
    "report format",
    {
        "csv": "onnxsens.report.csv_report:FORMAT",
        "html": "onnxsens.report.html_report:FORMAT",
        "json": "onnxsens.report.json_report:FORMAT",
        "md": "onnxsens.report.markdown_report:FORMAT",
        "png": "onnxsens.report.picture:PNG",
        "svg": "onnxsens.report.picture:SVG",
    },
)
USUAL = "html"


def format_of(suffix: str, name: str | None = None) -> Format:
    """The format called `name`, or that of files with this suffix; HTML where there is neither.

    Raises:
        UsageError: there is no such format.
    """
    if name is not None:
        return formats.get(name)
    if not suffix:
        return formats.get(USUAL)
    for each in map(formats.get, formats.names()):  # ours first: others are not even loaded then
        if suffix.lower() in each.suffixes:
            return each
    raise UsageError(f"{unknown('report format', suffix.lower().lstrip('.'), formats.names())}; or say --format")
