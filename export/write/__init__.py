"""Traced modules to ONNX graphs and one weight file."""
