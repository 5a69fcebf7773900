"""Zeros and values carried back through a map: what is kept apart, what follows, what is left out and why."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from exporting import layer, plan_of
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from onnxsens.frameworks.mapfile import Map
from onnxsens.frameworks.mapping import make_map
from onnxsens.frameworks.masks import Carried, carry_back, lost, write_masks, write_weights
from onnxsens.frameworks.sparse_files import read_masks, read_weights
from onnxsens.model import Inventory, Model, load_model, take_inventory
from onnxsens.plan.planfile import Plan

Tensors = Mapping[str, np.ndarray]


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Case:
    """A chain of MatMuls over these weights, and the checkpoint that they came from."""

    def __init__(self, folder: Path, weights: Tensors, source: Tensors) -> None:
        value, nodes = "x", []
        for name in weights:
            nodes.append(helper.make_node("MatMul", [value, name], [f"{name}_out"]))
            value = f"{name}_out"
        first, *_, last = [*weights.values(), *weights.values()]
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", first.shape[0]])],
            [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["n", last.shape[1]])],
            [numpy_helper.from_array(values, name) for name, values in weights.items()],
        )
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "m.onnx"
        )
        save_file(dict(source), folder / "c.safetensors")
        self.dense = weights
        self.model: Model = load_model(folder / "m.onnx")
        self.inventory: Inventory = take_inventory(self.model)
        self.map: Map = make_map(self.model, self.inventory, folder / "c.safetensors")

    def plan(self, changed: Tensors, update: str = "none") -> Plan:
        layers = tuple(
            layer(name, values.shape, int((values == 0).sum()), tensors=(name,)) for name, values in changed.items()
        )
        return msgspec.structs.replace(plan_of(layers), update=update)

    def carried(self, changed: Tensors, update: str = "none", *, guesses: bool = False) -> Carried:
        return carry_back(self.plan(changed, update), self.model, self.inventory, changed, self.map, guesses=guesses)


def halved(values: np.ndarray, seed: int = 7) -> np.ndarray:
    keep = np.random.default_rng(seed).random(values.shape) < 0.5
    return np.where(keep, values, np.float32(0))


def test_a_mask_lies_as_its_parameter_does(tmp_path: Path) -> None:
    own = random(6, 4)
    case = Case(tmp_path, {"w": np.ascontiguousarray(own.T)}, {"fc.weight": own})
    pruned = halved(own.T)
    carried = case.carried({"w": pruned})
    assert np.array_equal(carried.masks["fc.weight"], pruned.T != 0)
    assert carried.layers[0].zeros == int((pruned == 0).sum())
    assert not carried.weights


def test_parts_of_one_parameter_come_together(tmp_path: Path) -> None:
    joined = random(12, 4)
    parts = {f"w{part}": np.ascontiguousarray(joined[4 * part : 4 * part + 4].T) for part in range(3)}
    case = Case(tmp_path, parts, {"in_proj_weight": joined})
    pruned = {name: halved(values, seed) for seed, (name, values) in enumerate(parts.items())}
    carried = case.carried(pruned, "reconstruct")
    expected = np.concatenate([values.T for values in pruned.values()])
    assert np.array_equal(carried.masks["in_proj_weight"], expected != 0)
    assert np.array_equal(carried.weights["in_proj_weight"], expected)
    assert carried.layers[0].tensors == ("w0", "w1", "w2")


def test_values_of_a_parameter_that_is_there_in_part_stay_behind_and_its_zeros_do_not(tmp_path: Path) -> None:
    joined = random(12, 4)
    case = Case(tmp_path, {"w": np.ascontiguousarray(joined[4:8].T)}, {"in_proj_weight": joined})
    pruned = halved(case.dense["w"])
    carried = case.carried({"w": pruned}, "reconstruct")
    mask = carried.masks["in_proj_weight"]
    assert np.array_equal(mask[4:8], pruned.T != 0)
    assert mask[:4].all()
    assert mask[8:].all()
    assert "in_proj_weight" not in carried.weights
    assert ("in_proj_weight", "only a part of this parameter is in the ONNX file") in carried.not_updated


def test_tensors_that_disagree_on_one_parameter_are_both_left_out(tmp_path: Path) -> None:
    own, other = random(8, 8), random(8, 8, seed=1)
    case = Case(tmp_path, {"w": own, "v": other}, {"a.weight": own, "b.weight": other})
    tensors = [
        msgspec.structs.replace(tensor, pieces=case.map.tensors[0].pieces) if tensor.name == "v" else tensor
        for tensor in case.map.tensors
    ]
    case.map = msgspec.structs.replace(case.map, tensors=tensors)
    carried = case.carried({"w": halved(own, 1), "v": halved(other, 2)})
    assert {name for name, _ in carried.left_out} == {"w", "v"}
    assert not case.carried({"w": halved(own, 1), "v": halved(other, 2)}, "reconstruct").weights
    assert "zeroes other elements" in carried.left_out[0][1]
    assert not carried.layers
    agreed = case.carried({"w": halved(own, 1), "v": halved(other, 1)})
    assert not agreed.left_out


def test_guesses_are_taken_when_they_are_asked_for(tmp_path: Path) -> None:
    own = random(8, 8)
    case = Case(tmp_path, {"w": own, "v": random(8, 4)}, {"a.weight": own, "b.weight": random(4, 8, seed=5)})
    pruned = {"w": halved(own), "v": halved(case.dense["v"])}
    careful, bold = case.carried(pruned), case.carried(pruned, guesses=True)
    assert [name for name, _ in careful.left_out] == ["v"]
    assert "--accept-guesses" in careful.left_out[0][1]
    assert set(careful.masks) == {"a.weight"}
    assert set(bold.masks) == {"a.weight", "b.weight"}
    assert np.array_equal(bold.masks["b.weight"], pruned["v"].T != 0)
    assert lost(careful.left_out, ()) == [f"not among the masks (1: 'v'): {careful.left_out[0][1]}"]


def test_factors_are_taken_out_of_updated_values(tmp_path: Path) -> None:
    own = random(6, 8)
    scale = np.linspace(0.5, 3, 6, dtype=np.float32)[:, None]
    scale[2] = 0
    case = Case(tmp_path, {"w": np.ascontiguousarray((own * scale).T)}, {"fc.weight": own})
    updated = np.where(halved(own) != 0, own * 1.25, np.float32(0))
    carried = case.carried({"w": np.ascontiguousarray((updated * scale).T)}, "reconstruct")
    live = [row for row in range(6) if row != 2]
    np.testing.assert_allclose(carried.weights["fc.weight"][live], updated[live], rtol=1e-6)
    assert not carried.weights["fc.weight"][2].any()
    assert not carried.masks["fc.weight"][2].any()
    assert carried.layers[0].rescaled


class TestWeightNorm:
    def case(self, folder: Path) -> tuple[Case, np.ndarray, np.ndarray]:
        directions, lengths = random(6, 8), np.linspace(-1, 2, 6, dtype=np.float32)[:, None]
        made = lengths * directions / np.linalg.norm(directions, axis=1, keepdims=True)
        prefix = "l.parametrizations.weight.original"
        source = {f"{prefix}0": lengths, f"{prefix}1": directions}
        return Case(folder, {"w": np.ascontiguousarray(made.T)}, source), directions, lengths

    @pytest.mark.parametrize("update", ["none", "reconstruct"])
    def test_the_source_gives_the_pruned_tensor_again(self, tmp_path: Path, update: str) -> None:
        case, directions, lengths = self.case(tmp_path)
        pruned = halved(case.dense["w"])
        pruned[:, 3] = 0
        carried = case.carried({"w": pruned}, update)
        prefix = "l.parametrizations.weight.original"
        held = carried.weights.get(f"{prefix}1", directions) * carried.masks[f"{prefix}1"]
        length = carried.weights[f"{prefix}0"] * carried.masks.get(f"{prefix}0", np.ones_like(lengths, bool))
        made = length * held / np.linalg.norm(held, axis=1, keepdims=True)
        np.testing.assert_allclose(made.T, pruned, rtol=1e-5, atol=1e-7)


def test_the_files_say_what_was_carried(tmp_path: Path) -> None:
    own = random(6, 4)
    case = Case(tmp_path, {"w": np.ascontiguousarray(own.T)}, {"fc.weight": own})
    carried = case.carried({"w": halved(own.T)}, "reconstruct")
    for packed in (False, True):
        write_masks(tmp_path / "masks.safetensors", carried, case.map, "ab" * 32, packed=packed)
        assert names_equal(read_masks(tmp_path / "masks.safetensors"), carried.masks)
    first = (tmp_path / "masks.safetensors").read_bytes()
    write_masks(tmp_path / "masks.safetensors", carried, case.map, "ab" * 32, packed=True)
    assert (tmp_path / "masks.safetensors").read_bytes() == first
    write_weights(tmp_path / "weights.safetensors", carried, case.map, "ab" * 32)
    assert names_equal(read_weights(tmp_path / "weights.safetensors"), carried.weights)


def names_equal(one: Tensors, other: Tensors) -> bool:
    same: Sequence[bool] = [np.array_equal(one[name], other[name]) for name in one]
    return set(one) == set(other) and all(same)
