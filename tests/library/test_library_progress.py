"""Who is told of what happens, and what becomes of what they raise."""

from pathlib import Path

import pytest
from commands import ROOT

import onnxsens
from onnxsens.errors import UsageError
from onnxsens.library.progress import Bar, Progress, Teller, observing

MODEL = ROOT / "models/jv_gru1.onnx"
DATA = ROOT / "models/japanese_vowels_test.npz"


class EnoughError(Exception):
    """Whoever listens has heard it."""


def test_a_listener_counts_within_a_stage() -> None:
    heard: list[Progress] = []
    teller = Teller(heard.append)
    teller.note("early")
    teller.stage("scan", 2)
    teller.evaluated("w at 0.5", 0.25)
    teller.detail("how")
    teller.evaluated("w at 0.8", 0.5)
    teller.evaluated("w at 0.9", 0.5)
    teller.stage("choice", 7)
    teller.best("half of it")
    assert heard == [
        Progress("note", "", 0, 0, text="early"),
        Progress("stage", "scan", 0, 2),
        Progress("evaluated", "scan", 1, 2, "w at 0.5", 0.25),
        Progress("detail", "scan", 1, 2, text="how"),
        Progress("evaluated", "scan", 2, 2, "w at 0.8", 0.5),
        Progress("evaluated", "scan", 3, 2, "w at 0.9", 0.5),
        Progress("stage", "choice", 0, 7),
        Progress("best", "choice", 0, 7, text="half of it"),
    ]


@pytest.mark.parametrize("isolated", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_scan_tells_its_stages_in_order_and_each_point_once(tmp_path: Path, isolated: bool) -> None:
    heard: list[Progress] = []
    onnxsens.scan(
        MODEL, DATA, levels=[0.5, 0.8], metrics=["kl"], out=tmp_path, progress=heard.append, isolated=isolated
    )
    stages = [told.stage for told in heard if told.kind == "stage"]
    assert stages == ["dense model", "canary", "scan"]
    points = [told for told in heard if told.kind == "evaluated" and told.stage == "scan"]
    assert sorted(told.what for told in points) == sorted(
        f"{name} at {level}" for name in ("onnx::GRU_105", "onnx::GRU_106", "f.weight") for level in (0.5, 0.8)
    )
    assert [told.done for told in points] == [1, 2, 3, 4, 5, 6] and {told.expected for told in points} == {6}
    assert all(told.seconds > 0 for told in points)
    notes = [told.text for told in heard if told.kind == "note"]
    assert any("searches look at kl" in text for text in notes) and len(set(notes)) == len(notes)


@pytest.mark.parametrize("isolated", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_a_listener_raises_ends_the_run_which_can_be_gone_on_with(tmp_path: Path, isolated: bool) -> None:
    def stop(told: Progress) -> None:
        if told.kind == "evaluated" and told.stage == "scan" and told.done == 2:
            raise EnoughError

    with pytest.raises(EnoughError):
        onnxsens.scan(
            MODEL, DATA, levels=[0.5, 0.8], metrics=["kl"], out=tmp_path, progress=stop, isolated=isolated, jobs=1
        )
    kept = len(onnxsens.open_run(tmp_path).to_numpy())
    assert kept >= 2
    heard: list[Progress] = []
    run = onnxsens.scan(MODEL, DATA, levels=[0.5, 0.8], metrics=["kl"], out=tmp_path, progress=heard.append)
    assert len(run.to_numpy()) == 6
    assert len([told for told in heard if told.kind == "evaluated" and told.stage == "scan"]) == 6 - kept


@pytest.mark.slow
@pytest.mark.parametrize("isolated", [False, True])
def test_whichever_event_a_listener_raises_at_the_run_can_be_gone_on_with(tmp_path: Path, isolated: bool) -> None:
    def planned(folder: Path, stop: int | None = None) -> tuple[bytes, int]:
        heard: list[Progress] = []

        def listen(told: Progress) -> None:
            heard.append(told)
            if len(heard) == stop:
                raise EnoughError

        plan = onnxsens.auto(
            MODEL, DATA, sparsity=0.5, update="none", out=folder, progress=listen, isolated=isolated, jobs=1
        )
        return plan.path.read_bytes(), len(heard)

    whole, events = planned(tmp_path / "whole")
    assert events > 20
    for stop in range(1, events + 1, events // (3 if isolated else 6)):  # every one of them holds, and takes minutes
        with pytest.raises(EnoughError):
            planned(tmp_path / str(stop), stop)
        assert planned(tmp_path / str(stop))[0] == whole


def test_true_without_a_terminal_is_notes_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with observing(True) as observer:
        assert observer is not None
        observer.stage("scan", 3)
        observer.evaluated("w", 0.1)
        observer.detail("how")
        observer.note("take care\x1b[2J")
    assert capsys.readouterr() == ("", "note: take care\\x1b[2J\n")


def test_a_bar_shows_names_as_they_are_and_grows_with_its_stage() -> None:
    from io import StringIO

    from rich.console import Console
    from rich.progress import Progress as Columns
    from rich.progress import TextColumn

    shown = StringIO()
    console = Console(file=shown, force_terminal=True, width=80, highlight=False)
    columns = (TextColumn("{task.description}", markup=False), TextColumn("{task.fields[what]}", markup=False))
    with Columns(*columns, console=console) as bar:
        teller = Teller(Bar(bar))
        teller.stage("scan", 1)
        for _ in range(3):
            teller.evaluated("[red]w\x1b[2J", 0.1)
        (task,) = bar.tasks
        assert (task.completed, task.total) == (3, 4)
        teller.note("[bold]seen")
        teller.stage("choice", 2)
        assert [each.description for each in bar.tasks] == ["choice"]
        bar.refresh()
    assert "[bold]seen" in shown.getvalue()
    assert "\x1b[2J" not in shown.getvalue()


@pytest.mark.parametrize("nobody", [None, False])
def test_nobody_is_told_unless_asked(nobody: bool | None) -> None:
    with observing(nobody) as observer:
        assert observer is None


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(UsageError, match="progress='loud' is no function; give True, or a function"):
        onnxsens.scan(MODEL, DATA, progress="loud")  # type: ignore[arg-type]
