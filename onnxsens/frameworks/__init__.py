"""Back to the framework that a model came from: its own names, masks in its own layout, its own formats.

Importing this costs nothing, so that `onnxsens.frameworks.torch` can be used where a model is trained.
"""
