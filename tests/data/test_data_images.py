"""Image folders: layouts, labels, sizes, and pictures that are no pictures."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from damaging import cases
from PIL import Image

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.data import Preprocessing, open_dataset
from onnxsens.data.images import Images
from onnxsens.errors import DataError, MissingPackageError

U8 = np.dtype(np.uint8)
RGB = TensorSpec("x", U8, ("N", 3, "H", "W"))
PIXELS = np.random.default_rng(1).integers(0, 256, (4, 5, 3), np.uint8)


def save(path: Path, pixels: AnyArray = PIXELS) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_channels_go_where_the_model_wants_them(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    first = open_dataset(str(tmp_path), [RGB]).inputs["x"]
    last = open_dataset(str(tmp_path), [TensorSpec("x", U8, ("N", 4, 5, 3))]).inputs["x"]
    np.testing.assert_array_equal(last[0], PIXELS)
    np.testing.assert_array_equal(first[0], np.moveaxis(PIXELS, 2, 0))


def test_grey_and_colour_become_what_the_model_takes(tmp_path: Path) -> None:
    save(tmp_path / "a.png", PIXELS[:, :, 0])
    colour = open_dataset(str(tmp_path), [RGB]).inputs["x"]
    np.testing.assert_array_equal(colour[0], np.stack([PIXELS[:, :, 0]] * 3))
    save(tmp_path / "a.png")
    grey = open_dataset(str(tmp_path), [TensorSpec("x", U8, (1, 1, 4, 5))]).inputs["x"]
    np.testing.assert_allclose(grey[0, 0], PIXELS @ [0.299, 0.587, 0.114], atol=1)


def test_images_are_resized_to_a_size_that_the_model_fixes(tmp_path: Path) -> None:
    flat = np.full((4, 5, 3), 77, np.uint8)
    save(tmp_path / "a.png", flat)
    save(tmp_path / "b.bmp", np.full((9, 2, 3), 78, np.uint8))
    values = open_dataset(str(tmp_path), [TensorSpec("x", U8, ("N", 3, 6, 8))]).inputs["x"]
    assert values.shape == (2, 3, 6, 8)
    assert values[:, 0, 0, 0].tolist() == [77, 78]


def test_a_float_model_gets_them_scaled(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    spec = TensorSpec("x", np.dtype(np.float32), ("N", 3, 4, 5))
    batch = open_dataset(str(tmp_path), [spec], Preprocessing(255.0)).batch(np.array([0]))["x"]
    np.testing.assert_allclose(batch[0], np.moveaxis(PIXELS, 2, 0) / 255.0, atol=1e-6)


def test_a_class_is_the_position_of_its_folder_even_if_another_is_empty(tmp_path: Path) -> None:
    for name in ("cat/2.png", "ant/1.png", "cat/1.png"):
        save(tmp_path / name)
    (tmp_path / "bee").mkdir()
    (tmp_path / ".hidden").mkdir()
    labels = open_dataset(str(tmp_path), [RGB]).labels
    assert labels is not None
    assert labels.tolist() == [0, 2, 2]


def test_a_folder_of_images_alone_has_no_labels(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    assert open_dataset(str(tmp_path), [RGB]).labels is None


@pytest.mark.parametrize("header", ["", "file,label\n", "File, Label\n\n"])
def test_labels_may_lie_beside_the_images(header: str, tmp_path: Path) -> None:
    for name in "abc":
        save(tmp_path / f"{name}.jpg")
    (tmp_path / "labels.csv").write_text(f"{header}c.jpg,7\na.jpg,5\nb.jpg, 6\n")
    labels = open_dataset(str(tmp_path), [RGB]).labels
    assert labels is not None
    assert labels.tolist() == [5, 6, 7]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("a.png,1\n", "has no line for 'b.png'"),
        ("a.png,1\nb.png,2\nc.png,3\n", "line 3: 'c.png' is not beside it"),
        ("a.png,1\na.png,1\n", "line 2: 'a.png' is listed twice"),
        ("../a.png,1\n", "line 1: '../a.png' is not beside it"),
        ("a.png,cat\n", "line 1 is 'a.png,cat'; write FILE,CLASS_NUMBER"),
        ("a.png\n", "line 1 is 'a.png'; write"),
        ("a.png,1,2\n", "line 1 is 'a.png,1,2'; write"),
        ("a.png,99999999999999999999\n", "line 1 is 'a.png,9"),
        ('"a.png,1\n', "cannot be read (unexpected end of data)"),
        ("", "has no line for 'a.png'"),
    ],
)
def test_a_table_that_does_not_list_each_image_once_is_refused(table: str, message: str, tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(DataError) as caught:
        open_dataset(str(tmp_path), [RGB])
    assert message in str(caught.value)


def other_size(folder: Path) -> None:
    save(folder / "b.png", PIXELS[:3])


def truncated(folder: Path) -> None:
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:-30])


def damaged(folder: Path) -> None:
    content = bytearray((folder / "a.png").read_bytes())
    content[content.index(b"IDAT") + 9] ^= 1
    (folder / "b.png").write_bytes(content)


def renamed(folder: Path) -> None:
    save(folder / "b.gif")
    (folder / "b.gif").rename(folder / "b.png")


def gif(folder: Path) -> None:
    save(folder / "b.gif")


def notes(folder: Path) -> None:
    (folder / "notes.txt").write_text("hi")


def mixed(folder: Path) -> None:
    save(folder / "class" / "b.png")


def nested(folder: Path) -> None:
    (folder / "a.png").unlink()
    save(folder / "class" / "b.png")
    (folder / "class" / "more").mkdir()


def deep(folder: Path) -> None:
    save(folder / "b.png", np.full((4, 5), 40000, np.uint16))


def animated(folder: Path) -> None:
    frames = [Image.fromarray(PIXELS), Image.fromarray(PIXELS[::-1].copy())]
    frames[0].save(folder / "b.png", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_size, "b.png' is 5 x 3 pixels and"),
        (truncated, "b.png' cannot be read as an image"),
        (damaged, "b.png' cannot be read as an image"),
        (renamed, "b.png' cannot be read as an image (cannot identify"),
        (gif, "b.gif' is not a png, jpeg, bmp or webp image"),
        (notes, "notes.txt' is not a png"),
        (mixed, "holds both sub-folders and 'a.png'"),
        (nested, "more' is not a png"),
        (deep, "b.png' has pixels of mode 'I;16'"),
        (animated, "b.png' is animated"),
    ],
)
def test_a_folder_with_anything_else_is_refused(spoil: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    spoil(tmp_path)
    with pytest.raises(DataError) as caught:
        open_dataset(str(tmp_path), [RGB])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_image_with_too_many_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 19)  # more than half of 20, which Pillow only warns about
    with pytest.raises(DataError, match=r"a.png' cannot be read as an image .*exceeds limit of 19 pixels"):
        open_dataset(str(tmp_path), [RGB])


def test_a_model_that_wants_huge_images_gets_none(tmp_path: Path) -> None:
    """Half a terabyte for one picture: said before anything of that size is made."""
    save(tmp_path / "a.png")
    with pytest.raises(
        DataError, match="holds 300,000,000,000 bytes of samples, more than the limit of 17,179,869,184"
    ):
        open_dataset(str(tmp_path), [TensorSpec("x", U8, ("N", 3, 100_000, 1_000_000))])


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes among files there")
@pytest.mark.parametrize("name", ["b.png", "labels.csv"])
def test_a_pipe_among_the_images_is_not_waited_for(tmp_path: Path, name: str) -> None:
    save(tmp_path / "a.png")
    os.mkfifo(tmp_path / name)
    if name == "labels.csv":
        assert open_dataset(str(tmp_path), [RGB]).labels is None
        return
    with pytest.raises(DataError, match="is not a png, jpeg, bmp or webp image"):
        open_dataset(str(tmp_path), [RGB])


def test_a_table_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("a.png,1\n")
    os.truncate(tmp_path / "labels.csv", 1 << 40)  # a hole
    with pytest.raises(DataError, match=r"labels\.csv' is larger than 64 MiB; write FILE,CLASS_NUMBER in each line"):
        open_dataset(str(tmp_path), [RGB])


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "webp"])
def test_damage_is_one_line_or_a_picture(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    save(path)
    refused = 0
    for case in cases(path.read_bytes(), seed=19, number=400):
        path.write_bytes(case)
        try:
            dataset = open_dataset(str(tmp_path), [RGB], max_data_bytes=1 << 20)
        except DataError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            assert dataset.inputs["x"].shape[:2] == (1, 3)
    assert refused > 50


def test_images_together_keep_the_size_limit(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    with pytest.raises(DataError, match="more than the limit"):
        Images(max_data_bytes=59).read(str(tmp_path), [RGB], np.random.default_rng(0))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (("N", 3, 4, 3), "both its second and its last axis can be 1 or 3 channels"),
        (("N", "C", "H", "W"), "neither its second nor its last axis can be 1 or 3 channels"),
        (("N", 20), "is uint8 [N, 20], which is no image"),
    ],
)
def test_a_model_without_a_clear_layout_is_refused(
    shape: tuple[int | str | None, ...], message: str, tmp_path: Path
) -> None:
    save(tmp_path / "a.png")
    with pytest.raises(DataError) as caught:
        open_dataset(str(tmp_path), [TensorSpec("x", U8, shape)])
    assert message in str(caught.value)


def test_a_model_with_two_inputs_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    with pytest.raises(DataError, match="can feed one input, but the model has 2: 'x', 'x2'"):
        open_dataset(str(tmp_path), [RGB, TensorSpec("x2", U8, RGB.shape)])


def test_without_pillow_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingPackageError) as caught:
        open_dataset(str(tmp_path), [RGB])
    assert "pip install 'onnxsens[images]'" in str(caught.value)
