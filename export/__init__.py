"""From a checkpoint to a bundle. The only room that knows torch and onnx."""
