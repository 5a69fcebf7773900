"""The operator table, judged by what ONNX Runtime does with each entry."""

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx_cases import STANDARD
from operator_case import Case, flat, turned
from runtime_cases import RUNTIME

from onnxsens.model import Weight, dense_matrix, load_model, stored_values, take_inventory
from onnxsens.model.layout import Arranged
from onnxsens.model.load import Model
from onnxsens.model.operators import OPERATORS, slot_of

ALL = STANDARD | RUNTIME


def fast(weight: np.ndarray) -> np.ndarray:
    """A convolution's rows, input channels fastest."""
    return np.stack([filters.transpose(1, 2, 0).reshape(-1) for filters in weight])


def run(proto: onnx.ModelProto, feed: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["y0"], feed)[0].astype(np.float64)


def changed(proto: onnx.ModelProto, values: np.ndarray) -> onnx.ModelProto:
    """The model with another weight, edited here."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    tensor = next(tensor for tensor in copy.graph.initializer if tensor.name == "weight")
    assert numpy_helper.to_array(tensor).dtype == values.dtype
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), "weight"))
    return copy


class Run:
    """A case as onnxsens reads it."""

    def __init__(self, case: Case, path: Path) -> None:
        self.case, self.proto = case, case.proto()
        path.write_bytes(self.proto.SerializeToString())
        self.model: Model = load_model(path)
        self.inventory = take_inventory(self.model)
        self.stored = case.inputs[case.weight]
        self.dense = run(self.proto, case.feed())

    @property
    def weight(self) -> Weight:
        return self.inventory.weight("weight")

    @property
    def matrix(self) -> np.ndarray:
        return dense_matrix(self.model, self.weight)

    def output(self, matrix: np.ndarray) -> np.ndarray:
        values = stored_values(self.model, self.weight, matrix)
        return run(changed(self.proto, values), self.case.feed())

    def without(self, row: int) -> np.ndarray:
        matrix = self.matrix.copy()
        matrix[row] = 0
        return self.output(matrix)

    @property
    def nothing(self) -> np.ndarray:
        """The output where every element of the weight stands for 0."""
        zeros = np.broadcast_to(self.case.zero, self.stored.shape).astype(self.stored.dtype)
        return run(changed(self.proto, zeros), self.case.feed())

    @property
    def close(self) -> float:
        return 2e-2 if self.stored.dtype == np.float16 else 1e-4


@cache
def made(name: str, folder: Path) -> Run:
    return Run(ALL[name], folder / "m.onnx")


@pytest.fixture(params=ALL)
def one(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made(request.param, tmp_path_factory.getbasetemp())


def test_the_weight_is_found_at_its_place(one: Run) -> None:
    (consumer,) = one.weight.consumers
    assert (consumer.operator, consumer.slot.index) == (one.case.operator, one.case.weight)
    assert one.weight.shape == consumer.shape == one.stored.shape
    assert one.weight.readers == ()


def test_planned_and_skipped_are_all_elements(one: Run) -> None:
    total = sum(int(np.prod(tensor.dims)) for tensor in one.proto.graph.initializer)
    assert one.inventory.parameters == total


def test_the_matrix_holds_every_element_and_nothing_else(one: Run) -> None:
    values = stored_values(one.model, one.weight, one.matrix)
    np.testing.assert_array_equal(values, one.stored, strict=True)
    assert one.weight.layout.rows == len(one.matrix)
    assert one.matrix.size == one.stored.size


def test_a_row_makes_the_outputs_of_one_channel_and_no_others(one: Run) -> None:
    axes = one.case.channels
    if axes is None:
        assert one.case.matrix is not None
        np.testing.assert_allclose(one.matrix, one.case.matrix(one.stored), rtol=1e-6)
        assert min(np.abs(one.without(row) - one.dense).max() for row in range(len(one.matrix))) > 1e-6
        return
    lengths = [one.dense.shape[axis] for axis in axes]
    assert len(one.matrix) == np.prod(lengths)
    nothing = one.nothing
    for row in range(len(one.matrix)):
        mine = np.zeros(one.dense.shape, bool)
        np.moveaxis(mine, axes, range(len(axes)))[np.unravel_index(row, lengths)] = True
        pruned = one.without(row)
        np.testing.assert_allclose(pruned[mine], nothing[mine], atol=one.close)
        np.testing.assert_allclose(pruned[~mine], one.dense[~mine], atol=one.close)
        assert np.abs(one.dense - nothing)[mine].max() > 10 * one.close


def test_no_row_left_is_nothing_left(one: Run) -> None:
    empty = np.zeros_like(one.matrix)
    values = stored_values(one.model, one.weight, empty)
    expected = np.broadcast_to(one.case.zero, one.stored.shape).astype(one.stored.dtype)
    np.testing.assert_array_equal(values, expected, strict=True)
    np.testing.assert_allclose(one.output(empty), one.nothing, atol=one.close)


@pytest.mark.parametrize("name", [name for name, case in ALL.items() if case.column])
def test_a_column_is_what_multiplies_one_input_channel(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    one = made(name, tmp_path_factory.getbasetemp())
    assert one.case.column is not None
    axis, each = one.case.column
    for channel in range(each):
        matrix = one.matrix.copy()
        matrix[:, channel::each] = 0
        data = one.case.inputs[one.case.data].copy()
        np.moveaxis(data, axis, 0)[channel::each] = one.case.data_zero
        np.testing.assert_allclose(one.output(matrix), run(one.proto, one.case.feed(data)), atol=one.close)


def test_macs_are_as_counted_by_hand(one: Run) -> None:
    (consumer,) = one.weight.consumers
    given = [value for value in one.case.inputs if value is not None]
    assert given[consumer.data] is one.case.inputs[one.case.data]
    assert consumer.macs(given[consumer.data].shape, one.dense.shape) == one.case.macs


# What ONNX Runtime's CPU provider does not run, and why: weight input, its shape, attributes, shapes of data and
# output, the matrix by hand, multiply-accumulates by hand.
NOT_RUN = {
    # since opset 27, where ONNX Runtime ends before
    ("", "CausalConvWithState"): (1, (4, 1, 3), {}, (2, 4, 6), (2, 4, 6), flat, 4 * 3 * 2 * 6),
    # no kernel in any provider of this build
    ("com.microsoft", "NhwcConv"): (1, (3, 2, 1, 2), {}, (1, 5, 5, 2), (1, 5, 4, 3), fast, 3 * 4 * 20),
    ("com.microsoft", "NhwcFusedConv"): (1, (3, 2, 1, 2), {}, (1, 5, 5, 2), (1, 5, 4, 3), fast, 3 * 4 * 20),
    # DirectML only
    ("com.microsoft", "FusedMatMulActivation"): (1, (4, 6), {}, (3, 4), (3, 6), turned, 3 * 4 * 6),
    # CUDA only
    ("com.microsoft", "GemmFastGelu"): (1, (4, 6), {}, (2, 3, 4), (2, 3, 6), turned, 2 * 3 * 4 * 6),
    ("com.microsoft", "PackedAttention"): (1, (4, 12), {}, (7, 4), (7, 4), turned, 7 * 4 * 12),
    ("com.microsoft", "DecoderMaskedSelfAttention"): (1, (4, 12), {}, (2, 1, 4), (2, 1, 4), turned, 2 * 4 * 12),
    ("com.microsoft", "LongformerAttention"): (4, (4, 12), {}, (2, 8, 4), (2, 8, 4), turned, 16 * 4 * 12),
    ("com.microsoft", "DecoderAttention"): (3, (4, 8), {}, (5, 2, 4), (3, 2, 4), turned, 5 * 2 * 4 * 8),
}


@pytest.mark.parametrize("key", NOT_RUN)
def test_an_operator_that_does_not_run_here_has_its_matrix_by_hand(key: tuple[str, str]) -> None:
    index, shape, attributes, data, output, by_hand, macs = NOT_RUN[key]
    slot = slot_of(key[1], key[0], index)
    assert slot is not None and slot.fits(shape, attributes)
    view = slot.view(shape, attributes)
    weight = np.arange(np.prod(shape)).reshape(shape)
    np.testing.assert_array_equal(Arranged(shape, view.moves, view.rows).to_matrix(weight), by_hand(weight))
    assert slot.macs(weight.size, view.rows, shape, data, output) == macs


def test_every_entry_has_its_test() -> None:
    tested = {(case.domain, case.operator) for case in ALL.values()}
    assert not tested & NOT_RUN.keys()
    assert tested | NOT_RUN.keys() == OPERATORS.keys()


def test_an_operator_of_another_domain_is_not_taken_for_ours() -> None:
    assert slot_of("Conv", "com.example", 1) is None
    assert slot_of("Conv", "ai.onnx", 1) is not None
    assert slot_of("Conv", "", 2) is None


JUNK = st.one_of(
    st.integers(-9, 9), st.sampled_from(["", "s", "%d", "axis"]), st.none(), st.floats(), st.lists(st.integers(-3, 3))
)


@given(st.sampled_from(sorted(OPERATORS)), st.data())
def test_attributes_that_make_no_sense_are_refused_and_never_an_exception(
    key: tuple[str, str], data: st.DataObject
) -> None:
    slot = data.draw(st.sampled_from(OPERATORS[key]))
    shape = tuple(data.draw(st.lists(st.integers(0, 4), max_size=4)))
    names = ("group", "axis", "transA", "transB", "transBatchA", "equation")
    attributes = {name: data.draw(JUNK) for name in names if data.draw(st.booleans())}
    if key[1] == "Einsum":
        equations = st.sampled_from(["ij,jk->ik", "i...,...j", "...,->", ",", "ii,jj", "ij", "ij,jk,kl->il", "->", "."])
        attributes["equation"] = data.draw(st.one_of(JUNK, equations))
    if not slot.fits(shape, attributes):
        return
    view = slot.view(shape, attributes)
    weight = np.arange(np.prod(shape)).reshape(shape)
    matrix = Arranged(shape, view.moves, view.rows).to_matrix(weight)
    assert sorted(matrix.reshape(-1)) == list(range(weight.size))
