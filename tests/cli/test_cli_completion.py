"""Completion, as shells ask for it; and what the command line answers to what it does not know."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from commands import ROOT, onnxsens

from onnxsens.cli import COMMANDS, LazyGroup, group
from onnxsens.cli.config import key_of
from onnxsens.cli.grouped import HEADINGS, Grouped, heading_of

CASES = [
    (["au"], {"auto"}),
    (["auto", "--max-dr"], {"--max-drop"}),
    (["auto", "m.onnx", "--target", "x"], {"xnnpack"}),
    (["auto", "m.onnx", "--metric", "acc"], {"accuracy"}),
    (["auto", "m.onnx", "--max-drop", "acc"], {"accuracy="}),
    (["auto", "m.onnx", "--technique", "wa"], {"wanda"}),
    (["auto", "m.onnx", "--update", "re"], {"refit", "reconstruct"}),
    (["auto", "m.onnx", "--providers", "c"], {"cpu", "cuda"}),
    (["scan", "m.onnx", "--search", "to"], {"top-down"}),
    (["export", "p.json", "--to", "tor"], {"torch", "torch-pruning"}),
    (["inspect", "--sort", "m"], {"macs"}),
    (["targets", "eth"], {"ethos-u"}),
    (["completion", "z"], {"zsh"}),
]


def completions(words: list[str], shell: str = "bash") -> subprocess.CompletedProcess[str]:
    typed = " ".join(["onnxsens", *words])
    return onnxsens(_ONNXSENS_COMPLETE=f"{shell}_complete", COMP_WORDS=typed, COMP_CWORD=str(len(words)))


@pytest.mark.parametrize(("words", "expected"), CASES)
def test_names_are_completed(words: list[str], expected: set[str]) -> None:
    done = completions(words)
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == expected and done.stderr == ""


@pytest.mark.parametrize("words", [["auto", "m"], ["auto", "m.onnx", "-d", "s"], ["apply", "m.onnx", "p"]])
def test_paths_are_left_to_the_shell(words: list[str]) -> None:
    assert completions(words).stdout.startswith("file,")


@pytest.mark.parametrize(
    "words", [["atuo", "--x"], ["auto", "--no-such", "x"], ["scan", "--config", "nowhere", "--le"]]
)
def test_a_word_that_is_not_finished_is_no_mistake(words: list[str]) -> None:
    done = completions(words)
    assert done.stderr == "" and "error" not in done.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_itself_completes_with_the_script(tmp_path: Path) -> None:
    program = tmp_path / "onnxsens"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m onnxsens "$@"\n')
    program.chmod(0o755)
    script = onnxsens("completion", "bash")
    assert script.returncode == 0 and script.stderr == ""
    asking = script.stdout + (
        "\ncomplete -p onnxsens\n"
        "COMP_WORDS=(onnxsens auto m.onnx --target tens); COMP_CWORD=4; COMPREPLY=()\n"
        '_onnxsens_completion onnxsens tens --target; echo "${COMPREPLY[@]}"\n'
    )
    found = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", asking], capture_output=True, text=True, env=found, check=True)
    registered, answer = done.stdout.splitlines()
    assert "_onnxsens_completion onnxsens" in registered and answer == "tensorrt-2to4"


@pytest.mark.parametrize(
    ("shell", "mark"), [("zsh", "#compdef onnxsens"), ("fish", "complete --no-files --command onnxsens")]
)
def test_other_shells_get_their_own_script_and_answers(shell: str, mark: str) -> None:
    script = onnxsens("completion", shell)
    assert script.returncode == 0 and mark in script.stdout and "_ONNXSENS_COMPLETE" in script.stdout
    assert "xnnpack" in completions(["auto", "m.onnx", "--target", "xnn"], shell).stdout or shell == "fish"


def test_names_of_commands_are_completed_without_importing_any() -> None:
    code = "import click; from onnxsens.cli import group; print(len(group.shell_complete(click.Context(group), '')))"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert int(done.stdout) == len(COMMANDS) and "onnxsens.cli.auto" not in done.stderr


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        (["atuo"], "unknown command 'atuo'; did you mean 'auto'?"),
        (["auto", "--sparsty", "1"], "no such option '--sparsty'; did you mean '--sparsity'?"),
        (["inspect", "m.onnx", "--sort", "nam"], "did you mean 'name'?"),
        (["completion", "bsh"], "did you mean 'bash'?"),
        (["auto", "m.onnx", "-o", "x"], "without any, -d random:256"),
        (["scan", "m.onnx", "-o", "x"], "without any, -d random:256"),
    ],
)
def test_what_is_unknown_or_missing_is_answered_with_what_to_give(words: list[str], fragment: str) -> None:
    done = onnxsens(*words)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert fragment in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help_and_words_with_hyphens(name: str) -> None:
    command = LazyGroup().get_command(click.Context(group), name)
    assert command is not None and command.help and command.epilog
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.opts
            assert all(each == each.lower() and "_" not in each for each in option.opts)


def test_help_of_a_long_command_has_headings_and_every_option_once() -> None:
    command = LazyGroup().get_command(click.Context(group), "auto")
    assert isinstance(command, Grouped)
    text = onnxsens("auto", "--help").stdout
    options = [param for param in command.params if isinstance(param, click.Option)]
    assert {heading_of(option) for option in options} == set(HEADINGS) - {"Options"}
    for heading in set(HEADINGS) - {"Options"}:
        assert f"\n{heading}:\n" in text
    for option in options:
        assert (
            sum(
                line.split("  ")[1].split()[0].rstrip(",") in option.opts
                for line in text.splitlines()
                if line.startswith("  -")
            )
            == 1
        )


def test_headings_name_options_that_there_are() -> None:
    commands = [LazyGroup().get_command(click.Context(group), name) for name in COMMANDS]
    there = {key_of(option) for each in commands if each for option in each.params if isinstance(option, click.Option)}
    assert {key for keys in HEADINGS.values() for key in keys} - there == {"help"}


@pytest.mark.parametrize("words", [["-h"], ["auto", "-h"], ["--version"]])
def test_short_help_and_the_version(words: list[str]) -> None:
    done = onnxsens(*words)
    assert done.returncode == 0 and done.stdout.startswith(("Usage: ", "onnxsens "))
