"""Costs that can be counted by hand."""

import zlib

import numpy as np
import pytest

from onnxsens.model.storage import compressed_bytes
from onnxsens.plan.costs import remaining_macs


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        (np.array([1.0, 0.0], "<f4"), b"\x00\x00\x80\x3f\0\0\0\0"),
        (np.array([1.0, 0.0], ">f4"), b"\x00\x00\x80\x3f\0\0\0\0"),
        (np.array([[1.0], [-2.0]], "<f2"), b"\x00\x3c\x00\xc0"),
        (np.array([-1, 3], np.int8), b"\xff\x03"),
        (np.array([[1, 2], [3, 4]], np.uint8).T, b"\x01\x03\x02\x04"),
        (np.array([1.0], "<f8"), b"\0\0\0\0\0\0\xf0\x3f"),
    ],
)
def test_bytes_are_those_that_are_stored(values: np.ndarray, stored: bytes) -> None:
    assert compressed_bytes(values) == len(zlib.compress(stored, 6))


def test_macs_remain_by_the_share_of_elements_that_remain() -> None:
    assert remaining_macs(1000, 10, 3) == 700
