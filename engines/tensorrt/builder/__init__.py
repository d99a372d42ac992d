"""From one ONNX graph to one engine file: the passes, the builder, the comparison of layers."""
