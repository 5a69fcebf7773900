"""Metrics are made from specs."""

import pytest

from onnxsens.errors import MetricError, UsageError
from onnxsens.metrics import Metric, make_metric, metrics
from onnxsens.metrics.top_k import TopK


def test_every_name_in_the_table_makes_the_metric_of_that_name() -> None:
    assert [make_metric(name).name for name in metrics.names() if name != "topK"] == [
        name for name in metrics.names() if name != "topK"
    ]


def test_top_k_takes_its_number_from_the_spec() -> None:
    assert make_metric("top5") == TopK(5)
    assert make_metric("top12").name == "top12"


def test_top_k_without_a_usable_number_says_what_to_write() -> None:
    with pytest.raises(UsageError, match="needs a number for K; use top5"):
        make_metric("topK")
    with pytest.raises(UsageError, match="'top0' counts no class"):
        make_metric("top0")


@pytest.mark.parametrize("spec", ["acuracy", "", "top", "top-1", "top05", "Accuracy"])
def test_an_unknown_name_lists_the_known_ones(spec: str) -> None:
    with pytest.raises(UsageError, match=r"unknown metric .*; .*there are: accuracy, agreement.*topK"):
        make_metric(spec)


def test_a_plug_in_that_makes_no_metric_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(metrics.table, "mine", "builtins:dict")
    with pytest.raises(MetricError, match="'mine' is installed but makes a dict"):
        make_metric("mine")


def test_a_metric_that_forgets_to_declare_something_cannot_be_made() -> None:
    class Forgetful(Metric):
        name = "forgetful"

    with pytest.raises(TypeError, match="abstract"):
        Forgetful()
