"""Every built-in metric, and both kinds of user metric, keep the laws that are shipped for outsiders."""

from pathlib import Path

import pytest

from onnxsens.metrics import Metric, make_metric, metrics
from onnxsens.metrics.contract import MetricContract

BUILT_IN = [name for name in metrics.names() if name != "topK"] + ["top1", "top3"]


class TestBuiltIn(MetricContract):
    @pytest.fixture(params=BUILT_IN)
    def metric(self, request: pytest.FixtureRequest) -> Metric:
        return make_metric(request.param)

    def test_it_is_named_by_its_spec_equal_to_itself_and_needs_no_digest(self, metric: Metric) -> None:
        assert make_metric(metric.name) == metric
        assert hash(make_metric(metric.name)) == hash(metric)
        assert metric.source_digest == ""


class TestUserPerSample(MetricContract):
    @pytest.fixture
    def metric(self, tmp_path: Path) -> Metric:
        file = tmp_path / "quality.py"
        file.write_text(
            "import numpy as np\n"
            "def worst(outputs, dense, labels):\n"
            "    gap = np.abs(outputs['scores'] - dense['scores'])\n"
            "    return gap.reshape(len(gap), -1).max(axis=1)\n"
            "worst.higher_is_better = False\n"
            "worst.unit = 'logits'\n"
        )
        return make_metric(f"{file}:worst")


class TestUserWholeSet(MetricContract):
    @pytest.fixture
    def metric(self, tmp_path: Path) -> Metric:
        file = tmp_path / "quality.py"
        file.write_text(
            "import numpy as np\n"
            "def correlation(outputs, dense, labels):\n"
            "    return np.corrcoef(outputs['scores'].ravel(), dense['scores'].ravel())[0, 1]\n"
        )
        return make_metric(f"{file}:correlation")
