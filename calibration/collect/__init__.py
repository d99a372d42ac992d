"""Statistics of a real decode: samples, kinds of rows, observed magnitudes."""
