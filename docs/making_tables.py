"""Pages that are tables: errors and exit codes, fields of a plan, and names of all that is chosen by name."""

import inspect
from collections.abc import Iterator
from typing import Any

from making_text import GENERATED, code, escaped, first_sentence, table

from onnxsens import errors as errors_of
from onnxsens.plugins import Registry


def errors() -> str:
    """Exit codes, and every deliberate error."""
    kinds = list(tree(errors_of.OnnxsensError))
    by_code: dict[int, list[type[errors_of.OnnxsensError]]] = {}
    for kind in kinds:
        by_code.setdefault(kind.exit_code, []).append(kind)
    rows = [["0", "Done.", ""]]
    for number in sorted(by_code):
        first = by_code[number][0]
        rows.append([str(number), escaped(summary(first)), ", ".join(anchored(kind) for kind in by_code[number])])
    ended = errors_of.TerminatedError
    rows.append(["130", "Interrupted (Ctrl-C); what was measured is kept.", "`KeyboardInterrupt`"])
    rows.append(["128 + signal", escaped(summary(ended)), anchored(ended)])
    text = GENERATED + "# Exit codes and errors\n\n"
    text += (
        "A command that fails says why in one line, on stderr: what is wrong, with the value; and what to do. With "
        "`--json` the same is on stdout, as `error` and `exit_code`. `--debug` shows where it was raised. In Python "
        "the same errors are raised; `str()` of each is that line.\n\n"
    )
    text += table(["exit code", "what it means", "errors"], rows) + "\n## Errors\n\n"
    described = []
    for kind in [*kinds, ended]:
        exit_code = "128 + signal" if kind is ended else str(getattr(kind, "exit_code", ""))
        described.append(
            [
                f'<a id="{kind.__name__.lower()}"></a>`{kind.__name__}`',
                f"`{kind.__mro__[1].__name__}`",
                exit_code,
                escaped(" ".join((kind.__doc__ or "").split())),
            ]
        )
    return text + table(["error", "is a", "exit code", "raised where"], described)


def tree(kind: type[errors_of.OnnxsensError]) -> Iterator[type[errors_of.OnnxsensError]]:
    """A class and everything below it that `onnxsens.errors` defines, in its order."""
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors_of.__name__:
            yield from tree(below)


def summary(kind: type) -> str:
    """What it is, in its own words."""
    return first_sentence(kind)


def anchored(kind: type) -> str:
    """A link to its row."""
    return f"[`{kind.__name__}`](#{kind.__name__.lower()})"


def plan_schema() -> str:
    """Every part of plan.json, with types."""
    from onnxsens.plan.planfile import json_schema

    schema = json_schema()
    parts = schema["$defs"]
    root = schema["$ref"].rpartition("/")[2] if "$ref" in schema else schema["title"]
    text = GENERATED + "# Fields of plan.json\n\n"
    text += (
        "Every field of a [plan](../plan.md), from the code that reads it; the same as JSON Schema is in "
        "[plan.schema.json](../plan.schema.json). All fields are there in every plan that is written, unless a "
        "default is given; others are refused.\n\n"
    )
    for name in [root, *sorted(set(parts) - {root})]:
        part = parts.get(name, schema)
        needed = set(part.get("required", ()))
        rows = [
            [code(key), type_of(field), "" if key in needed else default_of(field)]
            for key, field in part["properties"].items()
        ]
        text += (
            f"## {name}\n\n{escaped(part.get('description', ''))}\n\n"
            + table(["field", "type", "default"], rows)
            + "\n"
        )
    return text.rstrip("\n") + "\n"


def default_of(field: dict[str, Any]) -> str:
    """Of a field that may be left out."""
    return code(field["default"]) if "default" in field else "may be left out"


def type_of(field: dict[str, Any]) -> str:  # noqa: PLR0911  (one a kind of type)
    """In words, with links to parts."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(type_of(each) for each in field["anyOf"])
    if "const" in field:
        return code(field["const"])
    if "enum" in field:
        return " or ".join(code(each) for each in field["enum"])
    kind = field.get("type", "anything")
    if kind == "array":
        return f"list of {type_of(field.get('items', {}))}"
    if kind == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"by name, {type_of(field['additionalProperties'])}"
    limits = [
        f"{words} {field[key]:g}"
        for key, words in (("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"))
        if key in field
    ]
    if "pattern" in field:
        limits.append(code(field["pattern"]))
    return ", ".join([str(kind), *limits])


def names() -> str:
    """Everything that is chosen by name, from the tables that commands look it up in."""
    text = GENERATED + "# Names: metrics, techniques, pickers, targets, formats\n\n"
    text += "What `onnxsens` itself has. Packages can add to every table; [how](../plug-ins.md).\n\n"
    return text + "\n".join(f"## {title}\n\n{said}\n\n{shown}" for title, said, shown in sections())


def sections() -> Iterator[tuple[str, str, str]]:
    """Title, a line, and a table."""
    from onnxsens.data import sources
    from onnxsens.engine.methods import METHODS
    from onnxsens.frameworks.checkpoints import checkpoints
    from onnxsens.frameworks.exporters import exporters
    from onnxsens.metrics import make_metric, metrics
    from onnxsens.plan.pickers import MEMBERS, pickers
    from onnxsens.report.formats import formats
    from onnxsens.scan.searches import searches
    from onnxsens.targets import targets
    from onnxsens.techniques.criteria import criteria
    from onnxsens.techniques.patterns import patterns
    from onnxsens.techniques.technique import kinds

    made = {name: make_metric("top5" if name == "topK" else name) for name in metrics.table}
    yield (
        "Metrics",
        "`--metric`, `--search-metric`, `--max-drop METRIC=X`; `topK` with a number for K, such as `top5`.",
        table(
            ["metric", "unit", "better", "labels", "what it is"],
            [
                [
                    code(name),
                    metric.unit,
                    "higher" if metric.higher_is_better else "lower",
                    "needed" if metric.needs_labels else "",
                    escaped(first_sentence(type(metric))),
                ]
                for name, metric in sorted(made.items())
            ],
        ),
    )
    yield "Criteria", "Which elements go: `--technique CRITERION`.", described(criteria)
    yield (
        "Patterns",
        "Which elements go together: `--technique CRITERION:PATTERN`; besides, `N:M` such as `2:4` and `blockRxC` such "
        "as `block4x1`.",
        described(patterns),
    )
    yield "Techniques of other kinds", "`--technique NAME`.", described(kinds)
    yield (
        "Updates",
        "What is done to the elements that stay: `--update NAME`.",
        table(
            ["update", "kept elements", "which go", "inputs from", "biases take means", "statistics are set anew"],
            [
                [
                    code(name),
                    method.update or "as they are",
                    "by the criterion" if method.masks == "criterion" else "chosen anew",
                    "the network as pruned so far" if method.sequential else "the dense network",
                    "yes" if method.bias else "",
                    "yes" if method.statistics else "",
                ]
                for name, method in METHODS.items()
            ],
        ),
    )
    yield "Searches", "For one weight: `scan --search NAME`.", described(searches)
    yield (
        "Pickers",
        "For a whole plan. Members of the ensemble are asked by every plan; the others are there to be compared with.",
        table(
            ["picker", "member", "baseline", "what it does"],
            [
                [
                    code(name),
                    "yes" if name in MEMBERS else "",
                    "yes" if pickers.get(name).baseline else "",
                    escaped(first_sentence(pickers.get(name))),
                ]
                for name in sorted(pickers.table)
            ],
        ),
    )
    yield (
        "Targets",
        "`--target NAME`; `onnxsens targets NAME` has sources.",
        table(
            ["target", "for", "pattern", "faster", "the truth about it"],
            [
                [
                    code(each.name),
                    escaped(each.title),
                    each.technique_pattern or "any",
                    each.speedup,
                    escaped(each.line),
                ]
                for each in (targets.get(name) for name in sorted(targets.table))
            ],
        ),
    )
    yield "Data sources", "`-d`: the first that takes the text reads it.", described(sources)
    yield (
        "Checkpoints",
        "`--checkpoint FILE`, told by content.",
        table(
            ["format", "what it is"],
            [[code(name), escaped(checkpoints.get(name).title)] for name in sorted(checkpoints.table)],
        ),
    )
    yield (
        "Export formats",
        "`export --to NAME`; [traps of each](../exports.md).",
        table(
            ["format", "what is written", "modes", "was run with"],
            [
                [code(each.name), escaped(each.title), ", ".join(each.modes), escaped(each.ran_with or "not run")]
                for each in (exporters.get(name) for name in sorted(exporters.table))
            ],
        ),
    )
    yield (
        "Report formats",
        "`report --format NAME`, or by the file's suffix.",
        table(
            ["format", "suffixes", "what it is"],
            [
                [
                    code(name),
                    ", ".join(map(code, formats.get(name).suffixes)),
                    escaped(first_sentence(type(formats.get(name)))),
                ]
                for name in sorted(formats.table)
            ],
        ),
    )


def described(registry: Registry[Any]) -> str:
    """Names, each with the first sentence that its class says of itself."""
    rows = []
    for name in sorted(registry.table):
        thing = registry.get(name)
        rows.append([code(name), escaped(first_sentence(thing if inspect.isclass(thing) else type(thing)))])
    return table([registry.noun, "what it does"], rows)
