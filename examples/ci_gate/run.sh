#!/bin/sh
# The gate, once open and once shut.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
models=$here/../../models
model=$models/jv_gru1.onnx data=$models/japanese_vowels_test.npz
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

onnxsens auto "$model" -d "$data" --max-drop accuracy=0.1 -o "$made/out" --quiet

echo "may lose 0.1:"
sh "$here/gate.sh" "$model" "$made/out/plan.json" "$data" accuracy=0.1
echo
echo "may lose 0.01, of which 185 samples cannot make sure:"
sh "$here/gate.sh" "$model" "$made/out/plan.json" "$data" accuracy=0.01 || echo "exit code $?"
