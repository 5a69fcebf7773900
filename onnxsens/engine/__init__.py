"""Runs models and answers questions about them; the only room that starts ONNX Runtime."""

from onnxsens.engine.providers import Provider, choose_provider
from onnxsens.engine.questions import (
    DENSE,
    Answer,
    Change,
    Effect,
    Evaluator,
    Measurement,
    Question,
    Route,
    Routes,
    SplitName,
)
from onnxsens.engine.reference import ReferenceEvaluator
from onnxsens.engine.routes import KeptRoutes
from onnxsens.engine.runner import ModelRunner
from onnxsens.engine.sessions import Recipe, Session, default_threads, open_session
from onnxsens.engine.shapes import measure_macs
from onnxsens.engine.suffix import SuffixEvaluator

__all__ = [
    "DENSE",
    "Answer",
    "Change",
    "Effect",
    "Evaluator",
    "KeptRoutes",
    "Measurement",
    "ModelRunner",
    "Provider",
    "Question",
    "Recipe",
    "ReferenceEvaluator",
    "Route",
    "Routes",
    "Session",
    "SplitName",
    "SuffixEvaluator",
    "choose_provider",
    "default_threads",
    "measure_macs",
    "open_session",
]
