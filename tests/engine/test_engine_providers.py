"""A provider is believed once a session has it."""

import sys

import numpy as np
import pytest
from networks import convolutional

from onnxsens.engine import Change, Question, choose_provider
from onnxsens.engine.providers import CPU, CUDA, why_not_started
from onnxsens.engine.runtime import runtime, silenced
from onnxsens.errors import ProviderError

CUDA_STARTS = CUDA in runtime().get_available_providers() and why_not_started(CUDA) is None
needs_gpu = pytest.mark.skipif(not CUDA_STARTS, reason="no CUDA provider starts here")  # no wheel brings a GPU


def test_the_cpu_always_starts() -> None:
    assert choose_provider("cpu").stack == [CPU]
    assert choose_provider("CPUExecutionProvider").name == CPU


def test_auto_takes_what_starts_and_says_why() -> None:
    provider = choose_provider("auto")
    assert provider.name == (CUDA if CUDA_STARTS else CPU)
    assert provider.why


@pytest.mark.skipif(CUDA_STARTS, reason="CUDA starts here")
@pytest.mark.parametrize("request_", ["cuda", "CUDAExecutionProvider"])
def test_cuda_where_there_is_none_is_refused_not_replaced(request_: str) -> None:
    with pytest.raises(ProviderError, match=r"CUDAExecutionProvider is not (active|in this onnxruntime)"):
        choose_provider(request_)


def test_an_unknown_provider_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(ProviderError, match="did you mean 'CPUExecutionProvider'"):
        choose_provider("CPUExecutionProvder")


def test_nothing_is_printed_while_a_provider_is_tried(capfd: pytest.CaptureFixture[str]) -> None:
    for name in runtime().get_available_providers():
        why_not_started(name)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_silence_ends(capfd: pytest.CaptureFixture[str]) -> None:
    with silenced():
        sys.stdout.write("not seen\n")
    sys.stdout.write("seen\n")
    sys.stdout.flush()
    assert capfd.readouterr().out == "seen\n"


@pytest.mark.gpu
@needs_gpu
def test_cuda_gives_what_the_cpu_gives(tmp_path_factory: pytest.TempPathFactory) -> None:
    from benches import bench_of

    drops = []
    for name in ("cpu", "cuda"):
        folder = tmp_path_factory.mktemp(name)
        with bench_of(convolutional(), folder, (2, 8, 8), metrics=("kl",)) as bench:
            bench_options = bench.options
        from dataclasses import replace

        from onnxsens.station import Station

        with Station(folder / "m.onnx", replace(bench_options, provider=name)) as bench:
            question = Question((Change("up", "magnitude", 0.5),), "search", (0, 30), ("kl",), values=True)
            drops.append(bench.evaluator.answer(question).measurements["kl"].drops)
    np.testing.assert_allclose(drops[0], drops[1], rtol=1e-2, atol=1e-5)
