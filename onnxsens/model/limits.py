"""How much of a model that was handed in is read."""

from dataclasses import dataclass

from onnxsens.errors import UsageError


@dataclass(frozen=True)
class ReadLimits:
    """What a model may ask of whoever opens it.

    Attributes:
        max_model_bytes: of its file and of all that its tensors claim of data files, and of sparse tensors written out.
        strict_links: data files are refused that are links, lie behind one, or have a second name on the disk.
    """

    max_model_bytes: int = 64 << 30
    strict_links: bool = False

    def __post_init__(self) -> None:
        if self.max_model_bytes < 1:
            raise UsageError(f"--max-model-bytes {self.max_model_bytes} is not a number of bytes; give 1 or more")


DEFAULT = ReadLimits()
