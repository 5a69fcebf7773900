"""Metrics in a user's file: both kinds, and every way they can fail, in one line that names file and function."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

from onnxsens.arrays import AnyArray
from onnxsens.errors import MetricError
from onnxsens.metrics import Batch, PerSampleMetric, Reading, WholeSetMetric, check, make_metric
from onnxsens.metrics.user import UserMetric

OUTPUT = np.array([[1.0, 2.0], [3.0, 5.0], [0.0, 0.0]], np.float32)


def given(labels: AnyArray | None = None, samples: int = 3) -> Batch:
    outputs = {"out": OUTPUT[:samples], "ids": np.arange(samples)}
    return Batch(
        outputs, {"out": OUTPUT[:samples] + 1, "ids": np.arange(samples)}, labels, Reading("out", -1, "values")
    )


def write(folder: Path, body: str, before: str = "", after: str = "") -> str:
    """The spec of `quality.py:fn` with this body."""
    file = folder / "quality.py"
    file.write_text(f"import numpy as np\n{before}\ndef fn(outputs, dense, labels):\n    {body}\n{after}\n")
    return f"{file}:fn"


def test_a_function_that_returns_an_array_is_per_sample(tmp_path: Path) -> None:
    metric = make_metric(write(tmp_path, "return [float(row.sum()) for row in outputs['out']]"))
    resolved = metric.resolve(given())
    assert isinstance(resolved, PerSampleMetric)
    assert resolved.per_sample(given()).tolist() == [3.0, 8.0, 0.0]
    assert resolved.per_sample(given()).dtype == np.float64
    assert resolved.per_sample(given(samples=1)).tolist() == [3.0]


def test_a_function_that_returns_a_number_is_of_the_whole_set(tmp_path: Path) -> None:
    body = "return (outputs['out'] + labels[:, None]).sum() - dense['out'].sum() + outputs['ids'][-1]"
    metric = make_metric(write(tmp_path, body))
    batch = given(np.array([1, 1, 2]))
    resolved = metric.resolve(batch)
    assert isinstance(resolved, WholeSetMetric)
    kept = resolved.keep(batch)
    assert set(kept) == {"pruned/out", "pruned/ids", "dense/out", "dense/ids", "labels"}
    assert resolved.value(kept) == (11 + 8) - 17 + 2


def test_labels_are_none_where_there_are_none(tmp_path: Path) -> None:
    resolved = make_metric(write(tmp_path, "return float(labels is None)")).resolve(given())
    assert isinstance(resolved, WholeSetMetric)
    assert "labels" not in resolved.keep(given())
    assert resolved.value(resolved.keep(given())) == 1.0


def test_attributes_have_defaults(tmp_path: Path) -> None:
    metric = make_metric(write(tmp_path, "return 0"))
    assert (metric.unit, metric.higher_is_better, metric.needs_labels) == ("", True, False)
    assert not metric.class_output
    assert not metric.binary


def test_attributes_are_read_before_and_after_resolving(tmp_path: Path) -> None:
    metric = make_metric(
        write(tmp_path, "return 0", after="fn.unit = 'mm'\nfn.higher_is_better = False\nfn.needs_labels = True")
    )
    for one in (metric, metric.resolve(given())):
        assert (one.unit, one.higher_is_better, one.needs_labels) == ("mm", False, True)
        assert one.name == metric.name
    with pytest.raises(MetricError, match="needs labels, and the data has none"):
        check(metric, given())
    check(metric, given(np.zeros(3)))


def test_an_output_that_no_built_in_could_read_is_the_functions_own_business(tmp_path: Path) -> None:
    metric = make_metric(write(tmp_path, "return outputs['ids']"))
    batch = Batch(given().pruned, given().dense, None, Reading("ids", -1, "values"))
    check(metric, batch)
    assert isinstance(metric.resolve(batch), PerSampleMetric)


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    spec = write(tmp_path, "return 0")
    digest = hashlib.sha256((tmp_path / "quality.py").read_bytes()).hexdigest()
    assert make_metric(spec).source_digest == digest
    assert make_metric(spec).resolve(given()).source_digest == digest
    assert make_metric(write(tmp_path, "return 1")).source_digest != digest


def test_files_of_one_name_do_not_collide_and_leave_nothing_behind(tmp_path: Path) -> None:
    before = set(sys.modules)
    numpy = sys.modules["numpy"]
    made = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "numpy.py").write_text(f"def fn(outputs, dense, labels): return {number}")
        made.append(make_metric(f"{folder / 'numpy.py'}:fn").resolve(given()))
        assert [file.name for file in folder.iterdir()] == ["numpy.py"]
    assert [one.value({}) for one in made if isinstance(one, WholeSetMetric)] == [1.0, 2.0]
    assert sys.modules["numpy"] is numpy
    assert all(name.startswith("onnxsens") for name in set(sys.modules) - before)


def test_equal_files_in_two_folders_stay_two_modules(tmp_path: Path) -> None:
    modules = set()
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        spec = write(folder, "return len(__file__)")
        metric = make_metric(spec)
        assert isinstance(metric, UserMetric)
        module = sys.modules[metric.function.call.__module__]
        modules.add(module.__name__)
        assert module.__file__ == str(folder / "quality.py")
    assert len(modules) == 2


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    values = []
    for number in (1, 2):
        resolved = make_metric(write(tmp_path, f"return {number}")).resolve(given())
        assert isinstance(resolved, WholeSetMetric)
        values.append(resolved.value({}))
    assert values == [1.0, 2.0]


def test_dataclasses_in_the_file_work(tmp_path: Path) -> None:
    before = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    file = tmp_path / "q.py"
    file.write_text(before + "@dataclass\nclass A:\n    x: int\ndef fn(outputs, dense, labels): return A(3).x\n")
    resolved = make_metric(f"{file}:fn").resolve(given())
    assert isinstance(resolved, WholeSetMetric)
    assert resolved.value({}) == 3.0


def test_nan_is_handed_on(tmp_path: Path) -> None:
    resolved = make_metric(write(tmp_path, "return np.array([1, np.nan, 2])")).resolve(given())
    assert isinstance(resolved, PerSampleMetric)
    assert np.isnan(resolved.per_sample(given())).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise KeyError('boxes')", "raised KeyError: 'boxes' at line 4"),
        ("raise ValueError('two\\nlines')", "raised ValueError: two lines at line 4"),
        ("return outputs['nothing']", "raised KeyError: 'nothing' at line 4"),
        ("raise SystemExit(3)", "raised SystemExit: 3"),
        ("import sys; sys.exit()", "raised SystemExit"),
        ("raise RuntimeError", "raised RuntimeError at line 4"),
        ("outputs['out'][0] = 0", "raised ValueError: assignment destination is read-only"),
        ("labels.sum()", "raised AttributeError"),
        ("pass", "returned NoneType; return one number"),
        ("return 1j", "returned complex"),
        ("return outputs['out'][:, 0] + 1j", "returned an array of complex64"),
        ("return '0.5'", "returned str"),
        ("return {'a': 1}", "returned dict"),
        ("return [[1], [1, 2], [3]]", "raised ValueError"),
        ("return outputs['out']", "returned an array of shape [3, 2] for 3 samples; return [3]"),
        ("return outputs['out'][:2, 0]", "returned an array of shape [2] for 3 samples"),
        ("return np.array([0.5])", "returned an array of shape [1] for 3 samples"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(tmp_path: Path, body: str, message: str) -> None:
    spec = write(tmp_path, body)
    metric = make_metric(spec)
    with pytest.raises(MetricError) as error:
        metric.resolve(given())
    assert f"metric '{spec}' {message}" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_interrupt_is_not_taken_for_a_fault_of_the_metric(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_metric(write(tmp_path, "raise KeyboardInterrupt")).resolve(given())


def test_a_metric_that_changes_its_kind_is_refused(tmp_path: Path) -> None:
    body = "return outputs['out'][:, 0] if len(outputs['out']) == 3 else 1.0"
    per_sample = make_metric(write(tmp_path, body)).resolve(given())
    assert isinstance(per_sample, PerSampleMetric)
    with pytest.raises(MetricError, match="returned one number for 2 samples"):
        per_sample.per_sample(given(samples=2))
    whole = make_metric(write(tmp_path, body)).resolve(given(samples=2))
    assert isinstance(whole, WholeSetMetric)
    with pytest.raises(MetricError, match=r"returned one number before and now an array of shape \[3\]"):
        whole.value(whole.keep(given()))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def fn(:", "raised SyntaxError: invalid syntax"),
        ("import nothing_of_this_name", "raised ModuleNotFoundError: No module named 'nothing_of_this_name' at line 1"),
        ("raise SystemExit", "raised SystemExit at line 1"),
        ("fn = 3", "unknown function 'fn'; there are: none"),
        ("def fnn(): pass", "unknown function 'fn'; did you mean 'fnn'? there are: fnn"),
        ("def fn(): pass\nfn.unit = 3", "has unit = 3; set it to a str"),
        ("def fn(): pass\nfn.higher_is_better = 0", "has higher_is_better = 0; set it to a bool"),
        ("def fn(): pass\nfn.needs_labels = None", "has needs_labels = None"),
        ("\0", "raised "),
    ],
)
def test_a_file_that_cannot_be_used_is_said_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "q.py"
    file.write_text(text)
    before = set(sys.modules)
    with pytest.raises(MetricError) as error:
        make_metric(f"{file}:fn")
    assert message in str(error.value)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)
    if message.startswith("raised"):
        assert not {name for name in set(sys.modules) - before if "user_metric" in name}


def test_a_missing_file_or_function_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(MetricError, match="cannot be read: No such file or directory; check the path"):
        make_metric(f"{tmp_path / 'nothing.py'}:fn")
    with pytest.raises(MetricError, match="cannot be read"):
        make_metric(f"{tmp_path}:fn")
    for spec in ("quality.py", "quality.py:", ":fn", "quality.py:two words"):
        with pytest.raises(MetricError, match="names no function of a file; write FILE"):
            make_metric(spec)


def test_a_user_metric_is_not_resolved_before_it_is_called(tmp_path: Path) -> None:
    metric = make_metric(write(tmp_path, "raise ValueError"))
    assert isinstance(metric, UserMetric)
    assert not isinstance(metric, PerSampleMetric | WholeSetMetric)
