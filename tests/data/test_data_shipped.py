"""The samples that come with the shipped models."""

from pathlib import Path

import numpy as np

from onnxsens.arrays import TensorSpec
from onnxsens.data import Preprocessing, open_dataset

MODELS = Path(__file__).parents[2] / "models"
F32 = np.dtype(np.float32)


def test_fashion_mnist_is_bytes_until_a_batch_is_asked_for() -> None:
    spec = TensorSpec("image", F32, ("N", 1, 28, 28))
    dataset = open_dataset(
        str(MODELS / "fashion_mnist_test.npz"), [spec], Preprocessing.parse(255.0, "0.2860", "0.3530")
    )
    assert len(dataset) == 10_000
    assert dataset.inputs["image"].dtype == np.uint8
    batch = dataset.batch(np.arange(100, 200))["image"]
    assert (batch.shape, batch.dtype) == ((100, 1, 28, 28), F32)
    assert abs(float(batch.mean())) < 0.1
    labels = dataset.labels_at(np.arange(10_000))
    assert labels is not None
    assert np.bincount(labels).tolist() == [1000] * 10


def test_japanese_vowels_are_fed_as_they_are() -> None:
    spec = TensorSpec("x", F32, ("N", 29, 12))
    dataset = open_dataset(str(MODELS / "japanese_vowels_test.npz"), [spec])
    assert len(dataset) == 370
    np.testing.assert_array_equal(dataset.batch(np.array([369]))["x"], dataset.inputs["x"][369:])
