"""A run as one picture: the plan, a small curve for each weight, and the front where there is one.

Drawn by matplotlib, extra `[plot]`. What is drawn depends on the run alone: no date, no settings of the user's, and ids
in SVG that are the same each time. Names are drawn as they are, and never read as formulas.
"""

import io
import warnings
from dataclasses import dataclass
from typing import Any, Literal

from onnxsens.errors import MissingPackageError
from onnxsens.results import RunRecord

DOTS = 110  # an inch
SETTINGS: dict[Any, Any] = {
    "font.size": 8,
    "font.family": ["DejaVu Sans"],  # which comes with it, so that it is the same everywhere
    "text.parse_math": False,
    "text.usetex": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "onnxsens",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Picture:
    """One picture in a format that matplotlib writes."""

    name: Literal["png", "svg"]

    @property
    def suffixes(self) -> tuple[str, ...]:
        """That of the format."""
        return (f".{self.name}",)

    def content(self, run: RunRecord) -> bytes:
        """The picture's file.

        Raises:
            MissingPackageError: there is no matplotlib.
        """
        try:
            import matplotlib as mpl
        except ImportError as error:
            raise MissingPackageError(
                f"a report as {self.name} needs matplotlib, which is missing; pip install 'onnxsens[plot]'"
            ) from error
        from onnxsens.report.drawing import drawn

        # Without a date, and without the name and address of the program that drew it.
        unsaid: dict[str, Any] = {"Software": None} if self.name == "png" else {"Date": None, "Creator": "onnxsens"}
        with mpl.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a name may have characters that no font has
            mpl.rcdefaults()
            mpl.rcParams.update(SETTINGS)
            buffer = io.BytesIO()
            drawn(run).savefig(buffer, format=self.name, dpi=DOTS, metadata=unsaid)
        return buffer.getvalue()


PNG, SVG = Picture("png"), Picture("svg")
