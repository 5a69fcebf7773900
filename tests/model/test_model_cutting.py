"""Cutting: what is downstream of a weight, and parts that together compute what the whole computes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from networks import convolutional, model_of, noisy, normal, tied, with_idle_branch
from onnx import TensorProto, helper, numpy_helper

from onnxsens.arrays import TensorSpec
from onnxsens.model.cutting import CutModel, Wiring


def run(proto: onnx.ModelProto, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {v.name: feed[v.name] for v in session.get_inputs()}), strict=True))


def floats(*names: str) -> dict[str, TensorSpec]:
    return {name: TensorSpec(name, np.dtype(np.float32), None) for name in names}


def operators(part: CutModel) -> list[str]:
    return [node.op_type for node in part.proto.graph.node]


def branches() -> onnx.ModelProto:
    """Two branches from a shared start; the second through a constant that is computed; joined, with a shape read."""
    rng = np.random.default_rng(0)
    weights = {
        "start": normal(rng, 6, 6),
        "one": normal(rng, 6, 6),
        "steps": np.arange(36, dtype=np.int8).reshape(6, 6),
        "scale": np.float32(0.01).reshape(()),
        "head": normal(rng, 6, 3),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "start"], ["s"]),
        helper.make_node("DequantizeLinear", ["steps", "scale"], ["two"]),
        helper.make_node("MatMul", ["s", "one"], ["a"]),
        helper.make_node("MatMul", ["s", "two"], ["b"]),
        helper.make_node("Shape", ["s"], ["shape"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Reshape", ["c", "shape"], ["d"]),
        helper.make_node("MatMul", ["d", "head"], ["logits"]),
        helper.make_node("Relu", ["b"], ["other"]),
    ]
    return model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 3], "other": ["N", 6]}, weights)


class TestFrontier:
    def test_it_is_what_downstream_nodes_read_that_depends_on_an_input_and_not_on_the_weight(self) -> None:
        wiring = Wiring(branches())
        wanted = ("logits", "other")
        assert wiring.frontier("start", wanted) == ("x",)
        assert wiring.frontier("one", wanted) == ("s", "b", "shape")
        assert wiring.frontier("steps", wanted) == ("s", "a", "shape")
        assert wiring.frontier("head", wanted) == ("d",)

    def test_only_what_leads_to_the_wanted_outputs_counts(self) -> None:
        wiring = Wiring(branches())
        assert wiring.frontier("steps", ("other",)) == ("s",)
        assert wiring.frontier("one", ("other",)) == ()
        assert "other" not in wiring.downstream("one")
        assert {"other", "logits", "two"} <= wiring.downstream("steps")

    def test_a_tied_weight_is_taken_at_its_first_use(self) -> None:
        wiring = Wiring(tied())
        assert wiring.frontier("shared", ("logits",)) == ("x",)
        assert wiring.first_reader("shared") == 0
        assert wiring.frontier("head", ("logits",)) == ("d",)

    def test_a_weight_that_no_output_depends_on_has_none(self) -> None:
        assert Wiring(with_idle_branch()).frontier("idle", ("logits",)) == ()

    def test_what_a_body_takes_from_outside_is_read_by_its_node(self) -> None:
        info = helper.make_tensor_value_info
        rng = np.random.default_rng(0)
        then = helper.make_graph(
            [helper.make_node("MatMul", ["a", "w"], ["t"])], "then", [], [info("t", TensorProto.FLOAT, None)]
        )
        other = helper.make_graph(
            [helper.make_node("Neg", ["b"], ["e"])], "else", [], [info("e", TensorProto.FLOAT, None)]
        )
        nodes = [
            helper.make_node("Relu", ["x"], ["a"]),
            helper.make_node("Tanh", ["x"], ["b"]),
            helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
            helper.make_node("Less", ["sum", "far"], ["holds"]),
            helper.make_node("If", ["holds"], ["y"], then_branch=then, else_branch=other),
        ]
        weights = {"w": normal(rng, 4, 4), "far": np.float32(9).reshape(())}
        proto = model_of(nodes, {"x": ["N", 4]}, {"y": ["N", 4]}, weights)
        wiring = Wiring(proto)
        assert wiring.frontier("w", ("y",)) == ("a", "b", "holds")
        specs = floats("a", "b") | {"holds": TensorSpec("holds", np.dtype(bool), None)}
        part = wiring.cut(specs, ("y",), {"w": TensorSpec("w", np.dtype(np.float32), (4, 4))})
        assert part.inputs == ("a", "b", "holds", "w")
        x = normal(rng, 3, 4)
        feed = {"a": np.maximum(x, 0), "b": np.tanh(x), "holds": np.array(True), "w": weights["w"]}
        np.testing.assert_array_equal(run(part.proto, feed)["y"], run(proto, {"x": x})["y"])


class TestParts:
    def test_what_is_constant_stays_with_its_readers(self) -> None:
        wiring = Wiring(branches())
        part = wiring.cut(floats("s", "a") | {"shape": TensorSpec("shape", np.dtype(np.int64), None)}, ("logits",))
        assert operators(part) == ["DequantizeLinear", "MatMul", "Add", "Reshape", "MatMul"]
        assert part.initializers == {"steps", "scale", "head"}
        assert part.inputs == ("s", "a", "shape")
        assert part.weight_bytes == 36 + 4 + 18 * 4

    def test_a_weight_can_be_an_input(self) -> None:
        proto = branches()
        head = TensorSpec("head", np.dtype(np.float32), (6, 3))
        part = Wiring(proto).cut(floats("d"), ("logits",), {"head": head})
        assert operators(part) == ["MatMul"]
        assert part.inputs == ("d", "head")
        assert part.initializers == frozenset()
        rng = np.random.default_rng(0)
        d, values = normal(rng, 2, 6), normal(rng, 6, 3)
        np.testing.assert_allclose(run(part.proto, {"d": d, "head": values})["logits"], d @ values, rtol=1e-5)

    def test_any_cut_will_do(self) -> None:
        proto, x = convolutional(), normal(np.random.default_rng(0), 3, 2, 8, 8)
        wiring = Wiring(proto)
        [expected] = run(proto, {"x": x}).values()
        for name in ("a", "b", "c", "d", "e", "f"):
            before = wiring.cut({}, (name,))
            after = wiring.cut(floats(name), ("logits",))
            assert len(operators(before)) + len(operators(after)) == len(proto.graph.node)
            found = run(after.proto, run(before.proto, {"x": x}))["logits"]
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    def test_the_whole_is_cut_from_nothing(self) -> None:
        proto = branches()
        part = Wiring(proto).cut({}, ("logits", "other"))
        assert part.proto.graph.node == proto.graph.node
        assert part.inputs == ("x",)


class TestChain:
    @pytest.mark.parametrize("boundaries", [(), (1,), (0, 2, 3, 7), tuple(range(9))])
    def test_segments_one_after_another_make_what_the_whole_makes(self, boundaries: tuple[int, ...]) -> None:
        proto, x = branches(), normal(np.random.default_rng(0), 3, 6)
        wiring = Wiring(proto)
        targets = {"s", "a", "b", "shape", "d"}
        held: dict[str, Any] = {"x": x}
        made: list[str] = []
        for segment in wiring.chain(boundaries, targets):
            assert set(segment.takes) <= set(held)
            specs = {name: TensorSpec(name, held[name].dtype, None) for name in segment.takes if name != "x"}
            held |= run(wiring.cut(specs, segment.gives).proto, held)
            made += segment.gives
        assert len(made) == len(set(made))
        whole = run(wiring.cut({}, sorted(targets)).proto, {"x": x})
        for name in targets:
            np.testing.assert_allclose(held[name], whole[name], rtol=1e-5)

    def test_no_cut_is_made_where_something_uncrossable_would_cross(self) -> None:
        wiring = Wiring(branches())
        everywhere = len(wiring.chain(range(9), {"d"}))
        assert everywhere == 6
        # `b` is made by the fourth node and read by the sixth: these three are one.
        assert len(wiring.chain(range(9), {"d"}, {"b"})) == 4

    def test_what_no_target_needs_is_left_out(self) -> None:
        [segment] = Wiring(branches()).chain((), {"s"})
        assert segment.takes == ("x",)
        assert segment.gives == ("s",)


class TestRandomness:
    def test_a_model_without_random_operators_has_none(self) -> None:
        assert Wiring(convolutional()).random(libraries=False) is None

    def test_an_operator_that_draws_is_named(self) -> None:
        assert Wiring(noisy()).random(libraries=False) == "operator 'RandomNormalLike' draws random numbers"

    def test_one_in_a_function_is_found(self) -> None:
        proto = tied()
        node = helper.make_node("Bernoulli", ["a"], ["b"])
        opset = [helper.make_opsetid("", 17)]
        proto.functions.append(helper.make_function("own", "Draw", ["a"], ["b"], [node], opset))
        assert "Bernoulli" in (Wiring(proto).random(libraries=False) or "")

    @pytest.mark.parametrize(("training", "random"), [(None, False), (False, False), (True, True), ("input", True)])
    def test_dropout_draws_where_it_may_train(self, training: bool | str | None, random: bool) -> None:
        proto = tied()
        inputs = ["a", "", "mode"] if training is not None else ["a"]
        proto.graph.node.append(helper.make_node("Dropout", inputs, ["dropped"]))
        if training == "input":
            proto.graph.input.append(helper.make_tensor_value_info("mode", TensorProto.BOOL, []))
        elif training is not None:
            proto.graph.initializer.append(numpy_helper.from_array(np.array(training), "mode"))
        assert (Wiring(proto).random(libraries=False) is not None) is random

    def test_nobody_knows_what_a_custom_operator_does(self) -> None:
        proto = tied()
        proto.graph.node.append(helper.make_node("Mystery", ["a"], ["m"], domain="their.own"))
        assert "their.own" in (Wiring(proto).random(libraries=True) or "")
        assert Wiring(proto).random(libraries=False) is None


def test_a_working_copy_is_read_without_its_data(tmp_path: Path) -> None:
    proto = tied()
    onnx.save_model(proto, str(tmp_path / "m.onnx"), save_as_external_data=True, location="w.bin", size_threshold=0)
    (tmp_path / "w.bin").unlink()
    wiring = Wiring.of_file(tmp_path / "m.onnx")
    assert wiring.weight_bytes == (36 + 18) * 4
    assert wiring.frontier("head", ("logits",)) == ("d",)


@pytest.mark.parametrize(("mode", "kept"), [(0, False), (1, True)])
def test_statistics_that_a_session_keeps_are_no_business_of_parts(mode: int, kept: bool) -> None:
    vectors = ["scale", "bias", "mean", "var"]
    outputs = ["y", "running_mean", "running_var"][: 3 if mode else 1]
    node = helper.make_node("BatchNormalization", ["x", *vectors], outputs, training_mode=mode)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])
    stored = [numpy_helper.from_array(np.ones(3, np.float32), name) for name in vectors]
    proto = helper.make_model(helper.make_graph([node], "g", [x], [y], stored))
    why = Wiring(proto).random(libraries=False)
    assert (why is not None) is kept
    assert why is None or "keeps statistics" in why
