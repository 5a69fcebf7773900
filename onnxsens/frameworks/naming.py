"""Which parameter of a model in memory a name of a file means. Knows names, no framework."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from onnxsens.errors import PlanError

PLACE = "layers/"  # a place in a file of Keras, not a layer's name: it may end like the name of another layer
TREE = "params"  # what Flax linen puts in front of every parameter


def resolve(names: Iterable[str], known: Mapping[str, Iterable[int]], noun: str) -> dict[str, int]:
    """For each name, the parameter that it means, by its number.

    A name means the parameter that is called so. Else what wraps a model may have put parts in front, on either side:
    then it means the only one whose whole name it ends with, or that ends with the whole of it. The longest such end
    counts, and one of a single part, such as `kernel`, only behind `params/`. A name that begins with `layers/` means
    only what is called so.

    Args:
        names: as the file has them.
        known: the parameters that are called so, for each name of the model; one may have several names.
        noun: what a parameter is called in messages.

    Raises:
        PlanError: a name is unknown or means several, or two mean one parameter.
    """
    found: dict[str, int] = {}
    taken: dict[int, str] = {}
    for name in names:
        number = meant(name, known, noun)
        if number in taken:
            raise PlanError(f"'{taken[number]}' and '{name}' mean the same {noun} of the model; give one of them")
        taken[number] = name
        found[name] = number
    return found


def meant(name: str, known: Mapping[str, Iterable[int]], noun: str) -> int:
    """Raises:
    PlanError: the name is unknown, or means several.
    """
    numbers = set(known.get(name, ()))
    if not numbers and not name.startswith(PLACE):
        ends = {other: shared_end(name, other) for other in known}
        longest = max(ends.values(), default=0)
        numbers = {number for other, length in ends.items() if length == longest > 0 for number in known[other]}
    if len(numbers) > 1:
        raise PlanError(f"'{name}' means {len(numbers)} {noun}s of the model; give it a name that means one")
    if not numbers:
        raise PlanError(unknown(name, list(known), noun))
    return numbers.pop()


def shared_end(name: str, other: str) -> int:
    """Parts of the shorter name where the longer one ends with it; 0 where it does not, or that says too little."""
    short, long = sorted((name.split("/"), other.split("/")), key=len)
    front, end = long[: -len(short)], long[-len(short) :]
    return len(short) if end == short and (len(short) > 1 or front == [TREE]) else 0


def unknown(name: str, known: list[str], noun: str) -> str:
    """The message for a name that the model does not have, with the nearest one."""
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"the nearest is '{near[0]}'" if near else "check that it is the model that was mapped"
    return f"the model has no {noun} '{name}'; {hint}"


def check_shape(name: str, found: tuple[int, ...], expected: tuple[int, ...], noun: str) -> None:
    """Raises:
    PlanError: what is for a parameter has another shape.
    """
    if found != expected:
        raise PlanError(
            f"the {noun} of '{name}' has shape {list(found)}, and the parameter {list(expected)}; "
            "check that it is the model that was mapped"
        )
