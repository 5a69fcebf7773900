"""What ran, how often and on what shapes: against models whose answer is known by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import IR_VERSION, OPSET, convolutional, saved, with_dead_weight, with_idle_branch
from onnx import TensorProto, helper, numpy_helper
from stored_ways import ENCODINGS

from onnxsens.data import Preprocessing, open_dataset
from onnxsens.engine import ModelRunner
from onnxsens.engine import executions as module
from onnxsens.engine.executions import Execution, Recorded, executions
from onnxsens.engine.providers import CPU, Provider
from onnxsens.engine.sessions import Recipe, open_session
from onnxsens.engine.shapes import executed_weights, measure_macs
from onnxsens.errors import ModelError
from onnxsens.model import load_model, take_inventory
from onnxsens.model.interface import feedable

ONES = {"x": np.ones((2, 3), np.float32)}


def info(name: str, shape: list[object], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def matmul(token: str, weight: str, result: str, data: str = "x") -> onnx.NodeProto:
    return helper.make_node("MatMul", [data, weight], [result], name=token)


def weights(**shapes: tuple[int, ...]) -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in shapes.items()]


def file_of(
    graph: onnx.GraphProto, path: Path, functions: tuple[onnx.FunctionProto, ...] = (), domain: str = ""
) -> Path:
    opsets = [helper.make_opsetid("", OPSET)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return saved(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, functions=list(functions)), path)


def recorded(path: Path) -> Recorded:
    """Sessions of a file as it is, with nothing optimised."""
    provider = Provider(CPU, "for tests")
    return lambda profile: open_session(path, load_model(path), provider, Recipe(CPU, 1, 1, "none"), profile=profile)


def with_branches(path: Path) -> Path:
    """`x @ then` where `flag` holds, else `x @ otherwise`, through bodies of an If."""
    then = helper.make_graph([matmul("t#1", "then", "a")], "then", [], [info("a", ["N", 4])])
    other = helper.make_graph([matmul("t#2", "otherwise", "b")], "else", [], [info("b", ["N", 4])])
    node = helper.make_node("If", ["flag"], ["y"], then_branch=then, else_branch=other)
    inputs = [info("x", ["N", 3]), info("flag", [], TensorProto.BOOL)]
    graph = helper.make_graph([node], "made", inputs, [info("y", ["N", 4])], weights(then=(3, 4), otherwise=(3, 4)))
    return file_of(graph, path)


def test_only_the_branch_that_is_taken_runs(tmp_path: Path) -> None:
    path = with_branches(tmp_path / "m.onnx")
    taken = Execution(((2, 3), (3, 4)), ((2, 4),))
    for flag, runs in ((True, {"t#1": [taken], "t#2": []}), (False, {"t#1": [], "t#2": [taken]})):
        assert executions(recorded(path), ["t#1", "t#2"], [ONES | {"flag": np.array(flag)}]) == runs


def test_several_feeds_add_up_whatever_fits_into_one_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = with_branches(tmp_path / "m.onnx")
    feeds = [ONES | {"flag": np.array(number % 3 == 0)} for number in range(7)]
    for most in (10**6, 60):
        monkeypatch.setattr(module, "MOST_EVENTS", most)
        ran = executions(recorded(path), ["t#1", "t#2"], feeds)
        assert (len(ran["t#1"]), len(ran["t#2"])) == (3, 4)


def test_a_profile_that_is_full_is_an_error_and_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = with_branches(tmp_path / "m.onnx")
    monkeypatch.setattr(module, "MOST_EVENTS", 5)
    with pytest.raises(ModelError, match="more nodes on these samples than a profile holds"):
        executions(recorded(path), ["t#1"], [ONES | {"flag": np.array(True)}])


def test_a_loop_counts_every_iteration(tmp_path: Path) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["still"]), matmul("t#1", "w", "after", "state")],
        "body",
        [info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL), info("state", ["N", 3])],
        [info("still", [], TensorProto.BOOL), info("after", ["N", 3])],
    )
    loop = helper.make_node("Loop", ["times", "", "x"], ["y"], body=body)
    inputs = [info("x", ["N", 3]), info("times", [], TensorProto.INT64)]
    graph = helper.make_graph([loop], "made", inputs, [info("y", ["N", 3])], weights(w=(3, 3)))
    path = file_of(graph, tmp_path / "m.onnx")
    for times in (0, 1, 5):
        ran = executions(recorded(path), ["t#1"], [ONES | {"times": np.array(times)}])
        assert ran == {"t#1": [Execution(((2, 3), (3, 3)), ((2, 3),))] * times}


def test_a_scan_counts_every_step(tmp_path: Path) -> None:
    body = helper.make_graph(
        [matmul("t#1", "w", "row", "step"), helper.make_node("Identity", ["state"], ["after"])],
        "body",
        [info("state", [1]), info("step", ["N", 3])],
        [info("after", [1]), info("row", ["N", 4])],
    )
    scan = helper.make_node("Scan", ["start", "x"], ["end", "y"], body=body, num_scan_inputs=1)
    inputs = [info("start", [1]), info("x", ["T", "N", 3])]
    graph = helper.make_graph([scan], "made", inputs, [info("y", ["T", "N", 4])], weights(w=(3, 4)))
    feed = {"start": np.zeros(1, np.float32), "x": np.ones((6, 2, 3), np.float32)}
    ran = executions(recorded(file_of(graph, tmp_path / "m.onnx")), ["t#1"], [feed])
    assert ran == {"t#1": [Execution(((2, 3), (3, 4)), ((2, 4),))] * 6}


def test_a_function_counts_every_call_named_or_not(tmp_path: Path) -> None:
    function = helper.make_function(
        "made.here", "Twice", ["a", "w"], ["b"], [matmul("t#1", "w", "b", "a")], [helper.make_opsetid("", OPSET)]
    )
    calls = [
        helper.make_node("Twice", ["x", "w"], ["h"], domain="made.here", name="first"),
        helper.make_node("Twice", ["h", "w"], ["y"], domain="made.here"),
    ]
    graph = helper.make_graph(calls, "made", [info("x", ["N", 3])], [info("y", ["N", 3])], weights(w=(3, 3)))
    path = file_of(graph, tmp_path / "m.onnx", (function,), "made.here")
    assert len(executions(recorded(path), ["t#1"], [ONES])["t#1"]) == 2


def test_a_token_is_not_taken_for_a_longer_one(tmp_path: Path) -> None:
    nodes = [matmul("t#1", "w", "a"), matmul("t#12", "w", "b"), helper.make_node("Add", ["a", "b"], ["y"])]
    graph = helper.make_graph(nodes, "made", [info("x", ["N", 3])], [info("y", ["N", 4])], weights(w=(3, 4)))
    ran = executions(recorded(file_of(graph, tmp_path / "m.onnx")), ["t#1", "t#12"], [ONES])
    assert {token: len(runs) for token, runs in ran.items()} == {"t#1": 1, "t#12": 1}


def test_a_name_that_breaks_a_line_or_a_quote_hides_nothing(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["h"], name='a"\n,"input_type_shape" : [{"float":[9]}]\x1b'),
        matmul("t#1", "w", "y", "h"),
    ]
    graph = helper.make_graph(nodes, "made", [info("x", ["N", 3])], [info("y", ["N", 4])], weights(w=(3, 4)))
    ran = executions(recorded(file_of(graph, tmp_path / "m.onnx")), ["t#1"], [ONES])
    assert ran["t#1"] == [Execution(((2, 3), (3, 4)), ((2, 4),))]


def test_inputs_that_are_left_out_have_no_shape(tmp_path: Path) -> None:
    nodes = [helper.make_node("Clip", ["x", "", "top"], ["y"], name="t#1")]
    graph = helper.make_graph(nodes, "made", [info("x", ["N", 3])], [info("y", ["N", 3])], weights(top=()))
    ran = executions(recorded(file_of(graph, tmp_path / "m.onnx")), ["t#1"], [ONES])
    assert ran["t#1"] == [Execution(((2, 3), ()), ((2, 3),))]


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = with_branches(tmp_path / "m.onnx")
    private = tmp_path / "temporary"
    private.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(private))
    executions(recorded(path), ["t#1"], [ONES | {"flag": np.array(True)}])
    with pytest.raises(ModelError, match="cannot run"):
        executions(recorded(path), ["t#1"], [ONES])
    assert list(private.iterdir()) == []


@contextmanager
def runner_of(proto: onnx.ModelProto, folder: Path) -> Iterator[ModelRunner]:
    """Over 12 random samples, four in a batch."""
    model = load_model(saved(proto, folder / "m.onnx"))
    dataset = open_dataset("random:12", feedable(model.proto.graph), Preprocessing())
    runner = ModelRunner(model, take_inventory(model), dataset, Provider(CPU, "for tests"), Recipe(CPU, 1, 4))
    try:
        yield runner
    finally:
        runner.close()


def macs_of(proto: onnx.ModelProto, folder: Path) -> dict[str, int]:
    with runner_of(proto, folder) as runner:
        return measure_macs(runner, np.arange(1))


class TestMacs:
    def test_a_convolutional_net_by_hand(self, tmp_path: Path) -> None:
        assert macs_of(convolutional(), tmp_path) == {
            "first": 72 * 64,
            "depthwise": 36 * 64,
            "up": 48 * 64,
            "head": 30,
        }

    def test_padding_of_a_fixed_batch_does_not_count(self, tmp_path: Path) -> None:
        assert macs_of(convolutional(batch=4), tmp_path)["head"] == 30

    def test_a_node_that_nothing_reads_costs_nothing(self, tmp_path: Path) -> None:
        assert macs_of(with_idle_branch(), tmp_path) == {"live": 18, "idle": 0}

    def test_every_round_of_a_loop_counts_and_a_branch_not_taken_does_not(self, tmp_path: Path) -> None:
        inside = ENCODINGS["in_a_loop"]().proto
        assert macs_of(inside, tmp_path) == {"start": 24, "y/body/w": 2 * 24}
        inside = ENCODINGS["initializer_in_a_branch"]().proto
        assert macs_of(inside, tmp_path) == {"nothing": 0, "y/then_branch/w": 24}

    def test_a_part_of_what_an_operator_is_given_counts_its_part(self, tmp_path: Path) -> None:
        joined = ENCODINGS["concatenated"]().proto
        assert macs_of(joined, tmp_path) == {"a": 6, "b": 18}


def test_what_runs_for_nothing_is_told_from_what_does_not_run(tmp_path: Path) -> None:
    for proto, executed in (
        (with_dead_weight(), {"live", "dead"}),
        (with_idle_branch(), {"live"}),
        (ENCODINGS["initializer_in_a_branch"]().proto, {"y/then_branch/w"}),
    ):
        with runner_of(proto, tmp_path) as runner:
            assert executed_weights(runner, np.arange(12)) == executed
