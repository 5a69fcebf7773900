"""Masks on a Keras model (Keras 3 with any backend, or tf_keras), and zeros that stay zero in `fit`.

    from onnxsens.frameworks.keras import apply

    zeros = apply(model, "masks.safetensors")
    model.fit(samples, labels, callbacks=[zeros])

Zeros are written again after every batch, since momentum and weight decay move a weight that has no gradient. Needs
numpy and Keras, and Keras only once a function is called.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from onnxsens.arrays import BoolArray
from onnxsens.errors import PlanError
from onnxsens.frameworks.naming import check_shape, resolve
from onnxsens.frameworks.sparse_files import masks_in, refuse_two_plans, weights_in

FRAMEWORKS = ("keras", "tf_keras")


@dataclass(frozen=True)
class Held:
    """A variable that is kept sparse. `kept`: its shape, True where not zero, a tensor of the backend."""

    name: str
    variable: Any
    kept: Any


def apply(
    model: Any,
    masks: str | Path | Mapping[str, Any],
    weights: str | Path | Mapping[str, Any] | None = None,
) -> Any:
    """Zero what the masks zero, in place, and return the callback that keeps it zero in `fit`.

    Nothing is changed unless every name and shape fits. A name means the variable whose path it is (`fc/kernel`), or
    the only one whose path ends like it, whatever Keras puts in front for the model.

    The callback has `restore()` for loops of your own, `check()`, which raises PlanError where a zero is gone, and
    `sparsity`, zeros over elements by variable.

    Args:
        model: a built `keras.Model`.
        masks: `masks.safetensors`, or arrays by variable, True or 1 where a value is kept.
        weights: `weights.safetensors`, or values by variable, which are written before the zeros are.

    Raises:
        PlanError: the file is damaged, or a name or shape is not the model's, or the model is not built.
    """
    keras = framework_of(model)
    variables = list(model.weights) if model.built else []
    if not variables:
        raise PlanError("the model has no variables yet; build it, or call it once, then apply the masks")
    known = names_of(model, variables)
    refuse_two_plans(masks, weights)
    given = masks_in(masks)
    values = weights_in(weights)
    chosen = resolve(given, known, "variable")
    updated = resolve(values, known, "variable")
    for name, number in chosen.items():
        check_shape(name, given[name].shape, tuple(variables[number].shape), "mask")
    for name, number in updated.items():
        check_shape(name, values[name].shape, tuple(variables[number].shape), "value")
    for name, number in updated.items():
        variables[number].assign(values[name])
    held = [
        Held(path_of(variables[number]), variables[number], constant(keras, given[name]))
        for name, number in chosen.items()
    ]
    callback = callback_of(keras, held)
    callback.restore()
    return callback


def framework_of(model: Any) -> Any:
    """The package that the model's class comes from.

    Raises:
        PlanError: it is no Keras model.
    """
    for base in type(model).__mro__:
        root = base.__module__.partition(".")[0]
        if root in FRAMEWORKS:
            return import_module(root)
    raise PlanError(f"'{type(model).__name__}' is no Keras model; hand in a keras.Model")


def constant(keras: Any, mask: BoolArray) -> Any:
    """The mask as a tensor of the backend."""
    if hasattr(keras, "ops"):
        return keras.ops.convert_to_tensor(mask)
    return import_module("tensorflow").constant(mask)


def masked(keras: Any, held: Held) -> Any:
    """The variable's values with its zeros."""
    if hasattr(keras, "ops"):
        values = keras.ops.convert_to_tensor(held.variable)
        return keras.ops.where(held.kept, values, keras.ops.zeros_like(values))
    tf = import_module("tensorflow")
    return tf.where(held.kept, held.variable, tf.zeros_like(held.variable))


def host(keras: Any, tensor: Any) -> np.ndarray[Any, Any]:
    """A tensor of the backend as an array."""
    found: np.ndarray[Any, Any] = keras.ops.convert_to_numpy(tensor) if hasattr(keras, "ops") else tensor.numpy()
    return found


def callback_of(keras: Any, held: list[Held]) -> Any:
    """A callback of this framework that holds these zeros."""

    class Zeros(keras.callbacks.Callback):  # type: ignore[misc]  # the base is known when a model is there
        """Writes the zeros of a plan again after every batch."""

        def restore(self) -> None:
            """Write the zeros now."""
            for one in held:
                one.variable.assign(masked(keras, one))

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            # With JAX, variables are stale during an epoch until the model is asked for.
            _ = self.model
            self.restore()

        @property
        def sparsity(self) -> dict[str, float]:
            """Of every masked variable: zeros it has now, over its elements."""
            return {one.name: float((host(keras, one.variable) == 0).mean()) for one in held}

        def check(self) -> None:
            """Raises:
            PlanError: a zero is gone.
            """
            for one in held:
                lost = int((host(keras, one.variable)[~host(keras, one.kept)] != 0).sum())
                if lost:
                    raise PlanError(f"{lost} zeros of '{one.name}' are gone; call restore() after what changed them")

    return Zeros()


def path_of(variable: Any) -> str:
    """`fc/kernel`: the path in Keras 3, the name without its `:0` in tf_keras."""
    return str(getattr(variable, "path", None) or variable.name).removesuffix(":0")


def names_of(model: Any, variables: list[Any]) -> dict[str, set[int]]:
    """What each variable is called, by number: its path, and the names of the layers that it is in."""
    numbers = {id(variable): number for number, variable in enumerate(variables)}
    found: dict[str, set[int]] = {}
    for number, variable in enumerate(variables):
        found.setdefault(path_of(variable), set()).add(number)
    for name, variable in in_layers(model, ""):
        if id(variable) in numbers:
            found.setdefault(name, set()).add(numbers[id(variable)])
    return found


def in_layers(layer: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Variables by the names of the layers that they are in, as checkpoints have them, and by number."""
    own = [
        variable
        for kind in ("_trainable_variables", "_non_trainable_variables", "_trainable_weights", "_non_trainable_weights")
        for variable in getattr(layer, kind, ())
    ]
    for number, variable in enumerate({id(one): one for one in own}.values()):
        yield f"{prefix}{variable.name.rpartition('/')[2].removesuffix(':0')}", variable
        yield f"{prefix or f'{layer.name}/'}vars/{number}", variable
    # Not public, and the only way to sublayers that are under attributes; both Keras have had it for years.
    flatten = getattr(layer, "_flatten_layers", None)
    for sublayer in flatten(include_self=False, recursive=False) if flatten else getattr(layer, "layers", ()):
        yield from in_layers(sublayer, f"{prefix}{sublayer.name}/")
