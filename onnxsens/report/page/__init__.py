"""A run as one HTML page: what is said and the tables come from the template, the drawings from one script of ours.

Nothing on the page is loaded from anywhere, and the browser is told so: styles and script are allowed by their hashes.
The same run gives the same bytes.
"""

import base64
import hashlib
import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from onnxsens.report.page.drawing import drawn, in_script
from onnxsens.report.page.gains import gains
from onnxsens.report.page.others import accounts, comparisons, front_metrics, front_rows, proposals
from onnxsens.report.page.provenance import provenance
from onnxsens.report.page.shown import Shown
from onnxsens.report.page.words import answer, cards, level_noun, metrics_of, rows, sizes, totals
from onnxsens.report.terminal import verdict
from onnxsens.results import RunRecord

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["HEAD", "MARK", "page"]

MARK, HEAD = b'<meta name="generator" content="onnxsens', 1024  # in the first so many bytes of each page
HERE = Path(__file__).parent
SCRIPTS = ("base.js", "plan.js", "curves.js", "heat.js", "front.js", "main.js")


def page(run: RunRecord) -> str:
    """The file's text."""
    from markupsafe import Markup

    style = (HERE / "page.css").read_text("utf-8")
    parts = "\n".join((HERE / name).read_text("utf-8") for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{parts}}})();\n'
    plan, shown = run.plan, Shown(run.places)
    return template().render(
        shown=shown,
        run=run,
        plan=plan,
        noun=level_noun(plan),
        answer=answer(run),
        verdict="" if plan is None else verdict(plan),
        sizes="" if plan is None else sizes(plan),
        totals=[] if plan is None else totals(plan),
        cards=[] if plan is None else cards(plan),
        metrics=metrics_of(run),
        command=command_line(run.command, shown),
        rows=rows(run),
        proposals=[] if plan is None else proposals(plan),
        comparisons=[] if plan is None else comparisons(plan),
        accounts=[] if plan is None else accounts(plan),
        front=[] if run.front is None else front_rows(run.front),
        front_metrics=[] if run.front is None else front_metrics(run.front),
        gains=[] if plan is None or plan.level_kind != "sparsity" else gains(plan),
        provenance=provenance(run),
        measured=sum(bool(curve.points) for curve in run.curves),
        data=Markup(in_script(drawn(run, shown, command_line))),
        style=Markup(style),
        script=Markup(script),
        style_hash=hash_of(style),
        script_hash=hash_of(script),
    )


@cache
def template() -> "Template":
    """Compiled once."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return templates.get_template("page.html")


def command_line(words: Sequence[str], shown: Shown) -> str:
    """Words as a shell takes them, without folders of this machine."""
    return shlex.join(shown(word) for word in words)


def hash_of(text: str) -> str:
    """As a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
