"""`--dim`: lengths for axes that the model leaves free, by the axis's name, or by input and axis where it has none."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from onnxsens.arrays import TensorSpec
from onnxsens.errors import UsageError
from onnxsens.plugins import unknown


def with_dims(specs: Sequence[TensorSpec], dims: Mapping[str, int]) -> tuple[TensorSpec, ...]:
    """Dynamic axes given a length: `N` by name, in all inputs, or `INPUT:AXIS`, the axis counted from 0.

    Raises:
        UsageError: no input has such an axis, or a length is below 1.
    """
    axes = {
        (spec.name, axis): dim
        for spec in specs
        if spec.presence != "default"
        for axis, dim in enumerate(spec.shape or ())
        if not isinstance(dim, int)
    }
    names = sorted({dim for dim in axes.values() if dim is not None})
    numbered = {f"{name}:{axis}": (name, axis) for name, axis in axes}
    lengths: dict[tuple[str, int], int] = {}
    for text, length in dims.items():
        if text not in names and text not in numbered:
            nameless = [key for key, at in numbered.items() if axes[at] is None]
            raise UsageError(unknown("dynamic axis", text, [*names, *nameless]))
        if length < 1:
            raise UsageError(f"--dim {text}={length} is not a length; give 1 or more")
        chosen = [at for at, dim in axes.items() if dim == text] if text in names else [numbered[text]]
        lengths |= dict.fromkeys(chosen, length)
    return tuple(
        spec
        if spec.shape is None
        else replace(spec, shape=tuple(lengths.get((spec.name, axis), dim) for axis, dim in enumerate(spec.shape)))
        for spec in specs
    )
