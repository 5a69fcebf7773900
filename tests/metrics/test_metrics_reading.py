"""Telling logits from probabilities, labels that fit from labels that do not, and what `check` refuses."""

from dataclasses import replace

import numpy as np
import pytest

from onnxsens.arrays import AnyArray
from onnxsens.errors import MetricError
from onnxsens.metrics import Batch, OutputKind, Reading, check, fits_labels, make_metric, output_kind

SCORES = np.random.default_rng(0).normal(size=(4, 10)).astype(np.float32)
PROBABILITIES = np.exp(SCORES) / np.exp(SCORES).sum(axis=1, keepdims=True)
LABELS = np.array([0, 9, 3, 3])


def given(
    labels: AnyArray | None = LABELS, output: AnyArray = SCORES, class_axis: int = -1, kind: OutputKind = "logits"
) -> Batch:
    return Batch({"out": output}, {"out": output}, labels, Reading("out", class_axis, kind))


def test_softmax_outputs_are_probabilities_along_their_axis_only() -> None:
    assert output_kind(PROBABILITIES, -1) == "probabilities"
    assert output_kind(PROBABILITIES.astype(np.float16), 1) == "probabilities"
    image = np.moveaxis(np.stack([PROBABILITIES, PROBABILITIES]), -1, 1)
    assert output_kind(image, 1) == "probabilities"
    assert output_kind(image, 2) == "logits"


@pytest.mark.parametrize(
    "output",
    [
        SCORES,
        np.log(PROBABILITIES),
        PROBABILITIES * 1.01,  # sums beside 1
        np.array([[1.5, -0.5]]),  # sums to 1
        np.full((3, 2), np.nan),
        np.ones((5, 1)),  # one class
        np.zeros((0, 4)),
        1 / (1 + np.exp(-SCORES)),  # sigmoids: independent classes
    ],
)
def test_everything_else_is_logits(output: AnyArray) -> None:
    assert output_kind(output, -1) == "logits"


@pytest.mark.parametrize("class_axis", [0, 2, -2, -3])
def test_a_kind_needs_a_class_axis_that_exists(class_axis: int) -> None:
    with pytest.raises(MetricError, match=f"class axis {class_axis} is not a class axis"):
        output_kind(SCORES, class_axis)
    assert not fits_labels(SCORES, LABELS, class_axis)


def test_labels_fit_where_they_are_indices_shaped_as_the_output_without_its_class_axis() -> None:
    assert fits_labels(SCORES, LABELS, -1)
    assert fits_labels(SCORES, LABELS.astype(np.uint8), 1)
    assert fits_labels(np.zeros((2, 3, 5, 6)), np.full((2, 5, 6), 2), 1)


@pytest.mark.parametrize(
    "labels",
    [LABELS + 1, LABELS - 1, LABELS.astype(np.float32), LABELS[:3], LABELS[:, None], np.array(3), LABELS > 2],
)
def test_labels_do_not_fit_otherwise(labels: AnyArray) -> None:
    assert not fits_labels(SCORES, labels, -1)


@pytest.mark.parametrize(
    "name", ["accuracy", "top5", "f1", "cross-entropy", "kl", "agreement", "dense-mse", "cosine", "sqnr"]
)
def test_a_usual_classifier_passes(name: str) -> None:
    check(make_metric(name), given())


@pytest.mark.parametrize("name", ["mse", "mae"])
def test_a_usual_regression_passes(name: str) -> None:
    check(make_metric(name), given(labels=SCORES + 1, kind="values"))
    check(make_metric(name), given(labels=np.ones((4, 10), np.int32), kind="values"))


@pytest.mark.parametrize(
    ("name", "batch", "message"),
    [
        (
            "accuracy",
            given(None),
            "metric 'accuracy' needs labels, and the data has none; use kl, agreement or another",
        ),
        ("mse", given(None), "metric 'mse' needs labels"),
        ("accuracy", given(LABELS[:3]), "labels of shape [3] for 4 samples"),
        ("accuracy", given(np.array(3)), "labels of shape [] for 4 samples"),
        ("accuracy", given(LABELS + 3), "label 12 is outside the 10 classes of output 'out'"),
        ("f1", given(LABELS - 1), "label -1 is outside the 10 classes of output 'out'"),
        ("cross-entropy", given(LABELS.astype(np.float32)), "needs integer class labels, and these are float32"),
        ("accuracy", given(LABELS[:, None]), "needs labels of shape [4] for output 'out', and these are [4, 1]"),
        ("top10", given(), "'top10' is always 1 on the 10 classes of output 'out'"),
        ("mse", given(LABELS), "needs labels of shape [4, 10], that of output 'out', and these are [4]"),
        ("mae", given(np.full((4, 10), "a")), "needs numeric labels, and these are <U1"),
        ("kl", given(class_axis=2), "class axis 2 is not a class axis of output 'out' [4, 10]"),
        ("kl", given(class_axis=0), "class axis 0 is not a class axis"),
        ("kl", given(output=SCORES[:, 0]), "class axis -1 is not a class axis of output 'out' [4]"),
        (
            "agreement",
            given(output=SCORES[:, :1]),
            "needs at least 2 classes, and axis -1 of output 'out' [4, 1] has 1",
        ),
        ("kl", given(kind="values"), "needs class scores, and output 'out' is read as plain values"),
        (
            "cosine",
            given(output=SCORES.astype(np.complex64)),
            "needs numbers with the samples first, and output 'out' is complex64",
        ),
        ("cosine", given(output=np.array(1.0)), "output 'out' is float64 []"),
        ("cosine", given(output=np.zeros((4, 0))), "output 'out' [4, 0] holds no values"),
        (
            "cosine",
            replace(given(), dense={"out": SCORES[:3]}),
            "is [4, 10] from the pruned model and [3, 10] from the",
        ),
        ("cosine", replace(given(), dense={"boxes": SCORES}), "reads output 'out', and there are only: boxes"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(name: str, batch: Batch, message: str) -> None:
    with pytest.raises(MetricError) as error:
        check(make_metric(name), batch)
    assert message in str(error.value)
    assert ";" in str(error.value) or "only" in str(error.value)
    assert "\n" not in str(error.value)
