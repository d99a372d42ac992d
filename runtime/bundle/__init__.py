"""The bundle: its manifest, its files, and a directory that appears whole or not at all."""
