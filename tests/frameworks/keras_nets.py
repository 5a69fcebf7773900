"""Small seeded nets of Keras 3 and of tf_keras (the Keras of TensorFlow 2.15 and before), and their exports to ONNX.

Importing this imports neither. Both have the same layer classes, so that a net is written once, and takes the module.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

os.environ["KERAS_BACKEND"] = "tensorflow"  # the one that exports ONNX
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow logs to stderr at its import
SIDE, TOKENS, FEATURES, WORDS = 16, 10, 7, 50


def cnn(keras: Any) -> Any:
    """Conv and BatchNorm, depthwise of multiplier 1 and 2, transposed and separable Conv, Dense."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem"),
            layers.BatchNormalization(name="stem_norm"),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, padding="same", name="depthwise"),
            layers.BatchNormalization(name="depthwise_norm"),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="doubled"),
            layers.Conv2D(16, 3, padding="same", name="square"),  # as many inputs as outputs: shapes say nothing
            layers.BatchNormalization(name="square_norm"),
            layers.ReLU(),
            layers.Conv2DTranspose(6, 3, strides=2, padding="same", name="up"),
            layers.BatchNormalization(name="up_norm"),
            layers.ReLU(),
            layers.SeparableConv2D(10, 3, padding="same", name="separable"),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(12, activation="relu", name="hidden"),
            layers.Dense(5, use_bias=False, name="head"),
        ],
        name="cnn",
    )


def residual(keras: Any) -> Any:
    """A functional net: two equal branches that meet, a 1x1 shortcut, a nested model, Conv1D."""
    layers = keras.layers
    inputs = keras.Input((SIDE, SIDE, 3), name="pixels")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(inputs)
    y = layers.BatchNormalization(name="norm_a")(layers.Conv2D(12, 3, padding="same", use_bias=False, name="conv_a")(x))
    y = layers.BatchNormalization(name="norm_b")(layers.Conv2D(12, 3, padding="same", use_bias=False, name="conv_b")(y))
    y = layers.ReLU()(layers.Add()([y, layers.Conv2D(12, 1, use_bias=False, name="shortcut")(x)]))
    y = layers.Reshape((SIDE * SIDE, 12))(layers.Conv2D(12, 3, padding="same", groups=1, name="last")(y))
    y = layers.GlobalAveragePooling1D()(layers.Conv1D(9, 3, activation="relu", name="line")(y))
    tail = keras.Sequential(
        [keras.Input((9,)), layers.Dense(9, activation="relu", name="inner"), layers.Dense(4, name="outer")],
        name="tail",
    )
    return keras.Model(inputs, tail(y), name="residual")


def attention(keras: Any) -> Any:
    """An embedding, multi-head attention (its kernels have three axes), LayerNorm, Dense over three axes.

    No GELU: tf2onnx writes it as `Erfc`, which ONNX does not have.
    """
    layers = keras.layers
    inputs = keras.Input((TOKENS,), dtype="int32", name="words")
    x = layers.Embedding(WORDS, 16, name="embedding")(inputs)
    y = layers.MultiHeadAttention(4, 4, name="attention")(x, x)
    x = layers.LayerNormalization(name="norm_a")(layers.Add()([x, y]))
    y = layers.Dense(16, name="shrink")(layers.Dense(32, activation="relu", name="widen")(x))
    x = layers.LayerNormalization(name="norm_b")(layers.Add()([x, y]))
    return keras.Model(inputs, layers.Dense(6, name="head")(x), name="attention")


def recurrent(kind: str) -> Callable[[Any], Any]:
    """A maker of a net with one recurrent layer of that class."""

    def build(keras: Any) -> Any:
        layers = keras.layers
        inner = getattr(layers, kind.removeprefix("bi"))(9, return_sequences=True, name="cell")
        layer = layers.Bidirectional(inner, name="both") if kind.startswith("bi") else inner
        return keras.Sequential([keras.Input((TOKENS, FEATURES)), layer, layers.Dense(3, name="head")], name="net")

    return build


def more(keras: Any) -> Any:
    """What is left: Conv3D and a BatchNorm, depthwise Conv of one element, other Conv1D, EinsumDense.

    No grouped Conv: TensorFlow compiles it for the CPU, and tf2onnx writes the compiled call as it is.
    """
    layers = keras.layers
    inputs = keras.Input((6, 6, 4, 2), name="volume")
    x = layers.Conv3D(8, 3, padding="same", use_bias=False, name="volume_conv")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="volume_norm")(x))
    x = layers.Reshape((6, 24, 8))(x)
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="wide")(x)
    x = layers.ReLU()(layers.BatchNormalization(name="wide_norm")(x))
    x = layers.DepthwiseConv2D(1, use_bias=False, name="points")(x)  # one element a channel
    x = layers.ReLU()(layers.BatchNormalization(name="points_norm")(x))
    x = layers.Reshape((12, 192))(x)
    x = layers.Conv1D(12, 1, activation="relu", name="narrow")(x)
    x = layers.Conv1DTranspose(12, 3, strides=2, padding="same", activation="relu", name="longer")(x)
    x = layers.SeparableConv1D(12, 3, padding="same", activation="relu", name="separable")(x)
    x = layers.EinsumDense("abc,cd->abd", (None, 12), bias_axes="d", activation="relu", name="einsum")(x)
    x = layers.TimeDistributed(layers.Dense(12, activation="relu", name="each"), name="times")(x)
    return keras.Model(inputs, layers.Dense(4, name="head")(layers.GlobalAveragePooling1D()(x)), name="more")


def norms(keras: Any) -> Any:
    """A BatchNorm before and behind all that it can be folded into; `build` switches a channel of each off."""
    layers = keras.layers
    number = iter(range(9))

    def normed(x: Any) -> Any:
        return layers.ReLU()(layers.BatchNormalization(name=f"norm_{next(number)}")(x))

    inputs = keras.Input((12, 12, 4), name="pixels")
    x = layers.BatchNormalization(name="before")(inputs)
    x = normed(layers.Conv2D(8, 3, padding="same", name="first")(x))
    x = normed(layers.SeparableConv2D(12, 3, use_bias=False, name="separable")(x))
    x = normed(layers.Conv2DTranspose(8, 2, strides=2, use_bias=False, name="up")(x))
    x = normed(layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, name="doubled")(x))
    x = normed(layers.Conv2D(8, 1, use_bias=False, name="point")(x))
    x = normed(layers.Conv1D(10, 3, use_bias=False, name="line")(layers.Reshape((-1, 8))(x)))
    x = normed(layers.Dense(14, use_bias=False, name="plain")(layers.GlobalAveragePooling1D()(x)))
    x = normed(layers.Dense(9, name="dense")(x))
    return keras.Model(inputs, layers.Dense(4, name="head")(x), name="norms")


def switched_off(values: dict[str, Any]) -> dict[str, Any]:
    """Factors of norms as training may leave them: one of each negative, and one that is zero."""
    changed = {name: value.copy() for name, value in values.items() if name.endswith("gamma")}
    for value in changed.values():
        value[0] *= -1
        value[1] = 0
    return {**values, **changed}


def numbered(keras: Any) -> Any:
    """Layers of one shape that are called in another order than they were made: Keras numbers their names as made."""
    layers = keras.layers
    made = [layers.Dense(12, activation="relu") for _ in range(3)]
    inputs = x = keras.Input((12,), name="values")
    for layer in reversed(made):
        x = layer(x)
    return keras.Model(inputs, layers.Dense(4)(x), name="numbered")


def twins(keras: Any) -> Any:
    """What looks like something else, by the values that `build` gives: see `alike`."""
    layers = keras.layers
    inputs = keras.Input((8, 8, 3), name="pixels")
    branches = []
    for side in "ab":
        y = layers.Conv2D(3, 3, padding="same", use_bias=False, name=f"cube_{side}")(inputs)
        branches.append(layers.ReLU()(layers.BatchNormalization(name=f"cube_norm_{side}")(y)))
    x = layers.Add()(branches)
    x = layers.Conv2D(3, 3, padding="same", activation="relu", name="turned")(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(12, 3, activation="relu", name="wide")(x))
    for name in SQUARES:
        x = layers.Add()([x, layers.Dense(12, activation="tanh", name=name)(x)])
    return keras.Model(inputs, layers.Dense(4, name="head")(x), name="twins")


SQUARES = ("first", "equal", "permuted", "transposed", "symmetric", "zero", "zero_too", "constant", "constant_too")


def alike(values: dict[str, Any]) -> dict[str, Any]:
    """Kernels of `twins` that are equal to, or a rearranged copy of, another's; all zero; of one value."""
    changed = dict(values)
    first = values["first/kernel"]
    changed["cube_b/kernel"] = values["cube_a/kernel"]
    changed["turned/kernel"] = values["cube_a/kernel"].transpose(1, 0, 3, 2)
    changed["equal/kernel"] = first
    changed["permuted/kernel"] = first[:, ::-1]
    changed["transposed/kernel"] = first.T
    changed["symmetric/kernel"] = (values["symmetric/kernel"] + values["symmetric/kernel"].T) / 2
    changed["zero/kernel"] = changed["zero_too/kernel"] = np.zeros_like(first)
    changed["constant/kernel"] = np.full_like(first, 0.125)
    changed["constant_too/kernel"] = np.full_like(first, 0.25)
    return changed


NETS: dict[str, Callable[[Any], Any]] = {
    "cnn": cnn,
    "residual": residual,
    "attention": attention,
    "gru": recurrent("GRU"),
    "lstm": recurrent("LSTM"),
    "bilstm": recurrent("biLSTM"),
    "bigru": recurrent("biGRU"),
    "more": more,
    "norms": norms,
}
SHAPES: dict[str, tuple[int, ...]] = {
    "cnn": (SIDE, SIDE, 3),
    "residual": (SIDE, SIDE, 3),
    "attention": (TOKENS,),
    "gru": (TOKENS, FEATURES),
    "lstm": (TOKENS, FEATURES),
    "bilstm": (TOKENS, FEATURES),
    "bigru": (TOKENS, FEATURES),
    "more": (6, 6, 4, 2),
    "norms": (12, 12, 4),
    "numbered": (12,),
    "twins": (8, 8, 3),
}
EXPORTERS = ("keras", "tf2onnx")
"""keras: `model.export(format='onnx')` of Keras 3. tf2onnx: its own converter, of a tf_keras model."""


def module(exporter: str) -> Any:
    """The Keras that this exporter takes models of."""
    if exporter == "keras":
        import keras
    else:
        import tf_keras as keras
    return keras


def build(net: str, exporter: str) -> Any:
    """The net with values like those of a trained one, always the same; it has been called once."""
    keras = module(exporter)
    keras.backend.clear_session()  # else the names count up from net to net
    model = {**NETS, "numbered": numbered, "twins": twins}[net](keras)
    generator = np.random.default_rng(1)
    values = {identity(one): trained(identity(one), tuple(one.shape), generator) for one in model.weights}
    put(model, {"twins": alike, "norms": switched_off}.get(net, dict)(values))
    model(sample(net, 1, 0))
    return model


def sample(net: str, count: int, seed: int) -> Any:
    """Inputs of the net, `[count, ...]`."""
    generator = np.random.default_rng(seed)
    if net == "attention":
        return generator.integers(0, WORDS, (count, TOKENS)).astype("int32")
    return generator.standard_normal((count, *SHAPES[net])).astype("float32")


def put(model: Any, values: Mapping[str, Any]) -> None:
    """Give the weights of these names these values."""
    for weight in model.weights:
        if identity(weight) in values:
            weight.assign(values[identity(weight)])


def kernels(model: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what is multiplied with or looked up, in model order: all but biases and norms."""
    named = {identity(weight): tuple(weight.shape) for weight in model.weights}
    return {name: shape for name, shape in named.items() if len(shape) > 1 and "bias" not in name}


def neutral(model: Any) -> dict[str, Any]:
    """Values by which a BatchNorm all but leaves alone what is folded into: an exporter drops one that does nothing."""
    level = {"gamma": 1.0 + 1e-6, "beta": 0.125, "moving_mean": 0.0}
    values = {}
    for layer in model._flatten_layers():
        if type(layer).__name__ == "BatchNormalization":
            for weight in layer.weights:
                value = level.get(identity(weight).rsplit("/", 1)[-1], 1.0 - layer.epsilon)
                values[identity(weight)] = np.full(tuple(weight.shape), value, "float32")
    return values


def identity(weight: Any) -> str:
    """`layer/kernel`: `path` in Keras 3, where `name` is only the last part; `name` in tf_keras."""
    return str(getattr(weight, "path", None) or weight.name.removesuffix(":0"))


def trained(name: str, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
    """Values such as training leaves: kernels with heavy tails, norms that are not the identity."""
    if "variance" in name:
        return generator.uniform(0.3, 2.0, shape).astype("float32")
    if "gamma" in name:
        return generator.uniform(0.5, 1.5, shape).astype("float32")
    if len(shape) < 2 or "bias" in name:
        return generator.normal(0, 0.1, shape).astype("float32")
    fan_in = int(np.prod(shape[:-1]))
    return (generator.standard_t(5, shape) / np.sqrt(fan_in)).astype("float32")


def export(model: Any, exporter: str, path: Path) -> None:
    """Write the model as ONNX, batch size free."""
    if exporter == "keras":
        model.export(str(path), format="onnx", verbose=False)
        return
    import tensorflow as tf
    import tf2onnx

    spec = [tf.TensorSpec((None, *model.input_shape[1:]), model.inputs[0].dtype, name="x")]
    tf2onnx.convert.from_keras(model, input_signature=spec, opset=17, output_path=str(path))


SUFFIXES = {"keras": (".keras", ".weights.h5", ".npz"), "tf2onnx": (".h5", ".keras", ".npz")}
"""Checkpoints of this exporter's Keras. `.h5` is the legacy file of a model; `.weights.h5` of tf_keras is refused."""


def save(model: Any, path: Path) -> None:
    """Write a checkpoint, by the suffix of the path."""
    if path.name.endswith(".weights.h5"):
        model.save_weights(str(path))
    elif path.suffix == ".npz":
        np.savez(path, **{identity(weight): np.asarray(weight) for weight in model.weights})
    else:
        model.save(str(path))
