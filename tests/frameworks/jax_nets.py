"""Small seeded nets of Flax (nnx and Linen), and their exports to ONNX by jax2onnx. Importing this imports no JAX."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

SIDE, TOKENS, FEATURES = 16, 10, 16


def cnn() -> Any:
    """Conv and BatchNorm, depthwise, grouped, transposed Conv, Linear with and without bias."""
    from flax import nnx

    class Cnn(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.stem = nnx.Conv(3, 8, (3, 3), use_bias=False, rngs=rngs)
            self.stem_norm = nnx.BatchNorm(8, rngs=rngs)
            self.depthwise = nnx.Conv(8, 8, (3, 3), feature_group_count=8, rngs=rngs)
            self.square = nnx.Conv(8, 8, (3, 3), rngs=rngs)
            self.square_norm = nnx.BatchNorm(8, rngs=rngs)
            self.up = nnx.ConvTranspose(8, 6, (3, 3), strides=(2, 2), rngs=rngs)
            self.point = nnx.Conv(6, 10, (1, 1), rngs=rngs)
            self.hidden = nnx.Linear(10, 12, rngs=rngs)
            self.head = nnx.Linear(12, 5, use_bias=False, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = nnx.relu(self.stem_norm(self.stem(x)))
            x = nnx.relu(self.depthwise(x))
            x = nnx.relu(self.square_norm(self.square(x)))
            x = nnx.relu(self.point(nnx.relu(self.up(x))))
            return self.head(nnx.relu(self.hidden(x.mean((1, 2)))))

    return Cnn(nnx.Rngs(0))


def mlp() -> Any:
    """Layers in a list, whose keys are numbers in the state; two are of one shape."""
    from flax import nnx

    class Mlp(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            sizes = (FEATURES, 24, 24, 24)
            self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in pairwise(sizes)])
            self.head = nnx.Linear(24, 5, use_bias=False, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            for layer in self.layers:
                x = nnx.relu(layer(x))
            return self.head(x)

    return Mlp(nnx.Rngs(0))


def attention() -> Any:
    """Multi-head attention (its kernels have three axes), LayerNorm, Linear over three axes."""
    from flax import nnx

    class Attention(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.attend = nnx.MultiHeadAttention(4, FEATURES, decode=False, rngs=rngs)
            self.norm_a = nnx.LayerNorm(FEATURES, rngs=rngs)
            self.widen = nnx.Linear(FEATURES, 32, rngs=rngs)
            self.shrink = nnx.Linear(32, FEATURES, rngs=rngs)
            self.norm_b = nnx.LayerNorm(FEATURES, rngs=rngs)
            self.head = nnx.Linear(FEATURES, 6, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = self.norm_a(x + self.attend(x))
            x = self.norm_b(x + self.shrink(nnx.gelu(self.widen(x))))
            return self.head(x)

    return Attention(nnx.Rngs(0))


def linen() -> Any:
    """The same kind of net in Linen, where the parameters are a tree beside the module."""
    from flax import linen as nn

    class Cnn(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.Conv(8, (3, 3), use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
            x = nn.relu(nn.Conv(8, (3, 3), feature_group_count=8)(x))
            x = nn.relu(nn.Conv(12, (3, 3), strides=(2, 2))(x))
            x = nn.relu(nn.Dense(12)(x.mean((1, 2))))
            return nn.Dense(5, use_bias=False)(x)

    return Cnn()


def linen_attention() -> Any:
    """Attention, LayerNorm, Dense into several axes and over several axes, in Linen."""
    from flax import linen as nn

    class Attention(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = x + nn.MultiHeadDotProductAttention(4, name="attend")(x, x)
            x = nn.LayerNorm(name="norm")(x)
            x = nn.relu(nn.DenseGeneral((4, 8), name="split")(x))
            return nn.DenseGeneral(6, axis=(-2, -1), name="join")(x)

    return Attention()


def more() -> Any:
    """What is left: Conv1D, grouped Conv, a transposed kernel, LinearGeneral, a bare Param, float16."""
    import jax.numpy as jnp
    from flax import nnx

    class More(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.line = nnx.Conv(FEATURES, 12, (3,), rngs=rngs)
            self.grouped = nnx.Conv(12, 24, (3,), feature_group_count=4, use_bias=False, rngs=rngs)
            self.norm = nnx.BatchNorm(24, rngs=rngs)
            self.longer = nnx.ConvTranspose(24, 12, (4,), strides=(2,), transpose_kernel=True, rngs=rngs)
            self.general = nnx.LinearGeneral(12, (3, 4), rngs=rngs)
            self.bare_kernel = nnx.Param(jnp.zeros((12, 12)))
            self.half = nnx.Linear(12, 12, param_dtype=jnp.float16, rngs=rngs)
            self.head = nnx.Linear(12, 5, use_bias=False, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = nnx.relu(self.norm(self.grouped(nnx.relu(self.line(x)))))
            x = self.general(nnx.relu(self.longer(x)))
            x = nnx.relu(x.reshape((*x.shape[:-2], 12)) @ self.bare_kernel[...])
            return self.head(nnx.relu(self.half(x)))

    return More(nnx.Rngs(0))


SQUARES = ("first", "equal", "permuted", "transposed", "symmetric", "zero", "zero_too", "constant", "constant_too")


def twins() -> Any:
    """What looks like something else, by the values that `Net` gives: see `alike`."""
    from flax import nnx

    class Twins(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.cube_a = nnx.Conv(3, 3, (3, 3), use_bias=False, rngs=rngs)
            self.cube_b = nnx.Conv(3, 3, (3, 3), use_bias=False, rngs=rngs)
            self.turned = nnx.Conv(3, 3, (3, 3), rngs=rngs)
            self.wide = nnx.Conv(3, FEATURES, (3, 3), rngs=rngs)
            for name in SQUARES:
                setattr(self, name, nnx.Linear(FEATURES, FEATURES, rngs=rngs))
            self.head = nnx.Linear(FEATURES, 4, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = nnx.relu(self.turned(nnx.relu(self.cube_a(x)) + nnx.relu(self.cube_b(nnx.relu(x)))))
            x = nnx.relu(self.wide(x)).mean((1, 2))
            for name in SQUARES:
                x = x + nnx.tanh(getattr(self, name)(x))
            return self.head(x)

    return Twins(nnx.Rngs(0))


def alike(values: dict[str, Any]) -> dict[str, Any]:
    """Kernels of `twins` that are equal to, or a rearranged copy of, another's; all zero; of one value."""
    first, symmetric = values["first/kernel"], values["symmetric/kernel"]
    return {
        "cube_b/kernel": values["cube_a/kernel"],
        "turned/kernel": values["cube_a/kernel"].transpose(1, 0, 3, 2),
        "equal/kernel": first,
        "permuted/kernel": first[:, ::-1],
        "transposed/kernel": first.T,
        "symmetric/kernel": (symmetric + symmetric.T) / 2,
        "zero/kernel": np.zeros_like(first),
        "zero_too/kernel": np.zeros_like(first),
        "constant/kernel": np.full_like(first, 0.125),
        "constant_too/kernel": np.full_like(first, 0.25),
    }


NETS: dict[str, Callable[[], Any]] = {
    "cnn": cnn,
    "mlp": mlp,
    "attention": attention,
    "more": more,
    "linen": linen,
    "linen_attention": linen_attention,
}
SHAPES: dict[str, tuple[int, ...]] = {
    "cnn": (SIDE, SIDE, 3),
    "mlp": (FEATURES,),
    "attention": (TOKENS, FEATURES),
    "more": (TOKENS, FEATURES),
    "linen": (SIDE, SIDE, 3),
    "linen_attention": (TOKENS, FEATURES),
    "twins": (8, 8, 3),
}
EXPORTERS = ("jax2onnx",)
SUFFIXES = (".msgpack", ".npz")


class Net:
    """A module and its parameters, nnx or Linen."""

    def __init__(self, name: str) -> None:
        """Build it with values like those of a trained one, always the same."""
        self.name, self.is_linen = name, name.startswith("linen")
        self.module = twins() if name == "twins" else NETS[name]()
        if self.is_linen:
            import jax

            self.variables = self.module.init(jax.random.key(0), np.zeros((1, *SHAPES[name]), "float32"))
        else:
            self.module.eval()  # BatchNorm by its moving statistics
        generator = np.random.default_rng(1)
        self.put(mapped(self.tree(), lambda path, value: trained(path, value, generator)))
        if name == "twins":
            self.put(self.changed(alike(flat(self.tree()))))

    def tree(self) -> dict[Any, Any]:
        """The parameters as plain nested dictionaries of numpy arrays: what a checkpoint holds."""
        if self.is_linen:
            tree = self.variables
        else:
            from flax import nnx

            tree = nnx.to_pure_dict(nnx.state(self.module, (nnx.Param, nnx.BatchStat)))
        return mapped(tree, lambda path, value: np.asarray(value))

    def put(self, tree: Mapping[Any, Any]) -> None:
        """Take these values."""
        if self.is_linen:
            self.variables = tree
            return
        from flax import nnx

        state = nnx.state(self.module, (nnx.Param, nnx.BatchStat))
        nnx.replace_by_pure_dict(state, dict(tree))
        nnx.update(self.module, state)

    def kernels(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of what is multiplied with, in the order of the tree."""
        return {name: value.shape for name, value in flat(self.tree()).items() if name.endswith("kernel")}

    def changed(self, values: Mapping[str, Any]) -> dict[Any, Any]:
        """The tree with these values at these names."""
        return mapped(self.tree(), lambda path, value: values.get(joined(path), value))

    def neutral(self) -> dict[str, Any]:
        """Values by which no norm changes anything; jax2onnx folds none, but may one day."""
        level = {"scale": 1.0, "var": 1.0 - 1e-5, "mean": 0.0}
        leaves = {name: (name.rsplit("/", 1)[-1], value) for name, value in flat(self.tree()).items()}
        return {name: np.full_like(value, level[kind]) for name, (kind, value) in leaves.items() if kind in level}

    def sample(self, count: int, seed: int) -> Any:
        """Inputs of the net."""
        return np.random.default_rng(seed).standard_normal((count, *SHAPES[self.name])).astype("float32")

    def save(self, path: Path) -> None:
        """Write a checkpoint, by the suffix of the path."""
        if path.suffix == ".npz":
            np.savez(path, **flat(self.tree()))
        else:
            from flax import serialization

            path.write_bytes(serialization.msgpack_serialize(serialization.to_state_dict(self.tree())))

    def export(self, path: Path) -> None:
        """Write the model as ONNX, batch size free."""
        from jax2onnx import to_onnx

        if self.is_linen:
            variables = self.variables
            function = lambda x: self.module.apply(variables, x)  # noqa: E731  jax2onnx wants a function of arrays only
        else:
            function = self.module
        to_onnx(function, [("B", *SHAPES[self.name])], opset=17, return_mode="file", output_path=str(path))


def mapped(tree: Mapping[Any, Any], change: Callable[[tuple[Any, ...], Any], Any], path: tuple[Any, ...] = ()) -> Any:
    """The tree with each leaf changed."""
    return {
        key: mapped(value, change, (*path, key)) if isinstance(value, Mapping) else change((*path, key), value)
        for key, value in tree.items()
    }


def joined(path: tuple[Any, ...]) -> str:
    """The name of a leaf: its keys, which are numbers in a list, with slashes between."""
    return "/".join(map(str, path))


def flat(tree: Mapping[Any, Any]) -> dict[str, Any]:
    """The leaves by name."""
    leaves: dict[str, Any] = {}
    mapped(tree, lambda path, value: leaves.setdefault(joined(path), value))
    return leaves


def trained(path: tuple[Any, ...], value: Any, generator: np.random.Generator) -> Any:
    """Values such as training leaves: kernels with heavy tails, norms that are not the identity."""
    shape = value.shape
    if path[-1] == "var":
        return generator.uniform(0.3, 2.0, shape).astype(value.dtype)
    if path[-1] == "scale":
        return generator.uniform(0.5, 1.5, shape).astype(value.dtype)
    if str(path[-1]).endswith("kernel"):
        fan_in = int(np.prod(shape[:-1]))
        return (generator.standard_t(5, shape) / np.sqrt(fan_in)).astype(value.dtype)
    return generator.normal(0, 0.1, shape).astype(value.dtype)
