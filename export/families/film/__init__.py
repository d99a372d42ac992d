"""Checkpoints that film: causal Wan and Cosmos 3, their autoencoders and towers. `export/film` decides which it is."""
