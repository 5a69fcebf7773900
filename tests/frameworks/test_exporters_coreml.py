"""Exports for Core ML, applied to models that were converted from PyTorch."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from exporting import export_of, imported, layer, made, random_masks, write_masks, written

from onnxsens.frameworks.exporters import Mode

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch and coremltools: none is ours to mend


@pytest.fixture(autouse=True)
def torch(needed: Callable[[str], ModuleType]) -> ModuleType:
    """The frameworks."""
    needed("coremltools")
    return needed("torch")


LAYERS = (
    layer("stem.0.weight", (16, 3, 3, 3), 201),  # a BatchNorm is folded into it: its name is lost
    layer("conv.weight", (24, 16, 3, 3), 2001),
    layer("up.weight", (24, 16, 2, 2), 999),
    layer("fc.weight", (40, 16), 300),
    layer("mix", (40, 30), 500, operator="MatMul"),  # is transposed: its name is lost too
    layer("head.weight", (50, 30), 1499),
)


def network() -> Any:
    """Named weights, and such as the converter makes names for."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
            self.conv = nn.Conv2d(16, 24, 3)
            self.up = nn.ConvTranspose2d(24, 16, 2)
            self.fc = nn.Linear(16, 40)
            self.mix = nn.Parameter(torch.randn(40, 30))
            self.head = nn.Linear(30, 50, bias=False)

        def forward(self, x: Any) -> Any:
            return self.head(self.fc(self.up(self.conv(self.stem(x))).mean((2, 3))) @ self.mix)

    torch.manual_seed(0)
    net = Net().eval()
    net.stem[1].weight.data = torch.rand(16) + 0.5
    return net


def converted(model: Any, how: str = "trace", precision: str = "FLOAT32") -> Any:
    """An mlprogram."""
    import coremltools as ct
    import torch

    x = torch.randn(1, 3, 10, 10)
    more: dict[str, Any] = {"convert_to": "mlprogram", "compute_precision": getattr(ct.precision, precision)}
    if how == "trace":
        return ct.convert(torch.jit.trace(model, x), inputs=[ct.TensorType(shape=x.shape)], **more)
    return ct.convert(torch.export.export(model, (x,)).run_decompositions({}), **more)


def masked(model: Any) -> Any:
    """The model with its weights masked, by hand."""
    import torch

    for name, mask in random_masks(LAYERS).items():
        weight = model.get_parameter(name).data
        weight.copy_(torch.where(torch.from_numpy(mask) != 0, weight, torch.zeros_like(weight)))
    return model


def zeros(script: ModuleType, mlmodel: Any) -> dict[str, int]:
    names = script.names_of(script.weights_of(mlmodel))
    found: dict[str, int] = script.zeros_of(script.prune_model(mlmodel), names)
    return found


PLANNED = {each.parameter: each.zeros for each in LAYERS}


@pytest.mark.parametrize("how", ["trace", "export"])
@pytest.mark.parametrize("mode", ["ratio", "mask"])
def test_planned_zeros_are_stored_under_whatever_names(tmp_path: Path, mode: Mode, how: str) -> None:
    script = made("coreml", tmp_path, *LAYERS, mode=mode)
    model = masked(network()) if mode == "mask" else network()
    assert zeros(script, converted(model, how)) == PLANNED


@pytest.mark.parametrize("mode", ["ratio", "mask"])
def test_half_precision_has_at_least_the_planned_zeros(tmp_path: Path, mode: Mode) -> None:
    script = made("coreml", tmp_path, *LAYERS, mode=mode)
    model = masked(network()) if mode == "mask" else network()
    found = zeros(script, converted(model, precision="FLOAT16"))
    for each in LAYERS:
        assert each.zeros <= found[each.parameter] <= each.zeros + 0.01 * each.size


def test_a_mask_is_told_by_its_zeros_where_two_weights_have_one_shape(tmp_path: Path) -> None:
    import torch

    def twins() -> Any:
        torch.manual_seed(0)
        return torch.nn.Sequential(
            *(part for _ in range(3) for part in (torch.nn.Conv2d(3, 3, 3, bias=False), torch.nn.BatchNorm2d(3)))
        ).eval()

    layers = (layer("0.weight", (3, 3, 3, 3), 40), layer("4.weight", (3, 3, 3, 3), 41))
    script = made("coreml", tmp_path, *layers, mode="mask")
    model = twins()
    for name, mask in random_masks(layers).items():
        model.get_parameter(name).data *= torch.from_numpy(mask)
    assert zeros(script, converted(model)) == {"0.weight": 40, "4.weight": 41}
    [path] = written("coreml", export_of(*layers), tmp_path)
    ratio = imported(path)
    mlmodel = converted(twins())
    with pytest.raises(KeyError, match=r"'0\.weight' is not known; put it into NAMES. Weights .*const_\d+, const_\d+"):
        ratio.prune_model(mlmodel)
    weights = {name: about.val for name, about in ratio.weights_of(mlmodel).items()}
    for index in (0, 4):
        own = twins()[index].weight.detach().numpy() / np.sqrt(1 + 1e-5)
        [ratio.NAMES[f"{index}.weight"]] = [name for name, value in weights.items() if np.allclose(value, own)]
    assert zeros(ratio, mlmodel) == {"0.weight": 40, "4.weight": 41}


@pytest.fixture
def plain() -> Iterator[Any]:
    import torch

    torch.manual_seed(0)
    yield converted(torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.Conv2d(16, 8, 3)).eval())


def test_patterns_lie_in_the_weight_as_the_plan_means_them(tmp_path: Path, plain: Any) -> None:
    import coremltools.optimize.coreml as cto

    for pattern, count in (("2:4", 576), ("3:4", 288), ("block4x1", 600), ("block1x4", 600)):
        script = made("coreml", tmp_path, layer("1.weight", (8, 16, 3, 3), count, pattern))
        [name] = script.names_of(script.weights_of(plain)).values()
        pruned = cto.decompress_weights(script.prune_model(plain))
        weights = cto.get_weights_metadata(pruned, weight_threshold=1)
        gone = weights[name + "_sparsified"].val == 0
        assert gone.sum() == count
        if ":" in pattern:
            assert (gone.reshape(8, 4, 4, 3, 3).sum(axis=2) == 4 - int(pattern[0])).all()
        else:
            blocks = gone.reshape(2, 4, 16, 3, 3).transpose(1, 0, 2, 3, 4)
            if pattern == "block1x4":
                blocks = gone.reshape(8, 4, 4, 3, 3).transpose(2, 0, 1, 3, 4)
            assert (blocks.all(axis=0) == blocks.any(axis=0)).all()


def test_names_and_zeros_that_are_not_there_are_errors(tmp_path: Path, plain: Any) -> None:
    script = made("coreml", tmp_path, layer("7.weight", (8, 16, 5, 5), 9))
    with pytest.raises(KeyError, match=r"'7\.weight' is not known; put it into NAMES"):
        script.prune_model(plain)
    script.NAMES["7.weight"] = "no such"
    with pytest.raises(KeyError, match="NAMES has 'no such', and the model has "):
        script.prune_model(plain)
    dense = made("coreml", tmp_path, layer("1.weight", (8, 16, 3, 3), 500), mode="mask")
    with pytest.raises(ValueError, match="has 0 zeros and 500 were planned; it was not masked before conversion"):
        dense.prune_model(plain)
    few = made("coreml", tmp_path, layer("0.weight", (16, 3, 3, 3), 144, "2:3"))
    with pytest.raises(ValueError, match="coremltools does not take the pattern for so few channels"):
        few.prune_model(plain)


def test_the_script_runs_on_its_own(tmp_path: Path, plain: Any) -> None:
    plain.save(tmp_path / "dense.mlpackage")
    [path] = written("coreml", export_of(layer("1.weight", (8, 16, 3, 3), 500)), tmp_path)
    write_masks((), tmp_path / "masks.safetensors")
    command = [sys.executable, "-W", "ignore", str(path), "dense.mlpackage", "-o", "pruned.mlpackage"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "1.weight: 500 zeros, 500 planned" in done.stdout and (tmp_path / "pruned.mlpackage").is_dir()
