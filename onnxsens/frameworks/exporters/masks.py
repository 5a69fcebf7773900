"""The masks alone: the file that is written beside every export in mode `mask`, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass

from onnxsens.frameworks.exporters.header import select
from onnxsens.frameworks.exporters.layer import Export, Layer, Mode


@dataclass(frozen=True)
class Masks:
    """No text: masks.safetensors says in its metadata what it is, and `docs/exports.md` how it is read."""

    name: str = "masks"
    title: str = "Masks in the source's layout and names, as safetensors"
    modes: tuple[Mode, ...] = ("mask",)
    ran_with: str | None = "safetensors 0.8.0"

    def files(self, export: Export) -> Mapping[str, str]:
        """None; the caller writes the masks."""
        select(self, export, no_reason)
        return {}


def no_reason(layer: Layer) -> None:
    """Every parameter has a mask."""


EXPORTER = Masks()
