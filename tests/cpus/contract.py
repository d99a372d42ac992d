"""pytest as a program with a path of its own, which `played.py` and qemu can run. usage: contract.py ARGUMENT..."""

import sys

import pytest

sys.exit(pytest.main(sys.argv[1:]))
