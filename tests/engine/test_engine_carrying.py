"""Orders carried out and kept, and the files that tensors are kept in."""

import json
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from benches import bench_of
from networks import convolutional
from safetensors.numpy import load_file, save_file

from onnxsens.engine import carrying
from onnxsens.engine.carrying import Carried, Order, RunCarrier, methods_for
from onnxsens.engine.input_moments import InputMoments
from onnxsens.engine.methods import METHODS
from onnxsens.engine.tensor_file import read_tensors, write_tensors
from onnxsens.errors import OnnxsensError, PlanError
from onnxsens.station import Station

WEIGHTS = ("first", "depthwise", "up", "head")
ORDER = Order(tuple((name, 0.5) for name in WEIGHTS), "obs", "reconstruct", 16)


def carrier_of(bench: Station, folder: Path | None, told: list[str] | None = None) -> RunCarrier:
    return RunCarrier(
        bench.runner,
        bench.moments,
        bench.shifts,
        bench.split.search,
        folder,
        2**30,
        0,
        (told if told is not None else []).append,
    )


def same(one: Carried, other: Carried) -> bool:
    return replace(one, seconds=0) == replace(other, seconds=0)


def variants(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "variants").iterdir())


def test_an_order_that_was_carried_out_is_read_from_the_folder(tmp_path: Path) -> None:
    with bench_of(convolutional(), tmp_path, (2, 8, 8)) as bench:
        told: list[str] = []
        first = carrier_of(bench, tmp_path / "run", told)
        made = first.carry(ORDER)
        assert set(told) == set(WEIGHTS)
        assert made.name == ORDER.name and list(made.changed) == sorted(first.values(made.name))
        assert first.carry(ORDER) is made
        told.clear()
        second = carrier_of(bench, tmp_path / "run", told)
        found = second.carry(ORDER)
        assert not told and found == made  # with the seconds that it took then
        for name, values in first.values(made.name).items():
            kept = second.values(made.name)[name]
            assert (kept.dtype, kept.shape, kept.tobytes()) == (values.dtype, values.shape, values.tobytes())
        third = carrier_of(bench, tmp_path / "run")
        assert third.values(made.name).keys() == set(made.changed)  # without having carried it out itself
        assert third.compressed(made.name) == first.compressed(made.name)
        assert set(first.compressed(made.name)) == set(WEIGHTS)
        assert variants(tmp_path / "run") == [f"{made.name}.json", f"{made.name}.safetensors"]


def test_in_memory_and_in_a_folder_the_same_order_has_the_same_bytes(tmp_path: Path) -> None:
    with bench_of(convolutional(), tmp_path, (2, 8, 8)) as bench:
        one, other = carrier_of(bench, None), carrier_of(bench, tmp_path / "run")
        assert same(one.carry(ORDER), other.carry(ORDER))
        for name, values in one.values(ORDER.name).items():
            assert values.tobytes() == other.values(ORDER.name)[name].tobytes()


@pytest.mark.parametrize(
    "change",
    [
        {"levels": (*ORDER.levels[:-1], ("head", 0.51))},
        {"levels": ORDER.levels[:-1]},
        {"technique": "magnitude"},
        {"method": "refit"},
        {"samples": 17},
        {"untouched": ("head",)},
    ],
)
def test_another_order_has_another_name(change: dict[str, object]) -> None:
    assert replace(ORDER, **change).name != ORDER.name
    assert replace(ORDER).name == ORDER.name


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with bench_of(convolutional(), tmp_path, (2, 8, 8)) as bench:
        for folder in (None, tmp_path / "run"):
            with pytest.raises(KeyError):
                carrier_of(bench, folder).values("nothing")


def test_without_its_record_a_file_is_of_a_run_that_was_cut_off_and_is_made_again(tmp_path: Path) -> None:
    with bench_of(convolutional(), tmp_path, (2, 8, 8)) as bench:
        made = carrier_of(bench, tmp_path / "run").carry(ORDER)
        (tmp_path / "run/variants" / f"{made.name}.json").unlink()
        told: list[str] = []
        assert same(carrier_of(bench, tmp_path / "run", told).carry(ORDER), made)
        assert told
        assert len(variants(tmp_path / "run")) == 2


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_a_variant_that_is_not_as_it_was_written_is_made_again(tmp_path: Path, suffix: str, place: float) -> None:
    with bench_of(convolutional(), tmp_path, (2, 8, 8)) as bench:
        first = carrier_of(bench, tmp_path / "run")
        made = first.carry(ORDER)
        path = tmp_path / "run/variants" / f"{made.name}{suffix}"
        content = bytearray(path.read_bytes())
        content[int(place * (len(content) - 1))] ^= 0x11
        path.write_bytes(content)
        told: list[str] = []
        second = carrier_of(bench, tmp_path / "run", told)
        assert same(second.carry(ORDER), made) and told
        for name, values in first.values(made.name).items():
            assert second.values(made.name)[name].tobytes() == values.tobytes()


@pytest.mark.parametrize("damage", ["index.json", "0.npz", "missing"])
def test_moments_that_are_not_as_they_were_written_are_gathered_again(tmp_path: Path, damage: str) -> None:
    with bench_of(convolutional(), tmp_path, (2, 8, 8)) as bench:

        def moments(told: list[str]) -> InputMoments:
            return InputMoments(bench.runner, bench.split.search, 2**30, 0, tmp_path, lambda: told.append("gathering"))

        first = {name: moments([]).of(name) for name in WEIGHTS}
        [folder] = tmp_path.glob("moments-*")
        path = folder / ("1.npz" if damage == "missing" else damage)
        if damage == "missing":
            path.unlink()
        else:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 0x11
            path.write_bytes(content)
        told: list[str] = []
        again = moments(told)
        for name, known in first.items():
            found = again.of(name)
            assert found is not None and known is not None
            assert found.inputs.tobytes() == known.inputs.tobytes()
        assert told == ["gathering"]
        told.clear()
        assert moments(told).without == again.without and not told


def test_a_folder_stays_within_its_budget_and_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with bench_of(convolutional(), tmp_path, (2, 8, 8)) as bench:
        carrier = carrier_of(bench, tmp_path / "run")
        carrier.carry(ORDER)
        [size] = [path.stat().st_size for path in (tmp_path / "run/variants").glob("*.safetensors")]
        monkeypatch.setattr(carrying, "KEPT_BYTES", int(2.5 * size))
        orders = [ORDER, *(replace(ORDER, samples=number) for number in (10, 11, 12))]
        for order in orders[1:]:
            carrier.carry(order)
        kept = {name.split(".")[0] for name in variants(tmp_path / "run")}
        assert kept == {order.name for order in orders[-2:]}
        files = list((tmp_path / "run/variants").glob("*.safetensors"))
        assert sum(path.stat().st_size for path in files) <= carrying.KEPT_BYTES
        # Those that are gone are carried out again.
        told: list[str] = []
        carrier_of(bench, tmp_path / "run", told).carry(ORDER)
        assert told


def test_a_file_of_the_same_name_that_was_left_behind_does_not_keep_others_from_going(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bench_of(convolutional(), tmp_path, (2, 8, 8)) as bench:
        carrier = carrier_of(bench, tmp_path / "run")
        orders = [replace(ORDER, samples=number) for number in (10, 11, 12)]
        for order in orders:
            carrier.carry(order)
        folder = tmp_path / "run/variants"
        (folder / f"{orders[0].name}.json").unlink()
        size = (folder / f"{orders[0].name}.safetensors").stat().st_size
        monkeypatch.setattr(carrying, "KEPT_BYTES", int(2.5 * size))
        carrier_of(bench, tmp_path / "run").carry(orders[0])
        assert {path.stem for path in folder.glob("*.safetensors")} == {orders[0].name, orders[2].name}


def test_an_order_names_weights_that_keep_every_bit(tmp_path: Path) -> None:
    with bench_of(convolutional(), tmp_path, (2, 8, 8)) as bench:
        carrier = carrier_of(bench, None)
        made = carrier.carry(replace(ORDER, untouched=("first", "head")))
        assert not {"first", "head", "first.bias", "head.bias"} & set(made.changed)
        assert {"depthwise", "up"} <= set(made.changed)


def test_only_the_last_samples_of_the_search_split_are_looked_at(tmp_path: Path) -> None:
    with bench_of(convolutional(), tmp_path, (2, 8, 8)) as bench:
        order = replace(ORDER, samples=8)
        expected = carrier_of(bench, None)
        expected.carry(order)
        other = RunCarrier(
            bench.runner, bench.moments, bench.shifts, bench.split.search[-8:], None, 2**30, 0, lambda name: None
        )
        other.carry(order)
        for name, values in expected.values(order.name).items():
            assert values.tobytes() == other.values(order.name)[name].tobytes()


def test_milder_methods_are_those_before_it_and_batchnorm_only_where_there_are_statistics() -> None:
    assert list(methods_for("none", statistics=True)) == ["none"]
    assert list(methods_for("obs", statistics=False)) == ["none", "bias", "obs"]
    assert list(methods_for("reconstruct", statistics=True)) == [
        "none",
        "bias",
        "batchnorm",
        "obs",
        "refit",
        "reconstruct",
    ]
    assert set(methods_for("reconstruct", statistics=True)) <= set(METHODS)


KINDS = [
    *(
        "float64",
        "float32",
        "float16",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint64",
        "uint32",
        "uint16",
        "uint8",
        "bool",
    ),
    *("bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "uint4"),
]


def tensor(kind: str, *shape: int) -> np.ndarray:
    dtype = np.dtype(kind) if kind in np.sctypeDict else np.dtype(getattr(ml_dtypes, kind))
    return np.random.default_rng(3).integers(0, 7, shape).astype(np.float32).astype(dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3, 4), (5,), (), (0, 2), (1, 2, 3, 4)])
@pytest.mark.parametrize("given", [True, False])
def test_tensors_of_every_type_and_shape_come_back_as_they_were(
    kind: str, shape: tuple[int, ...], given: bool, tmp_path: Path
) -> None:
    tensors = {"a": tensor(kind, *shape), "b/c": tensor("float32", 2)}
    write_tensors(tmp_path / "t.safetensors", tensors)
    found = read_tensors(tmp_path / "t.safetensors", tensors if given else None)
    assert found.keys() == tensors.keys()
    for name, values in tensors.items():
        assert (found[name].dtype, found[name].shape) == (values.dtype, values.shape)
        assert found[name].tobytes() == values.tobytes()


def test_a_tensor_that_lies_the_other_way_in_memory_comes_back_by_its_axes(tmp_path: Path) -> None:
    tensors = {kind: tensor(kind, 4, 6).T[::2] for kind in ("float32", "bfloat16")}
    write_tensors(tmp_path / "t.safetensors", tensors)
    for kind, values in read_tensors(tmp_path / "t.safetensors").items():
        np.testing.assert_array_equal(values.astype(np.float32), tensors[kind].astype(np.float32))


def test_the_same_tensors_are_the_same_bytes_in_any_order_and_others_read_the_file(tmp_path: Path) -> None:
    tensors = {name: tensor(kind, 3, 4) for name, kind in (("z", "float16"), ("a", "int8"), ("m", "bfloat16"))}
    write_tensors(tmp_path / "one", tensors)
    write_tensors(tmp_path / "two", dict(reversed(tensors.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    plain = load_file(tmp_path / "one")
    np.testing.assert_array_equal(plain["z"], tensors["z"])
    assert plain["m"].tobytes() == tensors["m"].tobytes()


@pytest.mark.parametrize("kept", [0, 4, 8, 40, -1])
def test_a_file_that_is_cut_off_is_refused(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    write_tensors(path, {"a": tensor("float32", 50)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(PlanError, match=r"cannot be read: .*; write the plan again"):
        read_tensors(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 100, b"\xff" * 100, json.dumps({"a": 1}).encode() * 9])
def test_what_is_no_such_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.safetensors").write_bytes(content)
    with pytest.raises(PlanError, match="cannot be read"):
        read_tensors(tmp_path / "t.safetensors")


def test_a_file_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(OnnxsensError):
        read_tensors(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    "metadata",
    ["{", "[]", '{"b": {"dtype": "bfloat16", "shape": [1]}}', '{"a": {"dtype": "odd", "shape": [1]}}', '{"a": {}}'],
)
def test_a_file_whose_record_of_types_does_not_fit_is_refused(metadata: str, tmp_path: Path) -> None:
    save_file({"a": tensor("uint8", 8)}, tmp_path / "t.safetensors", {"as_bytes": metadata})
    with pytest.raises(PlanError, match="cannot be read"):
        read_tensors(tmp_path / "t.safetensors")
