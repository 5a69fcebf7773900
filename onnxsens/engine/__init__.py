"""Runs models and answers questions about them; the only room that starts ONNX Runtime."""

from onnxsens.engine.providers import Provider, choose_provider
from onnxsens.engine.questions import DENSE, Answer, Change, Evaluator, Measurement, Question, SplitName
from onnxsens.engine.reference import ReferenceEvaluator
from onnxsens.engine.runner import ModelRunner, Recipe, default_threads, fixed_batch
from onnxsens.engine.shapes import measure_macs

__all__ = [
    "DENSE",
    "Answer",
    "Change",
    "Evaluator",
    "Measurement",
    "ModelRunner",
    "Provider",
    "Question",
    "Recipe",
    "ReferenceEvaluator",
    "SplitName",
    "choose_provider",
    "default_threads",
    "fixed_batch",
    "measure_macs",
]
