"""What can be done to a weight at a level: criterion x pattern x update, or another kind."""

from onnxsens.techniques.technique import (
    PreparedWeight,
    Sparsity,
    Technique,
    control_of,
    kinds,
    make_sparsity,
    make_technique,
)

__all__ = ["PreparedWeight", "Sparsity", "Technique", "control_of", "kinds", "make_sparsity", "make_technique"]
