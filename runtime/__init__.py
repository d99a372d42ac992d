"""From a bundle to tokens: manifest, session, decode loop. Never torch, onnx, or a vendor's runtime."""
