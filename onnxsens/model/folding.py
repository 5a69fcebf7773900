"""Small integer arithmetic that exporters leave in the graph: the bounds of a Slice, the shape of a Reshape.

Evaluated by hand, as ONNX Runtime does it; what moves elements is evaluated by the handlers of `structure`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from onnx import TensorProto

from onnxsens.arrays import AnyArray
from onnxsens.model.layout import Shape
from onnxsens.model.operand import Operand
from onnxsens.model.operators import standard
from onnxsens.model.structure import Site, Untraceable, element_type, handler_of
from onnxsens.model.values import MOST_AXES

# Bounds and shapes are short; anything longer is no reason to compute here.
MAX_ELEMENTS = 4096

WHOLE = frozenset(
    {
        TensorProto.BOOL,
        *(TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
        *(TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
    }
)
# They ask for the shape and leave the elements alone.
OF_SHAPE = frozenset({"Shape", "Size"})


@dataclass(frozen=True)
class Shaped:
    """Something computed of which the shape is known, and nothing else."""

    shape: Shape


def folds(operator: str, domain: str) -> bool:
    """Whether this operator is evaluated at all."""
    return operator in RULES and not standard(domain)


def reads_shape(operator: str, domain: str) -> bool:
    """Whether this operator asks for the shape of its input only."""
    return operator in OF_SHAPE and not standard(domain)


def countable(operand: Operand) -> bool:
    """Whether it is few integers or flags as they are stored, whose values may be read."""
    types = {operand.elem_type, *(source.tensor.data_type for source in operand.sources)}
    bare = operand.steps is None and all(coding is None for coding in operand.codings)
    return operand.size <= MAX_ELEMENTS and len(types) == 1 and types <= WHOLE and bare


def folded(site: Site, known: Sequence[AnyArray | Shaped | None]) -> list[AnyArray | Shaped] | None:
    """The outputs of a node that `folds`, or None where they are not known beforehand.

    A node that the runtime would refuse ends the way, as in `structure.handled`.

    Args:
        known: for each input, its values, or its shape, or None where the node has none.
    """
    try:
        if site.operator in OF_SHAPE:
            return small([of_shape(site, known[0])])
        if site.operator in ("Expand", "ConstantOfShape"):
            return [spread(site, known)]
        values = [entry if isinstance(entry, np.ndarray) else None for entry in known]
        if any(entry is None and given for entry, given in zip(values, site.given, strict=True)):
            return None
        if any(entry is not None and not suits(entry) for entry in values):
            return None
        return small(RULES[site.operator](site, values))
    except (Untraceable, ValueError, IndexError, KeyError, TypeError, AttributeError, ArithmeticError):
        return None


def suits(values: AnyArray) -> bool:
    """Integers or flags, and few."""
    return values.dtype.kind in "iub" and values.size <= MAX_ELEMENTS


def small(outputs: Sequence[AnyArray]) -> list[AnyArray | Shaped]:
    """Checked."""
    if not all(suits(output) for output in outputs):
        raise Untraceable
    return list(outputs)


def of_shape(site: Site, entry: AnyArray | Shaped | None) -> AnyArray:
    """Shape (a part of it, from opset 15) and Size."""
    if entry is None:
        raise Untraceable
    if site.operator == "Size":
        return np.array(prod(entry.shape), np.int64)
    return np.array(entry.shape[site.attributes.get("start", 0) : site.attributes.get("end")], np.int64)


def spread(site: Site, known: Sequence[AnyArray | Shaped | None]) -> AnyArray | Shaped:
    """Expand and ConstantOfShape; the shape alone where the elements are many or no integers."""
    wanted = known[-1]
    if not isinstance(wanted, np.ndarray) or not suits(wanted):
        raise Untraceable
    shape = tuple(int(length) for length in wanted.reshape(-1))
    if min(shape, default=0) < 0 or len(shape) > MOST_AXES:
        raise Untraceable
    filled = known[0] if site.operator == "Expand" else site.attributes.get("value", np.zeros(1, np.float32))
    if filled is None:
        raise Untraceable
    shape = np.broadcast_shapes(filled.shape, shape) if site.operator == "Expand" else shape
    if isinstance(filled, np.ndarray) and suits(filled) and prod(shape) <= MAX_ELEMENTS:
        return np.broadcast_to(filled.reshape(()) if site.operator == "ConstantOfShape" else filled, shape)
    return Shaped(shape)


Values = Sequence[Any]  # arrays; None for an input that the node does not have
Rule = Callable[[Site, Values], list[AnyArray]]


def moved(site: Site, values: Values) -> list[AnyArray]:
    """What moves elements, done to places."""
    row = values[0].reshape(-1)
    handler = handler_of(site.operator, "")
    if handler is None:
        raise Untraceable
    places = np.arange(row.size, dtype=np.int64).reshape(values[0].shape)
    main = Operand(values[0].shape, (), (), lambda: places, TensorProto.INT64, ())
    outputs = handler(replace(site, inputs=[main, *values[1:]]))
    if any(output.size > MAX_ELEMENTS for output in outputs):
        raise Untraceable
    return [np.asarray(row[output.positions()]) for output in outputs]


def cast(site: Site, values: Values) -> list[AnyArray]:
    """Between integers, which wrap around, and flags."""
    if site.attributes.get("to") not in WHOLE:
        raise Untraceable
    return [values[0].astype(element_type(site.attributes["to"]))]


def concat(site: Site, values: Values) -> list[AnyArray]:
    """Side by side."""
    alike(values)
    together: AnyArray = np.concatenate(list(values), axis=site.attributes["axis"])
    return [together]


def stepped(site: Site, values: Values) -> list[AnyArray]:
    """Range."""
    alike(values)
    steps = range(*(int(value.reshape(())) for value in values))
    if len(steps) > MAX_ELEMENTS:
        raise Untraceable
    return [np.array(steps, values[0].dtype)]


def chosen(site: Site, values: Values) -> list[AnyArray]:
    """Where."""
    alike(values[1:])
    bounded(values)
    if values[0].dtype != np.bool_:
        raise Untraceable
    condition, yes, no = values
    return [np.asarray(np.where(condition, yes, no))]


def arithmetic(compute: Callable[..., Any], kinds: str = "iu") -> Rule:
    """A rule for one, two or more inputs of one type that broadcast, as all opsets since 7 have it."""

    def rule(site: Site, values: Values) -> list[AnyArray]:
        alike(values)
        bounded(values)
        if values[0].dtype.kind not in kinds or "broadcast" in site.attributes:
            raise Untraceable
        found = values[0] if len(values) > 1 else compute(values[0])
        for value in values[1:]:
            found = compute(found, value)
        return [np.asarray(found)]

    return rule


def alike(values: Values) -> None:
    """Of one type, or the runtime refuses them."""
    if any(value is None or value.dtype != values[0].dtype for value in values):
        raise Untraceable


def bounded(values: Values) -> None:
    """Before anything long is made of them."""
    if prod(np.broadcast_shapes(*(value.shape for value in values))) > MAX_ELEMENTS:
        raise Untraceable


def divided(one: AnyArray, other: AnyArray) -> AnyArray:
    """Integers, rounded towards 0."""
    if not np.all(other):
        raise Untraceable
    down = one // other
    quotient: AnyArray = down + ((down * other != one) & ((one < 0) != (other < 0)))
    return quotient


def remainder(site: Site, values: Values) -> list[AnyArray]:
    """Mod: with the divisor's sign, or with the dividend's."""
    if not np.all(values[1]):
        raise Untraceable
    return arithmetic(np.fmod if site.attributes.get("fmod", 0) else np.mod)(site, values)


def nothing(site: Site, values: Values) -> list[AnyArray]:
    """Those of known shape, which `folded` does itself."""
    raise Untraceable


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("Shape", "Size", "Expand", "ConstantOfShape"), nothing),
    **dict.fromkeys(
        ("Identity", "Squeeze", "Unsqueeze", "Gather", "Slice", "Split", "Reshape", "Flatten", "Transpose"), moved
    ),
    "Cast": cast,
    "Concat": concat,
    "Range": stepped,
    "Where": chosen,
    "Add": arithmetic(np.add),
    "Sub": arithmetic(np.subtract),
    "Mul": arithmetic(np.multiply),
    "Div": arithmetic(divided),
    "Mod": remainder,
    "Neg": arithmetic(np.negative, "i"),
    "Abs": arithmetic(np.abs),
    "Min": arithmetic(np.minimum),
    "Max": arithmetic(np.maximum),
    "Equal": arithmetic(np.equal, "iub"),
    "Less": arithmetic(np.less),
    "Greater": arithmetic(np.greater),
    "LessOrEqual": arithmetic(np.less_equal),
    "GreaterOrEqual": arithmetic(np.greater_equal),
    "And": arithmetic(np.logical_and, "b"),
    "Or": arithmetic(np.logical_or, "b"),
    "Not": arithmetic(np.logical_not, "b"),
}
