"""Masks on models of Keras 3 and tf_keras, checkpoints as both write them, and zeros that stay zero in `fit`."""

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from exporting import two_plans

from onnxsens.arrays import AnyArray, BoolArray
from onnxsens.errors import CheckpointError, PlanError
from onnxsens.frameworks.checkpoints import open_checkpoint
from onnxsens.frameworks.keras import apply, path_of

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# TensorFlow, and both Keras, warn of what they will drop one day.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request: pytest.FixtureRequest, needed: Callable[[str], ModuleType]) -> Any:
    found = needed(request.param)
    found.utils.set_random_seed(0)
    return found


@pytest.fixture
def keras3(needed: Callable[[str], ModuleType]) -> Any:
    return needed("keras")


NAMELESS = r"does not name its layers, as \.weights\.h5 of tf_keras .*save it as \.keras or \.h5 instead: "


def test_files_of_tf_keras_without_names_are_refused_and_the_ways_out_work(
    tmp_path: Path, needed: Callable[[str], ModuleType]
) -> None:
    """Three layers called dense, dense_1 and dense_2 in another order than they were made."""
    keras = needed("tf_keras")
    keras.backend.clear_session()
    made = [keras.layers.Dense(4) for _ in range(3)]

    class Net(keras.Model):  # type: ignore[misc]  # the base is there when the test runs
        def __init__(self) -> None:
            super().__init__()
            self.dense, self.other = made[2], made[0]

        def call(self, x: Any) -> Any:
            return self.dense(self.other(x))

    inputs = keras.Input((4,))
    functional = keras.Model(inputs, made[0](made[1](made[2](inputs))))
    own = Net()
    own(np.ones((1, 4), np.float32))
    for number, model in enumerate((functional, own)):
        model.save_weights(tmp_path / f"{number}.weights.h5")
        with pytest.raises(CheckpointError, match=NAMELESS) as raised:
            open_checkpoint(tmp_path / f"{number}.weights.h5")
        assert "\n" not in str(raised.value)
        model.save_weights(tmp_path / f"{number}.h5")
        for parameter in open_checkpoint(tmp_path / f"{number}.h5").parameters:
            layer = next(layer for layer in made if parameter.name.split("/")[-2] == layer.name)
            assert np.array_equal(parameter.read(), as_array(getattr(layer, parameter.name.split("/")[-1])))
    own.save(tmp_path / "own.keras")  # whose config describes no layer
    with pytest.raises(CheckpointError, match=NAMELESS):
        open_checkpoint(tmp_path / "own.keras")


def many_layers(keras: Any) -> Any:
    """One of each kind that is pruned or feeds one that is, some in models of their own."""
    layers = keras.layers
    block = keras.Sequential(
        [keras.Input((4, 4, 5)), layers.Conv2D(4, 1, name="c"), layers.BatchNormalization(center=False, name="n")],
        name="block",
    )
    images = keras.Input((8, 8, 3), name="images")
    x = layers.Conv2D(4, 3, name="stem")(images)
    x = layers.BatchNormalization()(x)
    x = layers.DepthwiseConv2D(3)(x)
    x = layers.SeparableConv2D(5, 1)(x)
    x = layers.Conv2DTranspose(5, 1, use_bias=False)(x)
    x = layers.Reshape((16, 4))(block(x))
    x = layers.Bidirectional(layers.GRU(3, return_sequences=True), name="both")(x)
    x = layers.LSTM(3, return_sequences=True)(x)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.LayerNormalization()(x)
    x = layers.Flatten()(layers.TimeDistributed(layers.Dense(4), name="each")(x))
    return keras.Model(images, layers.Dense(2, name="out")(layers.Dense(10)(x)))


def half(shape: tuple[int, ...]) -> BoolArray:
    mask = np.zeros(int(np.prod(shape)), np.bool_)
    mask[::2] = True
    return mask.reshape(shape)


def as_array(variable: Any) -> AnyArray:
    found: AnyArray = np.asarray(variable)
    return found


def fit(model: Any, callbacks: list[Any]) -> None:
    rng = np.random.default_rng(0)
    shape = (16, *model.input_shape[1:])
    model.fit(rng.standard_normal(shape), np.arange(16) % 2, batch_size=4, epochs=2, verbose=0, callbacks=callbacks)


def compiled(keras: Any, model: Any, optimizer: Any) -> Any:
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.mark.parametrize("file", ["m.keras", "m.weights.h5", "old.h5"])
def test_every_variable_of_a_file_is_found_again(keras: Any, tmp_path: Path, file: str) -> None:
    model = many_layers(keras)
    fit(compiled(keras, model, "adam"), [])
    if file.endswith(".weights.h5"):
        model.save_weights(tmp_path / file)
    else:
        model.save(tmp_path / file)
    if keras.__name__ == "tf_keras" and file == "m.weights.h5":
        with pytest.raises(CheckpointError, match=NAMELESS):
            open_checkpoint(tmp_path / file)
        return
    opened = open_checkpoint(tmp_path / file)
    values = {parameter.name: parameter.read() for parameter in opened.parameters}
    assert len(values) == len(model.weights)
    if file == "m.weights.h5":
        # Which of gamma and beta the block's one is, only an archive's config can tell.
        assert [name for name in values if "/vars/" in name] == [f"block/n/vars/{number}" for number in range(3)]
        assert any("'block/n' are numbered" in note for note in opened.notes)
    before = {id(variable): as_array(variable).copy() for variable in model.weights}
    for name, stored in values.items():
        target = apply(model, {name: half(stored.shape)}, {name: stored})
        (path,) = target.sparsity
        found = next(variable for variable in model.weights if path_of(variable) == path)
        assert np.array_equal(as_array(found), np.where(half(stored.shape), before[id(found)], 0)), name
    # Each one was found: nothing is as it was.
    assert all((as_array(variable) != before[id(variable)]).any() for variable in model.weights)


def test_names_are_those_of_the_variables_in_a_flat_model(keras: Any, tmp_path: Path) -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(3, name="fc", dtype="float16")(inputs)))
    model.save(tmp_path / "m.keras")
    opened = open_checkpoint(tmp_path / "m.keras")
    assert [parameter.name for parameter in opened.parameters] == [path_of(variable) for variable in model.weights]
    assert opened.parameters[0].name == "fc/kernel"
    assert opened.parameters[0].dtype == "float16"


def test_bfloat16_is_read_as_such(keras3: Any, tmp_path: Path) -> None:
    inputs = keras3.Input((4,))
    model = keras3.Model(inputs, keras3.layers.Dense(3, name="fc", dtype="bfloat16")(inputs))
    model.save(tmp_path / "m.keras")
    parameter = open_checkpoint(tmp_path / "m.keras").parameters[0]
    assert parameter.dtype == parameter.read().dtype.name == "bfloat16"
    assert np.array_equal(parameter.read().astype(np.float32), np.asarray(model.weights[0]).astype(np.float32))


def test_a_class_of_ones_own_has_numbers_for_names(keras3: Any, tmp_path: Path) -> None:
    class Scale(keras3.layers.Layer):  # type: ignore[misc]  # the base is there when the test runs
        def build(self, shape: Any) -> None:
            self.factor = self.add_weight(shape=(shape[-1],), initializer="ones", name="factor")

        def call(self, x: Any) -> Any:
            return x * self.factor

    inputs = keras3.Input((4,))
    model = keras3.Model(inputs, Scale(name="mine")(inputs))
    model.save(tmp_path / "m.keras")
    opened = open_checkpoint(tmp_path / "m.keras")
    assert [parameter.name for parameter in opened.parameters] == ["mine/vars/0"]
    assert opened.notes == ("variables of 'mine' are numbered: the file does not name them",)
    assert list(apply(model, {"mine/vars/0": half((4,))}).sparsity) == ["mine/factor"]


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "steps"])
def test_zeros_stay_in_fit(keras: Any, optimizer: str) -> None:
    make = keras.optimizers.SGD if optimizer == "SGD" else getattr(keras.optimizers, "AdamW", keras.optimizers.Adam)
    made = make(0.1, momentum=0.9, weight_decay=0.1) if optimizer == "SGD" else make(0.01)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((6, 6, 1)), layers.Conv2D(4, 3, name="c"), layers.Flatten(), layers.Dense(2, name="fc")]
    )
    model.compile(
        made,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        # Keras on torch takes one step at a time only.
        steps_per_execution=2 if optimizer == "steps" and keras.backend.backend() != "torch" else 1,
    )
    fit(model, [])  # momentum from before
    masks = {"c/kernel": half((3, 3, 1, 4)), "fc/kernel": half((64, 2))}
    zeros = apply(model, masks)
    before = [as_array(variable).copy() for variable in model.weights]
    fit(model, [zeros])
    zeros.check()
    assert list(zeros.sparsity.values()) == [0.5, 0.5]
    for number, name in ((0, "c/kernel"), (2, "fc/kernel")):
        values = as_array(model.weights[number])
        assert np.array_equal(values != 0, masks[name])
        assert not np.signbit(values[values == 0]).any()
        assert not np.array_equal(values, before[number])
    fit(model, [])
    with pytest.raises(PlanError, match=r"zeros of '.*c/kernel' are gone; call restore\(\)"):
        zeros.check()
    zeros.restore()
    zeros.check()


def test_a_loaded_model_takes_the_masks_of_the_built_one(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    blocks = [keras.Sequential([layers.Dense(3, name="fc")], name=name) for name in ("one", "two")]
    model = keras.Sequential([keras.Input((3,)), *blocks])
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    names = [parameter.name for parameter in open_checkpoint(tmp_path / "m.keras").parameters]
    assert names == ["one/fc/kernel", "one/fc/bias", "two/fc/kernel", "two/fc/bias"]
    for target in (model, loaded):
        apply(target, {"two/fc/kernel": half((3, 3))})
        assert [(as_array(variable) == 0).sum() for variable in target.weights][::2] == [0, 4]
    with pytest.raises(PlanError, match="'fc/kernel' means 2 variables"):
        apply(loaded, {"fc/kernel": half((3, 3))})


def test_files_of_two_plans_are_refused(keras: Any, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="fc")])
    masks, weights = two_plans(tmp_path, "fc/kernel", (3, 2))
    with pytest.raises(PlanError, match="are of two plans; export both again"):
        apply(model, masks, weights)
    assert as_array(model.weights[0]).all()
    apply(model, masks).check()


def test_unknown_names_and_wrong_shapes_change_nothing(keras: Any) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="fc")])
    before = as_array(model.weights[0]).copy()
    with pytest.raises(PlanError, match=r"the model has no variable 'fc/kernle'; the nearest is '.*fc/kernel'"):
        apply(model, {"fc/kernel": half((3, 2)), "fc/kernle": half((3, 2))})
    with pytest.raises(PlanError, match=r"mask of 'fc/kernel' has shape \[2, 3\], and the parameter \[3, 2\]"):
        apply(model, {"fc/kernel": half((2, 3))})
    with pytest.raises(PlanError, match="mean the same variable"):
        apply(model, {"fc/kernel": half((3, 2)), "model/fc/kernel": half((3, 2))})
    assert np.array_equal(as_array(model.weights[0]), before)
    with pytest.raises(PlanError, match="has no variables yet"):
        apply(keras.Sequential([keras.layers.Dense(2)]), {"fc/kernel": half((3, 2))})
    with pytest.raises(PlanError, match="'int' is no Keras model"):
        apply(3, {})
