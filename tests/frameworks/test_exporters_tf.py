"""Exports for Keras 3 and for tf_keras with tfmot, each loaded by its own framework.

What trains lives in a process of its own: TF_USE_LEGACY_KERAS is read once, and the two need it differently.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from exporting import export_of, layer, made, ran, write_masks, write_values, written

from onnxsens.frameworks.exporters import Layer, Mode

pytestmark = pytest.mark.filterwarnings("ignore")  # of TensorFlow: none is ours to mend

KERAS = """
import sys
import keras, numpy as np
from prune_keras import KeepZeros, LAYERS, masks_of, prune_model, variables_of, zeros_of

keras.utils.set_random_seed(0)

def network():
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(8, 3, name="conv")(inputs)
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    x = keras.layers.SeparableConv2D(8, 3, name="separable")(x)
    x = keras.layers.Conv2DTranspose(6, 2, name="up")(x)
    x = keras.layers.Reshape((9, 6))(x)
    x = keras.layers.GRU(5, return_sequences=True, name="gru")(x)
    x = keras.layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    inner = keras.Sequential([keras.layers.Dense(8, name="hidden")], name="inner")
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(inner(x)), name="net")

model = network()
dense = {name: np.array(variable) for name, variable in variables_of(model).items()}
masks = masks_of(model)
prune_model(model)
assert zeros_of(model) == {name: layer["zeros"] for name, layer in LAYERS.items()}, zeros_of(model)
for name, variable in variables_of(model).items():
    expected = np.where(masks[name], dense[name], np.float32(0))
    assert np.array(variable).tobytes() == expected.tobytes()
    if sys.argv[1] == "ratio" and LAYERS[name]["pattern"] is None:
        assert np.abs(dense[name][~masks[name]]).max() < np.abs(dense[name][masks[name]]).min()
pruned = {name: np.array(variable) for name, variable in variables_of(model).items()}
model.compile(keras.optimizers.AdamW(0.05), "mse")
x, y = np.random.rand(16, 8, 8, 4), np.random.rand(16, 9, 3)
model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[KeepZeros(model)])
for name, variable in variables_of(model).items():
    assert not np.array(variable)[~masks[name]].any()
    assert (np.array(variable)[masks[name]] != pruned[name][masks[name]]).mean() > 0.8
model.save("trained.keras")
assert zeros_of(keras.models.load_model("trained.keras")) == zeros_of(model)
print("fine")
"""

KERAS_LAYERS = (
    layer("net/conv/kernel", (3, 3, 4, 8), 100),
    layer("depthwise/kernel", (3, 3, 8, 2), 50),
    layer("separable/pointwise_kernel", (1, 1, 16, 8), 40),
    layer("up/kernel", (2, 2, 6, 8), 60),
    layer("gru/gru_cell/recurrent_kernel", (5, 15), 31),
    layer("attention/query/kernel", (5, 2, 3), 13),
    layer("inner/hidden/kernel", (5, 8), 20),
)
KERAS_PATTERNS = (
    layer("conv/kernel", (3, 3, 4, 8), 3 * 36, "channel"),
    layer("depthwise/kernel", (3, 3, 8, 2), 16 * 4, "row"),
    layer("separable/depthwise_kernel", (3, 3, 16, 1), 16 * 2, "row"),
    layer("separable/pointwise_kernel", (1, 1, 16, 8), 64, "2:4"),
    layer("up/kernel", (2, 2, 6, 8), 96, "block2x4"),
    layer("gru/gru_cell/kernel", (6, 15), 15 * 2, "row"),
    layer("inner/hidden/kernel", (5, 8), 8 * 3, "row"),
)

# Rows by loops: which elements of each kernel make one output, kernel positions outer, input channels fastest.
KERAS_ROWS = """
import keras, numpy as np
from test_keras import network
from prune_keras import prune_model, variables_of

model = network()
before = {name: np.abs(np.array(variable)) for name, variable in variables_of(model).items()}
prune_model(model)
gone = {name: np.array(variable) == 0 for name, variable in variables_of(model).items()}
at = [(i, j) for i in range(3) for j in range(3)]
conv = gone["conv/kernel"]
channels = [all(conv[i, j, c, o] for i, j in at for c in range(4)) for o in range(8)]
assert sum(channels) == 3 and conv.sum() == 3 * 36
sums = before["conv/kernel"].sum((0, 1, 2))
assert set(np.flatnonzero(channels)) == set(np.argsort(sums)[:3])
for name, outs in (("depthwise/kernel", (8, 2)), ("separable/depthwise_kernel", (16, 1))):
    each = 4 if name.startswith("depthwise") else 2
    for c in range(outs[0]):
        for m in range(outs[1]):
            row, size = gone[name][:, :, c, m], before[name][:, :, c, m]
            assert row.sum() == each and size[row].max() < size[~row].min()
for o in range(8):
    for group in range(4):
        row = gone["separable/pointwise_kernel"][0, 0, 4 * group : 4 * group + 4, o]
        assert row.sum() == 2
blocks = []
for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
    for o in range(0, 6, 2):
        for c in range(0, 8, 4):
            block = gone["up/kernel"][i, j, o : o + 2, c : c + 4]
            assert block.all() or not block.any()
            blocks.append((before["up/kernel"][i, j, o : o + 2, c : c + 4].sum(), block.all()))
assert max(size for size, away in blocks if away) < min(size for size, away in blocks if not away)
assert (gone["gru/gru_cell/kernel"].sum(0) == 2).all() and (gone["inner/hidden/kernel"].sum(0) == 3).all()
print("fine")
"""

TFMOT = """
import sys
from prune_tfmot import LAYERS, finish, kernels_of, prune_model, wrap, zeros_of
import numpy as np, tensorflow as tf, tf_keras, tensorflow_model_optimization as tfmot

tf_keras.utils.set_random_seed(0)
model = tf_keras.Sequential([
    tf_keras.layers.Conv2D(8, 3, input_shape=(8, 8, 4), name="conv"),
    tf_keras.layers.BatchNormalization(),
    tf_keras.layers.SeparableConv2D(8, 3, name="separable"),
    tf_keras.layers.Flatten(),
    tf_keras.layers.Dense(16, name="fc"),
    tf_keras.layers.Dense(3, name="head"),
])
tf_keras.models.save_model(model, "dense.h5")
dense = {name: kernel.numpy() for name, kernel in kernels_of(model).items()}
masks = sys.modules["prune_tfmot"].read_masks() if sys.argv[1] == "mask" else None
planned = {name: layer["zeros"] for name, layer in LAYERS.items()}

at_once = finish(prune_model(tf_keras.models.load_model("dense.h5", compile=False)))
assert zeros_of(at_once) == planned, (zeros_of(at_once), planned)
assert [layer.name for layer in at_once.layers] == [layer.name for layer in model.layers]
head = at_once.get_layer("head").kernel.numpy()
assert (head == model.get_layer("head").kernel.numpy()).all()
for name, kernel in kernels_of(at_once).items():
    assert not np.signbit(kernel.numpy()[kernel.numpy() == 0]).any()
    if masks is not None:
        assert kernel.numpy().tobytes() == np.where(masks[name], dense[name], np.float32(0)).tobytes()
    elif LAYERS[name]["pattern"] is None:
        gone = kernel.numpy() == 0
        assert np.abs(dense[name][gone]).max() < np.abs(dense[name][~gone]).min()
    else:
        assert ((kernel.numpy() == 0).reshape(-1, 4, 16).sum(1) == 2).all()  # along inputs

wrapped = prune_model(tf_keras.models.load_model("dense.h5", compile=False))
wrapped.compile("adam", "mse")
x, y = np.random.rand(16, 8, 8, 4), np.random.rand(16, 3)
try:
    wrapped.fit(x, y, verbose=0)
except tf.errors.InvalidArgumentError as error:
    assert "UpdatePruningStep" in str(error)
else:
    raise AssertionError("trained without the callback")
wrapped.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[tfmot.sparsity.keras.UpdatePruningStep()])
trained = finish(wrapped)
assert zeros_of(trained) == planned, (zeros_of(trained), planned)
if masks is not None:
    for name, kernel in kernels_of(trained).items():
        assert ((kernel.numpy() == 0) == ~masks[name]).all()
        assert (kernel.numpy()[masks[name]] != dense[name][masks[name]]).mean() > 0.8
print("fine")
"""

TFMOT_LAYERS = (
    layer("sequential/conv/kernel:0", (3, 3, 4, 8), 101),
    layer("separable/pointwise_kernel", (1, 1, 8, 8), 30),
    layer("fc/kernel", (128, 16), 1500),
)


def run(code: str, name: str, folder: Path, *arguments: str) -> None:
    """Run code beside an export; it says that all is fine, or why not."""
    (folder / name).write_text(code)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("TF_USE_LEGACY_KERAS", None)
    command = [sys.executable, "-W", "ignore", name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]


def export(name: str, layers: tuple[Layer, ...], mode: Mode, folder: Path) -> None:
    written(name, export_of(*layers, mode=mode), folder)
    if mode == "mask":
        write_masks(layers, folder / "masks.safetensors")


@pytest.fixture(autouse=True)
def tensorflow(needed: Callable[[str], ModuleType]) -> None:
    """The framework; nothing of it stays in this process but what others import too."""
    needed("keras")
    needed("tf_keras")


@pytest.mark.parametrize("mode", ["ratio", "mask"])
def test_keras_variables_reach_the_planned_zeros_and_training_keeps_them(tmp_path: Path, mode: Mode) -> None:
    export("keras", KERAS_LAYERS, mode, tmp_path)
    run(KERAS, "test_keras.py", tmp_path, mode)
    command = [sys.executable, "-W", "ignore", "prune_keras.py", "trained.keras", "-o", "again.keras"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "net/conv/kernel: 100 zeros, 100 planned" in done.stdout


def test_keras_patterns_lie_in_the_kernel_as_the_plan_means_them(tmp_path: Path) -> None:
    export("keras", KERAS_PATTERNS, "ratio", tmp_path)
    network = KERAS[KERAS.index("def network") : KERAS.index("model = network")]
    (tmp_path / "test_keras.py").write_text("import keras\nkeras.utils.set_random_seed(0)\n" + network)
    run(KERAS_ROWS, "rows.py", tmp_path)


@pytest.mark.parametrize(
    ("made_of", "error", "message"),
    [
        (
            layer("net/convs/kernel", (3, 3, 4, 8), 9),
            KeyError,
            "no parameter is called 'net/convs/kernel', there is none",
        ),
        (layer("kernel", (3, 3, 4, 8), 9), KeyError, "there is several that end alike: "),
        (layer("conv/kernel", (3, 3, 4, 7), 9), ValueError, r"is \(3, 3, 4, 8\) here and \(3, 3, 4, 7\) in the plan"),
        (
            layer("attention/query/kernel", (8, 2, 3), 9, "row"),
            TypeError,
            "what is a row of 'attention/query/kernel' in",
        ),
    ],
)
def test_what_does_not_fit_the_keras_model_is_said(
    tmp_path: Path, made_of: Layer, error: type[Exception], message: str
) -> None:
    import keras

    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Reshape((36, 8))(keras.layers.Conv2D(8, 3, name="conv")(inputs))
    model = keras.Model(inputs, keras.layers.MultiHeadAttention(2, 3, name="attention")(x, x))
    with pytest.raises(error, match=message):
        made("keras", tmp_path, made_of).prune_model(model)


@pytest.mark.parametrize("mode", ["ratio", "mask"])
def test_tfmot_kernels_reach_the_planned_zeros_at_once_and_in_training(tmp_path: Path, mode: Mode) -> None:
    export("tfmot", TFMOT_LAYERS, mode, tmp_path)
    run(TFMOT, "test_tfmot.py", tmp_path, mode)
    command = [sys.executable, "-W", "ignore", "prune_tfmot.py", "dense.h5", "-o", "pruned.h5"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "fc/kernel: 1500 zeros, 1500 planned" in done.stdout


def test_tfmot_makes_two_of_four_along_the_inputs(tmp_path: Path) -> None:
    export("tfmot", (layer("fc/kernel", (128, 16), 1024, "2:4"),), "ratio", tmp_path)
    run(TFMOT, "test_tfmot.py", tmp_path, "ratio")


VALUES_NET = """
import sys
import numpy as np
if sys.argv[1] == "tfmot":
    import tf_keras as keras
else:
    import keras

def model():
    layers = keras.layers
    x = keras.Input((8,), name="x")
    y = layers.BatchNormalization(name="norm")(layers.Dense(16, name="fc")(x))
    return keras.Model(x, layers.Dense(4, name="head")(y), name="net")

def arrays(model):
    return {(getattr(w, "path", None) or w.name.removesuffix(":0")): np.array(w) for w in model.weights}

if sys.argv[2] == "save":
    model().save(sys.argv[3])
else:
    np.savez(sys.argv[4], **arrays(keras.models.load_model(sys.argv[3], compile=False)))
"""
VALUES_LAYERS = (layer("fc/kernel", (8, 16), 100), layer("head/kernel", (16, 4), 30))
NEW = {
    "fc/kernel": np.random.default_rng(1).standard_normal((8, 16)).astype("f4"),
    "head/bias": np.arange(4, dtype="f4"),
    "norm/moving_mean": np.arange(16, dtype="f4") + 1,
}


@pytest.mark.parametrize(("name", "suffix"), [("keras", ".keras"), ("tfmot", ".h5")])
def test_commands_load_updated_values_before_they_mask(tmp_path: Path, name: str, suffix: str) -> None:
    [path] = written(name, export_of(*VALUES_LAYERS, mode="mask", weights_file="weights.safetensors"), tmp_path)
    masks = write_masks(VALUES_LAYERS, tmp_path / "masks.safetensors")
    write_values(NEW, tmp_path)
    net = tmp_path / "net.py"
    net.write_text(VALUES_NET)
    ran(net, name, "save", f"dense{suffix}")

    def after(*more: str) -> dict[str, np.ndarray]:
        printed = ran(path, f"dense{suffix}", "-o", f"pruned{suffix}", *more)
        assert ("3 updated tensors loaded" in printed) != bool(more)
        ran(net, name, "read", f"pruned{suffix}", "after.npz")
        with np.load(tmp_path / "after.npz") as found:
            return dict(found)

    pruned = after()
    assert pruned["fc/kernel"].tobytes() == np.where(masks["fc/kernel"], NEW["fc/kernel"], np.float32(0)).tobytes()
    assert all((pruned[each] == NEW[each]).all() for each in ("head/bias", "norm/moving_mean"))
    ran(net, name, "read", f"dense{suffix}", "dense.npz")
    with np.load(tmp_path / "dense.npz") as dense:
        alone = after("--no-values")
        assert (alone["fc/kernel"] == dense["fc/kernel"] * masks["fc/kernel"]).all()
        assert (alone["norm/moving_mean"] == dense["norm/moving_mean"]).all()
    for values, plan, said in (
        (NEW, "99" * 32, "are of two plans; export both again"),
        ({"none/bias": np.ones(4, "f4")}, "ef" * 32, "no parameter is called 'none/bias'"),
        ({"head/bias": np.ones(5, "f4")}, "ef" * 32, "the updated value of 'head/bias' is (5,), and "),
        ({"layers/fc/kernel": NEW["fc/kernel"]}, "ef" * 32, "no parameter is called 'layers/fc/kernel'"),
    ):
        write_values(values, tmp_path, plan)
        assert said in ran(path, f"dense{suffix}", "-o", "wrong.h5", fails=True)
