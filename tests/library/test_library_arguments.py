"""From keywords to records, and the words of what is wrong with them."""

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from commands import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

import onnxsens
from onnxsens.errors import GoalError, OnnxsensError, UsageError
from onnxsens.library import arguments
from onnxsens.library.making import Planning
from onnxsens.library.words import in_keywords, worded
from onnxsens.sizes import UNITS

MODEL = ROOT / "models/jv_gru1.onnx"
DATA = ROOT / "models/japanese_vowels_test.npz"
DOCUMENTED = [onnxsens.scan, onnxsens.auto, onnxsens.verify, onnxsens.Run.plan]
# What a docstring says where nothing is given.
UNSAID = {None: r"None|:", (): r"none|:", False: r"False", "auto": r'`"auto"`', "grid": r'`"grid"`'}


@pytest.mark.parametrize("function", DOCUMENTED, ids=lambda function: function.__qualname__)
def test_every_keyword_is_described_with_its_default(function: Callable[..., Any]) -> None:
    text = inspect.getdoc(function) or ""
    args = text.split("Args:\n", 1)[1].split("\n\n", 1)[0]
    described = dict(re.findall(r"^ {4}(\w+): ((?:.*\n?)(?:^ {5,}.*\n?)*)", args, re.MULTILINE))
    parameters = {name: each for name, each in inspect.signature(function).parameters.items() if name != "self"}
    assert list(described) == list(parameters)
    for name, each in parameters.items():
        if each.default is not inspect.Parameter.empty:
            wanted = next((UNSAID[known] for known in UNSAID if each.default is known), None) or repr(each.default)
            assert re.search(rf"\(default:? ?({wanted})", " ".join(described[name].split())), name
            assert each.kind is inspect.Parameter.KEYWORD_ONLY, name


def test_plan_takes_what_the_method_takes() -> None:
    method = get_type_hints(inspect.unwrap(onnxsens.Run.plan))
    assert get_type_hints(Planning) == {name: kind for name, kind in method.items() if name != "return"}


def test_scan_and_auto_share_their_keywords() -> None:
    scan, auto = (inspect.signature(each).parameters for each in (onnxsens.scan, onnxsens.auto))
    for name in scan.keys() & auto.keys():
        assert scan[name] == auto[name]
    assert scan.keys() - auto.keys() == {"search", "levels", "tolerance", "weights", "control", "predict"}


def test_each_keyword_is_an_option_of_the_command() -> None:
    from onnxsens.cli.auto import command as auto
    from onnxsens.cli.scan import command as scan
    from onnxsens.cli.verify import command as verify

    renamed = {"folder": "out", "provider": "providers", "in_process": "isolated", "searches": "search"}
    shell = {
        "verbose", "quiet", "no_color", "as_json", "debug", "time_limit", "dry_run", "config", "save_config",
    }  # fmt: skip
    for command, function in ((scan, onnxsens.scan), (auto, onnxsens.auto), (verify, onnxsens.verify)):
        options = {renamed.get(each.name or "", each.name) for each in command.params} - shell
        assert options <= set(inspect.signature(function).parameters), command.name


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("give --max-drop accuracy=0.021 or more", "give max_drop={'accuracy': 0.021} or more"),
        ("or --confidence none", "or confidence=None"),
        ("give --force", "give force=True"),
        ("--scale, --mean and --std apply", "scale, mean and std apply"),
        ("--holdout above 0, and more", "holdout above 0, and more"),
        ("--min 'conv*=2' is not a level", "minimum 'conv*=2' is not a level"),
        ("run 'onnxsens apply --force'", "run 'onnxsens apply --force'"),
        ("weight '--step' is well-done -- so", "weight '--step' is well-done -- so"),
        ("use --providers cpu", "use providers='cpu'"),
        ("write for example --dim seq=128", "write for example dims={'seq': 128}"),
    ],
)
def test_errors_speak_of_keywords(said: str, meant: str) -> None:
    assert in_keywords(said) == meant


def test_an_error_stays_the_one_it_is() -> None:
    cause = ValueError("why")

    @worded
    def fails() -> None:
        raise GoalError("give --force") from cause

    with pytest.raises(GoalError, match="give force=True") as caught:
        fails()
    assert caught.value.__cause__ is cause and caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"levels": []}, "levels=[] has none in it; give e.g. levels=[0.5, 0.7, 0.9], or leave it out for 0.1 to 0.9"),
        ({"levels": ["a"]}, "levels='a' is not a number"),
        ({"levels": "a,b"}, "levels='a,b' is not a list of numbers"),
        ({"levels": [0.5], "search": "top-down"}, "levels are those of the grid, and search names top-down"),
        ({"search": "bottom-up"}, "bottom-up"),
        ({"search": "top-down"}, "top-down needs a tolerance; give tolerance={'METRIC': X}"),
        ({"tolerance": 0.1}, "tolerance=0.1 says not of what; write for example tolerance={'kl': 0.01}"),
        ({"tolerance": {"kl": float("nan")}}, "tolerance['kl'] is NaN"),
        ({"metrics": [print]}, "is a function of this process; put it into a file, and give 'FILE.py:print'"),
        ({"metrics": [3]}, "metrics: 3 is not a text"),
        ({"cache_memory": "much"}, "cache_memory='much' is not a size; write for example cache_memory='500MB'"),
        ({"cache_memory": 1.5}, "cache_memory=1.5 is not a size"),
        ({"batch_size": 0}, "batch_size 0 is not a number of samples; give 1 or more"),
        ({"batch_size": 2.5}, "batch_size=2.5 is not a whole number"),
        ({"holdout": "half"}, "holdout='half' is not a number"),
        ({"dims": {"T": 1.5}}, "dims['T']=1.5 is not a whole number"),
        ({"patience": 0}, "patience 0 is no time"),
        ({"mean": ["x"]}, "mean='x' is not a number"),
        ({"seed": -1}, "seed -1 is negative"),
        ({"weights": "nothing*"}, "weights"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(keywords: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(OnnxsensError) as caught:
        onnxsens.scan(MODEL, DATA, out=tmp_path / "run", **keywords)
    text = str(caught.value)
    assert message in text and "\n" not in text and "--" not in text


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"max_drop": 0.01}, "max_drop=0.01 says not of what; write for example max_drop={'accuracy': 0.01}"),
        ({"max_drop": {"accuracy": 0.01}, "sparsity": 0.5}, "max_drop and sparsity exclude each other"),
        ({"sparsity": 1.5}, "sparsity 1.5 is not in (0, 1)"),
        ({"size": "two"}, "size='two' is not a size"),
        ({"freeze": 3}, "freeze: 3 is not a text"),
        ({"pin": {"a": "b"}}, "pin['a']='b' is not a number"),
        ({"minimum": {"a": 2}}, "minimum 'a=2.0' is not a level"),
        ({"confidence": 2}, "confidence 2.0 is not in [0.5, 1)"),
        ({"pareto": True, "iterative": 2}, "pareto measures the front of one step"),
        ({"max_drop": {"accuracy": 0.0001}}, "or confidence=None"),
    ],
)
def test_goals_that_make_no_sense_are_refused(keywords: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(OnnxsensError) as caught:
        onnxsens.auto(MODEL, DATA, out=tmp_path / "run", **keywords)
    text = str(caught.value)
    assert message in text and "\n" not in text and "--" not in text


@settings(deadline=None)
@given(st.integers(0, 2**50), st.sampled_from([*UNITS]))
def test_a_size_is_a_number_of_its_unit(number: int, unit: str) -> None:
    assert arguments.size(f"{number}{unit.lower()}", "x") == int(float(number) * UNITS[unit])
    assert arguments.size(number, "x") == arguments.size(np.int64(number), "x") == number


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_are_kept_to_the_last_bit(values: list[float]) -> None:
    text = arguments.numbers(np.array(values), "mean")
    assert text is not None and [float(part) for part in text.split(",")] == values
    assert arguments.numbers(values[0], "mean") == repr(values[0])


@pytest.mark.parametrize(("size", "nbytes"), [("500MB", 500_000_000), ("2GiB", 2**31), ("1.5kB", 1500), ("7", 7)])
def test_sizes_are_those_of_the_command_line(size: str, nbytes: int) -> None:
    from onnxsens.cli.options import parse_bytes

    assert arguments.size(size, "cache_memory") == nbytes == parse_bytes(size, "--cache-memory")


def test_a_refusal_before_anything_is_measured_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        onnxsens.scan(MODEL, DATA, out=tmp_path / "run", batch_size=0)
    assert not (tmp_path / "run").exists()


def test_importing_the_library_imports_nothing_heavy() -> None:
    code = (
        "import sys, onnxsens; onnxsens.OnnxsensError; "
        "print([name for name in ('numpy', 'onnx', 'rich', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    code = "import sys, onnxsens; onnxsens.scan, onnxsens.Plan; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
