"""TensorRT and TensorRT-RTX: one code for both libraries.

    graph.onnx --copy--> graph as TensorRT takes it --network, builder--> graph.engine --engine--> outputs

Knows graphs and GPUs; never bundles, blocks or tokens: what is built for which shapes comes from outside.
"""
