"""The control: if elements drawn by lot can go at no more cost, a criterion has found nothing out."""

import hashlib
from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import FloatArray
from onnxsens.techniques.moments import Moments


@dataclass(frozen=True)
class Random:
    """Scores drawn by lot; the same for the same weight, others for another one.

    Elements that are zero already score lowest, as by magnitude: a level counts them, so they have to go first.

    Args:
        seed: of the lot, 0 or more.
    """

    seed: int = 0

    def scores(self, weight: FloatArray, moments: Moments | None = None) -> FloatArray:
        """`[out, in]`, without unit: 0 where the weight is zero, else uniform in (0, 1]."""
        digest = hashlib.sha256(repr(weight.shape).encode())
        digest.update(np.ascontiguousarray(weight, dtype="<f4").data)
        rng = np.random.default_rng([self.seed, int.from_bytes(digest.digest()[:8], "little")])
        drawn = 1 - rng.random(weight.shape, dtype=np.float32)
        return np.where(weight == 0, np.float32(0), drawn)
