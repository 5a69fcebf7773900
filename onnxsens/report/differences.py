"""What differs between two runs: for the terminal, as JSON (`onnxsens.diff/1`), as CSV, as Markdown."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from onnxsens.differences import CurvePair, RunDifference, WeightPair
from onnxsens.report import markdown
from onnxsens.report import tables as terminal
from onnxsens.report.csv_report import table as csv_table
from onnxsens.report.tables import FOLDED, LEFT, RIGHT
from onnxsens.report.text import count, inert, percent, quality
from onnxsens.strict_json import write_json

SCHEMA: Final = "onnxsens.diff/1"
MOST_NAMED = 6
LEVELS = {"bits": "bits saved"}  # their level is the share of 32 bits that is saved
CELLS = ("a", "b", "rule", "a_kind", "b_kind", "a_level", "b_level", "a_zeros", "b_zeros", "a_effect", "b_effect")
POINT = ("sparsity", "measured", "a", "b", "a_error", "b_error", "difference", "p")
Part = tuple[str, list[tuple[str, str] | tuple[str, str, int]], list[list[str]]]


def summary(found: RunDifference) -> list[str]:
    """What came out, a sentence each; names in it are inert."""
    said = [f"A is {inert(found.a_model)}, B is {inert(found.b_model)}"]
    if found.metric is not None:
        told = sum(curve.more_than_noise for curve in found.curves)
        said.append(
            f"{told} of {len(found.curves)} weights that both have differ in {inert(found.metric)} by more than noise"
        )
        for word, curves in (("more", found.more_sensitive), ("less", found.less_sensitive)):
            if curves:
                said.append(f"{word} sensitive in B: {names(curves)}")
        if found.rank_correlation is not None:
            said.append(
                f"sensitivities (mean drop up to {percent(found.ranked_to or 0)} sparsity) rank alike by "
                f"{found.rank_correlation:.2f} (Spearman, {found.ranked} weights)"
            )
    for one in found.quality:
        judged = "more than noise" if one.more_than_noise else "untold" if one.p is None else "no more than noise"
        said.append(
            f"plans as a whole, held out: drop in {inert(one.metric)} {quality(one.a)} -> {quality(one.b)}, {judged}"
        )
    alone = found.only_in_one
    if alone:
        only_a = sum(pair.b is None for pair in alone)
        said.append(f"only in A: {only_a} weights; only in B: {len(alone) - only_a}")
        if found.same_model:
            said.append("both are of one model, so those were left out of the other, which is no difference")
    if not any(pair.differs for pair in found.fields) and not any(pair.differs for pair in found.weights):
        said.append("everything else is the same in both")
    if found.tests:
        said.append(
            f"more than noise: two-sided z test, {found.tests} weights and metrics corrected by Holm's method, so that "
            f"the chance of any false alarm is at most {found.alpha:.0%}"
        )
    return [*said, *found.notes]


def names(curves: Sequence[CurvePair]) -> str:
    """The clearest ones."""
    more = len(curves) - MOST_NAMED
    return ", ".join(inert(curve.weight) for curve in curves[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def parts(found: RunDifference) -> Iterator[Part]:
    """Tables: title, columns, rows."""
    fields = [[one.part, one.name, value(one.a), value(one.b)] for one in found.fields if one.differs]
    if fields:
        yield "what they were made from and came to, where it differs", [
            ("", LEFT), ("", LEFT), ("A", FOLDED), ("B", FOLDED)], fields  # fmt: skip
    weights = [weight_row(pair) for pair in found.weights if pair.differs]
    if weights:
        kinds = [
            inert(LEVELS.get(named := next((kind for kind in found_kinds if kind is not None), "level"), named))
            for found_kinds in ([p.a_kind for p in found.weights], [p.b_kind for p in found.weights])
        ]
        yield "weights with another choice, or in one of them only", [
            ("weight", FOLDED), ("in B", FOLDED), (f"{kinds[0]} A", RIGHT), (f"{kinds[1]} B", RIGHT),
            ("zeros A", RIGHT), ("zeros B", RIGHT), ("effect A", LEFT), ("effect B", LEFT)], weights  # fmt: skip
    curves = [curve_row(curve) for curve in found.curves]
    if curves:
        yield f"drop in {found.metric} by itself, where each weight's difference is clearest", [
            ("weight", FOLDED), ("sparsity", RIGHT, 1), ("A", RIGHT, 1), ("B", RIGHT, 1), ("B - A", RIGHT, 1),
            ("error", RIGHT, 3), ("p", RIGHT, 2), ("verdict", LEFT)], curves  # fmt: skip


def value(known: object) -> str:
    """A field; digests and such are cut to what tells them apart."""
    text = f"{known:.6g}" if isinstance(known, float) else str(known)
    return text if len(text) <= 40 else f"{text[:12]}...{text[-6:]}"


def weight_row(pair: WeightPair) -> list[str]:
    """A matched weight, or one that is alone."""
    in_b = "-" if pair.b is None else "only there" if pair.a is None else "" if pair.a == pair.b else pair.b
    return [
        inert(pair.name),
        inert(in_b),
        *("-" if level is None else percent(level) for level in (pair.a_level, pair.b_level)),
        *("-" if zeros is None else count(zeros) for zeros in (pair.a_zeros, pair.b_zeros)),
        pair.a_effect or "-",
        pair.b_effect or "-",
    ]


def curve_row(curve: CurvePair) -> list[str]:
    """A weight where the difference is clearest; it says about what was not measured there, but lies between points."""
    best = curve.strongest
    if best is None:
        return [inert(curve.weight), "-", "-", "-", "-", "-", "-", "untold"]
    return [
        inert(curve.weight),
        percent(best.sparsity),
        quality(best.a) if best.measured != "b" else f"about {best.a:.3g}",
        quality(best.b) if best.measured != "a" else f"about {best.b:.3g}",
        f"{best.difference:+.3g}",
        f"{(best.a_error**2 + best.b_error**2) ** 0.5:.2g}",
        "-" if curve.p is None else f"{curve.p:.2g}",
        "differs" if curve.more_than_noise else "untold" if curve.p is None else "noise",
    ]


def shown(found: RunDifference) -> RenderableType:
    """For the terminal."""
    parts_shown: list[RenderableType] = [terminal.lines(*summary(found))]
    for title, columns, rows in parts(found):
        parts_shown += [Text(), terminal.table(inert(title), columns, rows)]
    return Group(*parts_shown)


def as_markdown(found: RunDifference) -> bytes:
    """A document that needs no other file."""
    lines = [f"# {markdown.literal(found.a_model)} (A) and {markdown.literal(found.b_model)} (B)", ""]
    lines += [f"- {markdown.literal(text)}" for text in summary(found)[1:]] + [""]
    for title, columns, rows in parts(found):
        right = [number for number, column in enumerate(columns) if column[1] == RIGHT]
        head = markdown.literal(title)
        lines += [
            f"## {head[:1].upper()}{head[1:]}",
            "",
            *markdown.table([column[0] for column in columns], rows, right),
        ]
    return ("\n".join(lines).rstrip("\n") + "\n").encode("utf-8", "backslashreplace")


def document(found: RunDifference) -> dict[str, Any]:
    """Every field of the records by its name, and what follows from them; nothing is rounded or left out."""
    return {
        "schema": SCHEMA,
        **asdict(found),
        "fields": [asdict(one) | {"differs": one.differs} for one in found.fields],
        "weights": [asdict(one) | {"differs": one.differs} for one in found.weights],
        "more_sensitive": [curve.weight for curve in found.more_sensitive],
        "less_sensitive": [curve.weight for curve in found.less_sensitive],
        "more_than_noise": found.more_than_noise,
    }


def as_json(found: RunDifference) -> bytes:
    """One strict document with sorted keys."""
    return (write_json(document(found), indent=2) + "\n").encode()


def as_csv(found: RunDifference) -> bytes:
    """A row for each weight and compared sparsity, one for weights without any; `p_corrected` is the weight's."""
    curves = {curve.weight: curve for curve in found.curves}
    columns = ["weight", *CELLS[1:], *(f"point_{name}" for name in POINT), "p_corrected", "more_than_noise"]
    rows: list[Mapping[str, Any]] = []
    for pair in found.weights:
        row: dict[str, Any] = {"weight": pair.name} | {name: getattr(pair, name) for name in CELLS[1:]}
        curve = curves.get(pair.a) if pair.a is not None else None
        if curve is not None:
            row |= {"p_corrected": curve.p, "more_than_noise": curve.more_than_noise}
        points = curve.points if curve else ()
        rows += [row | {f"point_{name}": getattr(point, name) for name in POINT} for point in points] or [row]
    return csv_table(columns, rows)


WRITERS: Mapping[str, Callable[[RunDifference], bytes]] = {"csv": as_csv, "json": as_json, "md": as_markdown}
