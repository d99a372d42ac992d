"""Footage: clips to shots, shots to frames, frames to readings, and files that an editing suite takes."""
