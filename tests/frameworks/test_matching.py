"""The matcher on arrays: what exporters do to weights, done by numpy, and twins that must not be mistaken."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxsens.frameworks.checkpoints import Checkpoint, Parameter
from onnxsens.frameworks.matching.matcher import Matcher
from onnxsens.frameworks.matching.tensor import Match, Tensor
from onnxsens.frameworks.pieces import assembled
from onnxsens.model.origins import Hint


def checkpoint(values: Mapping[str, np.ndarray]) -> Checkpoint:
    parameters = tuple(
        Parameter(name, array.shape, array.dtype.name, lambda array=array: array) for name, array in values.items()
    )
    return Checkpoint(Path("checkpoint"), "npz", parameters, ())


def tensor(name: str, values: np.ndarray, operator: str = "Gemm", hints: tuple[Hint, ...] = ()) -> Tensor:
    values = np.ascontiguousarray(values)
    turned = (lambda: operator == "MatMul") if values.ndim == 2 else None
    return Tensor(name, values.shape, operator, lambda: values, turned=turned, hints=hints)


def quantized(name: str, values: np.ndarray) -> Tensor:
    """Eight bits, a step for each row."""
    step = np.abs(values).max(axis=1, keepdims=True) / 127
    stored = np.round(values / step)
    held = (stored * step).astype(np.float32)
    ends = np.abs(stored) == 127
    return Tensor(
        name, values.shape, "Gemm", lambda: held, exact=False, step=lambda: (step, ends), turned=lambda: False
    )


def path(module: str, operator: str = "Gemm") -> tuple[Hint, ...]:
    return (Hint(operator, "node", 1, 0, module, "", (), ""),)


def matched(values: Mapping[str, np.ndarray], *tensors: Tensor) -> list[Match]:
    return Matcher(checkpoint(values)).match(tensors)


def remade(match: Match, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """The tensor as the match says it is made, by numpy's own indexing."""
    made = assembled(match.pieces, values, match.tensor.shape)
    if match.scale is None:
        return made
    shape = [1] * made.ndim
    shape[match.scale_axis] = -1
    return made * match.scale.reshape(shape)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class TestWhatExportersDo:
    @settings(max_examples=150, deadline=None)
    @given(
        shape=st.lists(st.integers(1, 6), min_size=2, max_size=4),
        seed=st.integers(0, 1000),
        data=st.data(),
    )
    def test_axes_in_any_order_and_lost_axes_of_one_are_found(
        self, shape: list[int], seed: int, data: st.DataObject
    ) -> None:
        values = {"a": random(*shape, seed=seed), "b": random(*shape, seed=seed + 5000)}
        order = data.draw(st.permutations(range(len(shape))))
        stored = values["a"].transpose(order)
        if data.draw(st.booleans()):
            stored = stored.reshape([length for length in stored.shape if length > 1] or [1])
        if stored.size < 2:
            return
        (match,) = matched(values, tensor("w", stored))
        assert match.confidence in {"exact", "ambiguous"}
        assert match.parameters == ["a"]
        assert np.array_equal(remade(match, values), stored)

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
    def test_casts(self, dtype: str) -> None:
        values = {"a": random(8, 6).astype(np.float64), "b": random(8, 6, seed=1).astype(np.float64)}
        (match,) = matched(values, tensor("w", values["b"].astype(dtype).T))
        assert (match.confidence, match.parameters) == ("exact", ["b"])

    @pytest.mark.parametrize(("operator", "gates"), [("GRU", (1, 0, 2)), ("LSTM", (0, 3, 1, 2))])
    @pytest.mark.parametrize("directions", [1, 2])
    def test_gates_in_another_order(self, operator: str, gates: tuple[int, ...], directions: int) -> None:
        count = len(gates)
        values = {f"r.weight_ih_l0{way}": random(count * 5, 7, seed=len(way)) for way in ("", "_reverse")[:directions]}
        stored = np.stack([np.concatenate([v.reshape(count, 5, 7)[g] for g in gates]) for v in values.values()])
        (match,) = matched(values, tensor("W", stored, operator))
        assert match.confidence == "exact"
        assert match.parameters == list(values)
        assert np.array_equal(remade(match, values), stored)

    def test_keras_gates_are_columns(self) -> None:
        kernel = random(7, 20)
        stored = np.concatenate([kernel.T.reshape(4, 5, 7)[g] for g in (0, 3, 1, 2)])[None]
        (match,) = matched({"lstm/kernel": kernel}, tensor("W", stored, "LSTM"))
        assert match.confidence == "exact"
        assert np.array_equal(remade(match, {"lstm/kernel": kernel}), stored)

    def test_queries_keys_and_values_joined_and_cut(self) -> None:
        parts = {name: random(8, 8, seed=seed) for seed, name in enumerate(("q", "k", "v"))}
        joined = np.concatenate(list(parts.values())).T
        (match,) = matched(parts, tensor("qkv", joined, "MatMul"))
        assert (match.confidence, match.parameters) == ("exact", ["q", "k", "v"])
        assert np.array_equal(remade(match, parts), joined)
        whole = {"in_proj_weight": np.concatenate(list(parts.values()))}
        cut = [tensor(name, value.T, "MatMul") for name, value in parts.items()]
        for match in matched(whole, *cut):
            assert (match.confidence, match.parameters) == ("exact", ["in_proj_weight"])
            assert np.array_equal(remade(match, whole), match.tensor.values())

    def test_heads_interleaved(self) -> None:
        whole = {"qkv": random(4 * 3 * 5, 16)}
        split = whole["qkv"].reshape(4, 3, 5, 16)
        tensors = [tensor(f"t{part}", split[:, part].reshape(20, 16).T, "MatMul") for part in range(3)]
        for match in matched(whole, *tensors):
            assert match.confidence == "exact"
            assert np.array_equal(remade(match, whole), match.tensor.values())

    def test_kernels_turned_round(self) -> None:
        kernel = random(3, 3, 4, 5)
        stored = kernel[::-1, ::-1].transpose(3, 2, 0, 1)
        (match,) = matched({"conv/kernel": kernel}, tensor("w", stored, "Conv"))
        assert match.confidence == "exact"
        assert match.pieces[0].flip == [0, 1]
        assert np.array_equal(remade(match, {"conv/kernel": kernel}), stored)

    def test_a_depthwise_kernel_with_a_multiplier(self) -> None:
        kernel = random(3, 3, 4, 2)
        stored = kernel.transpose(2, 3, 0, 1).reshape(8, 1, 3, 3)
        (match,) = matched({"dw/kernel": kernel}, tensor("w", stored, "Conv"))
        assert match.confidence == "exact"
        assert np.array_equal(remade(match, {"dw/kernel": kernel}), stored)

    @pytest.mark.parametrize("axis", [0, 1])
    def test_a_batch_norm_folded_in(self, axis: int) -> None:
        kernel = random(6, 8, 3, 3)
        length = kernel.shape[axis]
        rng = np.random.default_rng(3)
        norm = {
            "bn.weight": rng.uniform(-2, 2, length).astype(np.float32),
            "bn.bias": rng.standard_normal(length).astype(np.float32),
            "bn.running_mean": rng.standard_normal(length).astype(np.float32),
            "bn.running_var": rng.uniform(0.5, 2, length).astype(np.float32),
        }
        scale = norm["bn.weight"] / np.sqrt(norm["bn.running_var"] + np.float32(1e-3))
        shape = [1, 1, 1, 1]
        shape[axis] = -1
        stored = kernel * scale.reshape(shape)
        other = {"conv2.weight": random(6, 8, 3, 3, seed=9)}
        (match,) = matched({"conv.weight": kernel, **other, **norm}, tensor("w", stored, "Conv"))
        assert (match.confidence, match.parameters, match.scale_axis) == ("scaled", ["conv.weight"], axis)
        assert any("'bn'" in text and "0.001" in text for text in match.evidence)
        np.testing.assert_allclose(remade(match, {"conv.weight": kernel}), stored, rtol=1e-5)

    def test_dead_channels_do_not_hide_the_others(self) -> None:
        kernel = random(8, 6, 3, 3)
        scale = np.linspace(0.5, 2, 8, dtype=np.float32)
        scale[[1, 5]] = 0
        stored = kernel * scale.reshape(-1, 1, 1, 1)
        (match,) = matched({"conv.weight": kernel, "other": random(8, 6, 3, 3, seed=2)}, tensor("w", stored, "Conv"))
        assert (match.confidence, match.parameters) == ("scaled", ["conv.weight"])
        assert match.scale[[1, 5]].tolist() == [0, 0]

    def test_numbers_rounded_to_eight_bits(self) -> None:
        kernel = random(16, 32)
        values = {"fc.weight": kernel, "fc2.weight": random(16, 32, seed=4)}
        (match,) = matched(values, quantized("w", kernel))
        assert (match.confidence, match.parameters) == ("scaled", ["fc.weight"])
        assert "the same numbers, rounded" in match.evidence


class TestTwins:
    def test_a_copy_with_rows_in_another_order_is_not_taken_for_it(self) -> None:
        own = random(16, 16)
        order = np.random.default_rng(1).permutation(16)
        values = {"permuted": own[order], "own": own, "columns": own[:, order]}
        (match,) = matched(values, tensor("w", own.T, "MatMul"))
        assert (match.confidence, match.parameters) == ("exact", ["own"])

    def test_equal_parameters_of_one_tensor_all_get_what_it_gets(self) -> None:
        own = random(16, 16)
        (match,) = matched({"a": own, "b": own.copy(), "c": own.T.copy()}, tensor("w", own))
        assert match.confidence == "exact"
        assert set(match.parameters) == {"a", "b", "c"}
        for pieces in (match.pieces, *match.copies):
            assert np.array_equal(assembled(pieces, {"a": own, "b": own, "c": own.T}, own.shape), own)

    def test_equal_parameters_of_two_tensors_are_ambiguous_unless_names_tell(self) -> None:
        own = random(16, 16)
        values = {"a.weight": own, "b.weight": own.copy()}
        blind = matched(values, tensor("t1", own), tensor("t2", own))
        assert [match.confidence for match in blind] == ["ambiguous", "ambiguous"]
        told = matched(values, tensor("t1", own, hints=path("b")), tensor("t2", own, hints=path("a")))
        assert [(match.confidence, match.parameters) for match in told] == [
            ("exact", ["b.weight"]),
            ("exact", ["a.weight"]),
        ]

    def test_zeros_and_constants_are_matched_by_name_or_not_at_all(self) -> None:
        zeros = np.zeros((8, 8), np.float32)
        values = {"a.weight": zeros, "b.weight": zeros.copy(), "c.weight": np.ones((8, 8), np.float32)}
        first, second = matched(values, tensor("t1", zeros), tensor("t2", zeros, hints=path("b")))
        assert first.confidence == "ambiguous"
        assert (second.confidence, second.parameters) == ("exact", ["b.weight"])

    def test_a_symmetric_matrix_lies_as_the_others_do(self) -> None:
        square = random(12, 12)
        symmetric = square + square.T
        values = {"a.weight": random(12, 12, seed=1), "s.weight": symmetric}
        _, match = matched(values, tensor("t", values["a.weight"].T, "MatMul"), tensor("s", symmetric, "MatMul"))
        assert (match.confidence, match.pieces[0].order) == ("exact", [1, 0])

    def test_a_symmetric_matrix_that_nothing_tells_of_is_ambiguous(self) -> None:
        square = random(12, 12)
        (match,) = matched({"s/kernel": square + square.T}, tensor("s", square + square.T, "MatMul"))
        assert match.confidence == "ambiguous"

    def test_a_multiple_of_another_parameter_is_told_apart_by_its_norm_or_not_at_all(self) -> None:
        kernel = random(8, 6, 3, 3)
        factors = np.linspace(0.5, 2, 8, dtype=np.float32).reshape(-1, 1, 1, 1)
        values = {"a.weight": kernel, "b.weight": kernel * 2}
        (blind,) = matched(values, tensor("t", kernel * factors, "Conv"))
        assert blind.confidence == "ambiguous"
        norm = {"n.weight": factors.reshape(-1) / 2, "n.running_var": np.ones(8, np.float32) - np.float32(1e-5)}
        (told,) = matched({**values, **norm}, tensor("t", kernel * factors, "Conv"))
        assert (told.confidence, told.parameters) == ("scaled", ["b.weight"])

    def test_one_element_a_channel_is_no_evidence(self) -> None:
        (match,) = matched(
            {"a": random(16, 1, 1, 1), "b": random(16, 1, seed=1)}, tensor("t", random(16, 1, 1, 1, seed=2))
        )
        assert match.confidence in {"guess", "missed"}

    @settings(max_examples=60, deadline=None)
    @given(seed=st.integers(0, 10_000), rows=st.integers(2, 6), columns=st.integers(2, 6))
    def test_what_is_not_in_the_checkpoint_is_never_more_than_a_guess(self, seed: int, rows: int, columns: int) -> None:
        values = {str(number): random(rows, columns, seed=seed + number) for number in range(4)}
        stranger = random(rows, columns, seed=seed + 100_000)
        own = tensor("own", values["2"])
        found = {match.tensor.name: match for match in matched(values, tensor("stranger", stranger), own)}
        assert found["stranger"].confidence in {"guess", "missed"}
        assert (found["own"].confidence, found["own"].parameters) == ("exact", ["2"])

    def test_a_name_with_other_numbers_behind_it_is_a_guess(self) -> None:
        values = {"a.weight": random(8, 8), "b.weight": random(8, 8, seed=1)}
        found = matched(values, tensor("a.weight", random(8, 8, seed=2)), tensor("t", values["b.weight"]))
        assert [match.confidence for match in found] == ["guess", "exact"]

    def test_names_that_were_swapped_lose_against_numbers(self) -> None:
        values = {"a.weight": random(8, 8), "b.weight": random(8, 8, seed=1)}
        found = matched(values, tensor("a.weight", values["b.weight"]), tensor("b.weight", values["a.weight"]))
        assert [match.parameters for match in found] == [["b.weight"], ["a.weight"]]


class TestVectors:
    def test_biases_of_a_recurrent_layer(self) -> None:
        values = {"bias_ih": random(15), "bias_hh": random(15, seed=1)}
        gates = [v.reshape(3, 5)[[1, 0, 2]].reshape(-1) for v in values.values()]
        stored = np.concatenate(gates)[None]
        (match,) = Matcher(checkpoint(values)).match_vectors([Tensor("B", stored.shape, "", lambda: stored)], {})
        assert match.confidence == "exact"
        assert np.array_equal(assembled(match.pieces, values, stored.shape), stored)

    def test_a_bias_of_zeros_is_the_one_beside_its_weight(self) -> None:
        values = {
            "a/kernel": random(8, 4),
            "a/bias": np.zeros(4, np.float32),
            "b/kernel": random(4, 4, seed=1),
            "b/bias": np.zeros(4, np.float32),
        }
        matcher = Matcher(checkpoint(values))
        weights = matcher.match([tensor("w", values["b/kernel"]), tensor("v", values["a/kernel"])])
        zeros = [Tensor(name, (4,), "", lambda: np.zeros(4, np.float32)) for name in ("x", "y")]
        found = matcher.match_vectors(zeros, {"x": weights[0], "y": weights[1]})
        assert [(match.confidence, match.parameters) for match in found] == [
            ("exact", ["b/bias"]),
            ("exact", ["a/bias"]),
        ]


class TestEqualGates:
    """Two gates with the same numbers: only the framework's own order says which is which."""

    def stored(self, order: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        gates = random(3, 5, 7)
        gates[1] = gates[0]
        return gates.reshape(15, 7), gates[list(order)].reshape(1, 15, 7)

    def test_the_frameworks_order_is_taken(self) -> None:
        held, stored = self.stored((1, 0, 2))
        (match,) = matched({"gru.weight_hh_l0": held}, tensor("R", stored, "GRU"))
        assert match.confidence == "exact"
        assert [piece.start[0] for piece in match.pieces] == [5, 0, 10]
        (match,) = matched({"gru/recurrent_kernel": held.T}, tensor("R", stored, "GRU"))
        assert match.confidence == "exact"
        assert [piece.start[1] for piece in match.pieces] == [0, 5, 10]

    def test_what_other_tensors_show_is_taken(self) -> None:
        held, stored = self.stored((1, 0, 2))
        other = random(15, 4, seed=5)
        reordered = other.reshape(3, 5, 4)[[1, 0, 2]].reshape(1, 15, 4)
        _, match = matched({"x": other, "y": held}, tensor("W", reordered, "GRU"), tensor("R", stored, "GRU"))
        assert match.confidence == "exact"
        assert [piece.start[0] for piece in match.pieces] == [5, 0, 10]

    def test_without_either_it_is_ambiguous(self) -> None:
        held, stored = self.stored((1, 0, 2))
        (match,) = matched({"y": held}, tensor("R", stored, "GRU"))
        assert match.confidence == "ambiguous"


class TestNearlyEqual:
    """Training goes on, and averages are kept beside: numbers that are nearly the exported ones are others."""

    @pytest.mark.parametrize("noise", [1e-1, 1e-2, 1e-3, 1e-4])
    def test_float32_numbers_that_have_drifted_are_no_match(self, noise: float) -> None:
        own = random(16, 16)
        (match,) = matched({"a": own + np.float32(noise) * random(16, 16, seed=1)}, tensor("t", own))
        assert match.confidence in {"guess", "missed"}

    def test_an_average_beside_the_weights_is_not_taken_for_them(self) -> None:
        kernel = random(8, 6, 3, 3)
        average = kernel + np.float32(1e-4) * random(8, 6, 3, 3, seed=1)
        stored = kernel * np.linspace(0.5, 2, 8, dtype=np.float32).reshape(-1, 1, 1, 1)
        values = {"ema.conv.weight": average, "conv.weight": kernel}
        (match,) = matched(values, tensor("t", stored, "Conv"))
        assert (match.confidence, match.parameters) == ("scaled", ["conv.weight"])

    def test_a_half_checkpoint_of_a_model_with_folded_norms(self) -> None:
        kernel = random(8, 6, 3, 3)
        stored = kernel * np.linspace(0.5, 2, 8, dtype=np.float32).reshape(-1, 1, 1, 1)
        values = {"other": random(8, 6, 3, 3, seed=2).astype(np.float16), "conv.weight": kernel.astype(np.float16)}
        (match,) = matched(values, tensor("t", stored, "Conv"))
        assert (match.confidence, match.parameters) == ("scaled", ["conv.weight"])


def test_a_depthwise_kernel_with_a_multiplier_and_a_norm_folded_in() -> None:
    kernel = random(3, 3, 8, 2)
    scale = np.linspace(0.5, 2, 16, dtype=np.float32)
    stored = kernel.transpose(2, 3, 0, 1).reshape(16, 1, 3, 3) * scale.reshape(-1, 1, 1, 1)
    (match,) = matched({"dw/kernel": kernel, "other": random(3, 3, 8, 2, seed=1)}, tensor("w", stored, "Conv"))
    assert (match.confidence, match.parameters, match.scale_axis) == ("scaled", ["dw/kernel"], 0)
    np.testing.assert_allclose(remade(match, {"dw/kernel": kernel}), stored, rtol=1e-5)


@pytest.mark.parametrize("name", ["linear_0.w_1", "l.parametrizations.weight.original1"])
def test_lengths_of_a_weight_norm_are_found_by_what_they_are(name: str) -> None:
    directions, lengths = random(6, 8), np.linspace(-1, 2, 6, dtype=np.float32)
    stored = lengths[:, None] * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    values = {name: directions, name[:-1] + "0": lengths, "bias": random(6, seed=3)}
    (match,) = matched(values, tensor("w", stored))
    assert (match.confidence, match.parameters, match.magnitude) == ("scaled", [name], name[:-1] + "0")


def test_a_guess_lies_as_the_others_of_its_kind_do() -> None:
    values = {"a.weight": random(8, 8), "b.weight": random(8, 8, seed=1)}
    found = matched(values, tensor("t", values["a.weight"].T, "MatMul"), tensor("s", random(8, 8, seed=2), "MatMul"))
    assert [match.confidence for match in found] == ["exact", "guess"]
    assert found[1].pieces[0].order == [1, 0]


class TestPartsThatOccurTwice:
    """A part of a tensor that is in several places: all of them where nothing else has them, else what names say."""

    def test_one_tensor_of_two_equal_parts_of_a_parameter(self) -> None:
        part = random(8, 8)
        held = np.concatenate([part, part, random(8, 8, seed=1)])
        (match,) = matched({"in_proj_weight": held}, tensor("qk", part.T, "MatMul"))
        assert match.confidence == "exact"
        assert sorted(pieces[0].start[0] for pieces in (match.pieces, *match.copies)) == [0, 8]

    def test_a_whole_parameter_and_a_part_of_another(self) -> None:
        part = random(8, 8)
        values = {"a.weight": part, "c.in_proj_weight": np.concatenate([random(8, 8, seed=1), part])}
        (match,) = matched(values, tensor("t", part.T, "MatMul"))
        assert (match.confidence, set(match.parameters)) == ("exact", set(values))
        for one in matched(values, tensor("t", part.T, "MatMul"), tensor("s", part.T, "MatMul")):
            assert one.confidence == "ambiguous"

    def test_equal_parts_joined_are_ambiguous(self) -> None:
        part = random(8, 8)
        values = {"q.weight": part, "k.weight": part.copy(), "v.weight": random(8, 8, seed=1)}
        (match,) = matched(values, tensor("qkv", np.concatenate([part, part, values["v.weight"]])))
        assert match.confidence == "ambiguous"

    def test_the_files_statement_decides_between_layers_with_equal_weights(self) -> None:
        names = [f"r.weight_hh_l{layer}{way}" for layer in (0, 1) for way in ("", "_reverse")]
        values = {name: random(15, 5, seed=number) for number, name in enumerate(names)}
        values["r.weight_hh_l1"] = values["r.weight_hh_l0"].copy()
        tensors = []
        for layer in (0, 1):
            each = [values[f"r.weight_hh_l{layer}{way}"].reshape(3, 5, 5)[[1, 0, 2]] for way in ("", "_reverse")]
            stored = np.stack([gates.reshape(15, 5) for gates in each])
            hint = Hint("GRU", f"n{layer}", 2, layer, "r", "aten.gru.input", tuple(names), "")
            tensors.append(tensor(f"R{layer}", stored, "GRU", (hint,)))
        found = matched(values, *tensors)
        assert [(match.confidence, match.parameters) for match in found] == [
            ("exact", ["r.weight_hh_l0", "r.weight_hh_l0_reverse"]),
            ("exact", ["r.weight_hh_l1", "r.weight_hh_l1_reverse"]),
        ]
        bare = matched(values, *(Tensor(one.name, one.shape, "GRU", one.values) for one in tensors))
        assert [match.confidence for match in bare] == ["ambiguous", "ambiguous"]


class TestRounding:
    def test_an_average_is_told_from_the_weights_however_the_tensor_is_called(self) -> None:
        own = random(16, 32)
        average = own * (1 + np.float32(0.005) * random(16, 32, seed=1))
        (match,) = matched({"c.weight": own, "ema.c.weight": average}, quantized("c.weight", average))
        assert (match.confidence, match.parameters) == ("scaled", ["ema.c.weight"])
        (match,) = matched({"c.weight": own}, quantized("c.weight", average))
        assert match.confidence == "guess"

    def test_a_norm_folded_in_before_rounding(self) -> None:
        own = random(16, 32)
        gamma = np.linspace(0.5, 2, 16, dtype=np.float32)
        norm = {"bn.weight": gamma, "bn.running_var": np.ones(16, np.float32) - np.float32(1e-5)}
        (match,) = matched({"c.weight": own, **norm}, quantized("t", own * gamma[:, None]))
        assert (match.confidence, match.parameters) == ("scaled", ["c.weight"])
        assert match.norm is not None


class TestFactorsThatAreAllEqual:
    def test_the_axis_that_is_explained_is_taken(self) -> None:
        kernel = random(6, 8, 3, 3)
        norm = {"bn.weight": np.ones(6, np.float32), "bn.running_var": np.ones(6, np.float32)}
        stored = kernel * np.float32(1 / np.sqrt(1 + 1e-5))
        (match,) = matched({"c.weight": kernel, **norm}, tensor("t", stored, "Conv"))
        assert (match.confidence, match.scale_axis) == ("scaled", 0)
        assert match.norm is not None

    def test_a_weight_that_its_module_makes_anew_is_a_guess(self) -> None:
        kernel = random(6, 8, 3, 3)
        (match,) = matched({"c.weight_orig": kernel}, tensor("t", kernel / np.float32(3.3), "Conv"))
        assert match.confidence == "guess"

    def test_half_of_the_channels_dead(self) -> None:
        kernel = random(8, 6, 3, 3)
        stored = kernel * np.array([0, 1.5] * 4, np.float32).reshape(-1, 1, 1, 1)
        (match,) = matched({"c.weight": kernel, "d": random(8, 6, 3, 3, seed=1)}, tensor("t", stored, "Conv"))
        assert (match.confidence, match.parameters) == ("scaled", ["c.weight"])


def test_one_kernel_of_an_rnn_that_is_symmetric_lies_as_its_name_says() -> None:
    (match,) = matched({"r.weight_hh_l0": np.eye(8, dtype=np.float32)}, tensor("R", np.eye(8)[None].astype("f"), "RNN"))
    assert (match.confidence, match.pieces[0].order) == ("exact", [0, 1])


def test_states_beside_the_weights_get_nothing_where_names_account_for_every_user() -> None:
    own = random(8, 8)
    values = {"optimizer.exp_avg.0": own.copy(), "fc.weight": own, "ema.fc.weight": own.copy()}
    (match,) = matched(values, tensor("t", own, hints=path("fc")))
    assert (match.confidence, match.parameters) == ("exact", ["fc.weight"])
    (shared,) = matched(values, tensor("t", own, hints=(*path("fc"), *path("other"))))
    assert set(shared.parameters) == set(values)


class TestSymmetricParametersUnderFactors:
    """A symmetric parameter gives the same numbers either way round, whatever it is multiplied by."""

    def square(self) -> np.ndarray:
        half = random(12, 12)
        return half + half.T

    @pytest.mark.parametrize("factors", [np.full(12, 0.5), np.linspace(0.5, 2, 12)])
    def test_it_lies_as_its_name_says_or_is_ambiguous(self, factors: np.ndarray) -> None:
        own = self.square()
        stored = (own * factors.astype(np.float32)[:, None]).T
        (named,) = matched({"fc.weight": own}, tensor("t", stored, "MatMul"))
        assert (named.confidence, named.pieces[0].order) == ("scaled", [1, 0])
        (bare,) = matched({"fc/kernel": own}, tensor("t", stored, "MatMul"))
        assert bare.confidence == "ambiguous"

    def test_a_kernel_of_one_by_one(self) -> None:
        own = self.square()[..., None, None]
        norm = {"b.weight": np.ones(12, np.float32), "b.running_var": np.ones(12, np.float32)}
        stored = own * np.float32(1 / np.sqrt(1 + 1e-5))
        (match,) = matched({"c.weight": own, **norm}, tensor("t", stored, "Conv"))
        assert (match.confidence, match.pieces[0].order, match.scale_axis) == ("scaled", [0, 1, 2, 3], 0)

    def test_rounded(self) -> None:
        own = self.square()
        (match,) = matched({"fc.weight": own}, quantized("t", own))
        assert (match.confidence, match.pieces[0].order) == ("scaled", [0, 1])


def test_directions_of_a_weight_norm_that_are_the_weight_itself_keep_their_lengths() -> None:
    directions = random(6, 8)
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    prefix = "l.parametrizations.weight.original"
    (match,) = matched({f"{prefix}0": lengths, f"{prefix}1": directions}, tensor("w", directions))
    assert (match.confidence, match.parameters, match.magnitude) == ("exact", [f"{prefix}1"], f"{prefix}0")
    (other,) = matched({f"{prefix}0": lengths * 2, f"{prefix}1": directions}, tensor("w", directions))
    assert other.remade


def test_a_half_model_of_merged_weights_is_not_the_base() -> None:
    base = random(32, 32)
    merged = (base * (1 + np.float32(0.003) * random(32, 32, seed=1))).astype(np.float16)
    (match,) = matched({"fc.weight": base}, tensor("fc.weight", merged))
    assert match.confidence == "guess"


def test_norms_are_recognised_in_a_checkpoint_of_half_precision() -> None:
    kernel, gamma = random(8, 6, 3, 3), np.linspace(0.5, 2, 8, dtype=np.float32)
    values = {"c.weight": kernel, "bn.weight": gamma, "bn.running_var": np.linspace(1, 2, 8, dtype=np.float32)}
    scale = gamma / np.sqrt(values["bn.running_var"] + np.float32(1e-5))
    stored = kernel * scale.reshape(-1, 1, 1, 1)
    half = {name: value.astype(np.float16) for name, value in values.items()}
    (match,) = matched(half, tensor("t", stored, "Conv"))
    assert match.confidence == "scaled"
    assert match.norm is not None
