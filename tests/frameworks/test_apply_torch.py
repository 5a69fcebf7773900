"""Masks on PyTorch models: the zeros are there, and stay whatever trains the model."""

import copy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from exporting import two_plans

from onnxsens.arrays import BoolArray
from onnxsens.errors import PlanError
from onnxsens.frameworks.sparse_files import MASKS_FORMAT, WEIGHTS_FORMAT
from onnxsens.frameworks.torch import apply

# torch warns of its own matters, such as numpy arrays that cannot be written.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def torch(needed: Callable[[str], ModuleType]) -> Any:
    return needed("torch")


@pytest.fixture
def model(torch: Any) -> Any:
    torch.manual_seed(0)
    nn = torch.nn
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


def half(shape: tuple[int, ...], seed: int = 0) -> BoolArray:
    return np.random.default_rng(seed).random(shape) > 0.5


@pytest.fixture
def masks() -> dict[str, BoolArray]:
    return {"0.weight": half((4, 1, 3, 3)), "4.weight": half((3, 16), 1)}


def train(torch: Any, model: Any, optimizer: Any, steps: int = 4) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        images = torch.randn(8, 1, 4, 4, generator=generator, dtype=next(model.parameters()).dtype)
        torch.nn.functional.cross_entropy(model(images), torch.arange(8) % 3).backward()
        optimizer.step()


def zeros_at(parameter: Any, mask: BoolArray) -> bool:
    """Exactly the mask's zeros, none of them negative."""
    values = parameter.detach().float().numpy()
    return bool(np.array_equal(values != 0, mask) and not np.signbit(values[~mask]).any())


@pytest.mark.parametrize(
    "make",
    [
        lambda torch, p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1),
        lambda torch, p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, foreach=True),
        lambda torch, p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
        lambda torch, p: torch.optim.Adam(p, 0.01, fused=True),
        lambda torch, p: torch.optim.RMSprop(p, 0.01, momentum=0.5),
    ],
)
def test_zeros_stay_with_momentum_and_decay_from_before(torch: Any, model: Any, masks: Any, make: Any) -> None:
    optimizer = make(torch, model.parameters())
    train(torch, model, optimizer)
    before = copy.deepcopy(model.state_dict())
    masked = apply(model, masks)
    train(torch, model, optimizer)
    masked.check()
    for name, mask in masks.items():
        assert zeros_at(model.get_parameter(name), mask)
        assert not torch.equal(model.get_parameter(name), before[name])
        assert masked.sparsity[name] == pytest.approx((~mask).mean())
    masked.remove()
    train(torch, model, optimizer)
    assert (model.get_parameter("4.weight") == 0).sum() == 0


def test_only_its_own_parameters_are_looked_after(torch: Any, model: Any, masks: Any) -> None:
    other = torch.nn.Linear(2, 2)
    apply(model, masks)
    with torch.no_grad():
        model[4].weight.fill_(1)
    other(torch.ones(2)).sum().backward()
    torch.optim.SGD(other.parameters(), 0.1).step()
    assert (model[4].weight == 1).all()


def test_as_a_context_the_hold_ends_with_it(torch: Any, model: Any, masks: Any) -> None:
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with apply(model, masks) as masked:
        train(torch, model, optimizer)
        masked.check()
    train(torch, model, optimizer)
    with pytest.raises(PlanError, match=r"zeros of '0.weight' are gone; call restore\(\)"):
        masked.check()
    masked.restore()
    masked.check()


def test_nan_and_negative_zero_become_plus_zero(torch: Any, model: Any, masks: Any) -> None:
    with torch.no_grad():
        model[4].weight.fill_(float("nan"))
    with apply(model, masks):
        values = model[4].weight.detach().numpy()
        assert np.array_equal(np.isnan(values), masks["4.weight"])
        assert not np.signbit(values[~masks["4.weight"]]).any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_type_and_identity_of_parameters_stay(torch: Any, model: Any, masks: Any, dtype: str) -> None:
    model.to(getattr(torch, dtype))
    before = dict(model.named_parameters())
    with apply(model, masks):
        for name, parameter in model.named_parameters():
            assert parameter is before[name]
            assert parameter.dtype == getattr(torch, dtype)
        assert zeros_at(model[0].weight, masks["0.weight"])


@pytest.mark.parametrize("packing", ["bytes", "bits"])
def test_files_are_read_and_updated_values_written(torch: Any, model: Any, tmp_path: Path, packing: str) -> None:
    mask = half((3, 16))
    stored = np.packbits(mask) if packing == "bits" else mask.astype(np.uint8)
    metadata = {"format": MASKS_FORMAT, "packing": packing, "shapes": '{"4.weight": [3, 16]}', "aliases": "{}"}
    safetensors.numpy.save_file({"4.weight": stored}, str(tmp_path / "masks.safetensors"), metadata)
    values = np.where(mask, np.arange(48).reshape(3, 16) + 1, 0).astype(ml_dtypes.bfloat16)
    safetensors.numpy.save_file({"4.weight": values}, str(tmp_path / "w.safetensors"), {"format": WEIGHTS_FORMAT})
    with apply(model, tmp_path / "masks.safetensors", str(tmp_path / "w.safetensors")):
        assert np.array_equal(model[4].weight.detach().numpy(), values.astype(np.float32))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_values_of_buffers_are_written_and_masks_of_them_refused(
    torch: Any, model: Any, masks: Any, prefix: str
) -> None:
    values = {f"{prefix}1.running_mean": np.arange(4.0), f"{prefix}1.num_batches_tracked": np.array(7)}
    for target in (model, torch.compile(model)):
        with apply(target, masks, values):
            assert model[1].running_mean.tolist() == [0, 1, 2, 3] and int(model[1].num_batches_tracked) == 7
        model[1].running_mean.zero_()
    with pytest.raises(PlanError, match=r"value of '.*running_mean' has shape \[5\]"):
        apply(model, masks, {f"{prefix}1.running_mean": np.arange(5.0)})
    with pytest.raises(PlanError, match=r"the model has no parameter '9.running_mean'"):
        apply(model, masks, {"1.running_mean": np.arange(4.0), "9.running_mean": np.arange(4.0)})
    with pytest.raises(PlanError, match=r"'1.running_mean' is a buffer, which no optimizer trains"):
        apply(model, {**masks, "1.running_mean": half((4,))}, values)
    assert not model[1].running_mean.any()


def test_files_of_two_plans_are_refused(torch: Any, model: Any, tmp_path: Path) -> None:
    masks, weights = two_plans(tmp_path, "4.weight", (3, 16))
    with pytest.raises(PlanError, match="are of two plans; export both again"):
        apply(model, masks, weights)
    assert model[4].weight.all()
    with apply(model, masks) as masked:
        masked.check()


def test_tensors_are_taken_as_masks_and_values(torch: Any, model: Any) -> None:
    mask = torch.from_numpy(half((3, 16)))
    with apply(model, {"4.weight": mask}, {"4.weight": torch.ones(3, 16, dtype=torch.bfloat16)}):
        assert torch.equal(model[4].weight, mask.float())


class TestNames:
    def test_wrappers_prefixes_do_not_matter(self, torch: Any, model: Any, masks: Any) -> None:
        for wrap in (torch.nn.DataParallel, torch.compile, lambda model: torch.compile(torch.nn.DataParallel(model))):
            for prefix in ("", "module.", "_orig_mod.", "module._orig_mod."):
                with apply(wrap(model), {f"{prefix}{name}": mask for name, mask in masks.items()}) as masked:
                    masked.check()
                    assert zeros_at(model[0].weight, masks["0.weight"])

    def test_a_module_called_module_is_not_mistaken(self, torch: Any) -> None:
        tree = torch.nn.ModuleDict({"module": torch.nn.Linear(2, 2), "x": torch.nn.Linear(2, 2)})
        with apply(tree, {"module.weight": half((2, 2))}) as masked:
            assert list(masked.sparsity) == ["module.weight"]
        tree = torch.nn.ModuleDict({"module": torch.nn.ModuleDict({"x": tree["x"]}), "x": torch.nn.Linear(2, 2)})
        with pytest.raises(PlanError, match=r"means module.x.weight and x.weight"):
            apply(tree, {"_orig_mod.x.weight": half((2, 2))})

    def test_a_tied_parameter_is_masked_once(self, torch: Any, tmp_path: Path) -> None:
        model = torch.nn.ModuleDict({"emb": torch.nn.Embedding(4, 3), "head": torch.nn.Linear(3, 4, bias=False)})
        model["head"].weight = model["emb"].weight
        mask = half((4, 3))
        with apply(model, {"head.weight": mask, "emb.weight": mask}) as masked:
            assert len(masked.sparsity) == 1
            assert zeros_at(model["emb"].weight, mask)
            masked.check()
        with pytest.raises(PlanError, match="one tied parameter with two different masks"):
            apply(model, {"head.weight": mask, "emb.weight": ~mask})
        metadata = {"format": MASKS_FORMAT, "packing": "bytes", "aliases": '{"emb.weight": ["head.weight"]}'}
        path = tmp_path / "m.safetensors"
        safetensors.numpy.save_file({"emb.weight": mask.astype(np.uint8)}, str(path), metadata)
        with apply(model, path) as masked:
            assert list(masked.sparsity) == ["emb.weight"]
        # Untied, both get the mask; a model that has only the other name gets it by that.
        model["head"].weight = torch.nn.Parameter(torch.ones(4, 3))
        with apply(model, path) as masked:
            assert list(masked.sparsity) == ["emb.weight", "head.weight"]
            assert zeros_at(model["head"].weight, mask)
        del model["emb"]
        with apply(model, path) as masked:
            assert list(masked.sparsity) == ["head.weight"]

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("4.wieght", "the model has no parameter '4.wieght'; the nearest is '4.weight'"),
            ("1.running_mean", "is a buffer"),
            ("zzzzzz", "check that it is the model that was mapped"),
        ],
    )
    def test_unknown_names_are_told_with_the_nearest(self, model: Any, name: str, message: str) -> None:
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(PlanError, match=message):
            apply(model, {"0.weight": half((4, 1, 3, 3)), name: half((4,))})
        assert all((before[key] == value).all() for key, value in model.state_dict().items())

    def test_what_is_rewritten_on_every_call_is_refused(self, torch: Any) -> None:
        from torch.nn.utils import parametrizations, prune

        layer = torch.nn.Linear(4, 4)
        parametrizations.weight_norm(layer)
        with pytest.raises(PlanError, match=r"parametrized; call torch.nn.utils.parametrize.remove_parametrizations"):
            apply(layer, {"weight": half((4, 4))})
        layer = torch.nn.Linear(4, 4)
        prune.identity(layer, "weight")
        with pytest.raises(PlanError, match=r"call prune.remove\(module, 'weight'\) first"):
            apply(layer, {"weight": half((4, 4))})
        layer = torch.nn.utils.weight_norm(torch.nn.Linear(4, 4))
        with pytest.raises(PlanError, match=r"call torch.nn.utils.remove_weight_norm"):
            apply(layer, {"weight": half((4, 4))})

    def test_a_wrong_shape_is_told_before_anything_changes(self, torch: Any, model: Any) -> None:
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(PlanError, match=r"mask of '4.weight' has shape \[16, 3\], and the parameter \[3, 16\]"):
            apply(model, {"0.weight": half((4, 1, 3, 3)), "4.weight": half((16, 3))})
        with pytest.raises(PlanError, match=r"value of '4.weight' has shape \[3\]"):
            apply(model, {"0.weight": half((4, 1, 3, 3))}, {"4.weight": np.ones(3)})
        assert all((before[key] == value).all() for key, value in model.state_dict().items())

    def test_a_lazy_model_has_to_be_called_first(self, torch: Any) -> None:
        with pytest.raises(PlanError, match="has no shape yet; call the model once"):
            apply(torch.nn.LazyLinear(3), {"weight": half((3, 3))})

    def test_a_parameter_that_was_replaced_is_noticed(self, torch: Any, model: Any, masks: Any) -> None:
        with apply(model, masks) as masked:
            model[4].weight = torch.nn.Parameter(torch.ones(3, 16))
            with pytest.raises(PlanError, match=r"'4.weight' was replaced since"):
                masked.check()
