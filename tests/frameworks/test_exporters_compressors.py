"""Exports for NNCF, ModelOpt and llm-compressor, each loaded by its own tool."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from exporting import export_of, layer, made, ran, random_masks, write_masks, write_values, written
from numpy.typing import NDArray

from onnxsens.frameworks.exporters import Layer, Mode, exporters
from onnxsens.frameworks.exporters.contract import HOSTILE, replace_file

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch and these tools: none is ours to mend


@pytest.fixture(autouse=True)
def torch(needed: Callable[[str], ModuleType]) -> ModuleType:
    """The framework."""
    return needed("torch")


def network() -> Any:
    """Convolutions, attention, a parameter of the model itself, a tie, names with characters that patterns mean."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(16, 32, 3, bias=False), nn.BatchNorm2d(32), nn.Flatten())
            self.body = nn.ModuleDict({"a[1]*": nn.Linear(32, 16), "Linear": nn.Linear(16, 16)})
            self.mix = nn.Parameter(torch.randn(16, 16))
            self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
            self.tied = nn.Linear(16, 16, bias=False)
            self.tied.weight = self.body["Linear"].weight

        def forward(self, x: Any) -> Any:
            x = self.body["Linear"](self.body["a[1]*"](self.net(x)))[:, None] @ self.mix
            return self.tied(self.attention(x, x, x)[0])

    torch.manual_seed(0)
    return Net()


def value(model: Any, name: str) -> NDArray[np.float32]:
    array: NDArray[np.float32] = model.get_parameter(name).detach().numpy().copy()
    return array


class TestNncf:
    layers = (
        layer("net.0.weight", (32, 16, 3, 3), 3001),
        layer("body.a[1]*.weight", (16, 32), 200),
        layer("body.Linear.weight", (16, 16), 64, "row", aliases=("tied.weight",)),
        layer("mix", (16, 16), 101),
        layer("attention.in_proj_weight", (48, 16), 500),
    )

    @pytest.mark.parametrize("mode", ["ratio", "mask"])
    def test_hooks_have_the_planned_masks_and_the_others_none(self, tmp_path: Path, mode: Mode, needed: Any) -> None:
        import torch

        algo = needed("nncf.torch.function_hook.pruning.magnitude.algo")
        model, dense = network(), network()
        script = made("nncf", tmp_path, *self.layers, mode=mode)
        x = torch.randn(2, 16, 3, 3)
        script.prune_model(model, x)
        hooks = algo.get_pruned_modules(model)
        assert int((~hooks["attention.out_proj.weight"].binary_mask).sum()) == 0
        with torch.no_grad():
            hooked = model(x)
            script.finish(model)
            assert torch.allclose(hooked, model(x), atol=1e-6)
        assert script.zeros_of(model) == {each.parameter: each.zeros for each in self.layers}
        masks = random_masks(self.layers)
        for each in self.layers:
            before, after = value(dense, each.parameter), value(model, each.parameter)
            if mode == "mask":
                assert after.tobytes() == np.where(masks[each.parameter] != 0, before, np.float32(0)).tobytes()
            elif each.pattern is None:
                assert np.abs(before[after == 0]).max() < np.abs(before[after != 0]).min()

    def test_training_keeps_zeros(self, tmp_path: Path, needed: Any) -> None:
        import torch

        needed("nncf")
        model = network()
        script = made("nncf", tmp_path, *self.layers)
        script.prune_model(model, torch.randn(2, 16, 3, 3))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.randn(2, 16, 3, 3)).square().mean().backward()
            optimizer.step()
        script.finish(model)
        assert script.zeros_of(model) == {each.parameter: each.zeros for each in self.layers}

    def test_the_command_loads_updated_values_before_it_masks(self, tmp_path: Path, torch: Any, needed: Any) -> None:
        needed("nncf")
        (tmp_path / "net.py").write_text(MODEL)
        conv = layer("conv.weight", (8, 16, 3, 3), 500)
        [path] = written("nncf", export_of(conv, mode="mask", weights_file="weights.safetensors"), tmp_path)
        mask = write_masks((conv,), tmp_path / "masks.safetensors")["conv.weight"]
        new = np.random.default_rng(1).standard_normal((8, 16, 3, 3)).astype("f4")
        write_values({"conv.weight": new, "conv.bias": np.arange(8, dtype="f4")}, tmp_path)
        command = ("net.py:Net", "--input-shape", "1,16,5,5", "-o", "pruned.pt")
        assert "weights.safetensors: 2 updated tensors loaded" in ran(path, *command)
        state = torch.load(tmp_path / "pruned.pt", weights_only=True)
        assert (state["conv.weight"].numpy() == new * mask).all() and (state["conv.bias"].numpy() == np.arange(8)).all()
        assert "left out, so the zeros alone" in ran(path, *command, "--no-values")
        assert (torch.load(tmp_path / "pruned.pt", weights_only=True)["conv.bias"].numpy() != np.arange(8)).all()

    def test_a_weight_that_nncf_does_not_prune_is_an_error(self, tmp_path: Path, needed: Any) -> None:
        import torch

        needed("nncf")
        script = made("nncf", tmp_path, layer("net.1.weight", (32,), 4))
        with pytest.raises(KeyError, match=r"NNCF does not prune 'net\.1\.weight'; it has "):
            script.prune_model(network(), torch.randn(2, 16, 3, 3))

    def test_a_sequential_is_refused(self, tmp_path: Path, needed: Any) -> None:
        import torch

        needed("nncf")
        script = made("nncf", tmp_path, layer("0.weight", (4, 4), 4))
        with pytest.raises(TypeError, match="wrap it in a module"):
            script.prune_model(torch.nn.Sequential(torch.nn.Linear(4, 4)), torch.randn(1, 4))


class TestModelOpt:
    layers = (
        layer("net.0.weight", (32, 16, 3, 3), 2304, "2:4"),
        layer("body.a[1]*.weight", (16, 32), 256, "2:4"),
    )

    def test_planned_layers_are_two_of_four_and_others_dense(self, tmp_path: Path, needed: Any) -> None:
        needed("modelopt.torch.sparsity")
        model, dense = network(), network()
        script = made("modelopt", tmp_path, *self.layers)
        model = script.finish(script.prune_model(model))
        assert script.zeros_of(model) == {"net.0": 2304, "body.a[1]*": 256}
        assert list(model.state_dict()) == list(dense.state_dict())
        assert (value(model, "body.Linear.weight") == value(dense, "body.Linear.weight")).all()
        for name in ("net.0.weight", "body.a[1]*.weight"):
            groups = np.moveaxis(value(model, name), 1, -1).reshape(-1, 4)
            assert ((groups == 0).sum(axis=1) == 2).all()
            before = np.abs(np.moveaxis(value(dense, name), 1, -1).reshape(-1, 4))
            assert np.where(groups == 0, before, 0).max(1).max() <= before.max()
            assert (np.where(groups == 0, before, 0).max(1) <= np.where(groups == 0, np.inf, before).min(1)).all()
            assert not np.signbit(value(model, name)[value(model, name) == 0]).any()

    def test_a_class_that_the_configuration_does_not_mean_is_an_error(self, tmp_path: Path, needed: Any) -> None:
        needed("modelopt.torch.sparsity")
        script = made("modelopt", tmp_path, layer("net.0.weight", (32, 16), 256, "2:4"))
        with pytest.raises(TypeError, match=r"'net\.0' is a Conv2d here and nn\.Linear"):
            script.prune_model(network())


def steps(modifiers: Any, model: Any, count: int = 2) -> None:
    """A training loop as llm-compressor sees it: each modifier is told of every event."""
    import torch
    from llmcompressor.core import Event, EventType, State

    state = State(model=model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for modifier in modifiers:
        modifier.initialize(state)
    batches = 10
    for step in range(count):
        for kind in (EventType.BATCH_START, EventType.OPTIM_PRE_STEP, EventType.OPTIM_POST_STEP, EventType.BATCH_END):
            if kind is EventType.OPTIM_PRE_STEP:
                optimizer.zero_grad()
                model(torch.randn(2, 16, 3, 3)).square().mean().backward()
            if kind is EventType.OPTIM_POST_STEP:
                optimizer.step()
            event = Event(type_=kind, steps_per_epoch=batches, batches_per_step=1, global_step=step, global_batch=step)
            for modifier in modifiers:
                modifier.update_event(state, event)
    for modifier in modifiers:
        modifier.finalize(state)


class TestLlmCompressor:
    layers = (
        layer("net.0.weight", (32, 16, 3, 3), 2304),
        layer("body.a[1]*.weight", (16, 32), 256),
        layer("body.Linear.weight", (16, 16), 200),
        layer("attention.out_proj.weight", (16, 16), 200),
    )

    def recipe(self, folder: Path, layers: tuple[Layer, ...], mode: Mode, needed: Any) -> Any:
        [path] = written("llmcompressor", export_of(*layers, mode=mode), folder)
        return needed("llmcompressor.recipe").Recipe.create_instance(str(path))

    def test_levels_reach_the_planned_zeros_in_training(self, tmp_path: Path, needed: Any) -> None:
        recipe = self.recipe(tmp_path, self.layers, "ratio", needed)
        assert [len(modifier.targets) for modifier in recipe.modifiers] == [2, 2]
        model = network()
        steps(recipe.modifiers, model)
        zeros = {each.parameter: int((value(model, each.parameter) == 0).sum()) for each in self.layers}
        assert zeros == {each.parameter: each.zeros for each in self.layers}
        assert (value(model, "mix") != 0).all() and (value(model, "attention.in_proj_weight") != 0).all()

    def test_channels_are_zeroed_as_a_whole(self, tmp_path: Path, needed: Any) -> None:
        channels = layer("net.0.weight", (32, 16, 3, 3), 5 * 144, "channel")
        recipe = self.recipe(tmp_path, (channels,), "ratio", needed)
        model = network()
        steps(recipe.modifiers, model)
        gone = (value(model, "net.0.weight") == 0).reshape(32, -1)
        assert gone.all(axis=1).sum() == 5 and gone.sum() == 5 * 144

    def test_zeros_that_are_there_are_held(self, tmp_path: Path, needed: Any) -> None:
        recipe = self.recipe(tmp_path, self.layers, "mask", needed)
        model, dense = network(), network()
        script = made("torch", tmp_path, *self.layers, mode="mask")
        masks = write_masks(self.layers, tmp_path / "masks.safetensors")
        script.finish(script.prune_model(model))
        steps(recipe.modifiers, model)
        for each in self.layers:
            assert ((value(model, each.parameter) == 0) == (masks[each.parameter] == 0)).all()
        assert (value(model, "net.0.weight") != value(dense, "net.0.weight")).mean() > 0.9  # it was trained

    @pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
    def test_a_name_of_any_characters_is_matched(self, hostile: str, needed: Any) -> None:
        yaml = needed("yaml")
        match = needed("compressed_tensors.utils.match").match_name
        named = layer(f"a.{hostile}.weight", (4, 4), 4)
        export = replace_file(export_of(named, left_out=((hostile, hostile),)), hostile)
        [text] = exporters.get("llmcompressor").files(export).values()
        [target] = yaml.safe_load(text)["s0_stage"]["pruning_modifiers"]["MagnitudePruningModifier"]["targets"]
        assert match(f"a.{hostile}", target)
        assert not match(f"a.{hostile}x", target) and not match(f"b.a.{hostile}", target)


MODEL = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(16, 8, 3)
    def forward(self, x):
        return self.conv(x)
"""


@pytest.mark.parametrize(
    ("name", "package", "more"),
    [("nncf", "nncf", ["--input-shape", "1,16,5,5"]), ("modelopt", "modelopt.torch.sparsity", [])],
)
def test_the_script_runs_on_its_own(
    tmp_path: Path, name: str, package: str, more: list[str], torch: Any, needed: Any
) -> None:
    needed(package)
    (tmp_path / "net.py").write_text(MODEL)
    [path] = written(name, export_of(layer("conv.weight", (8, 16, 3, 3), 576, "2:4")), tmp_path)
    command = [sys.executable, "-W", "ignore", str(path), "net.py:Net", *more, "-o", "pruned.pt"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert ": 576 zeros, 576 planned" in done.stdout
    state = torch.load(tmp_path / "pruned.pt", weights_only=True)
    assert list(state) == ["conv.weight", "conv.bias"] and int((state["conv.weight"] == 0).sum()) == 576
