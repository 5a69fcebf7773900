"""Pictures of the searches that ship: which levels they ask for, in order, on a measured curve."""

import math
from collections.abc import Callable, Sequence
from html import escape

import numpy as np

from onnxsens.scan.searches import Observed, Pick, Search, SweetSpotter, TopDown, tolerance

# KL in nats of `onnx::Conv_131` of models/fashion_cnn.onnx, magnitude, nothing updated, on 2,000 samples of the search
# split; between points a straight line. tests/test_docs.py measures some of them again.
WEIGHT = "onnx::Conv_131"
CURVE = {
    0.1: 0.000313,
    0.2: 0.0024,
    0.3: 0.01016,
    0.4: 0.03721,
    0.5: 0.04459,
    0.6: 0.14757,
    0.7: 0.36671,
    0.8: 2.46577,
    0.9: 3.07228,
    0.95: 2.95484,
    0.99: 3.42666,
    1.0: 4.07865,
}
LIMIT = 0.1
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 360, 56, 16, 16, 48
STYLE = (
    "text{font:13px sans-serif;fill:#222}.axis{stroke:#555;stroke-width:1}.curve{fill:none;stroke:#888;stroke-width:2}"
    ".limit{stroke:#555;stroke-dasharray:6 4}.yes{fill:#0072b2}.no{fill:#fff;stroke:#d55e00;stroke-width:2}"
    ".number{font-size:11px;text-anchor:middle}.lead{stroke:#bbb}.pick{fill:none;stroke:#0072b2;stroke-width:2}.back{fill:#fff}"
)


def drop_at(level: float) -> float:
    """Between measured points on a straight line."""
    return float(np.interp(level, [0.0, *CURVE], [0.0, *CURVE.values()]))


def asked_by(search: Search, limit: float) -> tuple[Pick, list[float]]:
    """What the search picks on the curve, and the levels that it asked for, in order."""
    asked: list[float] = []
    conversation = search.search(tolerance(limit))
    try:
        level = next(conversation)
        while True:
            asked.append(level)
            level = conversation.send(Observed(level, drop_at(level)))
    except StopIteration as end:
        pick: Pick = end.value
        return pick, asked


def top_down() -> str:
    """On an axis of sparsity."""
    pick, asked = asked_by(TopDown(), LIMIT)
    return drawn("Top-Down", pick, asked, lambda level: level, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])


def sweet_spotter() -> str:
    """On an axis of the compression ratio, in the logarithm."""
    pick, asked = asked_by(SweetSpotter(), LIMIT)
    return drawn("Sweet-Spotter", pick, asked, ratio_share, [0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99])


def ratio_share(level: float) -> float:
    """0 for a ratio of 1, 1 for a ratio of 100, which is where the search ends."""
    return math.log(1 / (1 - min(level, 0.99))) / math.log(100)


def drawn(
    name: str, pick: Pick, asked: Sequence[float], place: Callable[[float], float], ticks: Sequence[float]
) -> str:
    """The picture, with its content as text for those who do not see it."""
    highest = 1.1 * max(map(drop_at, asked))
    ends = max(place(level) for level in ticks)

    def x(level: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * place(level) / ends, 1)

    def y(drop: float) -> float:
        share = math.sqrt(max(drop, 0) / highest)  # so that small drops are seen
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)

    order = ", ".join(f"{level:.2%}" for level in asked)
    said = f"{name} asks for {len(asked)} levels of {WEIGHT}, in this order: {order}. "
    said += f"It picks {pick.level:.2%}: {pick.why}."
    drawn_at = [float(level) for level in np.linspace(0, ticks[-1], 120)]
    line = " ".join(f"{x(level)},{y(drop_at(level))}" for level in drawn_at)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="t d">',
        f'<title id="t">{escape(name)} on a measured curve</title><desc id="d">{escape(said)}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<path class="axis" fill="none" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>',
        f'<polyline class="curve" points="{line}"/>',
        f'<path class="limit" d="M{LEFT} {y(LIMIT)}H{WIDTH - RIGHT}"/>',
        f'<text x="{WIDTH - RIGHT}" y="{y(LIMIT) - 6}" text-anchor="end">tolerance {LIMIT:g} nats</text>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">sparsity of {escape(WEIGHT)}</text>',
        f'<text transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">drop: KL in nats, root scale'
        "</text>",
    ]
    parts += [f'<text class="number" x="{x(tick)}" y="{HEIGHT - BOTTOM + 16}">{tick:.0%}</text>' for tick in ticks]
    parts += [
        f'<text x="{LEFT - 6}" y="{y(drop) + 4}" text-anchor="end" class="tick">{drop:g}</text>'
        for drop in (0.0, *(each for each in (0.1, 0.5, 1.0, 2.0, 4.0) if each <= highest))
    ]
    taken: list[tuple[float, float]] = [(x(level), y(drop_at(level)) + 4) for level in asked]
    for number, level in enumerate(asked, 1):
        drop = drop_at(level)
        accepted = drop <= LIMIT
        here = (x(level), y(drop))
        parts.append(
            f'<circle class="{"yes" if accepted else "no"}" cx="{here[0]}" cy="{here[1]}" r="5">'
            f"<title>{number}: {level:.2%}, drop {drop:.3g}, {'accepted' if accepted else 'rejected'}</title></circle>"
        )
        # The number stands above its mark, as high as it takes to be alone there, with a line down to the mark.
        label = here[1] - 10
        while any(abs(here[0] - left) < 16 and abs(label - top) < 12 for left, top in taken if (left, top - 4) != here):
            label = round(label - 4, 1)
        taken.append((here[0], label))
        if label < here[1] - 10:
            parts.append(f'<path class="lead" d="M{here[0]} {round(label + 2, 1)}V{round(here[1] - 5, 1)}"/>')
        parts.append(f'<text class="number" x="{here[0]}" y="{round(label, 1)}">{number}</text>')
    parts.append(f'<circle class="pick" cx="{x(pick.level)}" cy="{y(drop_at(pick.level))}" r="9"/>')
    return "\n".join(parts) + "\n</svg>\n"
