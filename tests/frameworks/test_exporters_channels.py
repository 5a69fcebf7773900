"""Channels that Torch-Pruning removes from a script of ours."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from exporting import export_of, layer, made, written

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch and Torch-Pruning: none is ours to mend


@pytest.fixture(autouse=True)
def torch(needed: Callable[[str], ModuleType]) -> ModuleType:
    """The frameworks."""
    needed("torch_pruning")
    return needed("torch")


def network() -> Any:
    """A convolution, another that a third is added to, a transposed one, a head."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 10, 3, padding=1)
            self.norm = nn.BatchNorm2d(10)
            self.second = nn.Conv2d(10, 20, 3, padding=1)
            self.beside = nn.Conv2d(10, 20, 1)
            self.up = nn.ConvTranspose2d(20, 10, 2)
            self.hidden = nn.Linear(10, 30)
            self.head = nn.Linear(30, 5)

        def forward(self, x: Any) -> Any:
            x = self.norm(self.first(x)).relu()
            x = self.up(self.second(x) + self.beside(x)).relu().mean((2, 3))
            return self.head(self.hidden(x).relu())

    torch.manual_seed(0)
    return Net()


def channels(name: str, shape: tuple[int, ...], going: int, out: int, operator: str = "Conv") -> Any:
    size = 1
    for each in shape:
        size *= each
    return layer(name, shape, size // out * going, "channel", operator=operator)


# 3 of 10 and 7 of 10 are where plain ratios are rounded to another channel: 10 * (1 - 0.7) is 2.9999.
LAYERS = (
    channels("first.weight", (10, 3, 3, 3), 3, 10),
    channels("second.weight", (20, 10, 3, 3), 8, 20),
    channels("up.weight", (20, 10, 2, 2), 7, 10, "ConvTranspose"),
    channels("hidden.weight", (30, 10), 21, 30, "Gemm"),
)


def test_exactly_the_planned_channels_go_and_partners_follow(tmp_path: Path, torch: Any) -> None:
    model = network()
    script = made("torch-pruning", tmp_path, *LAYERS)
    pruned = script.prune_model(model, torch.randn(1, 3, 8, 8))
    assert script.channels_of(pruned) == {"first": (7, 10), "second": (12, 20), "up": (3, 10), "hidden": (9, 30)}
    assert pruned.beside.out_channels == 12 and pruned.norm.num_features == 7
    assert pruned(torch.randn(2, 3, 8, 8)).shape == (2, 5)


def test_what_is_kept_is_as_it_was(tmp_path: Path, torch: Any) -> None:
    model = network()
    dense = model.head.weight.detach().clone()
    made("torch-pruning", tmp_path, LAYERS[3]).prune_model(model, torch.randn(1, 3, 8, 8))
    kept = [int((dense == column[:, None]).all(0).nonzero()) for column in model.head.weight.detach().T]
    assert len(kept) == 9 and kept == sorted(set(kept))


def test_a_layer_that_makes_the_outputs_is_refused_and_can_be_kept(tmp_path: Path, torch: Any) -> None:
    head = channels("head.weight", (5, 30), 2, 5, "Gemm")
    script = made("torch-pruning", tmp_path, LAYERS[0], head)
    with pytest.raises(ValueError, match=r"outputs were \[\(1, 5\)\] and are \[\(1, 3\)\]: .* name it in `keep`"):
        script.prune_model(network(), torch.randn(1, 3, 8, 8))
    pruned = script.prune_model(network(), torch.randn(1, 3, 8, 8), keep=["head"])
    assert script.channels_of(pruned) == {"first": (7, 10), "head": (5, 5)}


def test_what_does_not_fit_the_model_is_said(tmp_path: Path, torch: Any) -> None:
    x = torch.randn(1, 3, 8, 8)
    with pytest.raises(KeyError, match="no module 'stem'"):
        made("torch-pruning", tmp_path, channels("stem.weight", (10, 3, 3, 3), 3, 10)).prune_model(network(), x)
    with pytest.raises(ValueError, match=r"'first' is \(10, 3, 3, 3\) here"):
        made("torch-pruning", tmp_path, channels("first.weight", (10, 3, 1, 1), 3, 10)).prune_model(network(), x)
    with pytest.raises(ValueError, match="zeroes all 10 channels of 'first'"):
        made("torch-pruning", tmp_path, channels("first.weight", (10, 3, 3, 3), 10, 10)).prune_model(network(), x)


MODEL = """
import torch
def model():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 10, 3), torch.nn.BatchNorm2d(10), torch.nn.Conv2d(10, 4, 1))
"""


def test_the_script_runs_on_its_own_and_its_file_fits_a_model_pruned_alike(tmp_path: Path, torch: Any) -> None:
    (tmp_path / "net.py").write_text(MODEL)
    layers = (channels("0.weight", (10, 3, 3, 3), 7, 10),)
    [path] = written("torch-pruning", export_of(*layers), tmp_path)
    more = ["--input-shape", "1,3,8,8", "-o", "pruned.pt"]
    command = [sys.executable, "-W", "ignore", str(path), "net.py:model", *more]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "0: 3 of 10 channels" in done.stdout
    script = made("torch-pruning", tmp_path, *layers)
    parts = torch.nn.Conv2d(3, 10, 3), torch.nn.BatchNorm2d(10), torch.nn.Conv2d(10, 4, 1)
    fresh = script.prune_model(torch.nn.Sequential(*parts), torch.zeros(1, 3, 8, 8))
    fresh.load_state_dict(torch.load(tmp_path / "pruned.pt", weights_only=True))
