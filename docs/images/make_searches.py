"""Draw the pictures of `docs/explanation/searches.md`: the searches that ship, on curves that were measured.

    python docs/images/make_searches.py             # draws searches-*.svg from searches-curves.json
    python docs/images/make_searches.py --measure   # measures the curves anew before that

A search is a conversation about levels. Here it talks to a curve of a shipped model, measured at every percent and
straight between; what it asks, in which order, and what it is told is drawn. The same curves give the same bytes.
"""

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from onnxsens.scan.searches import (
    DENSE_POINT,
    Acceptance,
    Level,
    Observed,
    Pick,
    Search,
    SweetSpotter,
    TopDown,
    tolerance,
)
from onnxsens.scan.searches.contract import drive
from onnxsens.scan.searches.sweet_spotter import COMPRESSION_RATIO, spread

HERE = Path(__file__).parent
MODELS = HERE.parent.parent / "models"
CURVES = HERE / "searches-curves.json"
DATA = "japanese_vowels_test.npz"
WEIGHTS = {"plain": ("jv_lstm.onnx", "f1.weight"), "dip": ("jv_transformer.onnx", "onnx::MatMul_234")}
LEVELS = tuple(round(percent / 100, 2) for percent in range(1, 101))
LIMITS = {"plain": 0.1, "dip": 0.11}  # nats that the weight may lose
PREDICTED = 0.75  # where a curve that was predicted puts the answer, in the picture of a start

WIDTH, LEFT, RIGHT = 600, 66, 14
TOP, CURVE, ROW = 34, 168, 15
PAPER, INK, FAINT, GRID = "#ffffff", "#1f2328", "#57606a", "#d8dee4"
ACCEPTED, REJECTED, BRACKET = "#0a56a5", "#a8430a", "#c9def5"
FLOOR, CEILING = 1e-4, 4.0  # nats, of the axis

Measured = Mapping[str, Mapping[str, object]]
Line = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class Axis:
    """Levels from left to right.

    Attributes:
        place: of a level, in [0, 1].
        ticks: levels that are labelled.
    """

    title: str
    place: Callable[[Level], float]
    ticks: Sequence[Level]

    def x(self, level: Level) -> float:
        """In pixels."""
        return LEFT + self.place(level) * (WIDTH - LEFT - RIGHT)


SPARSITY = Axis("sparsity", lambda level: level, [step / 10 for step in range(11)])
FIRST_ROUND = tuple(map(COMPRESSION_RATIO.level, spread(1.0, 100.0, 10)))
RATIO = Axis(
    "sparsity, evenly spaced in the logarithm of the compression ratio",
    lambda level: min(-math.log10(max(1 - level, 1e-9)) / 2, 1.0),
    FIRST_ROUND,
)


@dataclass
class Drawing:
    """Shapes from top to bottom on paper of its own, so that it reads alike on light and dark pages."""

    title: str
    about: str
    height: float = 0.0
    shapes: list[str] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> None:
        """Straight."""
        self.shapes.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{" " * bool(more)}{more}/>'
        )

    def path(self, points: Sequence[tuple[float, float]], colour: str) -> None:
        """A curve through points."""
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.shapes.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="1.8"/>')

    def bar(self, x1: float, x2: float, y: float, height: float) -> None:
        """A bracket."""
        width = max(x2 - x1, 1.0)
        self.shapes.append(
            f'<rect x="{x1:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{BRACKET}"/>'
        )

    def mark(self, x: float, y: float, *, accepted: bool) -> None:
        """A level that was asked for: a full circle where it is accepted, else an empty diamond."""
        if accepted:
            self.shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{ACCEPTED}"/>')
        else:
            self.shapes.append(
                f'<path d="M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z" fill="{PAPER}" stroke="{REJECTED}" '
                'stroke-width="1.6"/>'
            )

    def text(self, x: float, y: float, words: str, anchor: str = "start", size: int = 11, colour: str = INK) -> None:
        """A line of text."""
        self.shapes.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">'
            f"{escape(words)}</text>"
        )

    def written(self) -> str:
        """The file."""
        height = math.ceil(self.height)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
            f'role="img" aria-labelledby="t d" font-family="system-ui, sans-serif">\n'
            f'<title id="t">{escape(self.title)}</title>\n<desc id="d">{escape(self.about)}</desc>\n'
            f'<rect width="{WIDTH}" height="{height}" rx="6" fill="{PAPER}"/>\n'
        )
        return head + "\n".join(self.shapes) + "\n</svg>\n"


@dataclass(frozen=True)
class Heard:
    """A search that has ended.

    Attributes:
        asked: in order.
    """

    name: str
    asked: Sequence[Observed]
    pick: Pick
    accepts: Acceptance | None


def heard(name: str, search: Search, line: Line, accepts: Acceptance | None) -> Heard:
    """Let a search talk to a curve."""
    pick, asked = drive(search, lambda level: drop_at(line, level), accepts)
    return Heard(name, [Observed(level, drop_at(line, level)) for level in asked], pick, accepts)


def drop_at(line: Line, level: Level) -> float:
    """On the measured curve, straight between its points."""
    return float(np.interp(level, *line))


def bracket(asked: Sequence[Observed], accepts: Acceptance) -> tuple[Level, Level]:
    """The highest accepted level so far, and the next one above it that was asked for."""
    low = max((point.level for point in asked if accepts(point)), default=0.0)
    return low, min((point.level for point in asked if point.level > low), default=1.0)


def nats(drop: float) -> float:
    """From the top of the axis down, in pixels."""
    share = math.log(min(max(drop, FLOOR), CEILING) / CEILING) / math.log(FLOOR / CEILING)
    return TOP + share * CURVE


def draw_axes(drawing: Drawing, axis: Axis, bottom: float) -> None:
    """Grid, labels, title of the levels; drops in nats on the left."""
    for level in axis.ticks:
        x = axis.x(level)
        drawing.line(x, TOP, x, bottom, GRID)
        label = f"{100 * level:.3g}" if level < 1 else "100"
        drawing.text(x, bottom + 14, label, "middle", colour=FAINT)
    drawing.text((LEFT + WIDTH - RIGHT) / 2, bottom + 29, f"{axis.title}, %", "middle", colour=FAINT)
    for drop in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        drawing.line(LEFT, nats(drop), WIDTH - RIGHT, nats(drop), GRID)
        drawing.text(LEFT - 6, nats(drop) + 4, f"{drop:g}", "end", colour=FAINT)
    drawing.text(LEFT, TOP - 14, "drop in KL, nats")


def draw_curve(drawing: Drawing, axis: Axis, line: Line, limit: float | None) -> None:
    """What was measured, and what may be lost."""
    levels = (
        line[0] if axis is SPARSITY else [*(level for level in line[0] if level < FIRST_ROUND[-1]), FIRST_ROUND[-1]]
    )
    drawing.path([(axis.x(level), nats(drop_at(line, level))) for level in levels], INK)
    if limit is not None:
        drawing.line(LEFT, nats(limit), WIDTH - RIGHT, nats(limit), REJECTED, 'stroke-dasharray="5 3"')
        drawing.text(LEFT + 4, nats(limit) - 5, f"tolerance {limit:g}", colour=REJECTED)


def draw_questions(drawing: Drawing, axis: Axis, said: Heard, top: float) -> float:
    """A row for each question, with the bracket that its answer leaves; where the next thing may begin."""
    drawing.text(LEFT, top, f"{said.name}: picks {said.pick.level:.1%} after {len(said.asked)} questions")
    y = top + ROW
    for number, point in enumerate(said.asked, 1):
        x = axis.x(point.level)
        if said.accepts:
            low, high = bracket(said.asked[:number], said.accepts)
            drawing.bar(axis.x(low), axis.x(high), y - 4, 8)
        drawing.mark(x, y, accepted=said.accepts is None or said.accepts(point))
        drawing.text(LEFT - 8, y + 4, str(number), "end", colour=FAINT)
        y += ROW
    return y


def draw_legend(drawing: Drawing, y: float) -> None:
    """What marks mean."""
    drawing.mark(LEFT + 6, y, accepted=True)
    drawing.text(LEFT + 16, y + 4, "accepted", colour=FAINT)
    drawing.mark(LEFT + 86, y, accepted=False)
    drawing.text(LEFT + 97, y + 4, "not accepted", colour=FAINT)
    drawing.bar(LEFT + 186, LEFT + 210, y - 4, 8)
    drawing.text(LEFT + 216, y + 4, "where the answer may still be, after this question", colour=FAINT)


def conversations(title: str, about: str, axis: Axis, line: Line, limit: float, all_said: Sequence[Heard]) -> str:
    """A curve with all that was asked of it, and the questions of each search below."""
    drawing = Drawing(title, about)
    rows = sum(len(said.asked) for said in all_said)
    bottom = TOP + CURVE + 8 + rows * ROW + len(all_said) * (ROW + 12)
    draw_axes(drawing, axis, bottom)
    draw_curve(drawing, axis, line, limit)
    y = TOP + CURVE + 20.0
    for said in all_said:
        for point in said.asked:
            drawing.mark(axis.x(point.level), nats(point.drop), accepted=bool(said.accepts and said.accepts(point)))
        y = draw_questions(drawing, axis, said, y) + 12
    draw_legend(drawing, bottom + 46)
    drawing.height = bottom + 60
    return drawing.written()


def knee_picture(line: Line) -> str:
    """Sweet-Spotter without a tolerance: the point farthest below the chord."""
    said = heard("Sweet-Spotter without a tolerance", SweetSpotter(), line, None)
    points = sorted([DENSE_POINT, *said.asked], key=lambda point: point.level)
    worst, rise = points[-1], points[-1].drop
    drawing = Drawing(
        "The knee of a curve",
        "KL of jv_lstm's f1.weight over the logarithm of the compression ratio, a straight chord from the dense "
        f"weight to {worst.level:.0%}, and the point farthest below it, at {said.pick.level:.1%}: the pick. "
        f"{len(said.asked)} levels were asked for, {len(FIRST_ROUND) - 1} of them in the first round.",
    )
    bottom = TOP + CURVE + 8 + (len(said.asked) + 2) * ROW

    def y_of(drop: float) -> float:
        return TOP + (1 - drop / rise) * CURVE

    for level in RATIO.ticks:
        drawing.line(RATIO.x(level), TOP, RATIO.x(level), bottom, GRID)
        drawing.text(RATIO.x(level), bottom + 14, f"{100 * level:.3g}", "middle", colour=FAINT)
    drawing.text((LEFT + WIDTH - RIGHT) / 2, bottom + 29, f"{RATIO.title}, %", "middle", colour=FAINT)
    for drop in (0.0, 0.5, 1.0, 1.5):
        if drop <= rise:
            drawing.line(LEFT, y_of(drop), WIDTH - RIGHT, y_of(drop), GRID)
            drawing.text(LEFT - 6, y_of(drop) + 4, f"{drop:g}", "end", colour=FAINT)
    drawing.text(LEFT, TOP - 14, "drop in KL, nats (not a logarithm here)")
    levels = [*(level for level in line[0] if level < worst.level), worst.level]
    drawing.path([(RATIO.x(level), y_of(drop_at(line, level))) for level in levels], INK)
    drawing.line(RATIO.x(0), y_of(0), RATIO.x(worst.level), y_of(rise), FAINT, 'stroke-dasharray="5 3"')
    at = RATIO.x(said.pick.level)
    chord = y_of(rise * RATIO.place(said.pick.level) / RATIO.place(worst.level))
    drawing.line(at, chord, at, y_of(drop_at(line, said.pick.level)), REJECTED, 'stroke-width="2"')
    drawing.text(at - 4, chord - 12, "farthest below the chord", "end", colour=REJECTED)
    for point in said.asked:
        drawing.mark(RATIO.x(point.level), y_of(point.drop), accepted=True)
    draw_questions(drawing, RATIO, said, TOP + CURVE + 20.0)
    drawing.height = bottom + 40
    return drawing.written()


def told(said: Heard) -> str:
    """A conversation in words, for whoever does not see it."""
    levels = ", ".join(
        f"{point.level:.1%}{'' if said.accepts is None or said.accepts(point) else ' no'}" for point in said.asked
    )
    return f"{said.name} asks for {levels}, and picks {said.pick.level:.1%}."


def pictures(measured: Measured) -> dict[str, str]:
    """File name to SVG."""
    lines = {key: line_of(measured, key) for key in WEIGHTS}
    accepts = {key: tolerance(limit) for key, limit in LIMITS.items()}
    named = {key: f"{model.removesuffix('.onnx')}'s {weight}" for key, (model, weight) in WEIGHTS.items()}

    def on(key: str, title: str, axis: Axis, searches: Mapping[str, Search]) -> str:
        said = [heard(name, search, lines[key], accepts[key]) for name, search in searches.items()]
        about = f"KL of {named[key]} over its sparsity, measured at every percent, and a tolerance of {LIMITS[key]:g} "
        return conversations(title, f"{about}nats. {' '.join(map(told, said))}", axis, lines[key], LIMITS[key], said)

    return {
        "searches-top-down.svg": on("plain", "Top-Down, question by question", SPARSITY, {"Top-Down": TopDown()}),
        "searches-sweet-spotter.svg": on(
            "plain", "Sweet-Spotter, question by question", RATIO, {"Sweet-Spotter": SweetSpotter()}
        ),
        "searches-start.svg": on(
            "plain",
            f"Both searches, begun at a prediction of {PREDICTED:.0%}",
            SPARSITY,
            {
                f"Top-Down from {PREDICTED:.0%}": TopDown().starting_at(PREDICTED),
                f"Sweet-Spotter from {PREDICTED:.0%}": SweetSpotter().starting_at(PREDICTED),
            },
        ),
        "searches-dip.svg": on(
            "dip",
            "Both searches on a curve that falls in between",
            SPARSITY,
            {"Top-Down": TopDown(), "Sweet-Spotter": SweetSpotter(), "Top-Down from 45%": TopDown().starting_at(0.45)},
        ),
        "searches-knee.svg": knee_picture(lines["plain"]),
    }


def line_of(measured: Measured, key: str) -> Line:
    """Levels and drops, the dense weight first."""
    drops = measured[key]["drops"]
    assert isinstance(drops, Mapping)
    return [0.0, *map(float, drops)], [0.0, *map(float, drops.values())]


def measure() -> dict[str, dict[str, object]]:
    """The curves, on the search half of the samples, plain magnitude; to six digits."""
    import onnxsens

    found: dict[str, dict[str, object]] = {}
    for key, (model, weight) in WEIGHTS.items():
        run = onnxsens.scan(
            MODELS / model, str(MODELS / DATA), levels=LEVELS, weights=[weight], search_metric="kl", exact=True
        )
        points = run.curves_of("kl")[weight]
        drops = {f"{level:g}": float(f"{drop:.6g}") for level, drop in zip(points.sparsity, points.drop, strict=True)}
        found[key] = {"model": model, "weight": weight, "data": DATA, "metric": "kl", "drops": drops}
    return found


def read() -> Measured:
    """The curves as they were measured."""
    measured: Measured = json.loads(CURVES.read_text(encoding="utf-8"))
    return measured


def main() -> None:
    """Write what there is to write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="measure the curves anew")
    if parser.parse_args().measure:
        CURVES.write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
    for name, text in pictures(read()).items():
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
