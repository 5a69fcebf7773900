"""What is in a model file, as tables: weights, what is left alone and why, and the account of both."""

from collections import Counter
from collections.abc import Callable

from rich.console import Group, RenderableType
from rich.text import Text

from onnxsens.model import Skipped, Weight
from onnxsens.report.tables import FOLDED, LEFT, NAME, RIGHT, table
from onnxsens.report.text import count, inert, percent, rounded
from onnxsens.results import Inspection


def inspection(result: Inspection, sort: str) -> RenderableType:
    """Weights, what is skipped and why, and the account.

    Args:
        sort: `graph`, `name`, `size`, `macs` or `sparsity`; skipped tensors have no MACs and no zeros that were
            counted, and stay in graph order for these.
    """
    inventory = result.inventory
    weights = sorted(inventory.weights, key=weight_order(result, sort))
    skipped = sorted(inventory.skipped, key=skipped_order(sort))
    planned = table(
        "weights that can be pruned",
        [
            ("weight", NAME),
            ("used by", FOLDED, 3),
            ("shape", LEFT, 4),
            ("stored as", FOLDED, 5),
            ("elements", RIGHT),
            ("MACs", RIGHT, 2),
            ("zeros", RIGHT, 1),
        ],
        [
            [
                inert(weight.name),
                inert(used_by(weight)),
                "x".join(map(str, weight.shape)),
                inert(stored_as(weight)),
                rounded(weight.size),
                rounded(result.macs[weight.name]) if weight.name in result.macs else "-",
                percent(weight.zeros / weight.size),
            ]
            for weight in weights
        ],
    )
    left_alone = table(
        "left alone",
        [("tensor", NAME), ("shape", LEFT, 2), ("type", LEFT, 1), ("elements", RIGHT), ("reason", FOLDED)],
        [
            [
                inert(row.name),
                "x".join(map(str, row.shape)) or f"{row.tensors} tensors",
                inert(row.dtype),
                rounded(row.parameters),
                inert(row.reason),
            ]
            for row in skipped
        ],
    )
    shown: list[RenderableType] = [planned, Text()] if weights else []
    shown += [left_alone, Text()] if skipped else []
    rest = inventory.parameters - inventory.planned_parameters
    return Group(
        *shown,
        Text(
            f"{count(inventory.planned_parameters)} parameters can be pruned + {count(rest)} left alone = "
            f"{count(inventory.parameters)} in the file"
        ),
        Text(f"MACs: {inert(result.macs_note)}"),
        *(Text(f"note: {inert(note)}") for note in inventory.notes),
    )


def weight_order(result: Inspection, sort: str) -> Callable[[Weight], str | float]:
    """What weights are sorted by; all equal for the order of the graph."""
    orders: dict[str, Callable[[Weight], str | float]] = {
        "graph": lambda weight: 0,
        "name": lambda weight: weight.name,
        "size": lambda weight: -weight.size,
        "macs": lambda weight: -result.macs.get(weight.name, 0),
        "sparsity": lambda weight: -weight.zeros / weight.size,
    }
    return orders[sort]


def skipped_order(sort: str) -> Callable[[Skipped], str | int]:
    """The same of skipped tensors, where it makes sense."""
    if sort == "name":
        return lambda row: row.name
    return lambda row: -row.parameters if sort == "size" else 0


def used_by(weight: Weight) -> str:
    """`MatMul x2, Gemm in body of Loop 'l'; read by Gather input 0`."""
    users = Counter(consumer.operator for consumer in weight.consumers)
    text = ", ".join(user if number == 1 else f"{user} x{number}" for user, number in users.items())
    text += f" in {weight.place}" if weight.place else ""
    return f"{text}; read by {', '.join(weight.readers)}" if weight.readers else text


def stored_as(weight: Weight) -> str:
    """The element type, and how the values get to the operator where they are not a plain initializer."""
    return weight.dtype if weight.encoding == "initializer" else f"{weight.dtype}, {weight.encoding}"
