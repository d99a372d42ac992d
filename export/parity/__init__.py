"""The checkpoint in torch against the exported graphs."""
