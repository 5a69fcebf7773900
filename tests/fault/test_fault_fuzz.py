"""Damaged models and files, at the size that fits a test run; `ONNXSENS_FUZZ=10` makes it ten times as many."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault import corpus, fuzz, fuzz_models, fuzz_readers
from tests.fault.fuzz_loop import Case, Fuzzer, Say
from tests.fault.mutators import mutated, mutated_json, zipped

TIMES = float(os.environ.get("ONNXSENS_FUZZ", "1"))
BYTES, STRUCTURE, READERS = 50_000, 20_000, 100_000
COMMANDS = 200
CRASHERS = Path(__file__).parent / "crashers"
LIMIT = 10.0  # seconds of a processor
MOST_LATE = 0.001  # of all cases


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with fuzz.working_folder() as made:
        yield made


def of(kind: str, count: int) -> list[Case]:
    return fuzz.numbered(kind, round(count * TIMES))


@pytest.mark.slow
@pytest.mark.parametrize("kind, count", [(fuzz_models.BYTES, BYTES), (fuzz_models.STRUCTURE, STRUCTURE)])
def test_no_damaged_model_harms_more_than_the_process_that_runs_it(kind: str, count: int, folder: Path) -> None:
    models = folder / kind
    corpus.write_models(models)
    tally = fuzz.fuzz_models_of(0, of(kind, count), models, workers=2, limit=LIMIT)
    assert tally.findings == [], "\n".join(tally.lines())
    assert tally.cases == round(count * TIMES)
    measured = sum(number for (_, what), number in tally.outcomes.items() if what.startswith("measured"))
    assert measured > 0.03 * tally.cases  # else it is the parser that was tried
    assert tally.deaths.total() < MOST_LATE * tally.cases + 5


@pytest.mark.slow
def test_what_processes_once_died_of_harms_no_more_than_a_process(folder: Path) -> None:
    models = folder / "seeds"
    corpus.write_models(models)
    told = (CRASHERS / "manifest.tsv").read_text().splitlines()
    assert sorted(line.split("\t")[0] for line in told) == [each.name for each in fuzz_models.kept_models(CRASHERS)]
    tally = fuzz.kept_models_of(CRASHERS, models, workers=2, limit=LIMIT)
    assert tally.findings == [], "\n".join(tally.lines())
    assert tally.cases == len(told)


@pytest.mark.slow
def test_the_command_line_ends_as_documented_on_damaged_models(folder: Path) -> None:
    models = folder / "commands"
    corpus.write_models(models)
    kept = len(fuzz_models.kept_models(CRASHERS))
    cases = fuzz.numbered(fuzz_models.STRUCTURE, (COMMANDS - kept) * 2 // 3, start=STRUCTURE)
    cases += fuzz.numbered(fuzz_models.BYTES, COMMANDS - kept - len(cases), start=BYTES)
    result = fuzz.fuzz_commands_of(0, cases, models, workers=2, kept=CRASHERS)
    assert result.failures == []
    assert result.cases == COMMANDS
    assert len({code for _, code in result.codes}) > 1


@pytest.mark.slow
def test_every_reader_ends_in_a_result_or_a_documented_error(folder: Path) -> None:
    files = folder / "files"
    corpus.write_files(files)
    tally = fuzz.fuzz_readers_of(0, of("readers", READERS), files, workers=2, limit=LIMIT)
    assert tally.findings == [], "\n".join(tally.lines())
    assert tally.cases == round(READERS * TIMES)
    for kind in fuzz_readers.TABLE:
        endings = {what.split(", ")[0] for _, what in tally.outcomes if what.startswith(f"{kind}: ")}
        assert endings >= {f"{kind}: read", f"{kind}: refused"}, kind


def test_a_case_is_the_same_wherever_it_is_made(folder: Path) -> None:
    made = folder / "again"
    made.mkdir()
    for name, proto in corpus.networks():
        (made / f"{name}.onnx").write_bytes(proto.SerializeToString())
    first, second = fuzz_models.ModelCases(3, made), fuzz_models.ModelCases(3, made)
    for kind in (fuzz_models.BYTES, fuzz_models.STRUCTURE):
        contents = [first.content(kind, number) for number in range(50)]
        assert [second.content(kind, number) for number in reversed(range(50))] == contents[::-1]
        assert len(set(contents)) > 40
        assert fuzz_models.ModelCases(4, made).content(kind, 0) != contents[0]


def misbehaving(scratch: Path, say: Say) -> object:
    """What runs cases in the tests below: each number does something else."""
    return lambda kind, number: misbehave(kind, number, say)


def misbehave(kind: str, number: int, say: Say) -> str:
    if number == 3:
        os.abort()
    if number == 5:
        say("computed")
        os.abort()
    if number == 7:
        say("here: waited")
        while True:
            pass
    if number == 8:
        raise KeyError("nobody expected this")
    return "ran"


def test_the_tool_knows_which_case_ended_a_process(tmp_path: Path) -> None:
    fuzzer = Fuzzer(misbehaving, (), tmp_path / "scratch", workers=2, limit=2.0)
    tally = fuzzer.run(fuzz.numbered("any", 10))
    assert tally.outcomes == {("any", "ran"): 6, ("any", "finding"): 1}
    assert {(each.case.number, each.ending, each.phase) for each in tally.examples} == {
        (3, "SIGABRT", "here: read"),
        (5, "SIGABRT", "computed"),
        (7, "the limit of 2 s", "here: waited"),
    }
    assert {found.case.number for found in tally.findings} == {3, 7, 8}
    assert any(found.what == "KeyError at nowhere of ours" for found in tally.findings)


def test_damage_is_damage() -> None:
    from random import Random

    content = b'{"a": [1, 2.5, "x"], "b": {"c": null}}'
    rng = Random(1)
    assert sum(mutated(content, rng) != content for _ in range(100)) > 80
    assert sum(mutated_json(content, rng) != content for _ in range(100)) > 80
    assert zipped([("x", b"1"), ("x", b"2")]).count(b"PK\x03\x04") == 2
