"""What the files of a run folder are called."""

from onnxsens.frameworks.exporting import SOURCE_FILES
from onnxsens.scan.store import FILE as STORE_FILE

PLAN_FILE = "plan.json"
PRUNED_FILE = "pruned.onnx"
CHANGES_FILE = "changes.safetensors"
PARETO_FILE = "pareto.json"
REPORT_FILE = "report.html"  # for people; nothing is read from it, and anybody may make it again
OURS = (STORE_FILE, PLAN_FILE, CHANGES_FILE, PRUNED_FILE, PARETO_FILE, *SOURCE_FILES)  # what a run consists of
