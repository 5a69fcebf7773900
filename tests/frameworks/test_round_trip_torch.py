"""A plan of a PyTorch model's ONNX file goes back to the model: masked there and exported again, it is pruned.onnx."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch_nets
from round_trip import (
    Graph,
    Mapped,
    Origin,
    Trip,
    claimed,
    onnxsens,
    origins,
    read_map,
    read_tensors,
    round_trip,
    stamps,
    true_masks,
)
from torch_nets import EXPORTERS, NETS, Exporter

if TYPE_CHECKING:
    pass

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

# torch, when imported, and both exporters warn of deprecations of their own; of onnxsens only the applier runs here.
pytestmark = pytest.mark.filterwarnings("ignore")

TOLERANCE = 1e-5  # of the largest output: what float32 rounds in a few layers
EACH = pytest.mark.parametrize(("net", "exporter"), [(net, exporter) for net in NETS for exporter in EXPORTERS])


@dataclass(frozen=True)
class Case:
    """A network, exported; and the truth about its weights, which is found without looking at their values."""

    net: str
    exporter: Exporter
    folder: Path
    shapes: Mapping[str, tuple[int, ...]]
    """Of the parameters that layers multiply with; tied ones once, under the first name."""
    named: Mapping[str, str]
    """The name in `shapes` for each of their names."""
    truth: Mapping[str, Sequence[Origin]]

    @property
    def model(self) -> Path:
        return self.folder / "model.onnx"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.npz"  # PyTorch's own format takes it a second to import torch for

    @cached_property
    def stored(self) -> Mapping[str, np.ndarray]:
        return Graph(self.model).tensors

    def origins(self, weight: str) -> list[Origin]:
        """Of the weight, and of every copy of it in the file, turned as the weight is: all are pruned alike."""
        own = self.stored[weight]
        found = list(self.truth[weight])
        for name in set(self.truth) - {weight}:
            other = self.stored[name]
            if np.array_equal(other, own):
                found += self.truth[name]
            elif own.ndim == 2 and np.array_equal(other.T, own):
                found += [Origin(origin.parameter.T, origin.element.T) for origin in self.truth[name]]
        return found

    def sources(self, weight: str) -> set[str]:
        """The parameters that have to be masked as this weight is."""
        return {name for origin in self.origins(weight) for name in origin.names(self.shapes)}

    def wrong(self, mapped: Mapped) -> str:
        """What is not true of what a map says of a weight; empty where all is."""
        unknown = mapped.parameters - set(self.named)
        if unknown:
            return f"there is no parameter {unknown}"
        extra = {self.named[name] for name in mapped.parameters} - self.sources(mapped.name)
        if extra:
            return f"it is not made of {extra}"
        ways, live = claimed(mapped, self.shapes, self.named), self.stored[mapped.name] != 0
        truth = self.origins(mapped.name)
        if not all(any(way.agrees(origin, live) for origin in truth) for way in ways):
            return "its elements are mixed up"
        return ""

    def missing(self, mapped: Mapped) -> set[str]:
        """The parameters of a weight that a map does not name."""
        return self.sources(mapped.name) - {self.named.get(name, name) for name in mapped.parameters}


Cases = Callable[[str, Exporter], Case]
Trips = Callable[[str, Exporter], Trip]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    """Each is exported once."""
    known: dict[tuple[str, str], Case] = {}

    def case(net: str, exporter: Exporter) -> Case:
        if (net, exporter) not in known:
            known[net, exporter] = made(net, exporter, tmp_path_factory.mktemp(f"{net}-{exporter}"))
        return known[net, exporter]

    return case


@pytest.fixture(scope="module")
def trips(cases: Cases, tmp_path_factory: pytest.TempPathFactory) -> Trips:
    """Each is made once, by a plan that zeroes and does nothing else."""
    known: dict[tuple[str, str], Trip] = {}

    def trip(net: str, exporter: Exporter) -> Trip:
        if (net, exporter) not in known:
            folder = tmp_path_factory.mktemp(f"{net}-{exporter}-trip")
            known[net, exporter] = carried(cases(net, exporter), folder, count=64, update="none")
        return known[net, exporter]

    return trip


def made(net: str, exporter: Exporter, folder: Path) -> Case:
    model = NETS[net].build()
    torch_nets.export(NETS[net], model, exporter, folder / "model.onnx")
    torch_nets.save_checkpoint(model, folder / "checkpoint.npz")
    shapes = {name: tuple(value.shape) for name, value in torch_nets.prunable(model).items()}
    every = list(model.named_parameters(remove_duplicate=False))
    named = {name: first for name, value in every for first in shapes if model.get_parameter(first) is value}
    torch_nets.fill(model, stamps(shapes))
    torch_nets.neutralize(model)
    torch_nets.export(NETS[net], model, exporter, folder / "stamped.onnx")
    truth = origins(folder / "model.onnx", folder / "stamped.onnx", shapes)
    return Case(net, exporter, folder, shapes, named, truth)


def carried(case: Case, folder: Path, *, count: int, update: str) -> Trip:
    """There and back, with `count` samples to plan on."""

    def apply_and_export(masks: Path, weights: Path | None, path: Path) -> None:
        model = NETS[case.net].build()
        if weights is not None:
            torch_nets.fill(model, read_tensors(weights))
        torch_nets.mask(model, read_tensors(masks))
        torch_nets.export(NETS[case.net], model, case.exporter, path)

    np.savez(folder / "samples.npz", x=samples(case.net, count, seed=11))
    return round_trip(
        case.model,
        case.checkpoint,
        apply_and_export,
        folder / "run",
        {"x": samples(case.net, 16, seed=12)},
        data=str(folder / "samples.npz"),
        update=update,
    )


def samples(net: str, count: int, seed: int) -> np.ndarray:
    """Random inputs: noise, or tokens."""
    draw, example = np.random.default_rng(seed), NETS[net].example()
    shape = (count, *example.shape[1:])
    return draw.standard_normal(shape, np.float32) if example.is_floating_point() else draw.integers(0, 64, shape)


@EACH
def test_every_planned_weight_is_matched_without_a_guess_and_rightly(
    cases: Cases, trips: Trips, net: str, exporter: Exporter
) -> None:
    case, trip = cases(net, exporter), trips(net, exporter)
    planned = [weight["name"] for weight in trip.plan["weights"]]
    assert set(planned) <= set(case.truth)
    assert set(planned) == set(trip.mapped)
    assert unsure(trip.mapped) == {}
    assert faults(case, trip.mapped) == {}
    assert {name: case.missing(mapped) for name, mapped in trip.mapped.items() if case.missing(mapped)} == {}
    assert set(trip.coverage["weights"]) <= {"exact", "scaled"}


@EACH
def test_masks_are_the_zeros_of_the_plan_in_the_layout_of_the_source(
    cases: Cases, trips: Trips, net: str, exporter: Exporter
) -> None:
    case, trip = cases(net, exporter), trips(net, exporter)
    expected, binding = true_masks(case.model, trip.folder / "pruned.onnx", case.truth, case.shapes)
    masks = dict(trip.masks)
    for length in [name for name in masks if name.endswith(".original0")]:
        masks[f"{length[:-1]}1"] = masks[f"{length[:-1]}1"] & masks.pop(length)  # no length, no row
    for name, mask in masks.items():
        own = case.named[name]
        assert mask.dtype == np.uint8
        assert np.array_equal(mask[binding[own]], expected[own][binding[own]]), name
    pruned = {name for name, mask in expected.items() if not mask[binding[name]].all()}
    assert pruned - {case.named[name] for name in masks} == set()


@EACH
def test_the_masked_source_model_exported_again_is_the_pruned_model(trips: Trips, net: str, exporter: Exporter) -> None:
    trip = trips(net, exporter)
    assert trip.effect > 1000 * TOLERANCE
    assert trip.difference < TOLERANCE
    assert {name: count for name, count in trip.misplaced.items() if count} == {}


@EACH
def test_names_that_the_file_gives_without_a_checkpoint_are_right(
    cases: Cases, tmp_path: Path, net: str, exporter: Exporter
) -> None:
    case = cases(net, exporter)
    onnxsens("map", case.model, "-o", tmp_path / "map.json")
    mapped = read_map(tmp_path / "map.json")
    sure = {name: one for name, one in mapped.items() if one.is_sure}
    assert faults(case, sure) == {}
    found = {case.named[name] for one in sure.values() for name in one.parameters}
    if exporter == "dynamo":
        wanted = set().union(*(case.sources(name) for name in mapped))
        assert len(found) >= 0.95 * len(wanted), wanted - found
    else:  # whose files say it by names alone; one without a dot might be the exporter's own
        assert {case.named[name] for name in mapped if name in case.named and "." in name} - found == set()


def unsure(mapped: Mapping[str, Mapped]) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {name: (one.confidence, one.evidence) for name, one in mapped.items() if not one.is_sure}


def faults(case: Case, mapped: Mapping[str, Mapped]) -> dict[str, str]:
    return {name: case.wrong(one) for name, one in mapped.items() if case.wrong(one)}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(("net", "exporter"), [("transformer", "script"), ("twins", "dynamo")])
def test_the_kind_of_checkpoint_makes_no_difference(
    cases: Cases, tmp_path: Path, net: str, exporter: Exporter, suffix: str
) -> None:
    case = cases(net, exporter)
    path = torch_nets.save_checkpoint(NETS[net].build(), tmp_path / f"checkpoint{suffix}")
    onnxsens("map", case.model, "--checkpoint", path, "-o", tmp_path / "map.json")
    mapped = read_map(tmp_path / "map.json")
    assert unsure(mapped) == {}
    assert faults(case, mapped) == {}
    assert {name: case.missing(one) for name, one in mapped.items() if case.missing(one)} == {}


@pytest.mark.parametrize("halved", ["model", "checkpoint"])
@pytest.mark.parametrize("net", ["cnn", "gru", "extra"])
def test_one_of_the_two_may_have_16_bits(cases: Cases, tmp_path: Path, net: str, halved: str) -> None:
    case, half = cases(net, "script"), NETS[net].build()
    if halved == "model":
        path, exported = torch_nets.save_checkpoint(half, tmp_path / "checkpoint.safetensors"), half.half()
    else:
        path = torch_nets.save_checkpoint(half.bfloat16(), tmp_path / "checkpoint.safetensors")
        exported = half.float()
    torch_nets.export(NETS[net], exported, "script", tmp_path / "model.onnx")
    onnxsens("map", tmp_path / "model.onnx", "--checkpoint", path, "-o", tmp_path / "map.json")
    mapped = read_map(tmp_path / "map.json")
    assert set(mapped) <= set(case.truth)
    assert unsure(mapped) == {}
    assert faults(case, mapped) == {}


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_numbers_are_believed_and_names_that_contradict_them_are_not(
    cases: Cases, tmp_path: Path, exporter: Exporter
) -> None:
    case = cases("cnn", exporter)
    model = onnx.load(case.model)
    first, second = (
        next(n for n, o in case.truth.items() if o[0].names(case.shapes) == [f"res.{i}.conv.weight"]) for i in (0, 1)
    )
    swapped = {first: second, second: first}
    for tensor in model.graph.initializer:
        tensor.name = swapped.get(tensor.name, tensor.name)
    for node in model.graph.node:
        node.input[:] = [swapped.get(name, name) for name in node.input]
        node.name = ""
        del node.metadata_props[:]
    onnx.save(model, tmp_path / "model.onnx")
    onnxsens("map", tmp_path / "model.onnx", "--checkpoint", case.checkpoint, "-o", tmp_path / "map.json")
    mapped = read_map(tmp_path / "map.json")
    found = {name: (mapped[name].parameters, mapped[name].is_sure) for name in swapped}
    assert found == {second: ({"res.0.conv.weight"}, True), first: ({"res.1.conv.weight"}, True)}


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_the_same_network_with_other_numbers_is_refused(cases: Cases, tmp_path: Path, exporter: Exporter) -> None:
    path = torch_nets.save_checkpoint(torch_nets.trained(NETS["cnn"].build(), seed=99), tmp_path / "checkpoint.npz")
    model = cases("cnn", exporter).model
    said = onnxsens("map", model, "--checkpoint", path, "-o", tmp_path / "map.json", expected=3)
    assert "is not the checkpoint of" in said
    assert not (tmp_path / "map.json").exists()


@pytest.mark.parametrize(
    ("net", "exporter"),
    [("cnn", "script"), ("cnn", "dynamo"), ("transformer", "script"), ("gru", "script"), ("extra", "dynamo")],
)
def test_updated_values_go_back_too(cases: Cases, tmp_path: Path, net: str, exporter: Exporter) -> None:
    trip = carried(cases(net, exporter), tmp_path, count=256, update="reconstruct")
    assert (tmp_path / "run" / "weights.safetensors").exists()
    assert "stay behind" not in trip.log
    assert trip.difference < 10 * TOLERANCE
    assert {name: count for name, count in trip.misplaced.items() if count} == {}


@pytest.mark.parametrize(("net", "exporter"), [("transformer", "script"), ("extra", "dynamo")])
def test_the_applier_leaves_the_values_that_were_tested(trips: Trips, net: str, exporter: Exporter) -> None:
    from onnxsens.frameworks.torch import apply

    folder = trips(net, exporter).folder
    weights = folder / "weights.safetensors"
    plain, applied = NETS[net].build(), NETS[net].build()
    if weights.exists():
        torch_nets.fill(plain, read_tensors(weights))
    torch_nets.mask(plain, read_tensors(folder / "masks.safetensors"))
    with apply(applied, folder / "masks.safetensors", weights if weights.exists() else None):
        assert all(bool((applied.state_dict()[name] == value).all()) for name, value in plain.state_dict().items())
