"""What Keras calls a layer's variables. Its files number them; the class, their count and its options tell the names.

Knows no file. A class of a user's own is not known, and neither is one of Keras with another count than expected.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Config: TypeAlias = Mapping[str, Any]

CELL = ("kernel", "recurrent_kernel", "bias")
SEPARABLE = ("depthwise_kernel", "pointwise_kernel", "bias")
KERNEL = ("kernel", "bias")
AFFINE = ("gamma", "beta")
MOVING = ("moving_mean", "moving_variance")

# By class name in snake case: what a layer has in order, `bias` only where there is one more than without.
NAMES: Mapping[str, tuple[str, ...]] = {
    "dense": KERNEL,
    "einsum_dense": KERNEL,
    "conv1d": KERNEL,
    "conv2d": KERNEL,
    "conv3d": KERNEL,
    "conv1d_transpose": KERNEL,
    "conv2d_transpose": KERNEL,
    "conv3d_transpose": KERNEL,
    "depthwise_conv1d": KERNEL,
    "depthwise_conv2d": KERNEL,
    "separable_conv1d": SEPARABLE,
    "separable_conv2d": SEPARABLE,
    "simple_rnn_cell": CELL,
    "gru_cell": CELL,
    "lstm_cell": CELL,
    "conv_lstm_cell": CELL,
    "embedding": ("embeddings",),
    "p_re_lu": ("alpha",),
    "rms_normalization": ("scale",),
    "normalization": ("mean", "variance", "count"),
    "seed_generator": ("seed_generator_state",),
}
# Those with gamma and beta, each of which can be left out.
NORMALIZATIONS: Mapping[str, tuple[str, ...]] = {
    "batch_normalization": MOVING,
    "sync_batch_normalization": MOVING,
    "layer_normalization": (),
    "group_normalization": (),
}
# tf_keras: depthwise kernels have another name there.
OF_TF_KERAS = {"depthwise_conv1d": ("depthwise_kernel", "bias"), "depthwise_conv2d": ("depthwise_kernel", "bias")}
# Sublayers that a layer keeps under an attribute and that its config does not describe.
ATTENTION = ("multi_head_attention", "grouped_query_attention", "group_query_attention")
SIDES = {"forward_layer": "forward_", "backward_layer": "backward_"}
# The order in which layers make the sublayers that they keep under these attributes.
FIRST = ("forward_layer", "query_dense", "key_dense", "value_dense")
RECURRENT = ("gru", "lstm", "simple_rnn")


def snake_case(name: str) -> str:
    """As Keras turns a class's name into a group's: `Conv2DTranspose` is `conv2d_transpose`."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def without_number(name: str) -> str:
    """`dense_3` is `dense`."""
    return re.sub(r"_\d+$", "", name)


def is_known(kind: str) -> bool:
    """Whether the names of this class's variables are."""
    return kind in NAMES or kind in NORMALIZATIONS


def variable_names(kind: str, count: int, config: Config, tf_keras: bool | None) -> Sequence[str] | None:
    """Of a layer of a class in snake case with so many variables, in the order of the file; None where not known."""
    if kind in NORMALIZATIONS:
        moving = NORMALIZATIONS[kind]
        affine = count - len(moving)
        if affine == 2:
            return (*AFFINE, *moving)
        if affine == 1 and config:
            one = "gamma" if config.get("scale", True) or config.get("rms_scaling") else "beta"
            return (one, *moving)
        return moving if affine == 0 and moving else None
    names = OF_TF_KERAS[kind] if tf_keras and kind in OF_TF_KERAS else NAMES.get(kind)
    if names is None or (tf_keras is None and kind in OF_TF_KERAS):
        return None
    if count == len(names):
        return names
    return names[:-1] if names[-1] == "bias" and count == len(names) - 1 else None


def layer_keys(layers: Sequence[Config]) -> dict[str, Config]:
    """The layers of a model's config by the group that Keras keeps each in: class in snake case, numbered."""
    used: dict[str, int] = {}
    found = {}
    for layer in layers:
        kind = snake_case(str(layer.get("class_name", "")))
        number = used.get(kind, 0)
        used[kind] = number + 1
        found[f"{kind}_{number}" if number else kind] = layer
    return found


def sublayer(kind: str, attribute: str, config: Config) -> tuple[str, Config]:
    """Class in snake case and config of what a layer of class `kind` keeps under an attribute; '' where not known."""
    if attribute == "cell" and kind in RECURRENT:
        return f"{kind}_cell", config
    if attribute == "cell" and re.fullmatch("conv_lstm[123]d", kind):
        return "conv_lstm_cell", config
    if kind in ATTENTION and attribute.endswith("_dense"):
        return "einsum_dense", {}
    if attribute == "seed_generator":
        return "seed_generator", {}
    described = config.get("layer" if attribute == "forward_layer" else attribute)
    if attribute == "backward_layer" and described is None:
        described = config.get("layer")
    if isinstance(described, Mapping) and "class_name" in described:
        inner = described.get("config")
        return snake_case(str(described["class_name"])), inner if isinstance(inner, Mapping) else {}
    return "", {}


def rank(attribute: str) -> int:
    """Where among a layer's sublayers the one under this attribute comes."""
    plain = attribute.removeprefix("_")
    return FIRST.index(plain) if plain in FIRST else len(FIRST)


def sublayer_name(kind: str, attribute: str, config: Config) -> str:
    """The name of a sublayer where the file has none: from its config, else what Keras's own layers call it."""
    name = config.get("name")
    if attribute == "cell":
        return kind or attribute
    if isinstance(name, str):
        side = SIDES.get(attribute, "")
        return f"{side}{name.removeprefix('forward_').removeprefix('backward_')}" if side else name
    dense = attribute.strip("_").removesuffix("_dense")
    return {"output": "attention_output"}.get(dense, dense) if kind == "einsum_dense" else attribute
