"""Frames to the files of a production: movies, numbered pictures, and shot lists with their timeline."""
