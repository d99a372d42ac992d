"""The torch modules that are traced: backbone, denoise, sample, vision. They know shapes, not checkpoints."""
