"""Measures how quality falls as each weight is changed, and keeps every measurement."""

from onnxsens.scan.observers import Nobody, Observer
from onnxsens.scan.points import Curve, Joint, Point
from onnxsens.scan.sampling import Sampling
from onnxsens.scan.scanner import Scanner
from onnxsens.scan.searches import Grid, Pick, Search, SweetSpotter, TopDown, searches, tolerance
from onnxsens.scan.store import Store

__all__ = [
    "Curve",
    "Grid",
    "Joint",
    "Nobody",
    "Observer",
    "Pick",
    "Point",
    "Sampling",
    "Scanner",
    "Search",
    "Store",
    "SweetSpotter",
    "TopDown",
    "searches",
    "tolerance",
]
