"""A prompt or a picture to the frames of a shot, block after block. Knows latents and pixels, but no files."""
