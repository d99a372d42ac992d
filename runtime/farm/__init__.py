"""Many machines: clips, or the rows of a dataset, shared out among actors that each keep a bundle loaded."""
