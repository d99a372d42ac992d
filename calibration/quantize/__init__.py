"""Float graphs and weights to quantized ones."""
