"""Masks on trees of JAX: Flax linen, Flax nnx, plain dicts; files as Flax writes them; zeros under optax."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from exporting import two_plans

from onnxsens.arrays import BoolArray
from onnxsens.errors import PlanError
from onnxsens.frameworks.checkpoints import open_checkpoint
from onnxsens.frameworks.jax import apply, hold

# JAX and Flax warn of what they will drop one day.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def jax(needed: Callable[[str], ModuleType]) -> Any:
    return needed("jax")


@pytest.fixture(scope="module")
def optax(needed: Callable[[str], ModuleType]) -> Any:
    return needed("optax")


@pytest.fixture(scope="module")
def linen(needed: Callable[[str], ModuleType]) -> Any:
    return needed("flax.linen")


@pytest.fixture(scope="module")
def nnx(needed: Callable[[str], ModuleType]) -> Any:
    return needed("flax.nnx")


def half(shape: tuple[int, ...], seed: int = 0) -> BoolArray:
    return np.random.default_rng(seed).random(shape) > 0.5


MASKS = {"params/layers_0/kernel": half((4, 8)), "params/layers_2/kernel": half((8, 3), 1)}


@pytest.fixture
def net(linen: Any) -> Any:
    return linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(3)])


@pytest.fixture
def variables(jax: Any, net: Any) -> Any:
    return net.init(jax.random.key(0), np.ones((1, 4), np.float32))


@pytest.fixture
def module(nnx: Any) -> Any:
    return nnx.Sequential(nnx.Linear(4, 8, rngs=nnx.Rngs(0)), nnx.BatchNorm(8, rngs=nnx.Rngs(0)))


def zeros_at(values: Any, mask: BoolArray) -> bool:
    array = np.asarray(values).astype(np.float32)
    return bool(np.array_equal(array != 0, mask) and not np.signbit(array[~mask]).any())


def test_masks_of_a_linen_tree_with_and_without_its_params(variables: Any) -> None:
    before = np.asarray(variables["params"]["layers_0"]["kernel"]).copy()
    for prefix in ("params/", ""):
        names = {f"{prefix}{name.removeprefix('params/')}": mask for name, mask in MASKS.items()}
        for tree in (variables, variables["params"]):
            made = apply(tree, names)
            params = made.get("params", made)
            assert zeros_at(params["layers_0"]["kernel"], MASKS["params/layers_0/kernel"])
            assert np.array_equal(params["layers_0"]["bias"], variables["params"]["layers_0"]["bias"])
    assert np.array_equal(variables["params"]["layers_0"]["kernel"], before)


def test_apply_runs_under_jit(jax: Any, variables: Any) -> None:
    made = jax.jit(lambda tree: apply(tree, MASKS))(variables)
    assert zeros_at(made["params"]["layers_2"]["kernel"], MASKS["params/layers_2/kernel"])


def test_updated_values_are_written_in_the_trees_type(jax: Any) -> None:
    tree = {"w": jax.numpy.zeros((2, 2), "bfloat16"), "v": jax.numpy.ones(2)}
    mask = np.array([[True, False], [True, True]])
    made = apply(tree, {"w": mask}, {"w": np.full((2, 2), 3.0)})
    assert made["w"].dtype == "bfloat16"
    assert made["w"].astype("float32").tolist() == [[3, 0], [3, 3]]


def test_files_of_two_plans_are_refused(jax: Any, tmp_path: Path) -> None:
    tree = {"w": jax.numpy.ones((2, 4))}
    masks, weights = two_plans(tmp_path, "w", (2, 4))
    with pytest.raises(PlanError, match="are of two plans; export both again"):
        apply(tree, masks, weights)
    assert int((apply(tree, masks)["w"] == 0).sum()) == 4


def test_masks_of_an_nnx_module_state_and_dict(nnx: Any, module: Any) -> None:
    mask = half((4, 8))
    names = {"layers/0/kernel": mask}
    made = apply(module, names)
    assert type(made) is type(module) and made is not module
    assert zeros_at(made.layers[0].kernel[...], mask)
    assert not zeros_at(module.layers[0].kernel[...], mask)
    state = nnx.state(module)
    assert type(apply(state, names)) is type(state)
    nnx.update(module, apply(state, names))
    assert zeros_at(module.layers[0].kernel[...], mask)
    plain = apply(nnx.to_pure_dict(nnx.state(module, nnx.Param)), names)
    assert zeros_at(plain["layers"][0]["kernel"], mask)


@pytest.mark.parametrize("make", ["adamw", "sgd"])
def test_zeros_stay_under_optax(jax: Any, optax: Any, net: Any, variables: Any, make: str) -> None:
    chained = optax.adamw(0.01, weight_decay=0.1) if make == "adamw" else optax.sgd(0.1, momentum=0.9, nesterov=True)
    optimizer = optax.chain(chained, hold(variables, MASKS))
    labels = np.arange(8) % 3

    @jax.jit  # type: ignore[untyped-decorator]  # jax is not there when types are checked
    def step(params: Any, state: Any, samples: Any) -> Any:
        def loss(params: Any) -> Any:
            return optax.softmax_cross_entropy_with_integer_labels(net.apply(params, samples), labels).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    params = variables  # not masked before: the first step zeroes
    state = optimizer.init(params)
    rng = np.random.default_rng(0)
    for _ in range(5):
        params, state = step(params, state, rng.standard_normal((8, 4)).astype(np.float32))
        for name, mask in MASKS.items():
            _, layer, kind = name.split("/")
            assert zeros_at(params["params"][layer][kind], mask)
    assert not np.array_equal(params["params"]["layers_0"]["bias"], variables["params"]["layers_0"]["bias"])


def test_without_parameters_what_is_zero_stays_zero(optax: Any, variables: Any) -> None:
    params = apply(variables, MASKS)
    optimizer = optax.chain(optax.sgd(0.1), hold(params, MASKS))
    updates, _ = optimizer.update(params, optimizer.init(params))
    made = optax.apply_updates(params, updates)["params"]["layers_0"]["kernel"]
    assert zeros_at(made, MASKS["params/layers_0/kernel"])


def test_zeros_stay_under_an_nnx_optimizer(nnx: Any, optax: Any, module: Any) -> None:
    masks = {"layers/0/kernel": half((4, 8))}
    optimizer = nnx.Optimizer(module, optax.chain(optax.adamw(0.1), hold(module, masks)), wrt=nnx.Param)
    rng = np.random.default_rng(0)
    for _ in range(3):
        samples = rng.standard_normal((8, 4)).astype(np.float32)
        grads = nnx.grad(lambda module, samples=samples: (module(samples) ** 3).mean())(module)
        optimizer.update(module, grads)
        assert zeros_at(module.layers[0].kernel[...], masks["layers/0/kernel"])


def test_unknown_names_and_wrong_shapes_are_told(variables: Any) -> None:
    with pytest.raises(PlanError, match="no parameter 'params/layers_0/kernle'; the nearest is"):
        apply(variables, {"params/layers_0/kernle": half((4, 8))})
    with pytest.raises(PlanError, match="has no parameter 'kernel'"):
        apply(variables, {"kernel": half((4, 8))})
    with pytest.raises(PlanError, match=r"has shape \[8, 4\], and the parameter \[4, 8\]"):
        apply(variables, {"params/layers_0/kernel": half((8, 4))})


def test_hold_says_where_it_does_not_belong(optax: Any, variables: Any) -> None:
    optimizer = hold(variables, MASKS)
    with pytest.raises(PlanError, match="has a mask and is not trained"):
        optimizer.init({"other": np.ones(2)})
    state = optimizer.init(variables)
    with pytest.raises(PlanError, match=r"1 updates for 4 parameters; chain hold\(\) last"):
        optimizer.update({"other": np.ones(2)}, state)


def test_files_as_flax_writes_them(needed: Any, jax: Any, variables: Any, tmp_path: Path) -> None:
    serialization = needed("flax.serialization")
    path = tmp_path / "m.msgpack"
    tree = {**variables, "stats": jax.numpy.ones((2, 2), "bfloat16"), "step": np.int32(3), "z": np.ones(2) * 1j}
    path.write_bytes(serialization.to_bytes(tree))
    opened = open_checkpoint(path)
    read = {parameter.name: parameter.read() for parameter in opened.parameters}
    assert set(MASKS) < set(read)
    assert np.array_equal(read["params/layers_0/kernel"], variables["params"]["layers_0"]["kernel"])
    assert {name: array.dtype.name for name, array in read.items() if "params" not in name} == {
        "stats": "bfloat16",
        "step": "int32",
        "z": "complex128",
    }


def test_large_arrays_of_flax_come_in_pieces(needed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serialization = needed("flax.serialization")
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 40)
    whole = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    path = tmp_path / "m.msgpack"
    path.write_bytes(serialization.msgpack_serialize({"emb": whole}))
    assert np.array_equal(open_checkpoint(path).parameters[0].read(), whole)


def test_a_training_state_is_read_without_its_optimizer(
    needed: Any, net: Any, optax: Any, variables: Any, tmp_path: Path
) -> None:
    serialization = needed("flax.serialization")
    train_state = needed("flax.training.train_state")
    state = train_state.TrainState.create(apply_fn=net.apply, params=variables["params"], tx=optax.adam(0.1))
    path = tmp_path / "m.msgpack"
    path.write_bytes(serialization.to_bytes(state))
    opened = open_checkpoint(path)
    assert {parameter.name for parameter in opened.parameters} >= set(MASKS)
    assert "the optimizer's state 'opt_state' is left out" in opened.notes
