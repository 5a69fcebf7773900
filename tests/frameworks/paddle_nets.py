"""Small seeded nets of Paddle, and their exports to ONNX by paddle2onnx. Importing this imports no Paddle."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

SIDE, TOKENS, FEATURES = 16, 10, 16


def cnn() -> Any:
    """Conv and BatchNorm, depthwise, transposed Conv, Linear with and without bias."""
    from paddle import nn

    class Cnn(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2D(3, 8, 3, padding=1, bias_attr=False)
            self.stem_norm = nn.BatchNorm2D(8)
            self.depthwise = nn.Conv2D(8, 8, 3, padding=1, groups=8)
            self.square = nn.Conv2D(8, 8, 3, padding=1)
            self.square_norm = nn.BatchNorm2D(8)
            self.up = nn.Conv2DTranspose(8, 6, 3, stride=2, padding=1, output_padding=1)
            self.hidden = nn.Linear(6, 12)
            self.head = nn.Linear(12, 5, bias_attr=False)

        def forward(self, x: Any) -> Any:
            relu = nn.functional.relu
            x = relu(self.stem_norm(self.stem(x)))
            x = relu(self.square_norm(self.square(relu(self.depthwise(x)))))
            return self.head(relu(self.hidden(relu(self.up(x)).mean([2, 3]))))

    return Cnn()


def transformer() -> Any:
    """One encoder layer and a head: Linear over three axes, four of them of one shape."""
    from paddle import nn

    class Transformer(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.TransformerEncoderLayer(FEATURES, 4, 32, dropout=0.0)
            self.head = nn.Linear(FEATURES, 6)

        def forward(self, x: Any) -> Any:
            return self.head(self.encoder(x))

    return Transformer()


def recurrent(kind: str) -> Callable[[], Any]:
    """A maker of a net with one recurrent layer of that class."""

    def build() -> Any:
        from paddle import nn

        class Recurrent(nn.Layer):
            def __init__(self) -> None:
                super().__init__()
                self.cells = getattr(nn, kind)(FEATURES, 9)
                self.head = nn.Linear(9, 3)

            def forward(self, x: Any) -> Any:
                return self.head(self.cells(x)[0])

        return Recurrent()

    return build


def more() -> Any:
    """What is left: Conv1D, grouped Conv1D and a norm, LayerNorm, a bare parameter, an LSTM in both directions."""
    import paddle
    from paddle import nn

    class More(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.line = nn.Conv1D(TOKENS, 12, 3, padding=1)
            self.grouped = nn.Conv1D(12, 24, 3, padding=1, groups=4, bias_attr=False)
            self.norm = nn.BatchNorm1D(24)
            self.cells = nn.LSTM(FEATURES, 9, direction="bidirect")
            self.layer_norm = nn.LayerNorm(18)
            self.bare = self.create_parameter([18, 12])
            self.head = nn.Linear(12, 3)

        def forward(self, x: Any) -> Any:
            relu = nn.functional.relu
            x = relu(self.norm(self.grouped(relu(self.line(x)))))
            x = self.layer_norm(self.cells(x)[0])
            return self.head(relu(paddle.matmul(x, self.bare)))

    return More()


def lengths() -> Any:
    """Weight norm: a Linear and a Conv1D as directions and lengths, which the exporter multiplies."""
    from paddle import nn

    class Lengths(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.widen = nn.utils.weight_norm(nn.Linear(FEATURES, 24), dim=1)
            self.line = nn.utils.weight_norm(nn.Conv1D(TOKENS, 12, 3))
            self.head = nn.Linear(22, 3)

        def forward(self, x: Any) -> Any:
            relu = nn.functional.relu
            return self.head(relu(self.line(relu(self.widen(x)))))

    return Lengths()


SQUARES = ("first", "equal", "permuted", "transposed", "symmetric", "zero", "zero_too", "constant", "constant_too")


def twins() -> Any:
    """What looks like something else, by the values that `build` gives: see `alike`."""
    from paddle import nn

    class Twins(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.cube_a = nn.Conv2D(3, 3, 3, padding=1, bias_attr=False)
            self.cube_b = nn.Conv2D(3, 3, 3, padding=1, bias_attr=False)
            self.turned = nn.Conv2D(3, 3, 3, padding=1)
            self.wide = nn.Conv2D(3, FEATURES, 3)
            for name in SQUARES:
                setattr(self, name, nn.Linear(FEATURES, FEATURES))
            self.head = nn.Linear(FEATURES, 4)

        def forward(self, x: Any) -> Any:
            relu = nn.functional.relu
            x = relu(self.turned(relu(self.cube_a(x)) + relu(self.cube_b(relu(x)))))
            x = relu(self.wide(x)).mean([2, 3])
            for name in SQUARES:
                x = x + nn.functional.tanh(getattr(self, name)(x))
            return self.head(x)

    return Twins()


def alike(model: Any) -> dict[str, Any]:
    """Kernels of `twins` that are equal to, or a rearranged copy of, another's; all zero; of one value."""
    values = {name: value.numpy() for name, value in model.state_dict().items()}
    first, symmetric, cube = values["first.weight"], values["symmetric.weight"], values["cube_a.weight"]
    changed = {
        "cube_b": cube,
        "turned": cube.transpose(1, 0, 3, 2),
        "equal": first,
        "permuted": first[:, ::-1].copy(),
        "transposed": first.T.copy(),
        "symmetric": (symmetric + symmetric.T) / 2,
        "zero": np.zeros_like(first),
        "zero_too": np.zeros_like(first),
        "constant": np.full_like(first, 0.125),
        "constant_too": np.full_like(first, 0.25),
    }
    return {model.state_dict()[f"{name}.weight"].name: value for name, value in changed.items()}


NETS: dict[str, Callable[[], Any]] = {
    "cnn": cnn,
    "transformer": transformer,
    "gru": recurrent("GRU"),
    "lstm": recurrent("LSTM"),
    "more": more,
}
SHAPES: dict[str, tuple[int, ...]] = {
    "cnn": (3, SIDE, SIDE),
    "transformer": (TOKENS, FEATURES),
    "gru": (TOKENS, FEATURES),
    "lstm": (TOKENS, FEATURES),
    "more": (TOKENS, FEATURES),
    "lengths": (TOKENS, FEATURES),
    "twins": (3, 8, 8),
}
EXPORTERS = ("folded", "raw")
"""folded: paddle2onnx as it is called by default, constants folded by Polygraphy. raw: without that."""


def build(net: str) -> Any:
    """The net with values like those of a trained one, always the same, in evaluation mode."""
    import paddle

    with paddle.utils.unique_name.guard():  # else the parameters' names count up from net to net
        model = {**NETS, "twins": twins, "lengths": lengths}[net]()
    model.eval()
    generator = np.random.default_rng(1)
    for name, value in model.state_dict().items():
        value.set_value(trained(name, tuple(value.shape), generator))
    if net == "twins":
        put(model, alike(model))
    return model


def sample(net: str, count: int, seed: int) -> Any:
    """Inputs of the net."""
    return np.random.default_rng(seed).standard_normal((count, *SHAPES[net])).astype("float32")


def put(model: Any, values: Mapping[str, Any]) -> None:
    """Give the parameters of these names (`p.name`) these values."""
    for value in model.state_dict().values():
        if value.name in values:
            value.set_value(values[value.name])


def kernels(model: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what is multiplied with, in model order."""
    named = {value.name: tuple(value.shape) for value in model.state_dict().values()}
    return {name: shape for name, shape in named.items() if len(shape) > 1}


def neutral(model: Any) -> dict[str, Any]:
    """Values by which no norm changes anything; paddle2onnx folds none, but may one day."""
    values = {}
    for name, value in model.state_dict().items():
        if "norm" in name:
            level = {"weight": 1.0, "_variance": 1.0 - 1e-5}
            values[value.name] = np.full(tuple(value.shape), level.get(name.rsplit(".", 1)[-1], 0.0), "float32")
    return values


def trained(name: str, shape: tuple[int, ...], generator: np.random.Generator) -> Any:
    """Values such as training leaves: kernels with heavy tails, norms that are not the identity."""
    if name.endswith("_variance"):
        return generator.uniform(0.3, 2.0, shape).astype("float32")
    if "norm" in name and name.endswith("weight"):
        return generator.uniform(0.5, 1.5, shape).astype("float32")
    if len(shape) < 2:
        return generator.normal(0, 0.1, shape).astype("float32")
    fan_in = int(np.prod(shape[1:])) if len(shape) > 2 else shape[0]
    return (generator.standard_t(5, shape) / np.sqrt(fan_in)).astype("float32")


def export(model: Any, net: str, exporter: str, path: Path) -> None:
    """Write the model as ONNX, batch size free."""
    import paddle

    model(
        paddle.to_tensor(sample(net, 1, 0))
    )  # weight norm multiplies in a call, and the exporter takes the last product
    spec = [paddle.static.InputSpec([None, *SHAPES[net]], "float32", "x")]
    if exporter == "folded":
        paddle.onnx.export(model, str(path.with_suffix("")), input_spec=spec, opset_version=17)
    else:
        import paddle2onnx

        static = path.with_name("static")
        paddle.jit.save(model, str(static), input_spec=spec)
        paddle2onnx.export(f"{static}.json", f"{static}.pdiparams", str(path), opset_version=17, optimize_tool="None")
    assert path.exists(), "paddle2onnx logs its errors and returns"


def save(model: Any, path: Path) -> None:
    """Write an npz under the names that the ONNX file carries: `p.name`, not the state dict's key."""
    np.savez(path, **{value.name: value.numpy() for value in model.state_dict().values()})
