"""Which parameter a name of a file means: the one called so, else the only one that ends alike."""

import pytest

from onnxsens.errors import PlanError
from onnxsens.frameworks.naming import check_shape, resolve

KNOWN = {"model/one/fc/kernel": {0}, "model/two/fc/kernel": {1}, "out/kernel": {2}, "kernel": {3}, "twice": {4, 5}}


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("model/one/fc/kernel", 0),
        ("one/fc/kernel", 0),
        ("two/fc/kernel", 1),
        ("other/model/two/fc/kernel", 1),
        ("params/kernel", 3),
        ("other/kernel", None),  # one part says too little
        ("y/out/kernel", 2),
        ("kernel", 3),  # called so, though others end like it
        ("fc/kernel", None),
        ("ne/fc/kernel", None),  # parts count whole
        ("twice", None),
        ("none", None),
    ],
)
def test_a_name_means_one_parameter_or_is_refused(name: str, number: int | None) -> None:
    if number is None:
        with pytest.raises(PlanError):
            resolve([name], KNOWN, "variable")
    else:
        assert resolve([name], KNOWN, "variable") == {name: number}


def test_a_place_in_a_file_is_no_name_to_be_found_by_its_end() -> None:
    known = {"dense/kernel": {0}, "dense_2/kernel": {1}, "layers/0/kernel": {2}, "net/layers/conv/kernel": {3}}
    assert resolve(["layers/0/kernel"], known, "variable") == {"layers/0/kernel": 2}
    for name in ("layers/dense/kernel", "layers/conv/kernel"):
        with pytest.raises(PlanError, match=f"the model has no variable '{name}'"):
            resolve([name], known, "variable")


def test_two_names_cannot_mean_one_parameter() -> None:
    with pytest.raises(PlanError, match="'one/fc/kernel' and 'model/one/fc/kernel' mean the same variable"):
        resolve(["one/fc/kernel", "model/one/fc/kernel"], KNOWN, "variable")


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(PlanError, match="the model has no variable 'out/kernle'; the nearest is 'out/kernel'"):
        resolve(["out/kernle"], KNOWN, "variable")


def test_shapes_have_to_be_equal() -> None:
    check_shape("w", (2, 3), (2, 3), "mask")
    with pytest.raises(PlanError, match=r"the mask of 'w' has shape \[3, 2\], and the parameter \[2, 3\]"):
        check_shape("w", (3, 2), (2, 3), "mask")
