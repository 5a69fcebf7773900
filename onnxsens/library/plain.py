"""Functions that are the same for the command line and for Python, with errors in the words of Python here."""

from onnxsens.api import apply as _apply
from onnxsens.api import inspect as _inspect
from onnxsens.checking import check_run as _check_run
from onnxsens.forecast import estimate as _estimate
from onnxsens.frameworks.mapfile import read_map as _read_map
from onnxsens.handover import export as _export
from onnxsens.handover import map_model as _map_model
from onnxsens.library.words import worded
from onnxsens.plan import read_plan as _read_plan
from onnxsens.reporting import curves as _curves
from onnxsens.reporting import diff as _diff
from onnxsens.reporting import report as _report

apply = worded(_apply)
check_run = worded(_check_run)
curves = worded(_curves)
diff = worded(_diff)
estimate = worded(_estimate)
export = worded(_export)
inspect = worded(_inspect)
map_model = worded(_map_model)
read_map = worded(_read_map)
read_plan = worded(_read_plan)
report = worded(_report)
