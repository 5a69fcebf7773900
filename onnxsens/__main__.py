"""`python -m onnxsens`."""

from onnxsens.cli import main

main()
