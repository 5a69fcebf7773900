"""Exports for JAX, used on trees of flax linen and flax nnx, and held by optax."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from exporting import export_of, layer, made, ran, random_masks, write_masks, write_values, written

from onnxsens.frameworks.exporters import Mode

pytestmark = pytest.mark.filterwarnings("ignore")  # of JAX and flax: none is ours to mend


@pytest.fixture(autouse=True)
def jax(needed: Callable[[str], ModuleType]) -> ModuleType:
    """The frameworks."""
    needed("flax")
    needed("optax")
    return needed("jax")


LAYERS = (
    layer("params/Conv_0/kernel", (3, 3, 4, 8), 100),
    layer("params/Dense_0/kernel", (8, 6), 25),
)


def linen() -> tuple[Any, Any]:
    """A flax linen network and its variables."""
    import flax.linen as nn
    import jax

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.relu(nn.Conv(8, (3, 3))(x)).mean((1, 2))
            x = nn.relu(nn.Dense(6)(x))
            return nn.Dense(3)(x)

    net = Net()
    return net, net.init(jax.random.key(0), np.ones((1, 6, 6, 4), np.float32))


@pytest.mark.parametrize("mode", ["ratio", "mask"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_tree_gets_the_planned_zeros(tmp_path: Path, mode: Mode, whole: bool) -> None:
    script = made("jax", tmp_path, *LAYERS, mode=mode)
    variables = linen()[1]
    tree = variables if whole else variables["params"]  # 'params' comes first in the names, or not at all
    pruned = script.prune(tree)
    assert script.zeros_of(pruned) == {each.parameter: each.zeros for each in LAYERS}
    new, old = pruned["params"] if whole else pruned, variables["params"]
    masks = random_masks(LAYERS)
    for each in LAYERS:
        name = each.parameter.split("/")[1]
        before, after = np.asarray(old[name]["kernel"]), np.asarray(new[name]["kernel"])
        gone = masks[each.parameter] == 0 if mode == "mask" else after == 0
        assert after.tobytes() == np.where(gone, np.float32(0), before).tobytes()
        if mode == "ratio":
            assert np.abs(before[gone]).max() < np.abs(before[~gone]).min()
    assert (new["Dense_1"]["kernel"] == old["Dense_1"]["kernel"]).all()


@pytest.mark.parametrize("mode", ["ratio", "mask"])
def test_training_with_momentum_and_weight_decay_keeps_zeros(tmp_path: Path, mode: Mode) -> None:
    import jax
    import optax

    script = made("jax", tmp_path, *LAYERS, mode=mode)
    net, variables = linen()
    params = pruned = script.prune(variables)
    optimizer = script.keep_zeros(optax.adamw(0.05), params)
    state = optimizer.init(params)

    @jax.jit
    def step(params: Any, state: Any, x: Any) -> Any:
        gradient = jax.grad(lambda values: (net.apply(values, x) ** 2).mean())(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    rng = np.random.default_rng(0)
    for _ in range(3):
        params, state = step(params, state, rng.standard_normal((4, 6, 6, 4)).astype(np.float32))
    for name in ("Conv_0", "Dense_0"):
        before, after = (np.asarray(tree["params"][name]["kernel"]) for tree in (pruned, params))
        assert not after[before == 0].any() and (after[before != 0] != before[before != 0]).mean() > 0.8
    assert (np.asarray(params["params"]["Dense_0"]["bias"]) != 0).any()  # zeros that are not planned are free to move


@pytest.mark.parametrize("mode", ["ratio", "mask"])
@pytest.mark.parametrize("dot", [".", "/"])
def test_a_state_of_nnx_gets_the_planned_zeros(tmp_path: Path, mode: Mode, dot: str) -> None:
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self) -> None:
            rngs = nnx.Rngs(0)
            self.conv = nnx.Conv(4, 8, (3, 3), rngs=rngs)
            self.body = nnx.List([nnx.Linear(8, 6, rngs=rngs), nnx.Linear(6, 6, rngs=rngs)])

    named = layer(f"conv{dot}kernel", (3, 3, 4, 8), 100), layer(f"body{dot}1{dot}kernel", (6, 6), 11)
    script = made("jax", tmp_path, *named, mode=mode)
    model = Net()
    nnx.update(model, script.prune(nnx.state(model, nnx.Param)))
    assert script.zeros_of(nnx.state(model, nnx.Param)) == {named[0].parameter: 100, named[1].parameter: 11}
    assert int((np.asarray(model.body[1].kernel[...]) == 0).sum()) == 11
    assert np.asarray(model.body[0].kernel[...]).all()


def test_patterns_lie_in_the_kernel_as_the_plan_means_them(tmp_path: Path) -> None:
    named = (
        layer("conv/kernel", (3, 3, 4, 8), 3 * 36, "channel"),
        layer("row/kernel", (10, 6), 24, "row"),
        layer("nm/kernel", (3, 3, 8, 5), 180, "2:4"),
        layer("block/kernel", (8, 6), 24, "block2x4"),
    )
    script = made("jax", tmp_path, *named)
    rng = np.random.default_rng(0)
    tree = {each.parameter.split("/")[0]: {"kernel": rng.standard_normal(each.shape).astype("f4")} for each in named}
    gone = {name: np.asarray(value["kernel"]) == 0 for name, value in script.prune(tree).items()}
    channels = gone["conv"].all(axis=(0, 1, 2))
    weakest = np.argsort(np.abs(tree["conv"]["kernel"]).sum((0, 1, 2)))[:3]
    assert set(np.flatnonzero(channels)) == set(weakest) and gone["conv"].sum() == 108
    assert (gone["row"].sum(axis=0) == 4).all()  # 10 inputs of each of 6 outputs
    assert (gone["nm"].reshape(3, 3, 2, 4, 5).sum(axis=3) == 2).all()
    blocks = gone["block"].reshape(2, 4, 3, 2)
    assert (blocks.all(axis=(1, 3)) == blocks.any(axis=(1, 3))).all() and gone["block"].sum() == 24


@pytest.mark.parametrize(
    ("name", "shape", "error", "message"),
    [
        ("params/Conv_1/kernel", (3, 3, 4, 8), KeyError, "no parameter is called 'params/Conv_1/kernel'"),
        ("kernel", (3, 3, 4, 8), KeyError, "several that end alike"),
        ("params/Conv_0/kernel", (3, 3, 8, 4), ValueError, r"is \(3, 3, 4, 8\) here and \(3, 3, 8, 4\) in the plan"),
    ],
)
def test_what_does_not_fit_the_tree_is_said(
    tmp_path: Path, name: str, shape: tuple[int, ...], error: type[Exception], message: str
) -> None:
    script = made("jax", tmp_path, layer(name, shape, 4))
    with pytest.raises(error, match=message):
        script.prune(linen()[1])


@pytest.mark.parametrize("mode", ["ratio", "mask"])
def test_the_script_runs_on_its_own(tmp_path: Path, mode: Mode) -> None:
    [path] = written("jax", export_of(*LAYERS, mode=mode), tmp_path)
    write_masks(LAYERS, tmp_path / "masks.safetensors")
    rng = np.random.default_rng(0)
    values = {each.parameter: rng.standard_normal(each.shape).astype("f4") for each in LAYERS}
    np.savez(tmp_path / "params.npz", **values, **{"params/Dense_0/bias": np.zeros(6, "f4")})
    command = [sys.executable, "-W", "ignore", str(path), "params.npz", "-o", "pruned.npz"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "pruned.npz") as pruned:
        assert [int((pruned[each.parameter] == 0).sum()) for each in LAYERS] == [100, 25]
        assert "params/Dense_0/bias" in pruned


NEW = {
    "params/Conv_0/kernel": np.random.default_rng(1).standard_normal((3, 3, 4, 8)).astype("f4"),
    "params/Dense_0/bias": np.arange(6, dtype="f4"),
    "batch_stats/BatchNorm_0/mean": np.arange(8, dtype="f4"),
}


def test_updated_values_are_loaded_before_masks(tmp_path: Path) -> None:
    script = made("jax", tmp_path, *LAYERS, mode="mask", weights_file="weights.safetensors")
    mask = random_masks(LAYERS)["params/Conv_0/kernel"]
    rng = np.random.default_rng(0)
    values = {each.parameter: rng.standard_normal(each.shape).astype("f4") for each in LAYERS}
    values |= {"params/Dense_0/bias": np.zeros(6, "f4"), "batch_stats/BatchNorm_0/mean": np.zeros(8, "f4")}
    np.savez(tmp_path / "params.npz", **values)
    write_values(NEW, tmp_path)
    path = tmp_path / "prune_jax.py"
    assert "weights.safetensors: 3 updated tensors loaded" in ran(path, "params.npz", "-o", "new.npz")
    assert "left out, so the zeros alone" in ran(path, "params.npz", "--no-values", "-o", "old.npz")
    with np.load(tmp_path / "new.npz") as new, np.load(tmp_path / "old.npz") as old:
        assert (
            new["params/Conv_0/kernel"].tobytes()
            == np.where(mask, NEW["params/Conv_0/kernel"], np.float32(0)).tobytes()
        )
        assert all((new[name] == NEW[name]).all() and (old[name] == values[name]).all() for name in list(NEW)[1:])
        assert (old["params/Conv_0/kernel"] == values["params/Conv_0/kernel"] * mask).all()
    with pytest.raises(KeyError, match="no parameter is called 'batch_stats/BatchNorm_0/mean'"):
        script.prune({name: value for name, value in values.items() if "params" in name})
    with pytest.raises(
        ValueError, match=r"the updated value of 'params/Dense_0/bias' is \(6,\), and .* is \(7,\) here"
    ):
        script.prune(values | {"params/Dense_0/bias": np.zeros(7)})
    write_values(NEW, tmp_path, "99" * 32)
    with pytest.raises(ValueError, match="are of two plans; export both again"):
        script.prune(values)
    assert (script.prune(values, values=False)["params/Dense_0/bias"] == 0).all()


def test_updated_statistics_of_nnx_are_loaded(tmp_path: Path) -> None:
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self) -> None:
            rngs = nnx.Rngs(0)
            self.fc, self.norm, self.drop = (
                nnx.Linear(8, 6, rngs=rngs),
                nnx.BatchNorm(6, rngs=rngs),
                nnx.Dropout(0.5, rngs=rngs),
            )

    named = layer("fc.kernel", (8, 6), 20)
    script = made("jax", tmp_path, named, mode="mask", weights_file="weights.safetensors")
    new = np.arange(48, dtype="f4").reshape(8, 6) + 1
    write_values({"fc.kernel": new, "norm.mean": np.arange(6, dtype="f4")}, tmp_path)
    model = Net()
    nnx.update(model, script.prune(nnx.state(model)))
    assert (np.asarray(model.fc.kernel[...]) == new * random_masks((named,))["fc.kernel"]).all()
    assert (np.asarray(model.norm.mean[...]) == np.arange(6)).all()
