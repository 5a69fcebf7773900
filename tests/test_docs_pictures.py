"""Pictures of the explanations are what their script makes, read well on any page, and say in words what they show."""

import importlib.util
import math
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
from commands import ROOT

IMAGES = ROOT / "docs" / "images"
PAGE = ROOT / "docs" / "explanation" / "searches.md"
SCRIPT = IMAGES / "make_searches.py"
SVG = "{http://www.w3.org/2000/svg}"
PICTURES = sorted(IMAGES.glob("searches-*.svg"))
EACH = pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_searches", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_files_are_what_the_script_makes_and_it_makes_the_same_again(script: ModuleType) -> None:
    made = script.pictures(script.read())
    assert {path.name: path.read_text(encoding="utf-8") for path in PICTURES} == made
    assert script.pictures(script.read()) == made


def test_the_command_of_the_script_leaves_every_file_as_it_is() -> None:
    before = {path: path.read_bytes() for path in PICTURES}
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in PICTURES} == before


@EACH
def test_a_picture_is_small_and_asks_for_nothing(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text) < 20_000
    assert not re.search(r"<script|<style|href|url\(|@import|on\w+=", text)
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}


@EACH
def test_a_picture_has_a_title_and_says_in_words_what_it_shows(path: Path) -> None:
    root = ElementTree.parse(path).getroot()
    named = {child.get("id"): child for child in root if child.tag in {f"{SVG}title", f"{SVG}desc"}}
    assert root.get("role") == "img"
    texts = [named[name].text or "" for name in root.get("aria-labelledby", "").split()]
    assert len(texts) == 2
    assert 10 < len(texts[0]) < 80
    assert len(texts[1]) > 100


@EACH
def test_a_picture_brings_its_own_paper_so_that_it_reads_on_dark_pages(path: Path) -> None:
    root = ElementTree.parse(path).getroot()
    paper = next(child for child in root if child.tag not in {f"{SVG}title", f"{SVG}desc"})
    _, _, width, height = root.get("viewBox", "").split()
    assert paper.tag == f"{SVG}rect"
    assert (paper.get("width"), paper.get("height")) == (width, height)
    for text in root.iter(f"{SVG}text"):
        assert contrast(text.get("fill", ""), paper.get("fill", "")) >= 4.5  # WCAG 2.2, 1.4.3
        assert int(text.get("font-size", "0")) >= 11


@EACH
def test_all_of_a_picture_is_on_its_paper(path: Path) -> None:
    root = ElementTree.parse(path).getroot()
    _, _, width, height = map(float, root.get("viewBox", "").split())
    for tag, x, y in (("text", "x", "y"), ("circle", "cx", "cy"), ("rect", "x", "y")):
        for each in root.iter(f"{SVG}{tag}"):
            assert 0 <= float(each.get(x, "0")) <= width
            assert 0 <= float(each.get(y, "0")) <= height


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # the known grey that just fails


def contrast(one: str, other: str) -> float:
    """Of two colours `#rrggbb`: WCAG 2.2, relative luminance."""
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def said(name: str) -> str:
    """What a picture says in words."""
    found = ElementTree.parse(IMAGES / f"searches-{name}.svg").getroot().find(f"{SVG}desc")
    assert found is not None
    return found.text or ""


def test_top_down_is_drawn_as_it_was_worked_out_by_hand() -> None:
    """Down in steps of 5 to the first accepted level, then halves of what is left, until that is at most 1."""
    assert (
        "asks for 100.0% no, 95.0% no, 90.0% no, 85.0% no, 80.0% no, 75.0%, 77.5%, 78.8%, 79.4%, and picks 79.4%"
        in said("top-down")
    )


def test_the_first_round_of_sweet_spotter_is_ten_ratios_equal_in_the_logarithm() -> None:
    levels = [f"{100 * (1 - 10 ** -(step / 5)):.1f}%" for step in range(1, 11)]
    asked = re.findall(r"([\d.]+%)(?: no)?[,.]", said("sweet-spotter").partition("asks for")[2])
    assert asked[:10] == levels
    assert len(asked) == 18 + 1  # and the pick


def test_the_page_shows_every_picture_and_says_how_many_questions_were_asked() -> None:
    page = PAGE.read_text(encoding="utf-8")
    shown = dict(re.findall(r"!\[([^\]]+)\]\(\.\./images/([\w.-]+)\)", page))
    assert sorted(shown.values()) == [path.name for path in PICTURES]
    for name in ("top-down", "sweet-spotter"):
        words = said(name)
        questions = words.partition("asks for")[2].rpartition(", and picks")[0].count("%")
        pick = words.rpartition("picks ")[2].rstrip(".")
        [alt] = [alt for alt, file in shown.items() if file == f"searches-{name}.svg"]
        assert f"{questions} questions" in alt
        assert pick in alt


@pytest.mark.slow
def test_the_curves_are_those_of_the_shipped_models(script: ModuleType) -> None:
    """To two percent: the runtime's sums differ in the last bits from machine to machine."""
    again = script.measure()
    for key, curve in script.read().items():
        assert again[key]["drops"].keys() == curve["drops"].keys()
        for level, drop in curve["drops"].items():
            assert math.isclose(again[key]["drops"][level], drop, rel_tol=0.02, abs_tol=1e-5), (key, level)
