"""What a run can be written as: the laws of all formats, and what each one has to say."""

import csv
import io
import json
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from onnxsens.errors import MissingPackageError, UsageError
from onnxsens.plan.front import Front, FrontPoint
from onnxsens.report import markdown
from onnxsens.report.contract import HOSTILE, UNSEEN, FormatContract
from onnxsens.report.csv_report import alone
from onnxsens.report.drawing import MOST_BARS, MOST_CURVES, TITLE_LINE, chosen_curves, drawn, in_two, largest
from onnxsens.report.formats import Format, format_of, formats
from onnxsens.results import RunRecord
from tests.report.test_report_page import curve, plan_of, run_of, weight

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def made(text: str) -> RunRecord:
    """A run in which every text is this one."""
    plan = plan_of(weight(text, failure=text, picks={text: 0.5}), text=text)
    point = FrontPoint(picker=text, sparsity=0.5, samples=5, drops={text: 0.1}, on_front=True, levels={text: 0.5})
    record = run_of(plan, curve(text, text), text=text, places=("/home/ann", "/home/ann/work"))
    return replace(
        record,
        front=Front(schema="onnxsens.pareto/1", metric=text, points=[point]),
        technique="magnitude",
        search_metric=text,
        predicted={text: ((0.0, 0.0), (0.5, 0.2), (1.0, 0.9))},
        unpredicted={text: text},
        dense={text: 0.9},
        command=("onnxsens", "auto", text),
    )


def in_order(run: RunRecord, name: str) -> str:
    return formats.get(name).content(run).decode()


@pytest.mark.parametrize("name", formats.names())
class TestEachFormat(FormatContract):
    @pytest.fixture
    def form(self, name: str) -> Format:
        return formats.get(name)

    @pytest.fixture
    def made(self) -> Callable[[str], RunRecord]:
        # A weight's or a file's own name is shown as it is, so folders are told in what was raised.
        return lambda text: made(text) if "/home" not in text else told(text)

    def test_a_run_without_a_plan_is_written_too(self, form: Format) -> None:
        assert form.content(run_of(None, curve("a", "kl")))
        assert form.content(run_of(None))

    def test_the_table_says_its_name(self, form: Format, name: str) -> None:
        assert form.name == name
        assert format_of(form.suffixes[0]) is form


def told(text: str) -> RunRecord:
    """A run that fails with this message."""
    plan = plan_of(weight("w", failure=text), text="kl")
    run = run_of(plan, curve("w", "kl"), text="kl", places=("/home/ann", "/home/ann/work"))
    return replace(run, failures={"w": text}, unpredicted={"w": text}, technique="magnitude", search_metric="kl")


def test_the_suffix_says_the_format_and_an_unknown_one_is_refused() -> None:
    assert format_of("").name == format_of(".HTM").name == "html"
    assert format_of(".txt", "md").name == "md"
    with pytest.raises(UsageError, match=r"unknown report format 'pgn'; did you mean 'png'\?"):
        format_of(".pgn")
    with pytest.raises(UsageError, match="unknown report format 'pdf'"):
        format_of(".html", "pdf")


@pytest.mark.parametrize("hostile", HOSTILE[:-1])
def test_a_hostile_text_is_text_in_markdown(hostile: str) -> None:
    text, plain = in_order(made(hostile), "md"), in_order(made("plain"), "md")
    assert not UNSEEN.search(text)
    assert kinds(text) == kinds(plain)


@given(st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_in_markdown_shows_itself(name: str) -> None:
    """Read by another's reader: no element of HTML, no link, no emphasis, no other table."""
    lines = markdown.table(["a", "b"], [[f"x{name}x", "y"]])
    tokens = MARKDOWN.parse("\n".join(lines))
    shown = [token.content for cell in tokens if cell.children for token in cell.children]
    assert kinds("\n".join(lines)) == kinds("\n".join(markdown.table(["a", "b"], [["xx", "y"]])))
    assert " ".join("".join(shown).split()) == " ".join(f"abx{markdown.message(name)}xy".split())


def kinds(text: str) -> list[str]:
    """What a reader of Markdown sees: kinds of elements, without their texts. A text is one token."""
    found: list[str] = []
    for token in MARKDOWN.parse(text):
        found += [token.type, *(child.type for child in token.children or () if child.type != "text_special")]
    joined: list[str] = []
    for kind in found:
        if not (kind == "text" and joined and joined[-1] == "text"):
            joined.append(kind)
    return joined


def test_markdown_has_the_answer_first_and_all_that_there_is() -> None:
    text = in_order(made("kl"), "md")
    assert text.index("50.0 % of 100 weights are zero") < text.index("## The plan")
    for said in ("verified at 95% confidence", "onnxsens auto kl", "## The front", "## Left alone", "SHA-256"):
        assert said in text


@pytest.mark.parametrize("hostile", [*HOSTILE, "+1", "-1", "@x", "\t=1", "\uff1d1"])
def test_no_text_is_a_formula_in_a_table(hostile: str) -> None:
    rows = list(csv.reader(io.StringIO(in_order(made(hostile), "csv"))))
    assert len({len(row) for row in rows}) == 1 and len(rows) == 3
    for row in rows:
        for cell in row:
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) or re.fullmatch(r"-?[\d.e+-]+", cell)
            assert not UNSEEN.search(cell) and "\n" not in cell


def test_a_table_has_a_row_for_each_weight_and_what_is_left_alone() -> None:
    run = replace(made("kl"), predicted={})
    first, left = csv.DictReader(io.StringIO(in_order(run, "csv")))
    assert (first["weight"], first["zeros"], first["sparsity"], first["pick kl"]) == ("kl", "50", "0.5", "0.5")
    assert (first["drop_alone"], first["drop_alone_from"]) == ("0.2", "measured")
    assert (left["kind"], left["parameters"], left["zeros"]) == ("left alone", "7", "")


def test_a_drop_by_itself_is_measured_or_lies_between_points() -> None:
    run = replace(run_of(None, curve("w", "kl")), technique="magnitude", search_metric="kl")
    assert alone(run, "w", 0.5) == (0.2, "measured")
    assert alone(run, "w", 0.125) == (pytest.approx(0.05), "between")
    assert alone(run, "w", 0.9) == (None, "")
    assert alone(run, "other", 0.5) == (None, "")
    predicted = replace(run, predicted={"w": ((0.0, 0.0), (0.125, 0.01), (1.0, 0.9))})
    assert alone(predicted, "w", 0.125) == (pytest.approx(0.01), "between")
    assert alone(predicted, "w", 1.0) == (pytest.approx(0.9), "between")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_the_document_is_strict_and_has_names_as_they_are(hostile: str) -> None:
    found = json.loads(in_order(made(hostile), "json"), parse_constant=pytest.fail)
    [one] = found["weights"]
    assert found["schema"] == "onnxsens.report/1"
    assert one["name"] == hostile or "\ud800" in hostile
    assert one["curves"][0]["points"][1] == pytest.approx(
        {"sparsity": 0.5, "drop": 0.2, "low": 0.19, "high": 0.21, "samples": 64, "monotone": 0.2}
    )
    assert list(found) == sorted(found)


def test_what_is_no_number_is_null_in_the_document() -> None:
    run = run_of(None, curve("a", "kl", drops=(float("nan"), 0.2)))
    found = json.loads(in_order(run, "json"), parse_constant=pytest.fail)
    points = found["weights"][0]["curves"][0]["points"]
    assert [point["drop"] for point in points] == [None, 0.2] and points[0]["monotone"] is None


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_picture_is_well_formed_and_loads_nothing(hostile: str) -> None:
    text = in_order(made(hostile), "svg")
    root = ET.fromstring(text)
    assert {each.tag.rpartition("}")[2] for each in root.iter()} <= {
        "svg", "metadata", "RDF", "Work", "Agent", "title", "type", "format", "creator", "defs", "style", "g", "path",
        "use", "clipPath", "rect",
    }  # fmt: skip
    for each in root.iter():
        for name, value in each.attrib.items():
            assert not name.endswith("href") or value.startswith("#")
            assert not name.startswith("on")
    assert "date" not in text.lower().replace("validate", "")


def test_a_name_is_no_formula_in_a_picture() -> None:
    figure = drawn_as_shipped(made("$a_b$ $\\frac"))
    texts = [each.get_text() for axes in figure.axes for each in (axes.title, *axes.get_yticklabels())]
    assert not any(each.get_parse_math() for axes in figure.axes for each in axes.texts)
    assert "$a_b$ $\\frac" in " ".join(texts + [axes.get_title(loc="left") for axes in figure.axes])


def drawn_as_shipped(run: RunRecord):  # noqa: ANN201  (matplotlib is imported where it is needed)
    import matplotlib as mpl

    from onnxsens.report.picture import SETTINGS

    with mpl.rc_context():
        mpl.rcParams.update(SETTINGS)
        return drawn(run)


def test_a_png_is_one_and_says_nothing_of_who_drew_it_and_when() -> None:
    content = formats.get("png").content(made("kl"))
    assert content.startswith(b"\x89PNG\r\n")
    assert b"matplotlib" not in content and b"tEXt" not in content and b"tIME" not in content


def test_settings_of_the_users_change_no_picture() -> None:
    import matplotlib as mpl

    before = formats.get("svg").content(made("kl"))
    with mpl.rc_context({"font.size": 30, "text.usetex": True, "svg.fonttype": "none"}):
        assert formats.get("svg").content(made("kl")) == before
        assert mpl.rcParams["font.size"] == 30


def test_of_very_many_weights_the_largest_are_drawn_in_their_order() -> None:
    many = [weight(f"w{number}", shape=[10, 10 + number], zeros=0) for number in range(500)]
    plan = plan_of(*many, text="kl")
    run = replace(run_of(plan, *(curve(each.name, "kl") for each in many)), technique="magnitude", search_metric="kl")
    assert [each.name for each in largest(many, MOST_BARS)] == [f"w{number}" for number in range(500 - MOST_BARS, 500)]
    assert [each.weight for each in chosen_curves(run)] == [f"w{number}" for number in range(500 - MOST_CURVES, 500)]
    figure = drawn_as_shipped(run)
    assert any(f"the {MOST_CURVES} of 500" in text.get_text() for text in figure.texts)
    assert len(figure.axes) == 1 + MOST_CURVES


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r"report as svg needs matplotlib.*'onnxsens\[plot\]'") as found:
        formats.get("svg").content(made("kl"))
    assert found.value.exit_code == 4


@pytest.mark.parametrize("length", [1, TITLE_LINE, TITLE_LINE + 1, 2 * TITLE_LINE, 2 * TITLE_LINE + 1, 200])
def test_a_long_name_has_two_lines_and_both_of_its_ends(length: int) -> None:
    name = "".join(chr(ord("a") + place % 26) for place in range(length))
    shown = in_two(name)
    lines = shown.split("\n")
    assert len(lines) <= 2 and max(map(len, lines)) <= TITLE_LINE
    joined = "".join(lines)
    assert joined[0] == name[0] and joined[-5:] == name[-5:]
    assert joined == name or length > 2 * TITLE_LINE
