"""A curve of a weight as a few signs in a table, all curves of a table on one scale."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Points = Sequence[tuple[float, float]]  # sparsity and drop, by sparsity

LEVELS = tuple(step / 10 for step in range(1, 10))  # one sign each
BLOCKS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
ASCII = "_.:-=+*#"
UNKNOWN = " "
FACTORS = (1.5, 2.0, 3.0, 4.0)  # from one sign to the next; wider steps would make all curves look alike


@dataclass(frozen=True)
class Scale:
    """What signs stand for: the last for drops from `top` on, each one before it from `factor` times less on.

    Drops of layers differ by powers of ten, so steps of equal size would show the worst layer and nothing else.
    """

    top: float
    factor: float

    @classmethod
    def of(cls, curves: Iterable[Points]) -> "Scale | None":
        """The smallest factor that reaches from the largest drop down to the smallest; None where nothing is lost."""
        drops = [drop for points in curves for level in LEVELS if (drop := drop_at(points, level)) > 0]
        drops = [drop for drop in drops if math.isfinite(drop)]
        if not drops:
            return None
        reach = max(drops) / min(drops)
        steps = len(BLOCKS) - 2  # from the second sign to the last
        return cls(max(drops), next((each for each in FACTORS if each**steps >= reach), FACTORS[-1]))

    def sign(self, drop: float) -> int:
        """Which of the signs shows a drop, from 0: the last whose bound the drop reaches."""
        last = len(BLOCKS) - 1
        if not drop > 0:
            return 0
        steps = math.log(drop / self.top, self.factor)
        return min(max(last + math.floor(steps + 1e-9), 0), last)

    def line(self, points: Points) -> str:
        """One sign for each of `LEVELS`; blank above the highest point."""
        drops = [drop_at(points, level) for level in LEVELS]
        return "".join(UNKNOWN if math.isnan(drop) else BLOCKS[self.sign(drop)] for drop in drops).rstrip()

    def legend(self, metric: str, how: str = "on straight lines between measured points, blank beyond") -> str:
        """What a reader has to know.

        Args:
            how: what is shown where nothing was measured.
        """
        last = len(BLOCKS) - 1
        bounds = [self.top / self.factor ** (last - at) for at in range(last + 1)]
        return (
            f"curve: drop in {metric} at 10 %, 20 %, ... 90 % sparsity, {how}; {BLOCKS[last]} from {bounds[last]:.2g}, "
            f"each sign below it from {self.factor:g} times less, {BLOCKS[1]} from {bounds[1]:.2g}, {BLOCKS[0]} less"
        )


def drop_at(points: Points, level: float) -> float:
    """On straight lines through 0 and the points; nan above the highest, and at one that could not be measured."""
    before = (0.0, 0.0)
    for sparsity, drop in points:
        if math.isclose(sparsity, level, abs_tol=5e-3):
            return drop
        if not math.isfinite(drop):
            continue
        if sparsity > level:
            share = (level - before[0]) / (sparsity - before[0])
            return before[1] + share * (drop - before[1])
        before = sparsity, drop
    return math.nan
