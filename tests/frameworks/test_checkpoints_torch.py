"""Checkpoints of PyTorch, written by torch itself."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from onnxsens.arrays import AnyArray
from onnxsens.errors import CheckpointError
from onnxsens.frameworks.checkpoints import open_checkpoint
from onnxsens.frameworks.checkpoints.contract import CheckpointContract

# torch warns of its own older formats while it writes and reads them.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def torch(needed: Callable[[str], ModuleType]) -> Any:
    return needed("torch")


@pytest.fixture(scope="module")
def state(torch: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(4, 3, generator=generator)
    return OrderedDict(
        {
            "emb.weight": shared,
            "half": torch.randn(2, 2, generator=generator).half(),
            "brain": torch.randn(2, 3, generator=generator).bfloat16(),
            "tiny": torch.randn(3, generator=generator).to(torch.float8_e4m3fn),
            "across": torch.randn(3, 5, generator=generator).t(),
            "count": torch.tensor(3),
            "none": torch.zeros(0, 2),
            "head.weight": shared,
        }
    )


def as_array(tensor: Any) -> AnyArray:
    kind = getattr(ml_dtypes, str(tensor.dtype).removeprefix("torch."), None)
    array: AnyArray = tensor.contiguous().float().numpy() if kind else tensor.contiguous().numpy()
    return array.astype(kind) if kind else array


class TestTorchContract(CheckpointContract):
    @pytest.fixture
    def expected(self, state: Mapping[str, Any]) -> Mapping[str, AnyArray]:
        return {name: as_array(tensor) for name, tensor in state.items() if name != "head.weight"}

    @pytest.fixture
    def path(self, tmp_path: Path, torch: Any, state: Mapping[str, Any]) -> Path:
        torch.save(state, tmp_path / "m.pt")
        return tmp_path / "m.pt"


class TestTorchBefore16Contract(TestTorchContract):
    @pytest.fixture
    def state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        # torch writes 8-bit floats in this format and cannot read them.
        return {name: tensor for name, tensor in state.items() if name != "tiny"}

    @pytest.fixture
    def path(self, tmp_path: Path, torch: Any, state: Mapping[str, Any]) -> Path:
        torch.save(state, tmp_path / "m.pth", _use_new_zipfile_serialization=False)
        return tmp_path / "m.pth"


def saved(torch: Any, path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def names(path: Path) -> list[str]:
    return [parameter.name for parameter in open_checkpoint(path).parameters]


@pytest.mark.parametrize("name", ["m.safetensors", "m.npz", "m.keras", "m.npy", "m"])
@pytest.mark.parametrize("zipped", [True, False])
def test_the_name_of_a_file_does_not_matter(
    tmp_path: Path, torch: Any, state: Mapping[str, Any], name: str, zipped: bool
) -> None:
    content = {key: tensor for key, tensor in state.items() if key != "tiny"}
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
    opened = open_checkpoint(tmp_path / name)
    assert opened.format == "torch"
    for parameter in opened.parameters:
        assert parameter.read().tobytes() == as_array(content[parameter.name]).tobytes()
    assert any("though it is called .safetensors" in note for note in opened.notes) == name.endswith("safetensors")


def test_tied_parameters_are_one_with_an_alias(tmp_path: Path, torch: Any, state: Mapping[str, Any]) -> None:
    opened = open_checkpoint(saved(torch, tmp_path / "m.pt", state))
    assert opened.parameters[0].name == "emb.weight"
    assert opened.parameters[0].aliases == ("head.weight",)


def test_other_views_of_one_storage_are_parameters_of_their_own(tmp_path: Path, torch: Any) -> None:
    whole = torch.arange(12.0)
    path = saved(torch, tmp_path / "m.pt", {"a": whole[:6], "b": whole[6:], "c": whole[:6].view(2, 3)})
    opened = open_checkpoint(path)
    assert [(parameter.name, parameter.aliases) for parameter in opened.parameters] == [("a", ()), ("b", ()), ("c", ())]
    assert opened.parameters[1].read().tolist() == [6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize("key", ["state_dict", "model", "module", "net", "model_state_dict"])
def test_the_weights_are_found_among_a_trainers_things(tmp_path: Path, torch: Any, key: str) -> None:
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2)).sum().backward()
    optimizer.step()
    content = {
        "epoch": torch.tensor(3),
        key: {"model": model.state_dict()} if key == "module" else model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "ema": model.state_dict(),
    }
    opened = open_checkpoint(saved(torch, tmp_path / "m.ckpt", content))
    assert [parameter.name for parameter in opened.parameters] == ["weight", "bias"]
    assert opened.notes[0] == f"the weights are those under '{key}'; all else in the file is left out"
    assert "other weights under 'ema' are not read" in opened.notes[1]


def test_other_nesting_is_joined_with_dots(tmp_path: Path, torch: Any) -> None:
    path = saved(torch, tmp_path / "m.pt", {"a": {"b": torch.ones(1), "c": [torch.ones(2), torch.ones(3)]}, "n": 3})
    assert names(path) == ["a.b", "a.c.0", "a.c.1"]


def test_a_wrappers_prefix_stays_and_is_said(tmp_path: Path, torch: Any) -> None:
    for prefix in ("module.", "_orig_mod."):
        opened = open_checkpoint(saved(torch, tmp_path / "m.pt", {f"{prefix}w": torch.ones(2)}))
        assert opened.parameters[0].name == f"{prefix}w"
        assert f"every name begins with '{prefix}'" in opened.notes[0]


def test_a_model_under_pruning_is_said(tmp_path: Path, torch: Any, needed: Callable[[str], ModuleType]) -> None:
    layer = torch.nn.Linear(4, 4)
    needed("torch.nn.utils.prune").l1_unstructured(layer, "weight", 0.5)
    opened = open_checkpoint(saved(torch, tmp_path / "m.pt", layer.state_dict()))
    assert "'weight_orig': torch.nn.utils.prune is still at work" in opened.notes[0]


def test_tensors_that_are_no_plain_numbers_are_left_out_and_said(tmp_path: Path, torch: Any) -> None:
    content = {
        "w": torch.ones(2),
        "sparse": torch.eye(3).to_sparse(),
        "quantized": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        "endless": torch.ones(1).expand(2**20, 2**20),
    }
    opened = open_checkpoint(saved(torch, tmp_path / "m.pt", content))
    assert [parameter.name for parameter in opened.parameters] == ["w"]
    assert opened.notes == ("'sparse', 'quantized', 'endless' left out: no plain tensors of numbers",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_model_is_not_loaded(tmp_path: Path, torch: Any, zipped: bool) -> None:
    for content in (torch.nn.Linear(2, 2), {"state_dict": {"w": torch.ones(2)}, "hparams": Path("x")}):
        torch.save(content, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
        with pytest.raises(CheckpointError, match=r"holds Python objects .*save its weights alone") as raised:
            open_checkpoint(tmp_path / "m.pt")
        assert "\n" not in str(raised.value)


def test_what_is_no_state_dict_is_refused(tmp_path: Path, torch: Any) -> None:
    with pytest.raises(CheckpointError, match="holds a Tensor, no state dict"):
        open_checkpoint(saved(torch, tmp_path / "m.pt", torch.ones(3)))
    with pytest.raises(CheckpointError, match="holds no tensors"):
        open_checkpoint(saved(torch, tmp_path / "m.pt", {"epoch": 3}))


def test_programs_are_refused(tmp_path: Path, torch: Any) -> None:
    model = torch.nn.Linear(2, 2)
    torch.jit.save(torch.jit.script(model), tmp_path / "script.pt")
    with pytest.raises(CheckpointError, match="a TorchScript program"):
        open_checkpoint(tmp_path / "script.pt")
    torch.export.save(torch.export.export(model, (torch.ones(1, 2),)), tmp_path / "m.pt2")
    with pytest.raises(CheckpointError, match="an exported program"):
        open_checkpoint(tmp_path / "m.pt2")


def test_damage_in_the_middle_is_refused(tmp_path: Path, torch: Any, state: Mapping[str, Any]) -> None:
    for zipped in (True, False):
        torch.save(state, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
        content = bytearray((tmp_path / "m.pt").read_bytes())
        place = content.index(b"emb.weight") + 3
        content[place : place + 40] = np.random.default_rng(0).bytes(40)
        (tmp_path / "bad.pt").write_bytes(content)
        with pytest.raises(CheckpointError) as raised:
            open_checkpoint(tmp_path / "bad.pt")
        assert "\n" not in str(raised.value)
