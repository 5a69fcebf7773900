"""Ways to choose a level for every weight. One file each."""

from onnxsens.plan.pickers.picker import Family, Ground, Levels, Picker, scaled, total_sparsity
from onnxsens.plugins import Registry

__all__ = ["MEMBERS", "Family", "Ground", "Levels", "Picker", "pickers", "scaled", "total_sparsity"]

pickers: Registry[type[Picker]] = Registry(
    "pickers",
    "picker",
    {
        "blend": "onnxsens.plan.pickers.blend:Blend",
        "erk": "onnxsens.plan.pickers.erk:Erk",
        "knapsack": "onnxsens.plan.pickers.knapsack:Knapsack",
        "lamp": "onnxsens.plan.pickers.lamp:Lamp",
        "one-tolerance": "onnxsens.plan.pickers.one_tolerance:OneTolerance",
        "sweet-spotter": "onnxsens.plan.pickers.sweet_spotter:SweetSpotterPicker",
        "top-down": "onnxsens.plan.pickers.top_down:TopDownPicker",
        "uniform": "onnxsens.plan.pickers.uniform:Uniform",
    },
)

# In the order in which they are asked: the likeliest to win first, since of what is beaten already little is measured;
# searches so that each finds the points of those before it; baselines last.
MEMBERS = ("knapsack", "sweet-spotter", "top-down", "blend", "uniform", "erk", "lamp")
