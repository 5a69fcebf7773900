"""Texts from files as a page has them."""

from collections.abc import Sequence
from dataclasses import dataclass

from onnxsens.report.text import message


@dataclass(frozen=True)
class Shown:
    """A text from a file as the page has it: harmless, short, and without folders of this machine."""

    places: Sequence[str]

    def __call__(self, text: str) -> str:
        for place in sorted(self.places, key=len, reverse=True):
            text = text.replace(f"{place}/", "").replace(place, "...")
        return message(text)
