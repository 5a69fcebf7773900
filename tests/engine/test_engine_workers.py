import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crewing import KeptRoutes, all_results, asking, dying, erratic, real, refusing, told
from fakes import KnownCurves

from onnxsens.engine.crew import Alone, Call, Done, Job
from onnxsens.engine.questions import Route
from onnxsens.engine.serving import Served
from onnxsens.engine.workers import Care, Workers
from onnxsens.errors import EngineBugError, ModelError, OnnxsensError, WorkerLostError
from onnxsens.options import Options
from onnxsens.station import Station

Opener = Callable[..., Workers]

# A script as users write them: without a guard, so that it must not be run again in the workers.
SCRIPT = """
import os, sys, time
from pathlib import Path
from crewing import KeptRoutes, asking, erratic
from onnxsens.engine.workers import Workers

crew = Workers(erratic, (Path(sys.argv[1]),), 2, KeptRoutes(), print)
crew.give(asking("slow", 0.5))
crew.give(asking("fast", 0.1))
try:
    crew.take()
    Path(sys.argv[1], "under way").touch()
    crew.take()
finally:
    crew.close()
"""


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def routes() -> KeptRoutes:
    return KeptRoutes()


@pytest.fixture
def crew_of(tmp_path: Path, said: list[str], routes: KeptRoutes) -> Iterator[Opener]:
    """Opens crews, and closes them."""
    crews: list[Workers] = []

    def opened(count: int, build: Callable[..., Served] = erratic, care: Care | None = None) -> Workers:
        crews.append(Workers(build, (tmp_path,), count, routes, lambda each: said.append(each.text), care))
        return crews[-1]

    yield opened
    for crew in crews:
        crew.close()


def asked(folder: Path) -> list[str]:
    """Every question that reached an evaluator, without the process."""
    return sorted(line.split(" ", 1)[1] for line in (folder / "asked").read_text().splitlines())


def processes(folder: Path) -> dict[int, Path]:
    """Those that built an evaluator, and where their temporary files are."""
    return {int(path.name.split()[1]): Path(path.read_text()) for path in folder.glob("built *")}


def runs(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie; one with threads left still holds its pipes."""
    try:
        zombie = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
        return not zombie or len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(reached: Callable[[], bool], seconds: float) -> bool:
    """Whether it is so within this time."""
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def values(found: list[Done]) -> dict[tuple[str, int], float]:
    """The value of each answer, by key and number; each must be there once."""
    by_place = {
        (done.job.key, done.index): done.answer.measurements["accuracy"].total
        for done in found
        if done.answer and done.answer.measurements
    }
    assert len(by_place) == len(found)
    return by_place


def process_of(done: Done) -> int:
    assert done.answer is not None
    return int(done.answer.engine.split()[1])


def test_a_killed_worker_costs_its_current_question_only(crew_of: Opener, tmp_path: Path, said: list[str]) -> None:
    jobs = [asking("once", 0.1, 0.5, 0.9), asking("other", 0.2, 0.3), asking("third", 0.4)]
    found = all_results(crew_of(2), jobs)
    assert values(found) == {
        ("once", 0): 10, ("once", 1): 50, ("once", 2): 90,
        ("other", 0): 20, ("other", 1): 30, ("third", 0): 40,
    }  # fmt: skip
    assert [(done.index, done.last) for done in found if done.job is jobs[0]] == [(0, False), (1, False), (2, True)]
    assert asked(tmp_path) == ["once 0.1", "once 0.5", "once 0.5", "once 0.9", "other 0.2", "other 0.3", "third 0.4"]
    assert len(said) == 1
    assert "died while it measured 'once' (SIGKILL); once more in a new one" in said[0]


def test_what_kills_twice_is_a_failure_of_every_metric_and_the_rest_goes_on(
    crew_of: Opener, tmp_path: Path, said: list[str]
) -> None:
    jobs = [asking("always", 0.1, 0.5, 0.9, metrics=("accuracy", "kl")), asking("leaves", 0.5), asking("other", 0.1)]
    found = {(done.job.key, done.index): done.answer for done in all_results(crew_of(2), jobs)}
    killed, left = found["always", 1], found["leaves", 0]
    assert killed is not None
    assert left is not None
    why = "the process died 2 times while it measured 'always' (SIGKILL)"
    assert (killed.measurements, killed.failures) == ({}, {"accuracy": why, "kl": why})
    assert left.failures == {"accuracy": "the process died 2 times while it measured 'leaves' (exit code 3)"}
    assert [sorted(answer.measurements) for place, answer in sorted(found.items()) if answer] == [
        ["accuracy", "kl"], [], ["accuracy", "kl"], [], ["accuracy"],
    ]  # fmt: skip
    assert asked(tmp_path).count("always 0.5") == asked(tmp_path).count("leaves 0.5") == 2
    assert [text.endswith("; given up") for text in said].count(True) == 2


def test_errors_come_out_as_they_were_and_the_crew_goes_on(crew_of: Opener) -> None:
    crew = crew_of(1)
    crew.give(asking("broken", 0.5, 0.6))
    with pytest.raises(EngineBugError, match=r"^the canary is dead$"):
        crew.take()
    crew.give(asking("buggy", 0.5))
    with pytest.raises(OnnxsensError, match=r"^ZeroDivisionError: nobody's business, in a worker process; ") as caught:
        crew.take()
    assert "in _misbehave" in str(caught.value.__cause__)
    crew.give(Job("always", canary=4))
    lost = crew.take()
    assert (lost.effect, lost.value) == ("not measured", "the process died 2 times while it zeroed 'always' (SIGKILL)")
    crew.give(Job("other", canary=4))
    assert crew.take().effect == "no effect"
    with pytest.raises(RuntimeError, match="no job is under way"):
        crew.take()


def test_routes_and_notes_come_before_the_result_that_follows_them(
    crew_of: Opener, said: list[str], routes: KeptRoutes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    crew = crew_of(1)
    crew.give(asking("notes", 0.5, 0.1))
    crew.take()
    assert said == ["known: None"]
    assert routes == {"notes": Route("suffix", "input", exact=True, why="it was faster")}
    crew.take()
    os.kill(*processes(tmp_path), signal.SIGKILL)
    crew.give(asking("notes", 0.5))
    crew.take()
    assert "known: it was faster" in said, "the parent tells the next process"
    out, err = capfd.readouterr()
    assert out == "", "stdout is for results"
    assert "a metric prints" in err


def test_jobs_of_a_key_go_where_it_is_warm_and_a_dead_idle_worker_is_replaced(
    crew_of: Opener, tmp_path: Path, said: list[str]
) -> None:
    crew = crew_of(2)
    first = {done.job.key: process_of(done) for done in all_results(crew, [asking("a", 0.1), asking("b", 0.1)])}
    assert len(set(first.values())) == 2
    for key in ("b", "a", "b"):
        crew.give(asking(key, 0.2))
        assert process_of(crew.take()) == first[key]
    os.kill(first["a"], signal.SIGKILL)
    assert until(lambda: not runs(first["a"]), 2)
    again = {done.job.key: process_of(done) for done in all_results(crew, [asking("b", 0.3), asking("a", 0.3)])}
    assert again["b"] == first["b"]
    assert again["a"] != first["a"]
    assert len(said) == 1
    assert said[0].endswith("died while it had nothing to do (SIGKILL)")
    crew.close()
    assert not any(map(runs, processes(tmp_path)))
    assert not any(folder.exists() for folder in processes(tmp_path).values())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (refusing, r"^'m\.onnx' is no model; give another$"),
        (dying, r"^a process died 2 times while it opened the model \(SIGSEGV\); "),
    ],
)
def test_an_evaluator_that_cannot_be_built_is_an_error(
    crew_of: Opener, build: Callable[..., Served], message: str
) -> None:
    crew = crew_of(1, build)
    crew.give(asking("a", 0.1))
    with pytest.raises(ModelError, match=message):
        crew.take()


@pytest.fixture
def under_way(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A script in which one worker is in the middle of a slow question, and the other one idle."""
    code = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    process = subprocess.Popen(
        code, env=os.environ | {"PYTHONPATH": paths}, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    with process:
        assert until((tmp_path / "under way").exists, 15)
        assert until((tmp_path / "slow was here").exists, 15)
        yield process
        process.kill()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_workers_go_when_the_parent_does_and_leave_nothing(
    under_way: "subprocess.Popen[str]", tmp_path: Path, ending: signal.Signals
) -> None:
    workers = processes(tmp_path)
    assert len(workers) == 2
    assert all(map(runs, workers))
    assert all(folder.is_dir() for folder in workers.values())
    if ending == signal.SIGINT:
        os.killpg(under_way.pid, ending)  # as a terminal does
    else:
        under_way.send_signal(ending)
    assert until(lambda: not any(map(runs, workers)), 2)
    if ending == signal.SIGINT:  # the parent removes them, one worker after the other
        assert until(lambda: not any(folder.exists() for folder in workers.values()), 3)
    assert under_way.wait(3) == -ending
    if ending == signal.SIGINT:
        assert under_way.stderr is not None
        assert under_way.stderr.read().count("KeyboardInterrupt") == 1, "of the parent, and of no worker"


def test_the_same_answers_come_out_of_any_crew(models: Path) -> None:
    model, data = str(models / "jv_gru1.onnx"), str(models / "japanese_vowels_test.npz")
    with Station(model, Options(data, threads=1)) as bench:
        names = [weight.name for weight in bench.inventory.weights]
        jobs = [asking(name, 0.3, 0.7, 0.95, metrics=tuple(bench.metrics), samples=40) for name in names]
        jobs += [Job(name, canary=4) for name in names]
        alone = told(all_results(Alone(bench.evaluator), jobs))
    assert len(alone) == 4 * len(names)
    for count in (1, 2):
        crew = Workers(real, (model, data, 1), count, KeptRoutes(), print)
        try:
            assert told(all_results(crew, jobs)) == alone
        finally:
            crew.close()


def test_alone_works_on_a_question_when_its_answer_is_taken() -> None:
    evaluator = KnownCurves(lambda weight, level: level)
    crew = Alone(evaluator)
    crew.give(asking("a", 0.1, 0.2))
    with pytest.raises(RuntimeError, match="at work"):
        crew.give(asking("b", 0.1))
    assert not evaluator.asked
    assert (crew.take().last, len(evaluator.asked)) == (False, 1)
    assert (crew.take().last, len(evaluator.asked)) == (True, 2)
    with pytest.raises(RuntimeError, match="no job"):
        crew.take()


def test_a_call_gives_a_value_and_one_that_kills_is_an_error(crew_of: Opener) -> None:
    crew = crew_of(1)
    assert crew.call("hello", 1, "two", doing="said hello") == ("hello", 1, "two")
    with pytest.raises(WorkerLostError, match=r"^a process died 2 times while it carried a plan out \(SIGKILL\); "):
        crew.call("always", doing="carried a plan out")
    assert crew.call("hello", doing="said hello") == ("hello",)


def test_standing_calls_are_made_by_every_process_there_is_and_will_be(crew_of: Opener, tmp_path: Path) -> None:
    crew = crew_of(2)
    crew.give(asking("a", 0.1))
    crew.take()
    crew.stand(Call("settle", ("run",), "opened the run folder"))
    assert asked(tmp_path).count("call settle ('run',)") == 1
    all_results(crew, [asking("once", 0.5), asking("b", 0.1)])  # two processes, and one in place of the killed
    assert asked(tmp_path).count("call settle ('run',)") == 3


def test_a_process_that_gives_no_answer_in_time_is_replaced_and_given_up_the_second_time(
    crew_of: Opener, said: list[str]
) -> None:
    crew = crew_of(1, care=Care(patience=1.5))
    crew.give(asking("slow", 0.1, 0.5, 0.9))
    found = [crew.take() for _ in range(3)]
    assert [bool(done.answer and done.answer.failures) for done in found] == [False, True, False]
    assert found[1].answer is not None
    why = r"the process died 2 times while it measured 'slow' \(no answer in \d+ s\)"
    assert re.fullmatch(why, found[1].answer.failures["accuracy"])
    assert ["no answer" in text for text in said] == [True, True]


def test_after_a_kill_for_memory_successors_take_less_and_after_another_kill_they_do_not(
    crew_of: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = iter([0, 0, 0, 1, 1, 1])  # before each process, and after each kill
    monkeypatch.setattr("onnxsens.engine.workers.kills_for_memory", lambda: next(kills))
    lighter = iter([Call("fit", (16,), "took fewer samples")])
    crew = crew_of(1, care=Care(lighten=lambda: next(lighter)))
    all_results(crew, [asking("once", 0.5), asking("always", 0.5)])
    assert asked(tmp_path) == ["always 0.5", "always 0.5", "call fit (16,)", "once 0.5", "once 0.5"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_a_worker_may_not_take_more_memory_than_it_is_given(crew_of: Opener, tmp_path: Path) -> None:
    lighter: list[Call | None] = [None, Call("fit", (16,), "took fewer samples")]
    crew = crew_of(1, care=Care(memory=2**30, lighten=lighter.pop))
    crew.give(asking("greedy", 0.1, 0.5, 0.9))
    found = [crew.take() for _ in range(3)]
    assert [bool(done.answer and done.answer.failures) for done in found] == [False, True, False]
    assert found[1].answer is not None
    why = "the process died 2 times while it measured 'greedy' (out of memory)"
    assert found[1].answer.failures == {"accuracy": why}
    assert asked(tmp_path).count("call fit (16,)") == 2  # by both successors
    with pytest.raises(WorkerLostError, match=r"while it took memory \(out of memory\); .* more --worker-memory$"):
        crew_of(1, care=Care(memory=2**30)).call("greedy", doing="took memory")


def test_a_job_is_questions_or_a_canary() -> None:
    with pytest.raises(ValueError, match="either"):
        Job("a")
