"""Flags that name samples, for every command that decodes some. Knows flags; not how samples are read."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_data_flags"]


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that name samples."""
    parser.add_argument("--data", type=Path, metavar="PATH", help="JSONL file of prompts, or folder of images")
    parser.add_argument("--prompt", metavar="TEXT", help="prompt for each image of a folder")
    parser.add_argument("--samples", type=int, default=64, metavar="N", help="samples at most (64)")
