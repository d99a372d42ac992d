"""From a bundle to its int8 and fp8 variants, calibrated in the real decode loop. Empty until quantization lands."""
