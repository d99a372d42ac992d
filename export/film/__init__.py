"""Export of checkpoints that film: their contract, the plan of an export, its parity, and the export itself."""
