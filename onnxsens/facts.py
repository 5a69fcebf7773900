"""What is known of a model, its samples and its metrics once they are open together: small records, for those who plan.

Knows nothing of who opened them, in which process.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from onnxsens.engine import Recipe
from onnxsens.errors import RunMismatchError
from onnxsens.metrics import Declared, Reading


@dataclass(frozen=True)
class Facts:
    """As they were found.

    Attributes:
        samples, search, holdout: how many there are, and in each split.
        provider: the execution provider that is active.
        reading: which output metrics read, and how.
        metrics: by spec; all that are measured.
        binary: those of them whose per-sample values are 0 or 1.
        seconds_per_sample: of the dense model, roughly.
        lanes: batches that are run side by side.
        cache_bytes: for tensors kept inside the model.
        libraries: of custom operators, by what is in them; empty where there are none.
    """

    model_sha256: str
    data_sha256: str
    samples: int
    search: int
    holdout: int
    provider: str
    recipe: Recipe
    reading: Reading
    metrics: Mapping[str, Declared]
    binary: frozenset[str]
    search_metric: str
    seconds_per_sample: float
    lanes: int
    cache_bytes: int
    onnxruntime: str
    libraries: str

    @property
    def digests(self) -> dict[str, str]:
        """What was opened, and the SHA-256 of it as it was found."""
        own = {f"metric '{name}'": metric.source_digest for name, metric in self.metrics.items()}
        return {"the model": self.model_sha256, "the samples": self.data_sha256, **own}


def refuse_changed(first: Mapping[str, str], now: Mapping[str, str]) -> None:
    """What is measured together has to be of the same model, samples and metrics.

    Raises:
        RunMismatchError: something was found otherwise.
    """
    changed = next((what for what, digest in first.items() if now.get(what, digest) != digest), None)
    if changed is not None:
        raise RunMismatchError(
            f"{changed} changed while the run was under way, or is another at every reading; undo the change and run "
            "the same command again"
        )
