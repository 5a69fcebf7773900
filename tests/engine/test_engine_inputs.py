"""Inputs of every form, against a loop over single samples that shares no code with the package."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from networks import IR_VERSION, normal, saved
from onnx import TensorProto, helper, numpy_helper

from onnxsens.data import open_dataset, with_dims
from onnxsens.engine import ModelRunner, Recipe, choose_provider
from onnxsens.engine.questions import Change, Question
from onnxsens.errors import DataError, ModelError, OnnxsensError
from onnxsens.model import load_model, take_inventory
from onnxsens.model.interface import feedable
from onnxsens.options import Options
from onnxsens.scan import Nobody
from onnxsens.station import Station

SAMPLES = 10
HIDDEN = 5

Arrays = dict[str, np.ndarray]
F32, I64 = TensorProto.FLOAT, TensorProto.INT64


def made(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[tuple[str, int, Sequence[Any] | None]],
    weights: Arrays,
    opset: int = 17,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "made",
        list(inputs),
        [helper.make_tensor_value_info(*output) for output in outputs],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)


def info(name: str, kind: int, shape: Sequence[Any] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def embedded() -> onnx.ModelProto:
    """float32 [N, 6] and int64 [N, 3] ids."""
    weights = {"table": normal(rng(), 7, 4), "w": normal(rng(), 6, 4), "head": normal(rng(), 4, 3)}
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("ReduceMean", ["e"], ["m"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "m"], ["s"]),
        helper.make_node("MatMul", ["s", "head"], ["y"]),
    ]
    return made(nodes, [info("x", F32, ["N", 6]), info("ids", I64, ["N", 3])], [("y", F32, ["N", 3])], weights)


def masked() -> onnx.ModelProto:
    weights = {"w": normal(rng(), 6, 3), "zero": np.zeros(1, np.float32)}
    nodes = [
        helper.make_node("Where", ["keep", "x", "zero"], ["a"]),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
    ]
    inputs = [info("x", F32, ["N", 6]), info("keep", TensorProto.BOOL, ["N", 6])]
    return made(nodes, inputs, [("y", F32, ["N", 3])], weights)


def recurrent(batch: Any = "N", x_shape: Sequence[Any] | None = None) -> onnx.ModelProto:
    """A bidirectional GRU over x [batch, 4, 3] that begins with state [2, batch, hidden]."""
    weights = {
        "W": normal(rng(), 2, 3 * HIDDEN, 3),
        "R": normal(rng(), 2, 3 * HIDDEN, HIDDEN),
        "B": normal(rng(), 2, 6 * HIDDEN),
        "head": normal(rng(), 2 * HIDDEN, 3),
        "flat": np.array([0, 2 * HIDDEN], np.int64),
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node(
            "GRU", ["t", "W", "R", "B", "", "state"], ["", "h"], hidden_size=HIDDEN, direction="bidirectional"
        ),
        helper.make_node("Transpose", ["h"], ["u"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["u", "flat"], ["v"]),
        helper.make_node("MatMul", ["v", "head"], ["y"]),
    ]
    inputs = [info("x", F32, x_shape or [batch, 4, 3]), info("state", F32, [2, batch, HIDDEN])]
    return made(nodes, inputs, [("y", F32, [batch, 3]), ("h", F32, [2, batch, HIDDEN])], weights)


def rated() -> onnx.ModelProto:
    """x [N, 6] plus the single number `rate`."""
    nodes = [
        helper.make_node("Cast", ["rate"], ["r"], to=F32),
        helper.make_node("Add", ["x", "r"], ["a"]),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
    ]
    inputs = [info("rate", I64, []), info("x", F32, ["N", 6])]
    return made(nodes, inputs, [("y", F32, ["N", 3])], {"w": normal(rng(), 6, 3)})


def unbatched(length: Any = "T") -> onnx.ModelProto:
    """x [T] to y [T, 3], and to its largest value."""
    nodes = [
        helper.make_node("Unsqueeze", ["x", "last"], ["a"]),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
        helper.make_node("Tanh", ["b"], ["c"]),
        helper.make_node("MatMul", ["c", "head"], ["y"]),
        helper.make_node("ReduceMax", ["y"], ["top"], keepdims=0),
    ]
    weights = {"w": normal(rng(), 1, 4), "head": normal(rng(), 4, 3), "last": np.array([1], np.int64)}
    outputs = [("y", F32, [length, 3]), ("top", F32, [])]
    return made(nodes, [info("x", F32, [length])], outputs, weights)


def optional() -> onnx.ModelProto:
    """x [N, 6], plus the optional `more` where there is one."""
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(F32, ["N", 6]))
    given = helper.make_graph(
        [helper.make_node("OptionalGetElement", ["more"], ["g"]), helper.make_node("Add", ["x", "g"], ["t"])],
        "given",
        [],
        [info("t", F32, None)],
    )
    empty = helper.make_graph([helper.make_node("Identity", ["x"], ["e"])], "empty", [], [info("e", F32, None)])
    nodes = [
        helper.make_node("OptionalHasElement", ["more"], ["has"]),
        helper.make_node("If", ["has"], ["a"], then_branch=given, else_branch=empty),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
    ]
    inputs = [info("x", F32, ["N", 6]), helper.make_value_info("more", kind)]
    return made(nodes, inputs, [("y", F32, ["N", 3])], {"w": normal(rng(), 6, 3)}, opset=18)


def looping() -> onnx.ModelProto:
    """x times `w`, as often as `trips` says."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("MatMul", ["before", "square"], ["product"]),
            helper.make_node("Tanh", ["product"], ["after"]),
        ],
        "body",
        [info("i", I64, []), info("go", TensorProto.BOOL, []), info("before", F32, None)],
        [info("on", TensorProto.BOOL, []), info("after", F32, None)],
    )
    nodes = [
        helper.make_node("Loop", ["trips", "", "x"], ["a"], body=body),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
    ]
    inputs = [info("x", F32, ["N", 6]), info("trips", I64, [])]
    weights = {"square": normal(rng(), 6, 6), "w": normal(rng(), 6, 3)}
    return made(nodes, inputs, [("y", F32, ["N", 3])], weights)


def with_default() -> onnx.ModelProto:
    """All initializers are listed as inputs too, as older exporters do."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Add", ["a", "shift"], ["y"])]
    inputs = [info("x", F32, ["N", 6]), info("w", F32, [6, 3]), info("shift", F32, [3])]
    weights = {"w": normal(rng(), 6, 3), "shift": normal(rng(), 3)}
    return made(nodes, inputs, [("y", F32, ["N", 3])], weights)


def floats(*shape: int, seed: int = 5) -> np.ndarray:
    return normal(np.random.default_rng(seed), *shape)


@dataclass(frozen=True)
class Case:
    """A model, its data, and one sample of it as the model takes it alone."""

    model: Callable[[], onnx.ModelProto]
    arrays: Callable[[], Arrays]
    one: Callable[[Arrays, int], Arrays]
    batched: bool = True
    runs_alone: bool = False


def states() -> Arrays:
    return {"x": floats(SAMPLES, 4, 3), "state": floats(SAMPLES, 2, HIDDEN, seed=6)}


def one_state(data: Arrays, i: int) -> Arrays:
    return {"x": data["x"][i : i + 1], "state": data["state"][i][:, None]}


def row(*names: str) -> Callable[[Arrays, int], Arrays]:
    return lambda data, i: {name: data[name][i : i + 1] for name in names}


CASES = {
    "two types": Case(
        embedded, lambda: {"x": floats(SAMPLES, 6), "ids": rng().integers(0, 7, (SAMPLES, 3))}, row("x", "ids")
    ),
    "mask": Case(masked, lambda: {"x": floats(SAMPLES, 6), "keep": floats(SAMPLES, 6) > 0}, row("x", "keep")),
    "state": Case(recurrent, states, one_state),
    "state of axes without names": Case(lambda: recurrent(None), states, one_state),
    "whole states": Case(
        recurrent,
        lambda: {"x": floats(SAMPLES, 4, 3), "state": floats(SAMPLES, 2, 1, HIDDEN)},
        lambda data, i: {"x": data["x"][i : i + 1], "state": data["state"][i]},
        runs_alone=True,
    ),
    "everything whole": Case(
        recurrent,
        lambda: {"x": floats(SAMPLES, 1, 4, 3), "state": floats(SAMPLES, 2, 1, HIDDEN)},
        lambda data, i: {"x": data["x"][i], "state": data["state"][i]},
        batched=False,
        runs_alone=True,
    ),
    "a number for each sample": Case(
        rated,
        lambda: {"x": floats(SAMPLES, 6), "rate": np.arange(SAMPLES)},
        lambda data, i: {"x": data["x"][i : i + 1], "rate": np.array(data["rate"][i])},
        runs_alone=True,
    ),
    "equal numbers": Case(
        rated,
        lambda: {"x": floats(SAMPLES, 6), "rate": np.full(SAMPLES, 3)},
        lambda data, i: {"x": data["x"][i : i + 1], "rate": np.array(3)},
    ),
    "one number for all": Case(
        rated,
        lambda: {"x": floats(SAMPLES, 6), "rate": np.array(3)},
        lambda data, i: {"x": data["x"][i : i + 1], "rate": data["rate"]},
    ),
    "no batch": Case(
        unbatched,
        lambda: {"x": floats(SAMPLES, 7)},
        lambda data, i: {"x": data["x"][i]},
        batched=False,
        runs_alone=True,
    ),
    "no batch, fixed": Case(
        lambda: unbatched(7),
        lambda: {"x": floats(SAMPLES, 7)},
        lambda data, i: {"x": data["x"][i]},
        batched=False,
        runs_alone=True,
    ),
    "optional, given": Case(
        optional, lambda: {"x": floats(SAMPLES, 6), "more": floats(SAMPLES, 6, seed=9)}, row("x", "more")
    ),
    "optional, not given": Case(
        optional, lambda: {"x": floats(SAMPLES, 6)}, lambda data, i: {"x": data["x"][i : i + 1], "more": None}
    ),
    "trip count": Case(
        looping,
        lambda: {"x": floats(SAMPLES, 6), "trips": np.array([0, 1, 2, 3, 1, 0, 2, 2, 3, 1])},
        lambda data, i: {"x": data["x"][i : i + 1], "trips": np.array(data["trips"][i])},
        runs_alone=True,
    ),
    "default": Case(with_default, lambda: {"x": floats(SAMPLES, 6)}, row("x")),
}


RunnerOf = Callable[..., ModelRunner]


@pytest.fixture
def runner_of(tmp_path: Path) -> Iterator[RunnerOf]:
    """Makes runners over a model and arrays, and closes them."""
    with ExitStack() as stack:

        def make(proto: onnx.ModelProto, arrays: Arrays, batch_size: int = 4) -> ModelRunner:
            runner = opened(proto, tmp_path, arrays, batch_size)
            stack.callback(runner.close)
            return runner

        yield make


def opened(proto: onnx.ModelProto, folder: Path, arrays: Arrays, batch_size: int) -> ModelRunner:
    model = load_model(saved(proto, folder / "m.onnx"))
    np.savez(folder / "d.npz", **arrays)
    dataset = open_dataset(str(folder / "d.npz"), feedable(model.proto.graph))
    provider = choose_provider("cpu")
    return ModelRunner(model, take_inventory(model), dataset, provider, Recipe(provider.name, 1, batch_size))


def joined(parts: Any) -> Arrays:
    kept = list(parts)
    return {name: np.concatenate([part[name] for part in kept]) for name in kept[0]}


def naive(path: Path, feeds: Sequence[Arrays]) -> list[Arrays]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, session.run(names, feed), strict=True)) for feed in feeds]


@pytest.mark.parametrize("batch_size", [1, 4, 32])
@pytest.mark.parametrize("name", CASES)
def test_outputs_equal_those_of_samples_fed_one_by_one(
    name: str, batch_size: int, tmp_path: Path, runner_of: RunnerOf
) -> None:
    case = CASES[name]
    data = case.arrays()
    runner = runner_of(case.model(), data, batch_size)
    order = np.array([7, 0, 3, 3, 9, 1, 2, 4, 5, 8, 6])
    found = joined(runner.outputs({}, order))
    assert runner.dataset.run_size == (1 if case.runs_alone else None)
    expected = naive(tmp_path / "m.onnx", [case.one(data, int(i)) for i in order])
    assert "y" in found
    for output in found:
        wanted = [one[output][None] if not case.batched else one[output] for one in expected]
        np.testing.assert_allclose(found[output], np.concatenate(wanted), rtol=1e-5, atol=1e-6)
    assert ("top" in found) == (not case.batched and name.startswith("no batch"))
    for saved_run, run in zip(runner.saved_outputs({}, order), runner.all_outputs({}, order), strict=True):
        assert saved_run.keys() == run.keys()
        for output, values in run.items():
            np.testing.assert_allclose(saved_run[output], values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_a_changed_weight_is_run_as_the_dense_one_is(name: str, tmp_path: Path, runner_of: RunnerOf) -> None:
    case = CASES[name]
    data = case.arrays()
    proto = case.model()
    runner = runner_of(proto, data)
    weight = "head" if "head" in runner.model.initializers else "w"
    changed = runner.model.array(weight) * np.float32(0.5)
    found = joined(runner.outputs({weight: changed}, np.arange(SAMPLES)))["y"]
    for tensor in proto.graph.initializer:
        if tensor.name == weight:
            tensor.CopyFrom(numpy_helper.from_array(changed, weight))
    expected = naive(saved(proto, tmp_path / "changed.onnx"), [case.one(data, i) for i in range(SAMPLES)])
    wanted = [one["y"] if case.batched else one["y"][None] for one in expected]
    np.testing.assert_allclose(found, np.concatenate(wanted), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_with_a_second_fixed_state_is_cut_and_padded(
    batch: int, tmp_path: Path, runner_of: RunnerOf
) -> None:
    data = states()
    runner = runner_of(recurrent(batch), data)
    assert runner.batch_size == batch
    assert runner.feed(np.arange(1))["state"].shape == (2, batch, HIDDEN)
    found = joined(runner.outputs({}, np.arange(SAMPLES)))
    assert set(found) == {"y"}  # `h` has its batch elsewhere
    free = saved(recurrent(), tmp_path / "free.onnx")
    expected = naive(free, [one_state(data, i) for i in range(SAMPLES)])
    np.testing.assert_allclose(found["y"], np.concatenate([one["y"] for one in expected]), rtol=1e-5, atol=1e-6)


def test_no_state_goes_from_one_run_to_the_next(runner_of: RunnerOf) -> None:
    runner = runner_of(recurrent(), states(), 1)
    forth = joined(runner.outputs({}, np.arange(SAMPLES)))["y"]
    back = joined(runner.outputs({}, np.arange(SAMPLES)[::-1]))["y"]
    np.testing.assert_array_equal(forth, back[::-1])


def test_what_is_the_same_for_all_samples_is_fed_once_to_a_batch(runner_of: RunnerOf) -> None:
    data = {"x": floats(SAMPLES, 6), "rate": np.full(SAMPLES, 3)}
    runner = runner_of(rated(), data)
    feed = runner.feed(np.arange(4))
    assert feed["x"].shape == (4, 6)
    assert feed["rate"].shape == ()


@pytest.mark.parametrize("ir_version", [3, 8])
@pytest.mark.parametrize("whole", [True, False])
def test_an_initializer_that_is_an_input_takes_what_the_data_has(
    whole: bool, ir_version: int, runner_of: RunnerOf
) -> None:
    proto = with_default()
    proto.ir_version = ir_version
    shifts = floats(SAMPLES, 3) if not whole else np.repeat(floats(1, 3), SAMPLES, axis=0)
    data = {"x": floats(SAMPLES, 6), "shift": shifts}
    runner = runner_of(proto, data)
    assert runner.notes == ["the data replaces the stored value of 'shift'"]
    w = numpy_helper.to_array(proto.graph.initializer[0])
    found = joined(runner.outputs({}, np.arange(SAMPLES)))["y"]
    np.testing.assert_allclose(found, data["x"] @ w + shifts, rtol=1e-5, atol=1e-6)
    zeros = {"w": np.zeros_like(w)}
    np.testing.assert_allclose(joined(runner.outputs(zeros, np.arange(SAMPLES)))["y"], shifts, rtol=1e-6)
    np.testing.assert_allclose(
        np.concatenate([run["y"] for run in runner.saved_outputs(zeros, np.arange(SAMPLES))])[:SAMPLES],
        shifts,
        rtol=1e-6,
    )


def test_data_for_a_weight_that_is_to_be_pruned_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=floats(SAMPLES, 6), w=floats(SAMPLES, 6, 3))
    path = saved(with_default(), tmp_path / "m.onnx")
    with pytest.raises(DataError, match="an array for 'w', a weight that is to be pruned; leave it out"):
        Station(path, Options(data=str(tmp_path / "d.npz"), provider="cpu"))


def lengths(kind: onnx.TypeProto) -> onnx.ModelProto:
    """x [N, 6], and `more` of a type that is no tensor of numbers."""
    inputs = [info("x", F32, ["N", 6]), helper.make_value_info("more", kind)]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return made([node], inputs, [("y", F32, ["N", 3])], {"w": normal(rng(), 6, 3)})


TENSOR = helper.make_tensor_type_proto(F32, ["N", 6])
REFUSED = {
    "string": (helper.make_tensor_type_proto(TensorProto.STRING, ["N"]), r"is of string \[N\].*text processing"),
    "sequence": (helper.make_sequence_type_proto(TENSOR), "is of sequence of float32 tensors;.*export the model"),
    "map": (helper.make_map_type_proto(I64, TENSOR), "is of map from int64 to float32;"),
    "bfloat16": (helper.make_tensor_type_proto(TensorProto.BFLOAT16, ["N"]), r"is of bfloat16 \[N\].*float32 inputs"),
    "float8": (helper.make_tensor_type_proto(TensorProto.FLOAT8E5M2, ["N"]), r"is of float8e5m2 \[N\]"),
    "int4": (helper.make_tensor_type_proto(TensorProto.INT4, ["N"]), r"is of int4 \[N\]"),
    "sparse": (helper.make_sparse_tensor_type_proto(F32, ["N"]), "is of sparse float32 tensor;"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("data", ["d.npz", "random:4"])
def test_an_input_that_cannot_be_fed_is_named_before_anything_runs(kind: str, data: str, tmp_path: Path) -> None:
    proto, message = REFUSED[kind]
    np.savez(tmp_path / "d.npz", x=floats(SAMPLES, 6), more=floats(SAMPLES, 6))
    path = saved(lengths(proto), tmp_path / "m.onnx")
    spec = str(tmp_path / data) if data == "d.npz" else data
    with pytest.raises(DataError, match="input 'more' of the model " + message) as caught:
        Station(path, Options(data=spec, provider="cpu"))
    assert "\n" not in str(caught.value)


def spoken(numbers: bool) -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Cast", ["y"], ["text"], to=TensorProto.STRING),
        helper.make_node("Cast", ["y"], ["brain"], to=TensorProto.BFLOAT16),
        helper.make_node("SequenceConstruct", ["y", "y"], ["all"]),
    ]
    outputs: list[tuple[str, int, Sequence[Any] | None]] = [
        ("text", TensorProto.STRING, ["N", 3]),
        ("brain", TensorProto.BFLOAT16, ["N", 3]),
    ]
    proto = made(
        nodes, [info("x", F32, ["N", 6])], outputs + ([("y", F32, ["N", 3])] if numbers else []), {"w": floats(6, 3)}
    )
    sequence = helper.make_sequence_type_proto(helper.make_tensor_type_proto(F32, None))
    proto.graph.output.append(helper.make_value_info("all", sequence))
    return proto


def test_outputs_that_are_no_numbers_are_left_out_with_a_note(runner_of: RunnerOf) -> None:
    runner = runner_of(spoken(numbers=True), {"x": floats(SAMPLES, 6)})
    assert list(joined(runner.outputs({}, np.arange(SAMPLES)))) == ["y"]
    [note] = runner.notes
    assert note == (
        "left out, since no metric can read it: "
        "'text' is tensor(string), 'brain' is tensor(bfloat16), 'all' is seq(tensor(float))"
    )


def test_a_model_with_no_other_outputs_is_refused(runner_of: RunnerOf) -> None:
    runner = runner_of(spoken(numbers=False), {"x": floats(SAMPLES, 6)})
    with pytest.raises(ModelError, match="is one that a metric can read: 'text' is tensor"):
        list(runner.outputs({}, np.arange(SAMPLES)))


def of_many_shapes() -> onnx.ModelProto:
    """`a` is of one shape; `y` has as many columns as x has numbers that are not 0."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("NonZero", ["x"], ["y"]),
    ]
    outputs = [("y", I64, [2, None]), ("a", F32, ["T", 3])]
    return made(nodes, [info("x", F32, ["T", 6])], outputs, {"w": floats(6, 3)})


def test_outputs_of_many_shapes_are_left_out_or_refused_by_name(tmp_path: Path) -> None:
    path = saved(of_many_shapes(), tmp_path / "m.onnx")
    ones = np.ones((16, 1, 6), np.float32)
    ones[::2, 0, :3] = 0
    np.savez(tmp_path / "d.npz", x=ones)
    options = Options(data=str(tmp_path / "d.npz"), provider="cpu", threads=1, metrics=("dense-mse",))
    watched = Watcher()
    with Station(path, options, observer=watched) as bench:
        assert bench.outlook.reading.output == "a"
        answer = bench.evaluator.answer(Question((Change("w", "magnitude", 0.5),), "search", (0, 3), ("dense-mse",)))
        assert answer.measurements["dense-mse"].drop > 0
    assert any("output 'y' is left out: it is [2, 3] for some samples, [2, 6] for others" in n for n in watched.notes)
    with pytest.raises(OnnxsensError, match="'y'"), Station(path, replace(options, output="y")) as bench:
        pass


class Watcher(Nobody):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_an_output_of_another_named_axis_is_no_batch_even_where_it_is_as_long(runner_of: RunnerOf) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Transpose", ["a"], ["steps"], perm=[1, 0, 2]),
    ]
    proto = made(
        nodes,
        [info("x", F32, ["N", "T", 6])],
        [("a", F32, ["N", "T", 3]), ("steps", F32, ["T", "N", 3])],
        {"w": floats(6, 3)},
    )
    runner = runner_of(proto, {"x": floats(SAMPLES, 4, 6)})
    assert all(list(part) == ["a"] for part in runner.outputs({}, np.arange(SAMPLES)))


RANDOM = {
    "two types": (embedded, {}),
    "mask": (masked, {}),
    "state": (recurrent, {}),
    "unnamed": (lambda: recurrent(None), {}),
    "fixed": (lambda: recurrent(4), {}),
    "number": (rated, {}),
    "trips": (looping, {}),
    "optional": (optional, {}),
    "default": (with_default, {}),
    "named axis": (lambda: recurrent("N", ["N", "T", 3]), {"T": 6}),
    "nameless axis": (lambda: recurrent(None, [None, None, 3]), {"x:1": 6, "state:1": 1}),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_samples_serve_every_form(name: str, tmp_path: Path) -> None:
    model, dims = RANDOM[name]
    path = saved(model(), tmp_path / "m.onnx")
    options = Options(data="random:12", provider="cpu", threads=1, dims=dims, metrics=("dense-mse",), batch_size=5)
    with Station(path, options) as bench:
        assert len(bench.dataset) == 12
        assert bench.outlook.reading.output == "y"
        assert bench.evaluator.effect(bench.inventory.weights[-1].name, 6) == "effective"


def test_an_input_without_an_axis_of_samples_is_drawn_once(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "anchors"], ["y"]),
    ]
    inputs = [info("x", F32, ["N", 6]), info("anchors", F32, [3, 4])]
    proto = made(nodes, inputs, [("y", F32, ["N", 4])], {"w": floats(6, 3)})
    specs = with_dims(feedable(proto.graph), {})
    dataset = open_dataset("random:8", specs)
    assert dataset.run_size is None
    feed = dataset.feed(np.arange(5))
    assert {name: values.shape for name, values in feed.items()} == {"x": (5, 6), "anchors": (3, 4)}
    np.savez(tmp_path / "d.npz", x=floats(3, 6), anchors=floats(3, 4))
    with pytest.raises(DataError, match=r"with no axis for samples; give every sample all of it: save 3 dimensions"):
        open_dataset(str(tmp_path / "d.npz"), specs)
