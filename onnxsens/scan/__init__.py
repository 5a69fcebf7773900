"""Measures how quality falls as each weight is changed, and keeps every measurement."""

from onnxsens.scan.points import Curve, Point
from onnxsens.scan.scanner import Joint, Nobody, Observer, Scanner
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
    "Scanner",
    "Search",
    "Store",
    "SweetSpotter",
    "TopDown",
    "searches",
    "tolerance",
]
