"""`python -m onnxsens`."""

from onnxsens.start import main

main()
