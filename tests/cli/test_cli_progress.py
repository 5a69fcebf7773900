"""What is shown while a command works, who is told of the best plan, and that an end is told once."""

import io
import sys
import threading
from collections.abc import Mapping
from types import SimpleNamespace

import pytest

from onnxsens.cli.progress import Progress, clock, stage_line
from onnxsens.cli.shell import Shell
from onnxsens.engine.questions import Measurement
from onnxsens.errors import OnnxsensError
from onnxsens.plan import Goal
from onnxsens.plan.leading import Leader
from onnxsens.scan import Joint, Nobody
from onnxsens.scan.observers import Observer, PlanObserver, tell_best


def task(name: str, done: float, total: float, left: float | None) -> SimpleNamespace:
    return SimpleNamespace(description=name, completed=done, total=total, time_remaining=left)


class TestLines:
    def test_they_say_stage_points_time_left_what_came_last_and_the_best(self) -> None:
        progress = Progress(Shell(0, as_json=False, color=True, debug=False))
        progress.evaluated("encoder.weight at 0.55", 0.1)
        progress.best("62.0% zeros, accuracy drop 0.004, not checked yet")
        shown = progress.lines([task("choice", 12, 40, 190.0)], 80, plain=True)
        assert shown[0] == "choice  #########.....................  12/40  about 0:03:10 left"
        assert shown[1] == "  now   encoder.weight at 0.55"
        assert shown[2] == "  best  62.0% zeros, accuracy drop 0.004, not checked yet"

    @pytest.mark.parametrize("width", [20, 39, 79, 159])
    @pytest.mark.parametrize("plain", [False, True])
    def test_no_line_is_wider_than_there_is_room(self, width: int, plain: bool) -> None:
        progress = Progress(Shell(0, as_json=False, color=True, debug=False))
        progress.evaluated("encoder.layers.0." * 9 + "w\u00e9ight at 0.55", 0.1)
        progress.best("x" * 300)
        shown = progress.lines([task("calibration of everything", 1234567, 2345678, 123456.0)], width, plain=plain)
        assert max(map(len, shown)) <= width and len(shown) == 3
        assert all(line.isascii() for line in shown) or not plain

    def test_the_bar_is_the_first_to_go(self) -> None:
        assert stage_line(task("choice", 12, 40, 190.0), 35, plain=True) == "choice  12/40  about 0:03:10 left"

    def test_a_clock(self) -> None:
        assert [clock(0), clock(59.6), clock(3725)] == ["0:00:00", "0:01:00", "1:02:05"]

    def test_without_a_terminal_there_is_nothing_and_with_v_whole_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for verbosity, expected in ((0, ""), (1, "scan\n  w at 0.5: 0.25 s\n  best so far: good\n")):
            stream = io.StringIO()
            monkeypatch.setattr(sys, "stderr", stream)
            with Progress(Shell(verbosity, as_json=False, color=True, debug=False)) as progress:
                progress.stage("scan", 3)
                progress.evaluated("w at 0.5", 0.25)
                progress.best("good")
            assert stream.getvalue() == expected


class Listener(Nobody):
    def __init__(self) -> None:
        self.told: list[str] = []

    def best(self, text: str) -> None:
        self.told.append(text)


def joint(sparsity: float, drops: Mapping[str, float]) -> Joint:
    measured = {name: Measurement(100, 100 * drop, 0.0, 1.0, 1.0 - drop) for name, drop in drops.items()}
    return Joint({}, sparsity, measured, {})


class TestBest:
    def test_an_observer_that_does_not_want_to_know_is_not_told(self) -> None:
        plain: Observer = Nobody()
        assert not isinstance(plain, PlanObserver) and isinstance(Listener(), PlanObserver)
        tell_best(plain, "x")

    def test_with_limits_it_is_the_sparsest_that_keeps_them(self) -> None:
        listener = Listener()
        leader = Leader(Goal({"accuracy": 0.01}), "kl", listener)
        for sparsity, drop in [(0.5, 0.005), (0.8, 0.02), (0.4, 0.0), (0.6, 0.01), (0.0, 0.0)]:
            leader(joint(sparsity, {"accuracy": drop, "kl": 1.0}))
        assert [text.split(" ")[0] for text in listener.told] == ["50.0%", "60.0%"]
        assert listener.told[0] == "50.0% zeros, accuracy drop 0.005, not checked yet"

    def test_with_a_sparsity_it_is_the_one_that_loses_least_of_those_that_have_it(self) -> None:
        listener = Listener()
        leader = Leader(Goal(sparsity=0.5), "kl", listener)
        for sparsity, drop in [(0.3, 0.1), (0.5, 0.4), (0.5, 0.5), (0.4999, 0.2), (0.6, 0.3)]:
            leader(joint(sparsity, {"kl": drop}))
        assert [text.split(" drop ")[1].split(",")[0] for text in listener.told] == ["0.4", "0.2"]

    def test_a_metric_that_failed_is_no_answer(self) -> None:
        listener = Listener()
        Leader(Goal({"accuracy": 0.01}), "kl", listener)(joint(0.5, {"kl": 0.0}))
        assert listener.told == []


class TestTheEnd:
    def shell(self) -> Shell:
        return Shell(0, as_json=True, color=True, debug=False)

    def test_is_told_once_by_whoever_comes_first(self, capfd: pytest.CaptureFixture[str]) -> None:
        shell = self.shell()
        assert shell.fail(OnnxsensError("no"), 130) == 130
        shell.last_words(2)
        out, err = capfd.readouterr()
        assert err == "error: no\n" and out.count("exit_code") == 1
        shell = self.shell()
        shell.last_words(2)
        assert shell.fail(OnnxsensError("no"), 130) == 130
        out, err = capfd.readouterr()
        assert err.startswith("error: ended by SIGINT") and err.count("\n") == 1 and out.count("exit_code") == 1

    def test_is_told_once_where_both_come_at_once(self, capfd: pytest.CaptureFixture[str]) -> None:
        for _ in range(30):
            shell = self.shell()
            ready = threading.Barrier(2)

            def speak(shell: Shell = shell, ready: threading.Barrier = ready) -> None:
                ready.wait()
                shell.last_words(2)

            other = threading.Thread(target=speak)
            other.start()
            ready.wait()
            shell.fail(OnnxsensError("no"), 130)
            other.join()
            out, err = capfd.readouterr()
            assert err.count("error: ") == 1 and out.count("exit_code") == 1

    def test_last_words_do_not_wait_for_somebody_who_is_stuck(self) -> None:
        shell = self.shell()
        with shell._telling:
            shell.last_words(2)
        assert not shell.told
