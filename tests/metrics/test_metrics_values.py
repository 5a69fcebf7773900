"""Every formula, against a value worked out by hand. Logits are logarithms of round probabilities."""

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike

from onnxsens.metrics import Batch, OutputKind, Reading, WholeSetMetric, make_metric
from onnxsens.metrics.metric import PerSampleMetric


def batch(
    pruned: ArrayLike,
    dense: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    class_axis: int = -1,
    kind: OutputKind = "logits",
) -> Batch:
    return Batch(
        pruned={"out": np.asarray(pruned, np.float32)},
        dense={"out": np.asarray(pruned if dense is None else dense, np.float32)},
        labels=None if labels is None else np.asarray(labels),
        reading=Reading("out", class_axis, kind),
    )


def values(spec: str, given: Batch) -> list[float]:
    metric = make_metric(spec)
    assert isinstance(metric, PerSampleMetric)
    return metric.per_sample(given).tolist()


def f1(pruned: ArrayLike, labels: ArrayLike) -> float:
    metric = make_metric("f1")
    assert isinstance(metric, WholeSetMetric)
    return metric.value(metric.keep(batch(pruned, labels=labels)))


def test_accuracy_is_one_where_the_highest_class_is_the_label() -> None:
    assert values("accuracy", batch([[0, 2, 1], [3, 2, 1]], labels=[1, 1])) == [1.0, 0.0]


def test_accuracy_gives_equal_scores_to_the_lower_index() -> None:
    assert values("accuracy", batch([[5, 5], [5, 5]], labels=[0, 1])) == [1.0, 0.0]


def test_accuracy_of_a_sequence_is_the_fraction_of_positions() -> None:
    scores = [[[1, 0], [1, 0], [0, 1], [0, 1]]]  # predicts 0 0 1 1
    assert values("accuracy", batch(scores, labels=[[0, 1, 1, 1]])) == [0.75]


def test_accuracy_of_an_image_reads_classes_from_axis_one() -> None:
    scores = np.zeros((1, 3, 1, 2))
    scores[0, 2, 0, 0] = scores[0, 1, 0, 1] = 1.0  # predicts 2 1
    assert values("accuracy", batch(scores, labels=[[[2, 0]]], class_axis=1)) == [0.5]


def test_agreement_is_one_where_both_models_choose_the_same_class() -> None:
    assert values("agreement", batch([[0, 1], [1, 0]], [[-3, 9], [0, 1]])) == [1.0, 0.0]


def test_a_nan_on_both_sides_is_no_agreement() -> None:
    assert np.isnan(values("agreement", batch([[math.nan, 0]], [[math.nan, 0]]))).all()


@pytest.mark.parametrize(("k", "hits"), [(1, [0, 0, 1]), (2, [1, 0, 1]), (3, [1, 1, 1])])
def test_top_k_counts_the_classes_ahead_of_the_label(k: int, hits: list[int]) -> None:
    # Ranks of the labels: 1; 2 (three equal scores, two at a lower index); 0.
    scores = [[4, 3, 2, 1], [7, 7, 7, 0], [1, 1, 1, 1]]
    assert values(f"top{k}", batch(scores, labels=[1, 2, 0])) == hits


def test_top_1_is_accuracy() -> None:
    rng = np.random.default_rng(1)
    scores, labels = rng.integers(0, 3, size=(200, 4)), rng.integers(0, 4, size=200)  # most samples have ties
    given = batch(scores, labels=labels)
    assert values("top1", given) == values("accuracy", given)


def test_f1_is_the_mean_over_classes_that_occur() -> None:
    # Labels 0 0 1 2, predictions 0 1 1 1 of 5 classes. Class 0: TP 1, FP 0, FN 1: 2/3. Class 1: TP 1, FP 2, FN 0: 2/4.
    # Class 2: TP 0, FN 1: 0. Classes 3 and 4 do not occur.
    assert f1(np.eye(5)[[0, 1, 1, 1]], [0, 0, 1, 2]) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_f1_counts_a_class_that_is_only_predicted() -> None:
    # Class 0: TP 1, FN 1: 2/3. Class 4: FP 1: 0.
    assert f1(np.eye(5)[[0, 4]], [0, 0]) == pytest.approx((2 / 3 + 0) / 2)


def test_f1_of_no_sample_is_nan() -> None:
    assert math.isnan(f1(np.zeros((0, 3)), np.zeros(0, np.int64)))


@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_cross_entropy_is_minus_the_log_of_the_labels_probability(shift: float) -> None:
    logits = np.log([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]]) + shift  # a softmax does not see the shift
    expected = [math.log(2), math.log(8)]
    assert values("cross-entropy", batch(logits, labels=[0, 1])) == pytest.approx(expected, rel=1e-3)


def test_cross_entropy_reads_probabilities_as_they_are() -> None:
    given = batch([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]], labels=[0, 1], kind="probabilities")
    assert values("cross-entropy", given) == pytest.approx([math.log(2), math.log(8)])


def test_a_probability_of_zero_costs_87_nats() -> None:
    given = batch([[0.0, 1.0]], labels=[0], kind="probabilities")
    assert values("cross-entropy", given) == pytest.approx([-math.log(np.finfo(np.float32).tiny)])


KL = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)  # 0.1438 nats: (1/2, 1/2) against (1/4, 3/4)


def test_kl_is_the_dense_models_expected_log_ratio() -> None:
    pruned, dense = [[0.25, 0.75], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]]
    assert values("kl", batch(np.log(pruned), np.log(dense))) == pytest.approx([KL, 0.0], rel=1e-6)
    assert values("kl", batch(pruned, dense, kind="probabilities")) == pytest.approx([KL, 0.0], rel=1e-6)


def test_kl_averages_positions() -> None:
    pruned, dense = [[[0.25, 0.75], [0.5, 0.5]]], [[[0.5, 0.5], [0.5, 0.5]]]
    assert values("kl", batch(np.log(pruned), np.log(dense))) == pytest.approx([KL / 2], rel=1e-6)


def test_kl_leaves_out_what_the_dense_model_masks() -> None:
    given = batch([[0.0, math.log(3), -math.inf]], [[0.0, 0.0, -math.inf]])
    assert values("kl", given) == pytest.approx([KL], rel=1e-6)


def test_kl_shows_a_nan_under_the_dense_models_mask() -> None:
    assert np.isnan(values("kl", batch([[0.0, 0.0, math.nan]], [[0.0, 0.0, -math.inf]]))).all()


def test_kl_is_infinite_where_the_pruned_model_excludes_what_the_dense_one_does_not() -> None:
    assert values("kl", batch([[0.0, -math.inf]], [[0.0, 0.0]])) == [math.inf]


def test_kl_is_never_negative() -> None:
    rng = np.random.default_rng(2)
    dense = rng.normal(size=(500, 10))
    changed = dense * (1 + 1e-7 * rng.normal(size=dense.shape))
    assert min(values("kl", batch(changed, dense))) >= 0.0
    sloppy = np.abs(dense) / np.abs(dense).sum(axis=1, keepdims=True)  # float16 sums: off 1 by 1e-3
    assert min(values("kl", batch(sloppy.astype(np.float16), sloppy, kind="probabilities"))) >= 0.0


def test_distances_are_means_over_all_values_of_a_sample() -> None:
    given = batch([[1, 2], [0, 0]], [[1, 5], [0, 1]], labels=[[0, 4], [0, 0]], kind="values")
    assert values("mse", given) == [2.5, 0.0]
    assert values("mae", given) == [1.5, 0.0]
    assert values("dense-mse", given) == [4.5, 0.5]


def test_cosine_is_that_of_the_angle() -> None:
    pruned = [[3, 4], [0, 2], [-1, -1], [0, 0], [0, 0], [1, 0]]
    dense = [[4, 3], [1, 0], [1, 1], [0, 0], [1, 2], [0, 0]]
    assert values("cosine", batch(pruned, dense, kind="values")) == pytest.approx([0.96, 0.0, -1.0, 1.0, 0.0, 0.0])


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_cosine_and_sqnr_do_not_depend_on_the_size_of_the_numbers(size: float) -> None:
    given = Batch(
        {"out": np.array([[3, 4]]) * size}, {"out": np.array([[4, 3]]) * size}, None, Reading("out", -1, "values")
    )
    assert values("cosine", given) == pytest.approx([0.96])
    assert values("sqnr", given) == pytest.approx([10 * math.log10(25 / 2)])


def test_sqnr_is_the_power_ratio_in_decibels_between_floor_and_ceiling() -> None:
    dense = [[10, 0], [3, 4], [0, 0], [0, 0], [1, 0]]
    pruned = [[9, 0], [3, 4], [0, 1], [0, 0], [1e6, 0]]
    # 100 / 1 is 20 dB; no error is 120 dB, on zeros too; an error on zeros, or a huge one, is -40 dB.
    assert values("sqnr", batch(pruned, dense, kind="values")) == pytest.approx([20.0, 120.0, -40.0, 120.0, -40.0])


@pytest.mark.parametrize("name", ["dense-mse", "cosine", "sqnr", "kl", "agreement", "accuracy", "cross-entropy"])
def test_integer_outputs_are_read_as_the_numbers_they_are(name: str) -> None:
    rng = np.random.default_rng(0)
    pruned, dense = (rng.integers(0, 9, (6, 4)) for _ in range(2))
    labels = rng.integers(0, 4, 6)
    reading = Reading("out", -1, "logits")
    values = [
        make_metric(name).per_sample(
            Batch(
                pruned={"out": pruned.astype(kind)}, dense={"out": dense.astype(kind)}, labels=labels, reading=reading
            )
        )
        for kind in (np.uint8, np.float32)
    ]
    np.testing.assert_array_equal(*values)
