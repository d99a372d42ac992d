"""The losses of a quantized variant against its reference, with intervals."""
