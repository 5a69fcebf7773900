#!/bin/sh
# Fails where the pruned model loses more than it may. Usage: gate.sh MODEL PLAN DATA METRIC=X
set -eu
model=$1 plan=$2 data=$3 limit=$4

onnxsens check "$(dirname "$plan")" --model "$model" >/dev/null

# 0: within the limit. 6: exceeded. Anything else: it could not be told, which is no pass either.
status=0
onnxsens verify "$model" "$plan" -d "$data" --max-drop "$limit" || status=$?
case $status in
0) echo "gate: passed" ;;
6) echo "gate: FAILED, the drop may be above $limit" ;;
*) echo "gate: not decided, exit code $status" ;;
esac
exit $status
