"""The page in headless Chromium: it draws and asks for nothing, its parts work, nothing overlaps, all can use it."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ROOT, onnxsens
from scipy.optimize import isotonic_regression

from benchmarks.made_runs import made_run
from onnxsens.report.page import page
from onnxsens.results import RunRecord
from tests.fault.browser import chromium
from tests.report.looking import Opened, chromium_started, opened

pytest.importorskip("playwright", reason="playwright, of the extra 'test', is not installed")
pytest.importorskip("axe_playwright_python", reason="axe-playwright-python, of the extra 'test', is not installed")
pytestmark = pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")

MODELS = ROOT / "models"
LAYERS = 24
LONG = '"name":"dense-mse","unit":"squared output units"'
WIDTHS = (375, 1024, 1920)
SCHEMES = ("light", "dark")
DRAWN = """[...document.querySelectorAll('.chart')].filter((box) => box.checkVisibility())
  .map((box) => [box.id, box.querySelectorAll('path, rect').length])"""
HEIGHTS = """[...document.querySelectorAll('#budget-bars g')]
  .map((bar) => bar.querySelectorAll('.kept')[1].getAttribute('height'))"""
LEFT = """[...document.querySelectorAll('#weights tbody tr')].filter((row) => !row.hidden)
  .map((row) => row.querySelector('.name').textContent)"""
ORDER = "[...document.querySelectorAll('#weights tbody tr')].map((row) => Number(row.dataset.w))"
ONE_ON_ANOTHER = """(() => {
  const [one, other] = document.querySelectorAll('#bars text.mono');
  one.setAttribute('transform', other.getAttribute('transform'));
})()"""
UNLABELLED = """(() => {
  const query = document.getElementById('query');
  query.removeAttribute('placeholder');
  query.closest('label').replaceWith(query);
})()"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = chromium()
    assert program is not None
    with chromium_started(program) as started:
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


def written(run: RunRecord, path: Path) -> Path:
    path.write_bytes(page(run).encode("utf-8", "backslashreplace"))
    return path


@pytest.fixture(scope="module")
def made(folder: Path) -> Path:
    return written(made_run(LAYERS), folder / "made.html")


@pytest.fixture(scope="module")
def large(folder: Path) -> Path:
    return written(made_run(100), folder / "large.html")


def planned(folder: Path, *words: object) -> Path:
    done = onnxsens("auto", *words, "--pareto", "-o", folder)
    assert done.returncode in (0, 5), done.stderr
    return folder / "report.html"


@pytest.fixture(scope="module")
def fashion_cnn(folder: Path) -> Path:
    with np.load(MODELS / "fashion_mnist_test.npz") as arrays:
        np.savez(folder / "few.npz", **{name: arrays[name][:1500] for name in arrays.files})
    prepared = ("--scale", "255", "--mean", "0.2860", "--std", "0.3530")
    goal = ("--max-drop", "accuracy=0.02", "--confidence", "none", "--technique", "magnitude", "--update", "none")
    return planned(folder / "fashion", MODELS / "fashion_cnn.onnx", "-d", folder / "few.npz", *prepared, *goal)


@pytest.fixture(scope="module")
def jv_transformer(folder: Path) -> Path:
    goal = ("--max-drop", "accuracy=0.05", "--checkpoint", MODELS / "jv_transformer.safetensors")
    return planned(folder / "jv", MODELS / "jv_transformer.onnx", "-d", MODELS / "japanese_vowels_test.npz", *goal)


def looked_at(browser: Any, path: Path, width: int, scheme: str) -> None:
    with opened(browser, path, width, scheme) as seen:
        assert seen.clashes() == []
        assert seen.faults() == []
        assert {name: parts > 2 for name, parts in seen.tab.evaluate(DRAWN)} == dict.fromkeys(
            ["bars", "overlay", "map", "choices", "scatter", "pareto", "budget-bars"], True
        )
        assert seen.complaints == [] and seen.requests == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("size", ["made", "large"])
def test_of_a_random_network_all_is_drawn_and_nothing_overlaps(
    browser: Any, size: str, width: int, scheme: str, request: pytest.FixtureRequest
) -> None:
    looked_at(browser, request.getfixturevalue(size), width, scheme)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("model", ["fashion_cnn", "jv_transformer"])
def test_of_a_shipped_model_all_is_drawn_and_nothing_overlaps(
    browser: Any, model: str, width: int, scheme: str, request: pytest.FixtureRequest
) -> None:
    looked_at(browser, request.getfixturevalue(model), width, scheme)


@pytest.mark.slow
def test_names_of_the_source_framework_are_beside_those_of_the_model(browser: Any, jv_transformer: Path) -> None:
    with opened(browser, jv_transformer) as seen:
        row = seen.tab.locator("#weights tr", has_text="b.0.q.weight")
        assert row.count() == 1 and "transposed" in row.text_content()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (ONE_ON_ANOTHER, "' on '"),
        ("document.querySelectorAll('#provenance dd')[1].style.marginTop = '-2em'", "' on '"),
        ("document.querySelector('#overlay text').setAttribute('x', '-200')", "leaves its drawing"),
        ("document.querySelector('#plan').style.width = '3000px'", "pixels wide"),
    ],
)  # fmt: skip
def test_what_overlaps_is_seen(browser: Any, made: Path, change: str, complaint: str) -> None:
    with opened(browser, made) as seen:
        seen.tab.evaluate(change)
        assert any(complaint in clash for clash in seen.clashes())


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("document.documentElement.removeAttribute('lang')", "html-has-lang"),
        (UNLABELLED, "label"),
        ("document.querySelector('.note').style.color = '#ccc'", "color-contrast"),
    ],
)  # fmt: skip
def test_what_somebody_cannot_use_is_seen(browser: Any, made: Path, change: str, fault: str) -> None:
    with opened(browser, made) as seen:
        seen.tab.evaluate(change)
        assert any(found.startswith(fault) for found in seen.faults())


def test_complaints_and_requests_are_seen(browser: Any, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<script>console.error('x'); nothing()</script><img src='http://127.0.0.1:9/x'>")
    with opened(browser, bad) as seen:
        assert any("nothing" in each for each in seen.complaints) and "x" in seen.complaints
        assert seen.requests == ["http://127.0.0.1:9/x"]


def test_the_slider_shows_every_plan_of_the_front_and_the_command_that_makes_it(browser: Any, made: Path) -> None:
    with opened(browser, made) as seen:
        points = [point for point in seen.data()["front"]["points"] if point["on"]]
        slider, shown = seen.tab.locator("#budget"), set()
        slider.focus()
        seen.tab.keyboard.press("Home")
        for number, point in enumerate(points):
            if number:
                seen.tab.keyboard.press("ArrowRight")
            assert f"{point['level']:.1%}".replace("%", " %") in seen.tab.locator("#budget-text").text_content()
            words = shlex.split(seen.tab.locator("#budget-command").text_content())
            assert words[:5] == ["onnxsens", "auto", "made up.onnx", "-d", "samples.npz"]
            assert float(words[words.index("--sparsity") + 1]) == pytest.approx(point["level"], abs=1e-4)
            assert slider.get_attribute("aria-valuetext") == seen.tab.locator("#budget-text").text_content()
            heights = seen.tab.evaluate(HEIGHTS)
            assert [float(height) / 96 for height in heights] == pytest.approx(point["levels"], abs=0.01)
            shown.add(tuple(heights))
        assert len(shown) == len(points) > 5


def test_a_button_copies_the_command(browser: Any, made: Path) -> None:
    with opened(browser, made, permissions=["clipboard-read", "clipboard-write"]) as seen:
        for place, button in (("#command", 0), ("#budget-command", 1)):
            seen.tab.evaluate("document.getElementById('say').textContent = ''")
            seen.tab.get_by_role("button", name="Copy the command").nth(button).click()
            seen.tab.locator("#say", has_text="copied").wait_for(state="attached")
            assert seen.tab.evaluate("navigator.clipboard.readText()") == seen.tab.locator(place).text_content()


def test_a_filter_by_name_or_operator_leaves_the_rest_out_everywhere(browser: Any, made: Path) -> None:
    with opened(browser, made) as seen:
        weights, operators = seen.data()["weights"], seen.data()["operators"]

        def left() -> list[Any]:
            rows = seen.tab.evaluate(LEFT)
            assert seen.tab.locator("#small figure").count() == len(rows)
            assert seen.tab.locator("#bars g:not(.dim)").count() == len(rows)
            assert seen.tab.locator("#map text.mono").count() == len(rows)
            return list(rows)

        assert left() == [weight["name"] for weight in weights]
        seen.tab.locator("#query").fill("layers.1")
        wanted = [weight["name"] for weight in weights if "layers.1" in weight["name"]]
        assert left() == wanted and 1 < len(wanted) < LAYERS
        assert f"{len(wanted)} of {LAYERS}" in seen.tab.locator("#found").text_content()
        seen.tab.locator("#query").fill("")
        seen.tab.locator("#operator").select_option("0")
        assert left() == [weight["name"] for weight in weights if operators[weight["op"]] == operators[0]]
        seen.tab.locator("#query").fill("no such name")
        assert left() == [] and seen.complaints == []


@pytest.mark.parametrize(("key", "of"), [("parameters", "size"), ("sparsity", "level"), ("weight", "name")])
def test_a_header_sorts_up_then_down_and_says_so(browser: Any, made: Path, key: str, of: str) -> None:
    with opened(browser, made) as seen:
        values = [weight[of] for weight in seen.data()["weights"]]
        button = seen.tab.locator("#weights thead button", has_text=re.compile(f"^{key}$"))
        for turned, said in ((False, "ascending"), (True, "descending")):
            button.focus()
            seen.tab.keyboard.press("Enter")
            assert button.locator("xpath=..").get_attribute("aria-sort") == said
            order = seen.tab.evaluate(ORDER)
            assert [values[place] for place in order] == sorted(values, reverse=turned)
        assert seen.tab.locator("#weights [aria-sort]").count() == 1


def test_made_monotone_the_points_are_those_of_an_isotonic_regression(browser: Any, folder: Path) -> None:
    run = replace(made_run(6, seed=3, points=9), predicted={})
    with opened(browser, written(run, folder / "noisy.html")) as seen:
        seen.tab.locator("#picks").uncheck()
        for monotone in (False, True):
            if monotone:
                seen.tab.get_by_label("made monotone").check()
            for number in range(3):
                curve = run.curve(run.weights[number])
                assert curve is not None
                drops = [0.0, *(point.drop for point in curve.points)]
                wanted = [max(0.0, drop) for drop in isotonic_regression(drops).x] if monotone else drops
                said = read_by_keys(seen, f"#small figure[data-w='{number}'] > div", len(curve.points))
                assert said == pytest.approx(wanted[1:], rel=2e-3, abs=1e-9)


def read_by_keys(seen: Opened, place: str, points: int) -> list[float]:
    """The drops that arrow keys read out, from the first to the last."""
    seen.tab.locator(place).focus()
    said = []
    for number in range(points):
        seen.tab.keyboard.press("ArrowRight" if number else "Home")
        found = re.search(r"drop (\S+) ", seen.tab.locator("#say").text_content())
        assert found is not None
        said.append(float(found[1]))
    return said


def test_numbers_are_read_by_pointer_and_by_keys(browser: Any, made: Path) -> None:
    with opened(browser, made) as seen:
        name = seen.data()["weights"][1]["name"]
        bars = seen.tab.locator("#bars")
        bars.focus()
        seen.tab.keyboard.press("ArrowRight")
        seen.tab.keyboard.press("ArrowRight")
        assert name in seen.tab.locator("#tip").text_content()
        seen.tab.keyboard.press("Escape")
        assert seen.tab.locator("#tip").is_hidden()
        bar = seen.tab.locator("#bars g rect.kept").nth(2).bounding_box()
        seen.tab.mouse.move(bar["x"] + bar["width"] / 2, bar["y"])
        assert (
            name in seen.tab.locator("#tip").text_content() and "parameters" in seen.tab.locator("#tip").text_content()
        )
        seen.tab.locator("h1").hover()
        seen.tab.locator("#map").focus()
        for key in ("Home", "ArrowDown", "ArrowRight"):
            seen.tab.keyboard.press(key)
        assert name in seen.tab.locator("#say").text_content() and "10.0 %" in seen.tab.locator("#say").text_content()


def test_the_tab_key_goes_through_the_page_in_order_and_shows_where_it_is(browser: Any, made: Path) -> None:
    with opened(browser, made) as seen:
        visited = []
        for _ in range(70):
            seen.tab.keyboard.press("Tab")
            place = seen.tab.evaluate("""() => {
              const at = document.activeElement;
              if (!at || at === document.body) return null;
              const order = [...document.querySelectorAll('*')].indexOf(at), style = getComputedStyle(at);
              return [order, at.id || at.tagName, style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1];
            }""")
            if place is None:
                break
            visited.append(place)
        orders = [order for order, _, _ in visited]
        assert orders == sorted(orders) and len(set(orders)) == len(orders)
        assert [name for _, name, outlined in visited if not outlined] == []
        assert {"query", "operator", "bars", "overlay", "map", "choices", "pareto", "budget"} <= {
            name for _, name, _ in visited
        }


def test_without_scripts_every_number_is_in_a_table_and_no_control_is_dead(browser: Any, made: Path) -> None:
    with opened(browser, made, 375, scripts=False) as seen:
        text = seen.tab.locator("body").inner_text()
        assert "Scripts are off" in text and "all numbers are in the tables" in text.lower()
        for control in ("button", "input", "select"):
            assert seen.tab.locator(f"{control}:visible").count() == 0
        assert seen.tab.locator("#weights tbody tr:visible").count() == LAYERS
        assert seen.complaints == []


def test_printed_everything_is_unfolded_on_white_and_fits(browser: Any, large: Path) -> None:
    with opened(browser, large, 1024, "dark") as seen:
        assert seen.tab.locator("details:not([open])").count() == 2
        seen.tab.emulate_media(media="print")
        seen.tab.evaluate("dispatchEvent(new Event('beforeprint'))")
        seen.tab.set_viewport_size({"width": 700, "height": 900})
        assert seen.tab.locator("details:not([open])").count() == 0
        assert seen.tab.locator("#finder").is_hidden() and seen.tab.locator("#controls").is_hidden()
        assert seen.tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert seen.tab.evaluate("document.documentElement.scrollWidth") <= 700
        seen.tab.evaluate("dispatchEvent(new Event('afterprint'))")
        assert seen.tab.locator("details:not([open])").count() == 2


def variant(name: str) -> RunRecord:
    run = made_run(6)
    if name == "a scan":
        return replace(run, plan=None, front=None, budget_command=())
    if name == "no front":
        return replace(run, front=None)
    if name == "nothing measured":
        return replace(run, curves=(), predicted={}, foretold={})
    if name == "no store":
        return replace(
            run, curves=(), predicted={}, foretold={}, command=(), budget_command=(), effects={}, technique=None
        )
    return made_run(6, levels="bits")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [375, 1024])
@pytest.mark.parametrize("name", ["a scan", "no front", "nothing measured", "no store", "bits"])
def test_of_less_than_a_whole_run_what_there_is_is_drawn(
    browser: Any, folder: Path, name: str, width: int, scheme: str
) -> None:
    with opened(browser, written(variant(name), folder / "variant.html"), width, scheme) as seen:
        assert seen.clashes() == [] and seen.faults() == []
        assert seen.complaints == [] and seen.requests == []
        text = seen.tab.locator("body").inner_text()
        assert ("--pareto" in text) == (name == "no front")
        assert ("There is no plan yet" in text) == (name == "a scan")
        assert ("4 bits, " in text and "bits each on average" in text) == (name == "bits")


@pytest.mark.parametrize("width", [320, 375])
@pytest.mark.parametrize("levels", ["sparsity", "bits"])
def test_in_a_narrow_window_long_units_and_numbers_have_room(
    browser: Any, folder: Path, levels: str, width: int
) -> None:
    text = page(made_run(6, levels=levels)).replace('"name":"kl","unit":"nats"', LONG)
    assert LONG in text
    path = folder / "narrow.html"
    path.write_text(text, "utf-8")
    with opened(browser, path, width) as seen:
        assert seen.clashes() == [] and seen.complaints == []
        said = seen.tab.locator("#pareto").get_attribute("aria-label")
        assert ("sparsity" in said) == (levels == "sparsity") and ("saved share" in said) == (levels == "bits")


@pytest.mark.slow
def test_the_pictures_of_the_documentation_come_from_the_page_and_are_small(fashion_cnn: Path, tmp_path: Path) -> None:
    shipped = sorted((ROOT / "docs" / "images").glob("report-*.png"))
    script = ROOT / "docs" / "images" / "make.py"
    done = subprocess.run([sys.executable, script, fashion_cnn.parent, "--to", tmp_path], check=False, text=True)
    assert done.returncode == 0
    made = sorted(tmp_path.iterdir())
    assert [path.name for path in made] == [path.name for path in shipped] != []
    for some in (made, shipped):
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in some)
        assert sum(path.stat().st_size for path in some) < 600_000
