"""Limits per weight: what levels its owner allows it, whatever the goal asks for.

A limit is an order, so nothing settles a contradiction silently: it is refused, and both options are named.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from onnxsens.errors import UsageError
from onnxsens.model import Weight
from onnxsens.model.choosing import fitting

Limits = tuple[tuple[str, float], ...]  # pattern of names, level

ENDS = ("first", "last")


@dataclass(frozen=True)
class Range:
    """The levels that a weight may have, both ends included.

    Attributes:
        why: one line that names what limits it; empty where nothing does.
    """

    low: float
    high: float
    why: str

    def meet(self, other: "Range", weight: str) -> "Range":
        """The levels that both allow.

        Args:
            weight: whose levels they are.

        Raises:
            UsageError: there is none.
        """
        least = self if self.low >= other.low else other
        most = self if self.high <= other.high else other
        if least.low > most.high:
            raise UsageError(
                f"no level of weight '{weight}' is at least {least.low} ({least.why}) and at most {most.high} "
                f"({most.why}); change one of the two, or the weights that it is for"
            )
        reasons = [*([least.why] if least.low > 0 else []), *([most.why] if most.high < 1 else [])]
        return Range(least.low, most.high, " and ".join(dict.fromkeys(reasons)))


FREE = Range(0.0, 1.0, "")


def dense(why: str) -> Range:
    """For a weight that stays as it is."""
    return Range(0.0, 0.0, why)


@dataclass(frozen=True)
class Constraints:
    """What was asked for. All that fits a weight holds for it, in whatever order it was given.

    Args:
        minimum, maximum, pin: patterns of names, and the level that is the least, the most, or the only one.
        freeze: patterns of names of weights that stay as they are.
        skip: `first` or `last`: that prunable weight, in graph order, stays as it is.
        skip_operators: weights that such an operator multiplies by stay as they are.
        smaller_than: elements; weights of fewer stay as they are.
    """

    minimum: Limits = ()
    maximum: Limits = ()
    pin: Limits = ()
    freeze: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    skip_operators: tuple[str, ...] = ()
    smaller_than: int = 0

    def __post_init__(self) -> None:
        for option, limits in (("--min", self.minimum), ("--max", self.maximum), ("--pin", self.pin)):
            for pattern, level in limits:
                if not 0 <= level <= 1:
                    raise UsageError(f"{option} '{pattern}={level}' is not a level; give one in [0, 1], such as 0.5")
        for end in self.skip:
            if end not in ENDS:
                raise UsageError(f"--skip '{end}' is no end of a model; give first or last")
        if self.smaller_than < 0:
            raise UsageError(
                f"--skip '<{self.smaller_than}' is no number of elements; write for example --skip '<1000'"
            )

    def words(self) -> list[str]:
        """As options of the command line."""
        ordered = (("--min", self.minimum), ("--max", self.maximum), ("--pin", self.pin))
        pairs = [(option, f"{pattern}={level!r}") for option, limits in ordered for pattern, level in limits]
        pairs += [("--freeze", pattern) for pattern in self.freeze]
        skip = [*self.skip, *self.skip_operators, *([f"<{self.smaller_than}"] if self.smaller_than else [])]
        pairs += [("--skip", ",".join(skip))] if skip else []
        return [word for pair in pairs for word in pair]


def ranges(weights: Sequence[Weight], spec: Constraints) -> dict[str, Range]:
    """What levels each weight may have, by name.

    Args:
        weights: all that can be pruned, in graph order.

    Raises:
        UsageError: a pattern fits no weight, no weight has such an operator, or limits leave a weight no level.
    """
    limits: dict[str, list[Range]] = {weight.name: [] for weight in weights}
    for name, limit in all_limits(weights, spec):
        limits[name].append(limit)
    # Of several ranges the highest low end and the lowest high end are all that counts.
    return {
        name: max(own, key=lambda limit: limit.low).meet(min(own, key=lambda limit: limit.high), name) if own else FREE
        for name, own in limits.items()
    }


def all_limits(weights: Sequence[Weight], spec: Constraints) -> Iterator[tuple[str, Range]]:
    """Every limit on every weight, one at a time; the strictest kinds first."""
    for pattern in spec.freeze:
        for weight in fitting(weights, pattern, "--freeze"):
            yield weight.name, dense(f"--freeze '{pattern}'")
    yield from skipped(weights, spec)
    for pattern, level in spec.pin:
        for weight in fitting(weights, pattern, "--pin"):
            yield weight.name, Range(level, level, f"--pin '{pattern}={level}'")
    for pattern, level in spec.minimum:
        for weight in fitting(weights, pattern, "--min"):
            yield weight.name, Range(level, 1.0, f"--min '{pattern}={level}'")
    for pattern, level in spec.maximum:
        for weight in fitting(weights, pattern, "--max"):
            yield weight.name, Range(0.0, level, f"--max '{pattern}={level}'")


def skipped(weights: Sequence[Weight], spec: Constraints) -> Iterator[tuple[str, Range]]:
    """What `--skip` leaves as it is."""
    ends = {"first": weights[:1], "last": weights[-1:]}
    for end in spec.skip:
        for weight in ends[end]:
            yield weight.name, dense(f"--skip {end}")
    for operator in spec.skip_operators:
        for weight in of_operator(weights, operator):
            yield weight.name, dense(f"--skip {operator}")
    for weight in weights:
        if weight.size < spec.smaller_than:
            yield weight.name, dense(f"--skip '<{spec.smaller_than}'")


def of_operator(weights: Sequence[Weight], operator: str) -> list[Weight]:
    """The weights that such an operator multiplies by, if others do so too.

    Raises:
        UsageError: there is none.
    """
    operators = {weight.name: {consumer.operator for consumer in weight.consumers} for weight in weights}
    found = [weight for weight in weights if operator in operators[weight.name]]
    if not found:
        known = sorted(set().union(*operators.values()))
        near = get_close_matches(operator, [*known, *ENDS], n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"give first, last, '<N', or one of {', '.join(known)}"
        raise UsageError(f"--skip '{operator}' is the operator of no weight of the model; {hint}")
    return found


def parse_weight_levels(texts: Sequence[str], option: str) -> Limits:
    """`PATTERN=LEVEL`, repeated; a pattern may itself have a `=`.

    Raises:
        UsageError: one is not of that form.
    """
    limits = []
    for text in texts:
        pattern, _, number = text.rpartition("=")
        try:
            level = float(number)
        except ValueError:
            level = math.nan
        if not pattern or math.isnan(level):
            raise UsageError(f"{option} '{text}' is not PATTERN=LEVEL; write for example {option} 'conv*=0.5'")
        limits.append((pattern, level))
    return tuple(limits)


def parse_constraints(
    minimum: Sequence[str] = (),
    maximum: Sequence[str] = (),
    pin: Sequence[str] = (),
    freeze: Sequence[str] = (),
    skip: Sequence[str] = (),
) -> Constraints:
    """From the values of `--min`, `--max`, `--pin`, `--freeze` and `--skip`, each repeated.

    Args:
        skip: comma lists of `first`, `last`, an operator, or `<N` for fewer elements than N; of several N the largest.

    Raises:
        UsageError: one is not of its form, or a level is not in [0, 1].
    """
    words = [word.strip() for text in skip for word in text.split(",")]
    sizes = [word for word in words if word.startswith("<")]
    for word in words:
        if not word:
            raise UsageError(f"--skip '{','.join(skip)}' has an empty part; write for example --skip first,last")
    for size in sizes:
        if not (size[1:].isascii() and size[1:].isdecimal() and len(size) < 19):
            raise UsageError(f"--skip '{size}' is no number of elements; write for example --skip '<1000'")
    return Constraints(
        parse_weight_levels(minimum, "--min"),
        parse_weight_levels(maximum, "--max"),
        parse_weight_levels(pin, "--pin"),
        tuple(freeze),
        tuple(word for word in words if word in ENDS),
        tuple(word for word in words if word not in ENDS and not word.startswith("<")),
        max((int(size[1:]) for size in sizes), default=0),
    )
