"""Options from the command line, the environment and a file: who wins, what is refused, and what is written back."""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import click
import pytest
from commands import ROOT, onnxsens
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxsens.cli import COMMANDS, LazyGroup, group
from onnxsens.cli.config import key_of, keyed, kind_of, options_of, save_config, variables_of
from onnxsens.errors import StorageError, UsageError

# A command's positional arguments and required options, so that it can be parsed.
REQUIRED = {
    "apply": ["m.onnx", "plan.json", "-o", "x.onnx"],
    "auto": ["m.onnx", "-d", "d.npz", "-o", "run"],
    "export": ["plan.json", "--model", "m.onnx", "--to", "json"],
    "scan": ["m.onnx", "-d", "d.npz", "-o", "run"],
    "verify": ["m.onnx", "plan.json", "-d", "d.npz"],
}


def parsed(name: str, *words: str, required: bool = True) -> click.Context:
    """A command's context, as far as options are read; nothing is run."""
    command = LazyGroup().get_command(click.Context(group), name)
    assert command is not None
    positional = [param.name for param in command.params if isinstance(param, click.Argument) and param.required]
    before = REQUIRED.get(name, ["bash" if name == "completion" else str(each) for each in positional])
    if not required:
        before = before[: len(positional)]
    return command.make_context(name, [*before, *words], parent=click.Context(group, info_name="onnxsens"))


@contextmanager
def file_with(content: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.toml"
        path.write_text(content)
        yield path


def several(option: click.Option) -> tuple[list[str], list[Any]]:
    """Three texts that an option takes, and what TOML has for them."""
    choices = getattr(option.type, "choices", None)
    if kind_of(option) == "switch":
        return ["", "", ""], [True, False, True]
    if kind_of(option) in ("int", "float"):
        return ["1", "2", "3"], [1, 2, 3]
    texts = list(choices)[:3] if choices else ["a", "b", "c"]
    texts += texts[:1] * (3 - len(texts))
    return texts, texts


EVERY = [(name, key) for name in COMMANDS for key in options_of(name)]


@pytest.mark.parametrize(("name", "key"), [each for each in EVERY if each[1] != "custom-op-lib"])
def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    name: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    option = options_of(name)[key]
    texts, values = several(option)

    def seen(*words: str) -> Any:
        value = parsed(name, *words, required=not option.required).params[str(option.name)]
        return value[0] if isinstance(value, tuple) else value

    positional = sum(isinstance(param, click.Argument) for param in parsed(name).command.params)
    required = REQUIRED[name][positional:] if option.required else []
    pairs = [required[at : at + 2] for at in range(0, len(required), 2)]
    others = [word for pair in pairs if pair[0] not in option.opts for word in pair]
    shown = '"{}"' if isinstance(values[0], str) else "{}"
    as_toml = shown.format(str(values[0]).lower() if isinstance(values[0], bool) else values[0])
    with file_with(f"[{name}]\n{key} = {as_toml}\n") as path:
        from_file = seen(*others, "--config", str(path))
        assert str(from_file) == str(float(values[0]) if kind_of(option) == "float" else values[0])
        short, long = reversed(variables_of(name, key))
        for variable, text in ((short, texts[1] or "no"), (long, texts[2] or "yes")):
            monkeypatch.setenv(variable, text)
            expected = {"no": False, "yes": True}.get(text, text)
            found = seen(*others, "--config", str(path))
            assert found == expected or str(found) == str(expected) or float(found) == float(text)
        if kind_of(option) == "switch":
            monkeypatch.delenv(long)
            assert seen(*others, "--config", str(path), option.opts[-1]) is True  # where the environment says no
        elif key != "verbose":
            typed = seen(*others, "--config", str(path), f"{option.opts[-1]}", texts[0])
            assert str(typed) in (texts[0], str(float(texts[0])) if kind_of(option) == "float" else "")


def test_no_variable_means_two_options() -> None:
    meaning: dict[str, set[tuple[str, str]]] = {}
    for name, key in EVERY:
        own, shared = variables_of(name, key)
        meaning.setdefault(own, set()).add((name, key))
        meaning.setdefault(shared, set()).add(("*", key))
    assert {variable: who for variable, who in meaning.items() if len(who) > 1} == {}


def test_every_option_can_be_named_in_a_file_by_one_key() -> None:
    for name in COMMANDS:
        options = [each for each in LazyGroup().get_command(None, name).params if isinstance(each, click.Option)]
        keys = [key_of(option) for option in options]
        assert len(set(keys)) == len(keys) and all(key == key.lower() and "_" not in key for key in keys)


class TestFile:
    def test_what_stands_above_is_for_all_commands_and_a_table_goes_first(self) -> None:
        with file_with('seed = 1\npatience = 5\nholdout = 0.25\n[auto]\nseed = 2\n[scan]\nlevels = "0.5"\n') as path:
            params = parsed("auto", "--config", str(path)).params
            assert (params["seed"], params["patience"], params["holdout"]) == (2, 5.0, 0.25)
            assert parsed("scan", "--config", str(path)).params["seed"] == 1
            assert parsed("inspect", "--config", str(path)).params["patience"] == 5.0

    def test_required_options_may_come_from_it(self) -> None:
        with file_with('[auto]\ndata = "random:64"\nout = "there"\nmax-drop = ["kl=0.1", "top5=0.2"]\n') as path:
            command = LazyGroup().get_command(click.Context(group), "auto")
            assert command is not None
            params = command.make_context("auto", ["m.onnx", "--config", str(path)]).params
            assert (params["data"], params["folder"], params["max_drop"]) == (
                "random:64",
                Path("there"),
                ("kl=0.1", "top5=0.2"),
            )

    @pytest.mark.parametrize(
        ("content", "fragment"),
        [
            ("[auto]\nsparsty = 0.5\n", "unknown option 'sparsty'; did you mean 'sparsity'?"),
            ("sparsty = 0.5\n", "unknown option 'sparsty'; did you mean 'sparsity'?"),
            ("[atuo]\nsparsity = 0.5\n", "unknown table 'atuo'; did you mean 'auto'?"),
            ("[scan]\nlevel = '0.5'\n", "unknown option 'level'; did you mean 'levels'?"),
            ("[auto]\nscan_samples = 5\n", "did you mean 'scan-samples'?"),
            ("[auto]\nseed = 1.5\n", "'seed' is 1.5; give a whole number"),
            ("[auto]\nseed = true\n", "'seed' is True; give a whole number"),
            ("[auto]\nseed = '1'\n", "'seed' is '1'; give a whole number"),
            ("[auto]\nexact = 'no'\n", "'exact' is 'no'; give true or false"),
            ("[auto]\nexact = 1\n", "'exact' is 1; give true or false"),
            ("[auto]\nsparsity = 'half'\n", "'sparsity' is 'half'; give a number"),
            ("[auto]\nsparsity = [0.5]\n", "'sparsity' is [0.5]; give a number"),
            ("[auto]\nmax-drop = [true]\n", "'max-drop' is True; give a text, or a list of them"),
            ("[auto]\nmax-drop = {kl = 0.1}\n", "give a text, or a list of them"),
            ("[auto]\nmean = 2020-01-01\n", "give a text"),
            ("[inspect]\nsort = 'sizes'\n", "did you mean 'size'?"),
            ("[auto]\nconfig = 'other.toml'\n", "unknown option 'config'"),
            ("[auto\n", "is no TOML"),
            ("x = " + "[" * 5000, "is no TOML"),
            ("x = '" + "y" * 2_000_000 + "'", "is larger than"),
        ],
    )
    def test_what_is_wrong_in_it_is_said_on_one_line(self, content: str, fragment: str) -> None:
        with file_with(content) as path, pytest.raises(UsageError) as raised:
            parsed("auto", "--config", str(path))
        assert fragment in str(raised.value) and "\n" not in str(raised.value)

    @pytest.mark.parametrize("target", ["nowhere.toml", "."])
    def test_a_file_that_is_none_is_said_so(self, target: str) -> None:
        with pytest.raises(UsageError, match="--config"):
            parsed("auto", "--config", target)

    def test_mistakes_end_the_command_with_code_2_before_anything_is_done(self, tmp_path: Path) -> None:
        (tmp_path / "c.toml").write_text("[auto]\nsparsty = 0.5\n")
        words = ("auto", "m.onnx", "-d", "random:9", "-o", "x", "--config", "c.toml")
        done = onnxsens(*words, cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and "did you mean 'sparsity'?" in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["c.toml"]

    def test_names_in_it_control_no_terminal(self, tmp_path: Path) -> None:
        (tmp_path / "c.toml").write_text('[auto]\n"se\\u001b[2Jed" = 1\n')
        done = onnxsens("auto", "m.onnx", "-d", "x", "-o", "x", "--config", "c.toml", cwd=tmp_path)
        assert done.returncode == 2 and "\x1b" not in done.stderr and "\\x1b[2J" in done.stderr


CODE = [
    ("auto", "data", "mine.py:batches"),
    ("auto", "data", "mine.py"),
    ("auto", "metric", "mine.py:score"),
    ("auto", "metric", "mine.txt:score"),
    ("auto", "search-metric", "mine.py:score"),
    ("auto", "max-drop", "mine.py:score=0.1"),
    ("scan", "tolerance", "mine.py:score=0.1"),
    ("verify", "max-drop", "mine.py:score=0.1"),
    ("inspect", "custom-op-lib", "ops.so"),
]


class TestCode:
    @pytest.mark.parametrize(("name", "key", "spec"), CODE)
    def test_is_not_taken_from_a_file(self, name: str, key: str, spec: str) -> None:
        for content in (f"[{name}]\n{key} = '{spec}'\n", f"{key} = '{spec}'\n"):
            with file_with(content) as path, pytest.raises(UsageError, match=f"give it there, with --{key}"):
                parsed(name, "--config", str(path))

    @pytest.mark.parametrize(("name", "key", "spec"), CODE)
    def test_is_not_taken_from_the_environment(
        self, name: str, key: str, spec: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for variable in variables_of(name, key):
            with monkeypatch.context() as within:
                within.setenv(variable, spec)
                with pytest.raises(UsageError, match=f"give it there, with --{key}"):
                    parsed(name)

    def test_is_never_run(self, tmp_path: Path) -> None:
        (tmp_path / "mine.py").write_text("open('ran', 'w')\ndef score(outputs, dense, labels):\n    return 0.0\n")
        (tmp_path / "c.toml").write_text("[auto]\nmetric = 'mine.py:score'\n")
        words = ("auto", "m.onnx", "-d", "random:9", "-o", "x")
        assert onnxsens(*words, "--config", "c.toml", cwd=tmp_path).returncode == 2
        assert onnxsens(*words, cwd=tmp_path, ONNXSENS_METRIC="mine.py:score").returncode == 2
        assert not (tmp_path / "ran").exists()

    def test_is_left_out_of_what_is_saved_and_that_is_said(self, tmp_path: Path) -> None:
        ctx = parsed("auto", "--metric", "mine.py:score", "--custom-op-lib", "ops.so", "--seed", "3")
        notes = save_config(ctx, tmp_path / "c.toml", force=False)
        assert {note.split()[0] for note in notes} == {"--metric", "--custom-op-lib"}
        assert tomllib.loads((tmp_path / "c.toml").read_text()) == {"auto": {"data": "d.npz", "out": "run", "seed": 3}}


class TestEnvironment:
    def test_several_values_are_words_as_a_shell_reads_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ONNXSENS_FREEZE", "conv1* 'a name with spaces'")
        assert parsed("auto").params["freeze"] == ("conv1*", "a name with spaces")

    @pytest.mark.parametrize(
        ("variable", "text", "fragment"),
        [
            ("ONNXSENS_SEED", "1.5", "ONNXSENS_SEED='1.5' is not what the option takes; give a whole number"),
            ("ONNXSENS_AUTO_EXACT", "maybe", "is neither yes nor no"),
            ("ONNXSENS_FREEZE", "'open", "close the quotes"),
        ],
    )
    def test_what_is_wrong_in_it_names_the_variable(
        self, variable: str, text: str, fragment: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(variable, text)
        with pytest.raises(UsageError) as raised:
            parsed("auto")
        assert fragment in str(raised.value)

    def test_an_empty_variable_says_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ONNXSENS_SEED", "")
        assert parsed("auto").params["seed"] == 0

    def test_a_misspelt_variable_is_noted_and_a_foreign_one_is_not(self, tmp_path: Path) -> None:
        done = onnxsens("doctor", "--json", ONNXSENS_BATCH_SIZ="4", ONNXSENS_WHATEVER_IT_IS="1", cwd=tmp_path)
        assert "ONNXSENS_BATCH_SIZ, which is no option; did you mean ONNXSENS_BATCH_SIZE?" in done.stderr
        assert "WHATEVER" not in done.stderr

    def test_the_file_may_be_named_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with file_with("seed = 8\n") as path:
            monkeypatch.setenv("ONNXSENS_CONFIG", str(path))
            assert parsed("auto").params["seed"] == 8


def values_of(option: click.Option) -> st.SearchStrategy[Any]:
    """Any value that a command line can hold."""
    text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
    choices = getattr(option.type, "choices", None)
    kind = kind_of(option)
    if kind == "switch":
        return st.just(True)
    one = {
        "int": st.integers(-(10**9), 10**9) if not option.count else st.integers(1, 3),
        "float": st.floats(allow_nan=False),
        "text": st.sampled_from(list(choices)) if choices else text.filter(lambda each: ":" not in each),
    }[kind]
    return st.lists(one, min_size=1, max_size=3) if option.multiple else one


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[str, list[str]]:
    name = draw(st.sampled_from(["auto", "scan", "plan", "verify", "inspect", "export"]))
    words: list[str] = []
    for key, option in options_of(name).items():
        if key in ("custom-op-lib", "force") or option.required or not draw(st.booleans()):
            continue
        value = draw(values_of(option))
        long = f"--{key}"
        if kind_of(option) == "switch":
            words.append(long)
        elif option.count:
            words += [long] * value
        else:
            words += [f"{long}={each}" for each in (value if isinstance(value, list) else [value])]
    return name, words


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(command_lines())
def test_what_is_saved_and_read_back_is_the_same_run(line: tuple[str, list[str]]) -> None:
    name, words = line
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ):
        path = Path(folder) / "c.toml"
        first = parsed(name, *words)
        assert save_config(first, path, force=False) == []
        second = parsed(name, "--config", str(path), required=False)
        assert {key: str(value) for key, value in second.params.items()} == {
            key: str(value) for key, value in first.params.items()
        }
        written = tomllib.loads(path.read_bytes().decode()).get(name, {})
        plain = parsed(name).params
        named = keyed(first.command)
        required = {key for key, option in named.items() if option.required}
        changed = {key for key, each in named.items() if first.params[str(each.name)] != plain[str(each.name)]}
        assert set(written) == changed | (required & set(written))


class TestSaving:
    def test_a_command_writes_it_and_the_file_makes_the_same_command(self, tmp_path: Path) -> None:
        done = onnxsens("doctor", "--patience", "7", "--save-config", tmp_path / "c.toml", "--json")
        assert (tmp_path / "c.toml").read_text() == "[doctor]\njson = true\npatience = 7.0\n", done.stderr

    def test_a_file_that_is_there_is_kept_unless_it_says_the_same(self, tmp_path: Path) -> None:
        path = tmp_path / "c.toml"
        save_config(parsed("auto", "--seed", "3"), path, force=False)
        save_config(parsed("auto", "--seed", "3"), path, force=False)
        before = path.read_bytes()
        with pytest.raises(StorageError, match="exists"):
            save_config(parsed("auto", "--seed", "4"), path, force=False)
        assert path.read_bytes() == before
        save_config(parsed("auto", "--seed", "4"), path, force=True)
        assert b"seed = 4" in path.read_bytes()

    def test_a_name_that_is_not_utf_8_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="not UTF-8"):
            save_config(parsed("auto", "--freeze", os.fsdecode(b"\xff")), tmp_path / "c.toml", force=False)
        assert not (tmp_path / "c.toml").exists()


def test_a_goal_that_is_typed_takes_the_place_of_another_one_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[auto]\nsparsity = 0.3\n")
    model, data = ROOT / "models" / "jv_gru1.onnx", ROOT / "models" / "japanese_vowels_test.npz"
    command = ("auto", model, "-d", data, "--config", tmp_path / "c.toml", "--update", "none", "--confidence", "none")
    done = onnxsens(*command, "--max-drop", "accuracy=0.3", "-o", tmp_path / "typed", "-q")
    assert done.returncode == 0, done.stderr
    made = json.loads((tmp_path / "typed" / "plan.json").read_text())["objective"]
    assert made["kind"] == "max-drop" and made["sparsity"] is None
    done = onnxsens(*command, "-o", tmp_path / "set", "-q", ONNXSENS_SIZE="30kB")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "set" / "plan.json").read_text())["objective"]["kind"] == "size"


def test_options_come_through_a_pipe_and_go_into_the_run_folder_that_is_yet_to_be_made(tmp_path: Path) -> None:
    model, data = ROOT / "models" / "jv_gru1.onnx", ROOT / "models" / "japanese_vowels_test.npz"
    run = tmp_path / "run"
    command = [
        "scan",
        model,
        "-d",
        data,
        "--config",
        "/dev/stdin",
        "-o",
        run,
        "--save-config",
        run / "options.toml",
        "-q",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "onnxsens", *map(str, command)], input=b"[scan]\nlevels = '0.5'\n", cwd=ROOT, check=False
    )
    assert done.returncode == 0
    assert "levels" in (run / "options.toml").read_text() and (run / "scan.db").exists()


def test_without_a_command_there_is_help() -> None:
    done = onnxsens()
    assert done.returncode == 2 and "Commands:" in done.stdout and done.stderr == ""
