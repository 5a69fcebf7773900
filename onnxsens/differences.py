"""What differs between two runs, A and B: records. How they come about is in `onnxsens.contrast`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Rule = Literal["name", "source", "order"]


@dataclass(frozen=True)
class FieldPair:
    """One thing that both were made from or came to, such as the data's SHA-256; None where one does not say."""

    part: Literal["identity", "setting", "total"]
    name: str
    a: str | int | float | bool | None
    b: str | int | float | bool | None

    @property
    def differs(self) -> bool:
        """Whether both say something, and not the same."""
        return self.a is not None and self.b is not None and self.a != self.b


@dataclass(frozen=True)
class WeightPair:
    """A weight of A and the one of B that it is compared with; one of them is None where the other has no counterpart.

    Attributes:
        rule: what they were matched by: the same name; the same parameters of the source framework; or, where neither
            finds anything, the same operator and shape in the same order. None without a counterpart.
        a_zeros, b_zeros: of the plan; None without one, as are levels, effects, shapes and picks.
        a_picks, b_picks: by picker, level.
        a_kind, b_kind: what levels are, such as `sparsity`; those of different kinds are not compared.
    """

    a: str | None
    b: str | None
    rule: Rule | None
    a_level: float | None
    b_level: float | None
    a_zeros: int | None
    b_zeros: int | None
    a_shape: tuple[int, ...] | None
    b_shape: tuple[int, ...] | None
    a_effect: str | None
    b_effect: str | None
    a_picks: dict[str, float]
    b_picks: dict[str, float]
    a_kind: str | None = None
    b_kind: str | None = None

    @property
    def name(self) -> str:
        """What it is called, in A where it is in A."""
        return self.a if self.a is not None else self.b or ""

    @property
    def differs(self) -> bool:
        """Whether anything that was chosen differs, or it is in one of them only."""
        alike = self.a_kind == self.b_kind
        levels = [(self.a_level, self.b_level)] if alike else []
        pairs = (*levels, (self.a_zeros, self.b_zeros), (self.a_effect, self.b_effect))
        return (
            self.rule is None
            or any(None not in pair and pair[0] != pair[1] for pair in pairs)
            or (self.a_shape != self.b_shape and None not in (self.a_shape, self.b_shape))
            or (
                alike
                and any(self.a_picks[name] != self.b_picks[name] for name in self.a_picks.keys() & self.b_picks.keys())
            )
        )


@dataclass(frozen=True)
class DropPair:
    """The drops of a weight by itself at one sparsity, in A and in B.

    Attributes:
        measured: `both`, or in which one alone; the other's drop lies on a line between its measured neighbours.
        a_error, b_error: standard errors; of a value between neighbours, the larger of theirs.
        difference: of B from A; positive where B loses more.
        p: of no difference, two-sided, by itself; None where too few samples or no error tell.
    """

    sparsity: float
    measured: Literal["both", "a", "b"]
    a: float
    b: float
    a_error: float
    b_error: float
    difference: float
    p: float | None


@dataclass(frozen=True)
class CurvePair:
    """The curves of a matched weight.

    Attributes:
        points: at every sparsity that was measured in one and lies within what was measured in the other.
        p: of no difference at any of them, corrected for their number and for that of all that is compared; None where
            nothing can be told.
        strongest: the point that speaks loudest; None without points.
        a_mean, b_mean: mean drop over sparsities from 0 to that up to which all are compared: the sensitivity that is
            ranked. None where it does not reach so far.
    """

    weight: str
    b_weight: str
    points: Sequence[DropPair]
    p: float | None
    more_than_noise: bool
    strongest: DropPair | None
    a_mean: float | None
    b_mean: float | None


@dataclass(frozen=True)
class QualityPair:
    """What a metric loses by each plan as a whole, on its hold-out split.

    Attributes:
        a_low, a_high, b_low, b_high: 95 % intervals.
        p: of no difference, corrected as in `CurvePair`.
    """

    metric: str
    a: float
    b: float
    a_low: float | None
    a_high: float | None
    b_low: float | None
    b_high: float | None
    difference: float
    p: float | None
    more_than_noise: bool


@dataclass(frozen=True)
class RunDifference:
    """What differs between two runs.

    Attributes:
        a_model, b_model: file names, without folders.
        metric: whose curves are compared; None where there is no metric that both have.
        a_technique, b_technique: whose points the curves are.
        fields: identity, settings and totals, the same ones included.
        notes: what could not be compared, and what is to be minded, a sentence each.
        rank_correlation: Spearman's, of the sensitivities of `ranked` weights; None for fewer than 3.
        ranked_to: up to what sparsity sensitivities were averaged.
        alpha: the chance that anything at all is said to be more than noise where nothing but noise differs.
        tests: how many weights and metrics that is over.
    """

    a_model: str
    b_model: str
    metric: str | None
    a_technique: str | None
    b_technique: str | None
    fields: Sequence[FieldPair]
    weights: Sequence[WeightPair]
    curves: Sequence[CurvePair]
    quality: Sequence[QualityPair]
    notes: Sequence[str]
    rank_correlation: float | None
    ranked: int
    ranked_to: float | None
    alpha: float
    tests: int

    @property
    def more_sensitive(self) -> list[CurvePair]:
        """Weights that lose more in B, by more than noise, the clearest first."""
        return self._told(1)

    @property
    def less_sensitive(self) -> list[CurvePair]:
        """Weights that lose less in B."""
        return self._told(-1)

    @property
    def only_in_one(self) -> list[WeightPair]:
        """Weights without a counterpart."""
        return [pair for pair in self.weights if pair.rule is None]

    @property
    def more_than_noise(self) -> bool:
        """Whether anything differs that noise does not explain: a curve, plan quality, or which weights models have.

        What was chosen, such as levels, does not count: it follows from measurements, noise included.
        """
        return bool(self.reasons)

    @property
    def same_model(self) -> bool:
        """Whether both are known to be of one model, whatever weights were looked at in each."""
        digests = [(each.a, each.b) for each in self.fields if each.name == "model_sha256"]
        return any(a is not None and a == b for a, b in digests)

    @property
    def reasons(self) -> list[str]:
        """Why `more_than_noise`, a sentence each; of one model, a weight that one left out is none."""
        curves = sum(each.more_than_noise for each in self.curves)
        plans = sum(each.more_than_noise for each in self.quality)
        alone = 0 if self.same_model else len(self.only_in_one)
        return [
            *([f"the curves of {curves} weights differ by more than noise"] if curves else []),
            *([f"the plans' quality differs by more than noise in {plans} metrics"] if plans else []),
            *([f"{alone} weights are in one of the two models only"] if alone else []),
        ]

    def _told(self, sign: int) -> list[CurvePair]:
        told = [
            curve
            for curve in self.curves
            if curve.more_than_noise and curve.strongest is not None and curve.strongest.difference * sign > 0
        ]
        return sorted(told, key=lambda curve: (curve.p, curve.weight))
