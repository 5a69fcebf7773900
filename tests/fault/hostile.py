"""Hostile names through every command: what reaches a terminal, a file name, a script, a table or a page is text.

python -m tests.fault hostile --cases 10 --seed 1
"""

import argparse
import ast
import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tests.fault import hostile_names as bad
from tests.fault.browser import browser, chromium

ROOT = Path(__file__).parent.parent.parent
FORMATS = (
    "coreml", "csv", "jax", "json", "keras", "llmcompressor", "masks", "modelopt", "nncf", "tfmot", "torch",
    "torch-pruning",
)  # fmt: skip
DOCUMENTED = {0, 2, 3, 5, 7}
LONGEST = 400_000  # characters of all that a command says
LONGEST_LINE = 4_000
FILE_NAME = re.compile(r"[A-Za-z0-9._-]+")
SGR = re.compile(r"\x1b\[[0-9;]*m")
# What rich sends to a terminal to keep a bar in its place.
LIVE = re.compile(r"\x1b\[(?:[0-9;]*m|[0-9]*[AK]|2K|\?25[lh])|\r")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "p", "main", "section", "table", "thead",
    "tbody", "tr", "th", "td", "label", "select", "div", "noscript", "footer", "script", "a", "b", "br", "button",
    "code", "dd", "details", "dl", "dt", "fieldset", "figcaption", "figure", "h3", "h4", "input", "legend", "li",
    "line", "nav", "option", "output", "pre", "rect", "small", "span", "summary", "svg", "ul",
}  # fmt: skip
LINK = r"#[a-z-]+|https://github\.com/[\w.-]+/[\w.-]+/issues/\d+"


@dataclass
class Case:
    """Names in a model, and what was found wrong with what became of them.

    Attributes:
        complaints: the command or file, and what is wrong.
        commands: how many were run.
    """

    name: str
    folder: Path
    complaints: list[str] = field(default_factory=list)
    commands: int = 0

    def complain(self, where: str, what: str) -> None:
        """Keep a complaint."""
        self.complaints.append(f"{self.name}: {where}: {what}")

    def run(self, *arguments: object, good: Sequence[int] = (0,), environment: dict[str, str] | None = None) -> str:
        """Run a command; what it says is looked at, and its standard output is given back."""
        self.commands += 1
        done = subprocess.run(
            [sys.executable, "-m", "onnxsens", *map(str, arguments)],
            capture_output=True,
            cwd=self.folder / "cwd",
            env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"} | (environment or {}),
            check=False,
            timeout=600,
        )
        where = " ".join(str(argument)[:40] for argument in arguments)
        for stream, content in (("stdout", done.stdout), ("stderr", done.stderr)):
            for what in said_wrong(content, coloured=bool(environment)):
                self.complain(where, f"{stream}: {what}")
        if done.returncode not in good:
            self.complain(where, f"exit code {done.returncode}: {done.stderr[-300:]!r}")
        return done.stdout.decode("utf-8", "replace")

    def run_at_terminal(self, *arguments: object) -> None:
        """The same with a terminal, which has a live bar."""
        self.commands += 1
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "onnxsens", *map(str, arguments)],
            stdin=theirs, stdout=theirs, stderr=theirs,
            cwd=self.folder / "cwd",
            env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120", "TERM": "xterm-256color"},
        )  # fmt: skip
        os.close(theirs)
        content = b"".join(read_all(ours))
        os.close(ours)
        code = process.wait()
        where = f"at a terminal: {arguments[0]}"
        shown = LIVE.sub("", content.decode("utf-8", "replace"))
        for what in said_wrong(shown.encode(), coloured=False):
            self.complain(where, what)
        if code:
            self.complain(where, f"exit code {code}: {content[-300:]!r}")


def read_all(handle: int) -> Iterator[bytes]:
    """All that comes out of a terminal; it ends with an error."""
    while True:
        try:
            piece = os.read(handle, 1 << 16)
        except OSError:
            return
        if not piece:
            return
        yield piece


def said_wrong(content: bytes, *, coloured: bool) -> Iterator[str]:
    """What is wrong with what a command said."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        yield f"not UTF-8: {error}"
        return
    if coloured:
        text = SGR.sub("", text)
    found = sorted({character for character in text if character != "\n" and controls(character)})
    if found:
        at = text.index(found[0])
        yield f"{found} as they are: {text[max(0, at - 60) : at + 20]!r}"
    for line in text.splitlines():
        if line.startswith(bad.FAKE):
            yield f"a line of a name's own: {line[:80]!r}"
        if len(line) > LONGEST_LINE and not line.startswith("{"):
            yield f"a line of {len(line)} characters: {line[:80]!r}"
    if "Traceback" in text or "bug of ours" in text:
        yield f"a bug: {text[-300:]!r}"
    if len(text) > LONGEST:
        yield f"{len(text)} characters"


def controls(character: str) -> bool:
    """Whether a character does something to a terminal instead of only showing itself."""
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def through_every_command(case: Case, model: Path, checkpoint: Path, *, formats: Sequence[str]) -> None:
    """The whole way of a model, in a folder of its own."""
    out, data = case.folder / "out", ("-d", "random:64", "--seed", 1, "--in-process")
    run, plan = out / "run", out / "run" / "plan.json"
    short = ("--scan-samples", 32, "--update", "none")
    goal = ("--sparsity", 0.5, "--confidence", "none")
    case.run("inspect", model)
    case.run("inspect", model, environment={"FORCE_COLOR": "1"})
    as_json(case, "inspect", model)
    case.run("targets", "xnnpack", model)
    case.run_at_terminal("scan", model, *data, *short, "--levels", "0.3,0.6", "-v", "-o", out / "scan")
    as_json(case, "scan", model, *data, *short, "--levels", "0.3,0.6", "-o", out / "scan")
    case.run("auto", model, *data, *short, *goal, "--checkpoint", checkpoint, "-v", "-o", run)
    if not plan.is_file():
        return
    case.run("plan", run, "--sparsity", 0.4, "--confidence", "none")
    as_json(case, "plan", run, "--sparsity", 0.4, "--confidence", "none")
    case.run("apply", model, plan, "-o", run / "pruned.onnx", "--force")
    case.run("verify", model, plan, "-d", "random:64", "--in-process", "--max-drop", "kl=100")
    case.run("map", model, "--checkpoint", checkpoint, "-o", out / "map.json")
    case.run("map", model)
    for each in formats:
        wanted = out / "exports" / each
        given = ("export", plan, "--model", model, "--map", out / "map.json", "--to", each, "-o", wanted)
        case.run(*given, good=DOCUMENTED)
        for path in sorted(wanted.glob("*")) if wanted.is_dir() else ():
            for what in file_wrong(path):
                case.complain(path.name, what)
    case.run("check", run)
    as_json(case, "check", run)
    case.run("report", run, "-o", out / "report.html")
    for what in page_wrong(out / "report.html", str(case.folder)):
        case.complain("report.html", what)


def as_json(case: Case, *arguments: object, good: Sequence[int] = (0,)) -> None:
    """A command with `--json`: one document, in ASCII."""
    text = case.run(*arguments, "--json", good=good)
    try:
        json.loads(text)
    except ValueError as error:
        case.complain(f"{arguments[0]} --json", f"no document: {error}")
    if not text.isascii():
        case.complain(f"{arguments[0]} --json", "not ASCII")


def file_wrong(path: Path) -> Iterator[str]:
    """What is wrong with an exported file."""
    if path.suffix == ".py":
        tree = ast.parse(path.read_bytes())
        code = [node for node in tree.body if not isinstance(node, ast.Assign)]
        kinds = (ast.Expr, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.If)
        if any(not isinstance(node, kinds) for node in code):
            yield "code that is none of ours"
        if any(isinstance(node, ast.Call | ast.Import) for node in ast.walk(tables(tree))):
            yield "a table that runs code"
    elif path.suffix == ".csv":
        for row in csv.reader(io.StringIO(path.read_text("utf-8"))):
            for cell in row:
                if cell.startswith(FORMULA) or any(map(controls, cell)):
                    yield f"a cell that is a formula, or controls something: {cell[:60]!r}"
    elif path.suffix == ".json":
        json.loads(path.read_text("utf-8"))
    if path.suffix in {".py", ".csv", ".yaml", ".json"} and any(
        controls(character) and character != "\n" for character in path.read_text("utf-8")
    ):
        yield "control characters as they are"


def tables(tree: ast.Module) -> ast.Module:
    """What a script assigns, save the paths of what lies beside it."""
    kept = [
        node
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "LAYERS"
    ]
    return ast.Module(list[ast.stmt](kept), [])


class Tags(HTMLParser):
    """The elements of a page, and the attributes that could run something."""

    def __init__(self) -> None:
        super().__init__()
        self.strange: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what is none of ours."""
        strange = any(name.startswith("on") or name in {"src", "style"} for name, _ in attrs)
        # Parts of the page, and sources that targets name; no model has a say in either.
        away = [value or "" for name, value in attrs if name == "href"]
        if tag not in TAGS or strange or not all(re.fullmatch(LINK, value) for value in away):
            self.strange.append(f"<{tag} {attrs}>")


def page_wrong(path: Path, folder: str) -> Iterator[str]:
    """What is wrong with a page, read as text and, where there is one, in a browser."""
    if not path.is_file():
        yield "there is no page"
        return
    text = path.read_text("utf-8")
    tags = Tags()
    tags.feed(text)
    if tags.strange:
        yield f"elements that are none of ours: {tags.strange[:3]}"
    if any(controls(character) and character != "\n" for character in text):
        yield "control characters as they are"
    for private in (folder, str(Path.home()), str(ROOT)):
        if private != "/" and private in text:
            yield f"it names a folder of this machine: {private}"
    program = chromium()
    if program is None:
        return
    with browser(program) as opened:
        seen = opened.visit(
            path,
            "document.querySelectorAll('figure svg path').length",
            "JSON.parse(document.getElementById('data').textContent).weights.length",
            "document.querySelectorAll('tbody tr').length",
        )
    if seen.dialogs or seen.requests or seen.complaints:
        yield f"in the browser: {seen}"
    curves, weights, rows = seen.answers
    if not weights or curves < weights or rows < weights:
        yield f"{curves} curves and {rows} rows for {weights} weights"


def escaped(case: Case, before: dict[str, int]) -> None:
    """Files that are where no output belongs, or have a name that no file of ours has."""
    for path in bad.tree(case.folder):
        if path in before:
            continue
        if not path.startswith(f"out{os.sep}"):
            case.complain(path, "written outside the output folder")
        for part in Path(path).parts:
            if not FILE_NAME.fullmatch(part):
                case.complain(path, "a file name that a model has made")
    if Path("/tmp/onnxsens-hostile-x").exists():
        case.complain("/tmp/onnxsens-hostile-x", "written where a name wanted it")


def prepare(folder: Path, content: bytes, file_name: str) -> tuple[Path, Path]:
    """A sandbox with room above and beside the output, and the model and a place for its checkpoint in it."""
    for name in ("cwd", "in", "out"):
        (folder / name).mkdir(parents=True)
    model = folder / "in" / f"{file_name}.onnx"
    model.write_bytes(content)
    return model, folder / "in" / f"{file_name}.safetensors"


def cases(folder: Path, seed: int, mixtures: int, formats: Sequence[str]) -> Iterator[Case]:
    """All names in one model, those that need one of their own, and as many mixtures as wanted."""
    rng = np.random.default_rng(seed)
    together = list(bad.NAMES.values())
    yield whole_way(Case("all names", folder / "all"), together, "mo\x1b[31m\n=del", rng, formats)
    undecodable = [f"{bad.PLACEHOLDER}{number}" for number in range(3)]
    case = Case("not UTF-8", folder / "bytes")
    yield whole_way(case, undecodable, os.fsdecode(b"mo\xff"), rng, formats[:2], ends=("in", "out"))
    yield refused(Case("not UTF-8, in and out", folder / "ends"), undecodable, rng)
    yield on_the_command_line(Case("arguments", folder / "arguments"), rng)
    yield at_a_terminal(Case("markup in a live bar", folder / "bar"), rng)
    yield long_names(Case("5 MB", folder / "long"), rng)
    for number in range(mixtures):
        names = list(bad.mixed(rng, 12).values())
        yield whole_way(Case(f"mixture {number}", folder / f"mixture{number}"), names, f"m{number}", rng, formats)


def refused(case: Case, names: Sequence[str], rng: np.random.Generator) -> Case:
    """Inputs that no array can be given for are an error of the model's, on one line."""
    model, _ = prepare(case.folder, bad.not_utf8(bad.model_of(names, rng)), "ends")
    case.run("scan", model, "-d", "random:32", "--in-process", "-o", case.folder / "out" / "run", good=(3,))
    case.run("inspect", model)
    return case


def on_the_command_line(case: Case, rng: np.random.Generator) -> Case:
    """What was typed, or pasted, comes back in errors."""
    text = "a\x1b[2Jb\u202e[red]"
    model, _ = prepare(case.folder, bad.model_of(["w"], rng, ("in", "out")).SerializeToString(), "plain")
    scan = ("scan", model, "-d", "random:32", "--in-process", "-o", case.folder / "out" / "run")
    for arguments in (
        (text,),
        ("inspect", text),
        ("inspect", model, f"--{text}"),
        ("inspect", model, "--sort", text),
        ("inspect", model, "--dim", text),
        ("targets", text),
        (*scan, "--metric", text),
        (*scan, "--weights", text),
        (*scan, "--technique", text),
        ("export", text, "--model", model, "--to", text),
        ("check", text),
        ("report", text, "-o", case.folder / "out" / "x.html"),
    ):
        case.run(*arguments, good=(2, 3))
        as_json(case, *arguments, good=(2, 3))
    return case


def at_a_terminal(case: Case, rng: np.random.Generator) -> Case:
    """Names that are always on the bar while it is drawn anew."""
    model, _ = prepare(case.folder, bad.model_of([f"[/x]{n}[/]" for n in range(3)], rng).SerializeToString(), "bar")
    given = ("-d", "random:20000", "--scan-samples", 20000, "--levels", "0.2,0.4,0.6,0.8", "--in-process")
    case.run_at_terminal("scan", model, *given, "--exact", "-o", case.folder / "out" / "run")
    return case


def whole_way(
    case: Case,
    names: Sequence[str],
    file_name: str,
    rng: np.random.Generator,
    formats: Sequence[str],
    ends: Sequence[str] = (),
) -> Case:
    """A model of these names through every command."""
    made = bad.model_of(names, rng, ends)
    model, checkpoint = prepare(case.folder, bad.not_utf8(made), file_name)
    bad.checkpoint_of(made, checkpoint)
    before = dict(bad.tree(case.folder))
    through_every_command(case, model, checkpoint, formats=formats)
    escaped(case, before)
    return case


def long_names(case: Case, rng: np.random.Generator) -> Case:
    """Names of five megabytes, where they are only read and listed, and where a command ends with them in its error."""
    made = bad.model_of(["w" * 5_000_000, "\x1b" * 5_000_000], rng)
    model, checkpoint = prepare(case.folder, made.SerializeToString(), "long")
    bad.checkpoint_of(made, checkpoint)
    before = dict(bad.tree(case.folder))
    case.run("inspect", model)
    case.run("targets", "xnnpack", model)
    case.run("map", model, "--checkpoint", checkpoint, good=(0, 3))
    case.run(
        "scan",
        model,
        "-d",
        "random:32",
        "--levels",
        "0.5",
        "--in-process",
        "-o",
        case.folder / "out" / "run",
        good=(0, 3),
    )
    escaped(case, before)
    return case


def main(arguments: list[str]) -> int:
    """The tool: prints complaints and a summary; 1 where there is any."""
    parser = argparse.ArgumentParser(prog="hostile", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=0, help="models of mixed names, besides those of all names")
    given = parser.parse_args(arguments)
    wrong = commands = 0
    with TemporaryDirectory() as folder:
        for case in cases(Path(folder), given.seed, given.cases, FORMATS):
            commands += case.commands
            wrong += len(case.complaints)
            sys.stdout.write("".join(f"{complaint}\n" for complaint in case.complaints))
    seen = "pages opened in Chromium" if chromium() else "no Chromium, so pages were only read"
    sys.stdout.write(f"hostile: {len(bad.NAMES)} names, {commands} commands, {wrong} complaints; {seen}\n")
    return 1 if wrong else 0
