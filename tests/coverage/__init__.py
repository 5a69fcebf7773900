"""How much of onnxsens the fast tests reach: `python -m tests.coverage`, and what coverage.py needs for that."""
