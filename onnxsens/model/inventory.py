"""The account of a model's stored tensors: which are prunable, which are copies, and why the rest is left alone.

It is complete: planned and skipped parameters add up to all parameters in the file.
"""

from collections.abc import Callable, Collection, Sequence
from math import prod

from onnxsens.errors import ModelError
from onnxsens.model.copies import as_one, copies_among, note_on
from onnxsens.model.load import Model
from onnxsens.model.normal import NormalForm, normal_form
from onnxsens.model.stored import Stored
from onnxsens.model.tracing import Trace, trace
from onnxsens.model.weights import Copy, Inventory, Skipped, Weight, is_float, type_name, weigh

Outcome = Weight | str | None


def take_inventory(model: Model, apart: Collection[str] = ()) -> Inventory:
    """Read every stored tensor of the model once, and sort them into prunable and not.

    Args:
        apart: weights that are none of others' copies, whatever values they have: those of a plan that was made so.
    """
    normal = normal_form(model)
    found = trace(model, normal)
    opaque = bool(normal.proto.functions)
    outcomes = {tensor.name: weigh(model, tensor, found, opaque=opaque) for tensor in normal.stored}
    weights = [outcome for outcome in outcomes.values() if isinstance(outcome, Weight)]
    copies = [copy for copy in copies_among(model, normal, weights) if copy.name not in apart]
    if copies:
        normal, found, merged, copies = tied(model, normal, found, copies, opaque=opaque)
        outcomes |= merged
    outcomes |= {copy.name: f"{copy.kind} of '{copy.of}', which is written with it" for copy in copies}
    order = {name: position for position, name in enumerate(found.uses)}
    skipped: list[Skipped] = []
    weights = []
    rest: list[Stored] = []
    for tensor in sorted(normal.stored, key=lambda tensor: order.get(tensor.name, len(order))):
        outcome = outcomes[tensor.name]
        if isinstance(outcome, Weight):
            weights.append(outcome)
        elif outcome is None:
            rest.append(tensor)
        else:
            skipped.append(Skipped(tensor.name, tensor.shape, type_name(tensor.tensor), prod(tensor.shape), outcome))
    skipped += small_rows(rest)
    notes = (*model.notes, *normal.notes, *([note_on(copies)] if copies else []))
    return Inventory(tuple(weights), tuple(skipped), notes, normal, tuple(copies))


def tied(
    model: Model, normal: NormalForm, found: Trace, copies: Sequence[Copy], *, opaque: bool
) -> tuple[NormalForm, Trace, dict[str, Outcome], list[Copy]]:
    """The model with copies and their weights as one, and the records of those weights.

    Where all operators together see a tensor so that it cannot be pruned, its copies stay weights of their own.
    """
    left = list(copies)
    while left:
        one = as_one(normal, left)
        seen = trace(model, one)
        names = {copy.of for copy in left}
        merged = {name: weigh(model, model.stored[name], seen, opaque=opaque) for name in names}
        if all(isinstance(outcome, Weight) for outcome in merged.values()):
            return one, seen, merged, left
        left = [copy for copy in left if isinstance(merged[copy.of], Weight)]
    return normal, found, {}, []


def refuse_empty(model: Model, inventory: Inventory) -> None:
    """Stop where there is nothing to do.

    Raises:
        ModelError: no stored tensor can be pruned.
    """
    if not inventory.weights:
        raise ModelError(
            f"'{model.path}' has nothing to prune: none of its {len(inventory.skipped)} groups of stored tensors is "
            f"the weight of a supported operator; 'onnxsens inspect {model.path}' lists them with reasons"
        )


def small_rows(rest: Sequence[Stored]) -> list[Skipped]:
    """One row for the vectors and scalars, one for the tensors that are not floating point."""
    rows = []
    kinds: tuple[tuple[Callable[[Stored], bool], str, str], ...] = (
        (
            lambda tensor: is_float(tensor.tensor),
            "(1-D and scalar tensors)",
            "biases, norms and other vectors are not pruned",
        ),
        (
            lambda tensor: not is_float(tensor.tensor),
            "(tensors that are not floating point)",
            "indices, shapes and integer values are not pruned",
        ),
    )
    for belongs, name, reason in kinds:
        group = [tensor for tensor in rest if belongs(tensor)]
        if group:
            rows.append(Skipped(name, (), "", sum(prod(tensor.shape) for tensor in group), reason, len(group)))
    return rows
