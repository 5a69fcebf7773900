"""Where the part downstream of a weight falls apart in two: a head that the weight is in, and a tail that it is not.

Only the head changes with the weight, so only the head has to be made anew for each of its values, with all that an
optimiser does to a weight that it knows; the tail, where nearly all of the other weights are, is made once. The head
ends before the next weight, at the last place where the least crosses from it into the tail.
"""

from collections.abc import Collection, Mapping

from onnxsens.model.cutting import Wiring

Behind = Mapping[str, frozenset[str]]


def crossing(wiring: Wiring, initializer: str, behind: Behind, wanted: Collection[str]) -> tuple[str, ...]:
    """The tensors that cross from the head into the tail; none where there is no tail.

    Args:
        behind: from `stored_behind`, of all weights.
        wanted: outputs that depend on the initializer.
    """
    numbers = wiring.changed_nodes(initializer, wanted)
    late: set[str] = set()  # made by nodes that are the tail's in any case
    head = []
    for number in numbers:
        reads = wiring.reads[number]
        stored = {name for read in reads - wiring.varying for name in behind.get(read, ())}
        varies = not reads.isdisjoint(wiring.varying)
        if not reads.isdisjoint(late) or (varies and stored and initializer not in stored):
            if initializer in stored:
                return ()  # it is read once more, far downstream
            late.update(wiring.nodes[number].output)
        else:
            head.append(number)
    if not late:
        return ()
    return narrowest(wiring, initializer, head, numbers, wanted)


def narrowest(
    wiring: Wiring, initializer: str, head: Collection[int], numbers: Collection[int], wanted: Collection[str]
) -> tuple[str, ...]:
    """What crosses after one of the nodes of the head: the fewest tensors, as late as that can be.

    None where every such place would leave an output in the head, or the weight in the tail.
    """
    last: dict[str, int] = {name: max(numbers) + 1 for name in wanted}
    for number in numbers:
        for name in wiring.reads[number]:
            last[name] = max(number, last.get(name, 0))
    # Nodes of the tail may stand between those of the head; a tensor crosses where any of them reads it.
    outside = {name for number in set(numbers) - set(head) for name in wiring.reads[number]} | set(wanted)
    best: tuple[str, ...] = ()
    made: list[str] = []
    for number in head:
        made += [name for name in wiring.nodes[number].output if name]
        open_ones = [name for name in made if name in outside or last.get(name, -1) > number]
        made = open_ones
        if last[initializer] > number or any(name not in wiring.varying or name in wanted for name in open_ones):
            continue
        if open_ones and (not best or len(open_ones) <= len(best)):
            best = tuple(open_ones)
    return best


def stored_behind(wiring: Wiring, weights: Collection[str]) -> Behind:
    """The weights that each tensor without an input of the graph is made of."""
    found: dict[str, frozenset[str]] = {name: frozenset({name}) for name in weights}
    for node, reads in zip(wiring.nodes, wiring.reads, strict=True):
        if reads.isdisjoint(wiring.varying):
            made_of = frozenset().union(*(found[name] for name in reads if name in found))
            if made_of:
                found |= dict.fromkeys(filter(None, node.output), made_of)
    return found
