"""What a notebook shows."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import curve, plan_of, run_of, weight

from onnxsens.library.notebook import (
    EDGE,
    HEIGHT,
    MOST,
    WIDTH,
    plan_html,
    plan_text,
    run_html,
    run_text,
    upper_edge,
)
from onnxsens.results import RunRecord

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</div></svg><style>*{display:none}</style>",
    "&lt;b&gt; {{ 7 * 7 }} ]]>",
    "\x1b[2J\u202egnp\nline\x00",
    "javascript:alert(1)//" + "x" * 500,
]
ALLOWED = {"div", "b", "code", "svg", "rect", "line", "circle", "polyline", "table", "tr", "td"}
ATTRIBUTES = {
    "style", "title", "width", "height", "role", "aria-label", "aria-hidden", "x", "y", "x1", "x2", "y1", "y2", "cx",
    "cy", "r", "fill", "stroke", "stroke-opacity", "stroke-width", "stroke-dasharray", "points",
}  # fmt: skip


class Elements(HTMLParser):
    """What a browser finds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def shown(text: str, name: str) -> str:
    plan = plan_of(weight(name, op=text), text=text)
    run = RunRecord(
        text, text, plan, [curve(name, text)], {name: text}, (),
        predicted={name: [(0.0, 0.0), (1.0, 0.7)]}, technique="magnitude", search_metric=text,
    )  # fmt: skip
    return run_html(run) + plan_html(plan)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_text_and_nothing_else(text: str) -> None:
    page = shown(text, text)
    found, plain = Elements(page), Elements(shown("plain", "plain"))
    assert found.open == []
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in plain.tags]
    assert {tag for tag, _ in found.tags} <= ALLOWED
    assert {name for _, attributes in found.tags for name in attributes} <= ATTRIBUTES
    assert not re.search(r"[\x00-\x1f\u202e]", page)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_no_name_adds_an_element(name: str) -> None:
    assert [tag for tag, _ in Elements(shown(name, name)).tags] == [
        tag for tag, _ in Elements(shown("plain", "plain")).tags
    ]


def test_nothing_is_loaded_and_nothing_runs() -> None:
    page = shown("plain", "plain")
    assert not re.search(r"https?:|url\(|@import|<script|<style|\son\w+=|src=|href=", page)


def test_the_answer_is_on_it() -> None:
    words = Elements(run_html(run_of(plan_of(weight("conv1"), weight("conv2", 10)), curve("conv1")))).words
    assert "30.0 % of 200 weights are zero" in words
    assert "plain 0.9 → 0.89: drop 0.01 (0.005 to 0.015), limit 0.02 on 5 hold-out samples" in words
    assert "verified" in words and "NOT" not in words
    assert "NOT verified" in Elements(plan_html(plan_of(weight(), verified=False))).words
    assert "no plan yet" in Elements(run_html(run_of(None, curve()))).words


def test_what_is_drawn_is_what_was_measured() -> None:
    """Three points at a quarter, a half and three quarters; the frame ends at the largest drop, 0.4."""
    run = run_of(plan_of(weight("w", 50)), curve("w", drops=(0.1, -0.2, 0.4)))
    found = Elements(run_html(run))
    inner, tall = WIDTH - 2 * EDGE, HEIGHT - 2 * EDGE
    dots = [(float(each["cx"] or 0), float(each["cy"] or 0)) for tag, each in found.tags if tag == "circle"]
    assert dots == [
        (pytest.approx(EDGE + share * inner, abs=0.06), pytest.approx(HEIGHT - EDGE - height * tall, abs=0.06))
        for share, height in ((0.25, 0.25), (0.5, 0.0), (0.75, 1.0))
    ]
    (chosen,) = [each for tag, each in found.tags if tag == "line"]
    assert float(chosen["x1"] or 0) == pytest.approx(EDGE + 0.5 * inner, abs=0.06)
    (label,) = [each["aria-label"] for tag, each in found.tags if tag == "svg"]
    assert label == "w: 0.1 at 25.0 %; -0.2 at 50.0 %; 0.4 at 75.0 %; planned 50.0 %"


def test_one_steep_curve_does_not_press_the_others_flat() -> None:
    gentle = [curve(str(number), drops=(0.0, 0.1)) for number in range(7)]
    assert upper_edge([*gentle, curve("steep", drops=(50.0,))]) == 0.1
    assert upper_edge([]) == upper_edge([curve("w", drops=(-1.0, 0.0))]) == 1.0
    assert upper_edge([curve("w", drops=(float("nan"), 2.0))]) == 2.0


def test_of_many_weights_some_are_drawn_and_it_says_so() -> None:
    run = run_of(None, *(curve(f"w{number}") for number in range(MOST + 5)))
    found = Elements(run_html(run))
    assert len([tag for tag, _ in found.tags if tag == "svg"]) == MOST
    assert f"{MOST} of {MOST + 5} weights; report() draws all" in found.words
    many = plan_of(*(weight(f"w{number}") for number in range(MOST + 5)))
    assert f"{MOST} of {MOST + 5} weights; levels has all" in Elements(plan_html(many)).words
    assert len(run_html(run)) < 60_000


def test_as_text_both_are_one_line() -> None:
    plan = plan_of(weight("w"), text="a\nb<")
    assert plan_text(plan) == "Plan for a\\nb<: 50.0 % of 100 weights are zero; verified at 95% confidence"
    run = run_of(None, curve("w", "kl"), metric="kl")
    assert run_text(run) == "Run of plain: 1 weights, kl measured by magnitude; no plan yet"
