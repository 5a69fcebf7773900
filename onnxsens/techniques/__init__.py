"""What can be done to a weight at a level: criterion x pattern."""

from onnxsens.techniques.technique import PreparedWeight, Sparsity, Technique, control_of, make_technique

__all__ = ["PreparedWeight", "Sparsity", "Technique", "control_of", "make_technique"]
