"""Exports for PyTorch, loaded by torch: planned zeros are reached, training keeps them, plain parameters come out."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from exporting import export_of, imported, layer, made, ran, random_masks, write_masks, write_values, written
from numpy.typing import NDArray

from onnxsens.frameworks.exporters import Layer, Mode

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch and what is built on it: none is ours to mend

LAYERS = (
    layer("stem.0.weight", (8, 3, 3, 3), 100),
    layer("depthwise.weight", (8, 1, 3, 3), 36),
    layer("up.weight", (8, 6, 2, 2), 97),
    layer("gru.weight_ih_l0", (15, 6), 45),
    layer("gru.weight_hh_l0", (15, 5), 31),
    layer("mix", (5, 8), 13),
    layer("attention.in_proj_weight", (24, 8), 150),
    layer("attention.out_proj.weight", (8, 8), 40),
    layer("embedding.weight", (11, 8), 50, aliases=("head.weight",)),
)


@pytest.fixture(autouse=True)
def torch(needed: Callable[[str], ModuleType]) -> ModuleType:
    """The framework."""
    return needed("torch")


def network() -> Any:
    """Every kind of parameter that needs a `name` of its own, a tie, and a parameter of the model itself."""

    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8))
            self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
            self.up = nn.ConvTranspose2d(8, 6, 2)
            self.gru = nn.GRU(6, 5, batch_first=True)
            self.mix = nn.Parameter(torch.randn(5, 8))
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.embedding = nn.Embedding(11, 8)
            self.head = nn.Linear(8, 11)
            self.head.weight = self.embedding.weight

        def forward(self, x: Any) -> Any:
            x = self.up(self.depthwise(self.stem(x))).flatten(2).transpose(1, 2)
            x = self.gru(x)[0] @ self.mix + self.embedding.weight.mean(0)
            return self.head(self.attention(x, x, x)[0])

    torch.manual_seed(0)
    return Net()


def trained(model: Any, steps: int = 3) -> Any:
    """A few steps of momentum and weight decay, on noise."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.1)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(2, 3, 8, 8)).square().mean().backward()
        optimizer.step()
    return model.eval()


def value(model: Any, name: str) -> NDArray[np.float32]:
    array: NDArray[np.float32] = model.get_parameter(name).detach().numpy()
    return array


def least(values: NDArray[np.float32], zeros: int) -> NDArray[np.bool_]:
    """By brute force: which elements are among the least."""
    going = np.zeros(values.size, bool)
    going[np.argsort(np.abs(values).reshape(-1), kind="stable")[:zeros]] = True
    return going.reshape(values.shape)


def test_a_ratio_zeroes_the_least_magnitudes_of_every_kind_of_parameter(tmp_path: Path) -> None:
    model, dense = network(), network()
    keys = list(model.state_dict())
    script = made("torch", tmp_path, *LAYERS)
    script.finish(script.prune_model(model))
    assert script.zeros_of(model) == {each.parameter: each.zeros for each in LAYERS}
    for each in LAYERS:
        before, after = value(dense, each.parameter), value(model, each.parameter)
        going = least(before, each.zeros)
        assert not after[going].any() and (after[~going] == before[~going]).all()
    assert sorted(model.state_dict()) == sorted(keys)
    assert model.head.weight is model.embedding.weight


@pytest.mark.parametrize("packed", [False, True])
def test_a_mask_zeroes_exactly_its_elements_as_plus_zero(tmp_path: Path, packed: bool) -> None:
    model, dense = network(), network()
    script = made("torch", tmp_path, *LAYERS, mode="mask")
    masks = write_masks(LAYERS, tmp_path / "masks.safetensors", packed=packed)
    script.finish(script.prune_model(model))
    for each in LAYERS:
        expected = np.where(masks[each.parameter] != 0, value(dense, each.parameter), np.float32(0))
        assert value(model, each.parameter).tobytes() == expected.tobytes()  # to the bit: no -0.0
    assert model.head.weight is model.embedding.weight


@pytest.mark.parametrize("mode", ["ratio", "mask"])
def test_training_moves_what_is_kept_and_keeps_zeros(tmp_path: Path, mode: Mode, torch: Any) -> None:
    model, dense = network(), network()
    script = made("torch", tmp_path, *LAYERS, mode=mode)
    script.prune_model(model)
    zeros = {each.parameter: least(value(dense, each.parameter), each.zeros) for each in LAYERS}
    if mode == "mask":
        zeros = {name: mask == 0 for name, mask in random_masks(LAYERS).items()}
    trained(model)
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        hooked = model(x)
        script.finish(model)
        finished = model(x)
    assert torch.allclose(hooked, finished, atol=1e-5)  # what was trained is what comes out
    for each in LAYERS:
        after = value(model, each.parameter)
        assert not after[zeros[each.parameter]].any()
        kept = ~zeros[each.parameter]
        assert (after[kept] != value(dense, each.parameter)[kept]).mean() > 0.9
    assert not any(module._forward_pre_hooks for module in model.modules())


def one(module: Any) -> Any:
    """A model of one module."""
    import torch

    model = torch.nn.Module()
    model.net = module
    return model


def matrix(weight: NDArray[np.float32], groups: int | None = None) -> NDArray[np.float32]:
    """`[out, in]`, kernel positions outer, input channels fastest, by loops."""
    rows = []
    positions = list(np.ndindex(weight.shape[2:]))
    if groups is None:
        rows = [[row[(c, *at)] for at in positions for c in range(weight.shape[1])] for row in weight]
    else:
        inputs = len(weight) // groups
        for group in range(groups):
            part = weight[group * inputs : (group + 1) * inputs]
            for out in range(weight.shape[1]):
                rows.append([part[(c, out, *at)] for at in positions for c in range(inputs)])
    return np.array(rows)


# A module's class and arguments, the shape of its weight, and groups of a transposed convolution.
MODULES: dict[str, tuple[str, tuple[int, ...], dict[str, int], tuple[int, ...], int | None]] = {
    "conv": ("Conv2d", (8, 6, 3), {}, (6, 8, 3, 3), None),
    "transposed": ("ConvTranspose2d", (8, 6, 2), {"groups": 2}, (8, 3, 2, 2), 2),
    "linear": ("Linear", (8, 6), {}, (6, 8), None),
    "conv1d": ("Conv1d", (8, 6, 3), {}, (6, 8, 3), None),
}
PATTERNS = ("row", "channel", "2:4", "1:4", "block2x4", "block1x2")


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_lie_in_the_weight_as_the_plan_means_them(tmp_path: Path, kind: str, pattern: str, torch: Any) -> None:
    name, arguments, more, shape, groups = MODULES[kind]
    torch.manual_seed(1)
    model = one(getattr(torch.nn, name)(*arguments, **more))
    size = math.prod(shape)
    rows = matrix(np.empty(shape, np.float32), groups)
    out, width = rows.shape
    if pattern == "channel":
        zeros = 2 * width
    elif ":" in pattern:
        kept, group = map(int, pattern.split(":"))
        zeros = size * (group - kept) // group
    else:
        zeros = size // 2
    script = made("torch", tmp_path, layer("net.weight", shape, zeros, pattern))
    before = np.abs(matrix(value(model, "net.weight"), groups))
    script.finish(script.prune_model(model))
    gone = matrix(value(model, "net.weight"), groups) == 0
    assert gone.sum() == zeros
    if pattern == "row":
        assert (gone.sum(axis=1) == zeros // out).all()
        scores = before
    elif pattern == "channel":
        assert (gone.all(axis=1) == gone.any(axis=1)).all()
        gone, scores = gone.any(axis=1)[None], before.sum(axis=1)[None]
    elif ":" in pattern:
        gone, scores = gone.reshape(-1, group), before.reshape(-1, group)
        assert (gone.sum(axis=1) == group - kept).all()
    else:
        r, c = map(int, pattern.removeprefix("block").split("x"))
        blocks = gone.reshape(out // r, r, width // c, c)
        assert (blocks.all(axis=(1, 3)) == blocks.any(axis=(1, 3))).all()
        gone = blocks.any(axis=(1, 3)).reshape(1, -1)
        scores = before.reshape(out // r, r, width // c, c).sum(axis=(1, 3)).reshape(1, -1)
    for group_gone, group_scores in zip(gone, scores, strict=True):
        assert (
            not group_gone.any() or group_gone.all() or group_scores[group_gone].max() < group_scores[~group_gone].min()
        )


def test_weight_norm_is_pruned_where_its_values_are(tmp_path: Path, torch: Any) -> None:
    model = one(torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(8, 6)))
    name = "net.parametrizations.weight.original1"
    script = made("torch", tmp_path, layer(name, (6, 8), 24, "row"))
    script.prune_model(model)
    assert (model.net.weight == 0).sum() == 24
    script.finish(model)
    assert (model.net.weight == 0).sum() == 24 and script.zeros_of(model) == {name: 24}


def test_a_tie_that_the_checkpoint_does_not_show_is_found_in_the_model(tmp_path: Path) -> None:
    model = network()
    script = made("torch", tmp_path, layer("head.weight", (11, 8), 50))
    script.finish(script.prune_model(model))
    assert model.head.weight is model.embedding.weight and (value(model, "embedding.weight") == 0).sum() == 50


@pytest.mark.parametrize(
    ("made_of", "error", "message"),
    [
        (layer("nets.weight", (6, 8), 4), KeyError, "no parameter 'nets.weight'; check that it is the model"),
        (layer("net.weight", (8, 6), 4), ValueError, r"is \(6, 8\) here and \(8, 6\) in the plan"),
        (layer("own", (6, 8), 24, "row"), TypeError, "a row of 'own' in a Module is not known; .* --mode mask"),
        (layer("net.weight", (6, 8), 25, "row"), ValueError, "25 zeros do not divide into the groups"),
        (layer("net.weight", (6, 8), 16, "2:3"), ValueError, "8 inputs do not divide into groups of 3"),
        (layer("net.weight", (6, 8), 12, "block4x3"), ValueError, "no whole blocks of 4 x 3"),
    ],
)
def test_what_does_not_fit_the_model_is_said(
    tmp_path: Path, made_of: Layer, error: type[Exception], message: str, torch: Any
) -> None:
    model = one(torch.nn.Linear(8, 6))
    model.own = torch.nn.Parameter(torch.randn(6, 8))
    with pytest.raises(error, match=message):
        made("torch", tmp_path, made_of).prune_model(model)


def test_pruning_twice_is_said(tmp_path: Path, torch: Any) -> None:
    model = one(torch.nn.Linear(8, 6))
    script = made("torch", tmp_path, layer("net.weight", (6, 8), 4))
    script.prune_model(model)
    with pytest.raises(KeyError, match="pruned already"):
        script.prune_model(model)


def test_another_masks_file_is_refused(tmp_path: Path, torch: Any) -> None:
    script = made("torch", tmp_path, layer("net.weight", (6, 8), 4), mode="mask")
    write_masks((layer("net.weight", (6, 8), 5),), tmp_path / "masks.safetensors")
    with pytest.raises(ValueError, match="is not the one that was written with this script"):
        script.prune_model(one(torch.nn.Linear(8, 6)))
    write_masks((layer("other", (6, 8), 4),), tmp_path / "masks.safetensors")
    with pytest.raises(KeyError, match=r"has no mask for 'net\.weight'"):
        script.prune_model(one(torch.nn.Linear(8, 6)))


MODEL = """
import torch
def model():
    torch.manual_seed(0)
    first, last = torch.nn.Conv2d(16, 16, 3, padding=1), torch.nn.Conv2d(16, 8, 1)
    return torch.nn.Sequential(first, torch.nn.BatchNorm2d(16), last)
"""


@pytest.mark.parametrize("mode", ["ratio", "mask"])
def test_the_script_runs_on_its_own(tmp_path: Path, mode: Mode, torch: Any) -> None:
    (tmp_path / "net.py").write_text(MODEL)
    layers = (layer("0.weight", (16, 16, 3, 3), 2000), layer("2.weight", (8, 16, 1, 1), 64))
    [path] = written("torch", export_of(*layers, mode=mode), tmp_path)
    write_masks(layers, tmp_path / "masks.safetensors")
    command = [sys.executable, "-W", "ignore", str(path), "net.py:model", "-o", "pruned.pt"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert "0.weight: 2000 zeros, 2000 planned" in done.stdout
    state = torch.load(tmp_path / "pruned.pt", weights_only=True)
    assert [int((state[each.parameter] == 0).sum()) for each in layers] == [2000, 64]


NET = (layer("0.weight", (16, 16, 3, 3), 2000), layer("2.weight", (8, 16, 1, 1), 64))
NEW = {
    "0.weight": np.random.default_rng(1).standard_normal((16, 16, 3, 3)).astype("f4"),
    "2.bias": np.arange(8, dtype="f4"),
    "1.running_mean": np.arange(16, dtype="f4") + 1,
}


def with_values(folder: Path, values: Any, plan: str = "ef" * 32) -> Path:
    """A script of masks with updated values beside it, and the function that makes its model."""
    (folder / "net.py").write_text(MODEL)
    [path] = written("torch", export_of(*NET, mode="mask", weights_file="weights.safetensors"), folder)
    write_masks(NET, folder / "masks.safetensors")
    write_values(values, folder, plan)
    return path


def test_the_command_loads_updated_values_before_it_masks(tmp_path: Path, torch: Any) -> None:
    path = with_values(tmp_path, NEW)
    dense = imported(tmp_path / "net.py").model()
    torch.save(dense.state_dict(), tmp_path / "net.pt")
    printed = ran(path, "net.py:model", "--weights", "net.pt", "-o", "pruned.pt")
    assert printed.startswith("weights.safetensors: 3 updated tensors loaded\n0.weight: 2000 zeros, 2000 planned\n")
    state = {name: value.numpy() for name, value in torch.load(tmp_path / "pruned.pt", weights_only=True).items()}
    mask = random_masks(NET)["0.weight"]
    assert state["0.weight"].tobytes() == np.where(mask, NEW["0.weight"], np.float32(0)).tobytes()
    assert all((state[name] == NEW[name]).all() for name in ("2.bias", "1.running_mean"))
    printed = ran(path, "net.py:model", "--weights", "net.pt", "--no-values", "-o", "pruned.pt")
    assert printed.startswith("weights.safetensors: left out, so the zeros alone are there\n")
    state = {name: value.numpy() for name, value in torch.load(tmp_path / "pruned.pt", weights_only=True).items()}
    assert (state["0.weight"] == value(dense, "0.weight") * mask).all()
    assert not state["1.running_mean"].any()


def test_values_of_another_plan_are_refused(tmp_path: Path) -> None:
    path = with_values(tmp_path, NEW, plan="99" * 32)
    assert "weights.safetensors and " in (said := ran(path, "net.py:model", "-o", "pruned.pt", fails=True))
    assert "are of two plans; export both again" in said and not (tmp_path / "pruned.pt").exists()


@pytest.mark.parametrize(
    ("name", "shape", "error", "message"),
    [
        ("3.weight", (8,), KeyError, "has a value of '3.weight', and the model has no such parameter or buffer"),
        ("1.running_var", (8,), ValueError, r"'1.running_var' is \(16,\) here and \(8,\) in "),
    ],
)
def test_values_that_do_not_fit_change_nothing(
    tmp_path: Path, name: str, shape: tuple[int, ...], error: type[Exception], message: str, torch: Any
) -> None:
    script = imported(with_values(tmp_path, {**NEW, name: np.ones(shape, "f4")}))
    model = imported(tmp_path / "net.py").model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(error, match=message):
        script.prune_model(model)
    assert list(before) == list(model.state_dict())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    script.prune_model(model, values=False)


def test_values_go_by_aliases_and_are_bfloat16_too(tmp_path: Path, torch: Any) -> None:
    import ml_dtypes

    tied = layer("encoder.weight", (6, 8), 20, aliases=("net.weight",))
    script = made("torch", tmp_path, tied, mode="mask", weights_file="weights.safetensors")
    new = np.arange(48).reshape(6, 8).astype(ml_dtypes.bfloat16)
    write_values({"encoder.weight": new}, tmp_path)
    model = script.finish(script.prune_model(one(torch.nn.Linear(8, 6)).bfloat16()))
    mask = random_masks((tied,))["encoder.weight"]
    assert (model.net.weight.detach().float().numpy() == new.astype("f4") * mask).all()
