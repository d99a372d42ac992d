"""A Hugging Face checkpoint directory, read safely, a tensor at a time."""
