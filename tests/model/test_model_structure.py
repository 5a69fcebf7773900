"""Operators that move elements: what we follow is what ONNX Runtime moves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnxsens.model.load import load_model
from onnxsens.model.operand import Operand, whole
from onnxsens.model.structure import STRUCTURAL, Site, handled, handler_of
from onnxsens.model.tracing import value_of

Arrays = list[np.ndarray]

many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
SMALL = st.integers(-6, 6)
FAR = st.one_of(SMALL, st.sampled_from([-(2**63), 2**63 - 1, 2**31 - 1, 2**31, -1000, 1000]))


def ints(values: Any) -> np.ndarray:
    return np.array(values, np.int64)


class Moved:
    """One node over numbered elements, moved by us and by ONNX Runtime."""

    def __init__(
        self,
        folder: Path,
        operator: str,
        shape: tuple[int, ...],
        *constants: np.ndarray | None,
        opset: int = 18,
        outputs: int = 1,
        **attributes: Any,
    ) -> None:
        names = ["w", *("" if value is None else f"c{i}" for i, value in enumerate(constants))]
        node = helper.make_node(operator, names, [f"y{i}" for i in range(outputs)], **attributes)
        numbered = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
        given = {"w": numbered} | {f"c{i}": value for i, value in enumerate(constants) if value is not None}
        graph = helper.make_graph(
            [node],
            "one",
            [],
            [helper.make_tensor_value_info(f"y{i}", TensorProto.INT64, None) for i in range(outputs)],
            [numpy_helper.from_array(value, name) for name, value in given.items()],
        )
        self.proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        path = folder / "m.onnx"
        path.write_bytes(self.proto.SerializeToString())
        self.operand = whole(load_model(path).stored["w"])
        self.site = Site(
            operator,
            {attribute.name: value_of(attribute) for attribute in node.attribute},
            [self.operand, *constants],
            [bool(name) for name in names],
            outputs,
            lambda operand: numbered.reshape(-1)[operand.positions()],
        )

    @property
    def ours(self) -> Arrays | None:
        """Positions in the stored tensor, which are its values here."""
        handler = handler_of(self.site.operator, "")
        assert handler is not None
        found = handled(handler, self.site)
        if found is None:
            return None
        assert all(operand.shape == operand.positions().shape for operand in found)
        assert all(moves_of(operand) for operand in found)
        return [operand.positions() for operand in found]

    @property
    def theirs(self) -> Arrays | None:
        """None where ONNX Runtime refuses the node."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(
                self.proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            result: Arrays = session.run(None, {})
        except Exception:  # native errors have no common class
            return None
        return result

    def check(self) -> None:
        """Where ONNX Runtime moves elements we follow each; where it refuses we do not raise."""
        ours, theirs = self.ours, self.theirs
        if theirs is None:
            return
        assert ours is not None
        assert len(ours) == len(theirs)
        for mine, right in zip(ours, theirs, strict=True):
            assert mine.shape == right.shape
            np.testing.assert_array_equal(mine, right)  # places are narrower than ONNX Runtime's


def moves_of(operand: Operand) -> bool:
    """Whether its moves, if it has any, lead to its positions."""
    if operand.moves is None:
        return True
    values = np.arange(operand.size).reshape(operand.sources[0].shape)
    for move in operand.moves:
        values = move.forward(values)
    return np.array_equal(values, operand.positions())


@given(st.data())
@many
def test_transpose(tmp_path: Path, data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    order = data.draw(st.one_of(st.none(), st.permutations(range(len(shape))), st.lists(SMALL, max_size=4)))
    attributes = {} if order is None or not order else {"perm": list(order)}
    Moved(tmp_path, "Transpose", shape, **attributes).check()


@given(SHAPES, st.lists(st.integers(-1, 6), max_size=5), st.booleans())
@many
def test_reshape_to_anything(tmp_path: Path, shape: tuple[int, ...], wanted: list[int], allowzero: bool) -> None:
    Moved(tmp_path, "Reshape", shape, ints(wanted), **({"allowzero": 1} if allowzero else {})).check()


@given(st.data())
@many
def test_reshape_to_what_fits(tmp_path: Path, data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    wanted = list(data.draw(st.permutations(shape)))
    kept = [axis for axis in range(len(shape)) if wanted[axis] == shape[axis]]
    for axis in kept:
        wanted[axis] = data.draw(st.sampled_from([0, shape[axis]]))
    if data.draw(st.booleans()):
        wanted[data.draw(st.integers(0, len(shape) - 1))] = -1
    Moved(tmp_path, "Reshape", shape, ints(wanted)).check()


def test_reshape_of_nothing(tmp_path: Path) -> None:
    for wanted, allowzero in (([0, 3], 1), ([3, 0], 1), ([0, 0], 0), ([0, -1], 0), ([0, -1], 1)):
        Moved(tmp_path, "Reshape", (0, 3), ints(wanted), allowzero=allowzero).check()


@given(SHAPES, SMALL)
@many
def test_flatten(tmp_path: Path, shape: tuple[int, ...], axis: int) -> None:
    Moved(tmp_path, "Flatten", shape, axis=axis).check()


@given(st.data())
@many
def test_squeeze_and_unsqueeze(tmp_path: Path, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 2), min_size=1, max_size=4).map(tuple))
    operator = data.draw(st.sampled_from(["Squeeze", "Unsqueeze"]))
    axes = data.draw(st.lists(st.integers(-5, 5), max_size=3))
    if data.draw(st.booleans()):
        Moved(tmp_path, operator, shape, ints(axes)).check()
    elif axes:
        Moved(tmp_path, operator, shape, opset=11, axes=axes).check()
    elif operator == "Squeeze":
        Moved(tmp_path, operator, shape).check()


@given(st.data())
@many
def test_slice(tmp_path: Path, data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    rank = len(shape)
    axes = data.draw(st.one_of(st.none(), st.lists(st.integers(-rank, rank - 1), min_size=1, max_size=rank)))
    number = len(axes) if axes is not None else data.draw(st.integers(1, rank))
    starts, ends = ([data.draw(FAR) for _ in range(number)] for _ in range(2))
    steps = data.draw(st.one_of(st.none(), st.lists(st.integers(-3, 3), min_size=number, max_size=number)))
    optional = [None if axes is None else ints(axes), None if steps is None else ints(steps)]
    Moved(tmp_path, "Slice", shape, ints(starts), ints(ends), *optional).check()


@pytest.mark.parametrize("end", [2**63 - 1, 2**31 - 1, 2**31, 5, -6, -(2**63)])
@pytest.mark.parametrize("start", [3, -1])
def test_slice_backwards_to_an_extreme_end(tmp_path: Path, start: int, end: int) -> None:
    Moved(tmp_path, "Slice", (5,), ints([start]), ints([end]), None, ints([-1])).check()


@given(SHAPES, FAR, FAR)
@many
def test_slice_by_attributes(tmp_path: Path, shape: tuple[int, ...], start: int, end: int) -> None:
    Moved(tmp_path, "Slice", shape, opset=9, starts=[start], ends=[end], axes=[len(shape) - 1]).check()


@given(st.data())
@many
def test_split(tmp_path: Path, data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=3).map(tuple))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    outputs = data.draw(st.integers(1, 5))
    how = data.draw(st.sampled_from(["number", "sizes", "attribute", "equal"]))
    cuts = sorted(data.draw(st.integers(0, shape[axis])) for _ in range(outputs - 1))
    sizes = np.diff([0, *cuts, shape[axis]]).tolist()
    if how == "number":
        Moved(tmp_path, "Split", shape, outputs=outputs, axis=axis, num_outputs=outputs).check()
    elif how == "sizes":
        Moved(tmp_path, "Split", shape, ints(sizes), outputs=outputs, axis=axis).check()
    elif how == "attribute":
        Moved(tmp_path, "Split", shape, opset=11, outputs=outputs, axis=axis, split=sizes).check()
    else:
        Moved(tmp_path, "Split", shape, opset=11, outputs=outputs, axis=axis).check()


@given(st.data())
@many
def test_gather(tmp_path: Path, data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    places = data.draw(st.lists(st.integers(-5, 4), min_size=1, max_size=6))
    form = data.draw(st.sampled_from([(-1,), (1, -1), ()]))
    kind = data.draw(st.sampled_from([np.int32, np.int64]))
    indices = np.array(places[:1] if form == () else places, kind).reshape(form)
    Moved(tmp_path, "Gather", shape, indices, axis=axis).check()


@given(st.data())
@many
def test_expand(tmp_path: Path, data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    start = data.draw(st.integers(0, len(shape)))
    wanted = [data.draw(st.sampled_from([1, length])) for length in shape[start:]]
    Moved(tmp_path, "Expand", shape, ints(wanted)).check()


def test_expand_that_repeats_elements_ends_the_way(tmp_path: Path) -> None:
    assert Moved(tmp_path, "Expand", (1, 3), ints([2, 3])).ours is None
    assert Moved(tmp_path, "Expand", (3,), ints([1, 3])).ours is None


@given(st.data())
@many
def test_concat_of_a_tensor_with_itself(tmp_path: Path, data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    moved = Moved(tmp_path, "Concat", shape, np.zeros(shape, np.int64), axis=axis)
    first, second = moved.operand, moved.operand.reshaped(shape, "Reshape")
    site = Site("Concat", moved.site.attributes, [first, second], [True, True], 1, moved.site.values)
    found = handled(STRUCTURAL["", "Concat"], site)
    assert found is not None
    numbered = np.arange(np.prod(shape)).reshape(shape)
    np.testing.assert_array_equal(found[0].positions(), np.concatenate([numbered, numbered], axis))


def test_concat_of_two_tensors_and_of_what_is_cut_from_them(tmp_path: Path) -> None:
    tensors = {"a": np.zeros((2, 3), np.float32), "b": np.zeros((2, 4), np.float32)}
    initializers = [numpy_helper.from_array(values, name) for name, values in tensors.items()]
    node = helper.make_node("Concat", ["a", "b"], ["y"], axis=1)
    graph = helper.make_graph([node], "two", [], [], initializers)
    (tmp_path / "m.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    stored = load_model(tmp_path / "m.onnx").stored
    a, b = whole(stored["a"]), whole(stored["b"])
    both = concat(a, b)
    numbered = np.concatenate([np.arange(6).reshape(2, 3), 6 + np.arange(8).reshape(2, 4)], axis=1)
    np.testing.assert_array_equal(both.positions(), numbered)
    assert [source.name for source in both.sources] == ["a", "b"]
    right = both.cut(lambda values: values[:, 2:], "Slice")
    again = concat(b, right)
    assert [source.name for source in again.sources] == ["b", "a"]
    expected = np.concatenate([np.arange(8).reshape(2, 4), [[10, 0, 1, 2, 3], [13, 4, 5, 6, 7]]], axis=1)
    np.testing.assert_array_equal(again.positions(), expected)


def concat(*parts: Operand) -> Operand:
    found = handled(
        STRUCTURAL["", "Concat"],
        Site("Concat", {"axis": 1}, parts, [True] * len(parts), 1, lambda operand: operand.positions()),
    )
    assert found is not None
    return found[0]


JUNK = st.one_of(
    st.none(), st.integers(-9, 9), st.floats(), st.sampled_from(["", "%d", "x"]), st.lists(st.integers(-9, 9))
)
ANY_ARRAY = st.one_of(
    st.none(),
    st.lists(st.integers(-9, 9), max_size=4).map(ints),
    st.floats(width=32).map(np.float32).map(np.array),
    st.just(np.zeros((2, 0), np.int64)),
    st.just(np.array(["text"], object)),
    st.just(np.array([True, False])),
)


@given(st.sampled_from(sorted(STRUCTURAL)), st.data())
@many
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_makes_no_sense_ends_the_way_and_never_raises(
    tmp_path: Path, key: tuple[str, str], data: st.DataObject
) -> None:
    shape = data.draw(st.lists(st.integers(0, 4), max_size=4).map(tuple))
    operand = Moved(tmp_path, "Identity", shape).operand
    names = ("axis", "axes", "perm", "starts", "ends", "split", "to", "block_size", "allowzero", "shape")
    attributes: Mapping[str, Any] = {name: data.draw(JUNK) for name in names if data.draw(st.booleans())}
    others = data.draw(st.lists(st.one_of(ANY_ARRAY, st.just(operand)), max_size=4))
    given_ = [True, *(data.draw(st.booleans()) or other is not None for other in others)]
    site = Site(
        key[1],
        attributes,
        [operand, *others],
        given_,
        data.draw(st.integers(1, 3)),
        lambda known: known.positions(),
    )
    for found in handled(STRUCTURAL[key], site) or ():
        assert found.positions().shape == found.shape


def test_every_handler_is_of_a_known_operator() -> None:
    for domain, name in STRUCTURAL:
        assert domain or onnx.defs.has(name)
