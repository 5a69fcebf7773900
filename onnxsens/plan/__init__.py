"""From measurements to a sparsity plan that was checked as a whole."""

from onnxsens.plan.application import planned_weights
from onnxsens.plan.goal import Goal, parse_limits
from onnxsens.plan.planfile import Plan, read_plan, write_plan
from onnxsens.plan.planner import Chosen, Planner
from onnxsens.plan.task import Task
from onnxsens.plan.verification import refuse_undecidable
from onnxsens.plan.write_up import write_up

__all__ = [
    "Chosen",
    "Goal",
    "Plan",
    "Planner",
    "Task",
    "parse_limits",
    "planned_weights",
    "read_plan",
    "refuse_undecidable",
    "write_plan",
    "write_up",
]
