"""Nothing that was handed in is ever run: no pickle, no eval, no YAML, and one reader for JSON, as a script sees it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onnxsens.errors import PlanError
from onnxsens.plan.application import changes_of

PACKAGE = Path(__file__).parent.parent / "onnxsens"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {str(path.relative_to(PACKAGE)): ast.parse(path.read_text()) for path in FILES}

# They make objects of bytes, and run what the bytes say while they do.
UNPICKLERS = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "dbm"}
# They make code of text. One runs the file that the user named on the command line, and nothing else does; the other
# asks whether what we wrote is Python.
RUNNERS = {"eval", "exec", "compile", "__import__"}
ALLOWED = {"usercode.py": {"exec", "compile"}, "frameworks/exporters/contract.py": {"compile"}}
# They hand a text to a shell.
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported, wherever."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call by the name of what is called, such as `np.load`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield ast.unparse(node.func), node


def keywords(call: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


def test_the_script_sees_what_it_looks_for() -> None:
    tree = ast.parse("import pickle as p\nfrom yaml import x\neval('1')\nnp.load(f, allow_pickle=True)\n")
    assert set(imports(tree)) == {"pickle", "yaml"}
    assert [name for name, _ in calls(tree)] == ["eval", "np.load"]
    assert keywords(list(calls(tree))[1][1]) == {"allow_pickle": "True"}


@pytest.mark.parametrize("file", TREES)
def test_nothing_is_unpickled(file: str) -> None:
    tree = TREES[file]
    assert {name.partition(".")[0] for name in imports(tree)} & UNPICKLERS == set()
    for name, call in calls(tree):
        given = keywords(call)
        assert given.get("allow_pickle", "False") == "False", ast.unparse(call)
        if name == "torch.load":
            assert given.get("weights_only") == "True", ast.unparse(call)


@pytest.mark.parametrize("file", TREES)
def test_no_text_is_run_but_the_file_that_the_user_named(file: str) -> None:
    found = {name for name, _ in calls(TREES[file])}
    assert found & SHELLS == set()
    assert found & RUNNERS == ALLOWED.get(file, set())
    for _, call in calls(TREES[file]):
        assert keywords(call).get("shell", "False") == "False", ast.unparse(call)


def test_json_is_read_in_one_place() -> None:
    # What these read, this process has just written itself.
    ours = {"frameworks/masks.py", "frameworks/exporters/contract.py", "workbench.py"}
    readers = {
        file
        for file, tree in TREES.items()
        if any(name in {"json.load", "json.loads", "msgspec.json.decode"} for name, _ in calls(tree))
    }
    assert readers - ours == {"strict_json.py"}


@pytest.mark.parametrize("file", ["../x", "/etc/passwd", "a/b", "..", ".", ""])
def test_a_plan_has_its_changes_beside_it_and_nowhere_else(file: str, tmp_path: Path) -> None:
    plan: Any = SimpleNamespace(changes=SimpleNamespace(file=file, sha256="0" * 64))
    nothing: Any = None
    with pytest.raises(PlanError, match=re.escape(f"'{file}', which is no file beside it")):
        changes_of(plan, tmp_path, nothing, nothing)


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "\u202eabc", "\ud800", "a\x00", "\u2028"])
def test_an_error_is_one_line_whatever_names_are_in_it(name: str) -> None:
    text = str(PlanError(f"weight '{name}' is not there; use another plan"))
    assert text.isprintable()
    assert len(text.splitlines()) == 1
    assert str(PlanError("weight 'conv1.größe' is not there")) == "weight 'conv1.größe' is not there"
