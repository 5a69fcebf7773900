"""Which weight of one run is which of the other."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence

from onnxsens.differences import Rule, WeightPair
from onnxsens.plan.planfile import PlannedWeight
from onnxsens.results import RunRecord


def paired(a: RunRecord, b: RunRecord) -> list[WeightPair]:
    """All weights of both, those of A first in its order.

    By name; what is left over by the parameters of the source framework, where both know them; and where neither of
    these matches anything, by operator and shape in the order of the graph: a guess, which the result says.
    """
    there: dict[str, tuple[str, Rule]] = {}
    others = set(b.weights)
    there |= {name: (name, "name") for name in a.weights if name in others}
    there |= {one: (other, "source") for one, other in matched(sources(a, there), sources(b, taken(there)))}
    if not there:
        there |= {one: (other, "order") for one, other in matched(kinds(a), kinds(b))}
    pairs = [pair_of(a, b, name, *there.get(name, (None, None))) for name in a.weights]
    done = taken(there)
    return pairs + [pair_of(a, b, None, name, None) for name in b.weights if name not in done]


def taken(there: Mapping[str, tuple[str, Rule]]) -> set[str]:
    """Weights of B that have a counterpart."""
    return {name for name, _ in there.values()}


def matched(a: Mapping[str, Hashable], b: Mapping[str, Hashable]) -> Iterable[tuple[str, str]]:
    """Names that stand for the same thing; no thing occurs twice in one."""
    known = {thing: name for name, thing in b.items()}
    return [(name, known[thing]) for name, thing in a.items() if thing in known]


def sources(run: RunRecord, known: Iterable[str]) -> dict[str, Hashable]:
    """By name, what weights are called in the source, where that is theirs alone."""
    done = set(known)
    found = {
        weight.name: tuple(weight.source.parameters)
        for weight in planned(run)
        if weight.source and weight.name not in done
    }
    names = list(found.values())
    return {name: source for name, source in found.items() if names.count(source) == 1}


def kinds(run: RunRecord) -> dict[str, Hashable]:
    """By name, operator and shape, and the how many-th of these it is."""
    seen: defaultdict[Hashable, int] = defaultdict(int)
    found: dict[str, Hashable] = {}
    for weight in planned(run):
        kind = (weight.op, tuple(weight.shape))
        found[weight.name] = (*kind, seen[kind])
        seen[kind] += 1
    return found


def planned(run: RunRecord) -> Sequence[PlannedWeight]:
    """Of the plan."""
    return run.plan.weights if run.plan else ()


def pair_of(a: RunRecord, b: RunRecord, one: str | None, other: str | None, rule: Rule | None) -> WeightPair:
    """What is known of both."""
    first = next((weight for weight in planned(a) if weight.name == one), None)
    second = next((weight for weight in planned(b) if weight.name == other), None)
    return WeightPair(
        one,
        other,
        rule,
        first.level if first else None,
        second.level if second else None,
        first.zeros if first else None,
        second.zeros if second else None,
        tuple(first.shape) if first else None,
        tuple(second.shape) if second else None,
        first.effect if first else a.effects.get(one or ""),
        second.effect if second else b.effects.get(other or ""),
        dict(first.picks) if first else {},
        dict(second.picks) if second else {},
        a.plan.level_kind if a.plan and first else None,
        b.plan.level_kind if b.plan and second else None,
    )
