"""The float variant that quantized ones are made of: its weights, products with them, and smoothing between both."""
