"""What an export format is."""

from collections.abc import Mapping
from typing import Protocol

from onnxsens.frameworks.exporters.layer import Export, Mode


class Exporter(Protocol):
    """Writes a plan in one format."""

    @property
    def name(self) -> str:
        """What it is chosen by, and its line in the table."""

    @property
    def title(self) -> str:
        """Whose format it is, in words."""

    @property
    def modes(self) -> tuple[Mode, ...]:
        """What it can hand over."""

    @property
    def ran_with(self) -> str | None:
        """Name and version of what its files were run with; None where they were not, which the files say too."""

    def files(self, export: Export) -> Mapping[str, str]:
        """Text by file name; opens nothing, and says the same of the same export.

        None at all where the masks beside are the export.

        Raises:
            UsageError: a mode that it does not have, or a plan with nothing in it that the format can express.
        """
