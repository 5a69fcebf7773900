"""Which source parameters each stored tensor of an ONNX file came from: by content first, then by names."""
