"""What a mistake costs, where the first of nine speakers is the one who may come in."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

OWNER = 0
STRANGER_IN, OWNER_OUT = 10.0, 1.0  # cents


def price(
    outputs: Mapping[str, NDArray[np.float32]], dense: Mapping[str, NDArray[np.float32]], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """`[samples]`, in cents: of letting a stranger in, and of keeping the owner out."""
    opens = outputs["logits"].argmax(axis=-1) == OWNER
    owner = labels == OWNER
    return np.where(opens & ~owner, STRANGER_IN, 0.0) + np.where(~opens & owner, OWNER_OUT, 0.0)


price.unit = "cents"  # type: ignore[attr-defined]
price.higher_is_better = False  # type: ignore[attr-defined]
price.needs_labels = True  # type: ignore[attr-defined]
