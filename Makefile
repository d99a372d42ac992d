# Two commands on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
# Everything is installed into .venv; nothing else on the machine is touched.

PYTHON ?= python3
# A release that the exporter is tested with. Without a GPU, a CPU build saves gigabytes:
#   make test TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0

VENV := .venv
LLAMA ?= build/llama.cpp
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

# Threads that spin beside a busy neighbour are many times slower than one thread.
export OMP_NUM_THREADS = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

# Tests run on all cores, a file on one of them: fixtures that export are shared within a file.
PYTEST := -m pytest -n auto --maxprocesses 4 --dist loadfile

.PHONY: demo test test-arm64 test-cpus test-real lint check format clean train-slate-smoke

demo: $(VENV)/.export
	$(BIN)/python examples/slate/demo.py

test: $(VENV)/.dev
	$(BIN)/python $(PYTEST)

# The runtime and the engines' contract on arm64, by emulation; says what it needs (qemu, mmdebstrap, root).
test-arm64: $(VENV)/.dev
	$(BIN)/python tests/arm64/check.py

# int8 as on other processors, by emulation; says what it needs (x86-64, qemu-user).
test-cpus: $(VENV)/.dev
	$(BIN)/python tests/cpus/check.py --contract

# A published checkpoint against transformers and llama.cpp, from the package index; writes docs/real.md. Twenty minutes
# the first time, most of them for llama.cpp, which is built in an environment of its own.
test-real: $(VENV)/.dev $(LLAMA)/.ready
	$(BIN)/python -m pip install --quiet "gguf>=0.19"
	$(BIN)/python tests/real/check.py --llama $(LLAMA)/bin/python --write docs/real.md

$(LLAMA)/.ready:
	$(PYTHON) -m venv $(LLAMA)
	$(LLAMA)/bin/python -m pip install --quiet llama-cpp-python
	touch $@

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint
	$(BIN)/python $(PYTEST) -m "not slow and not gpu" -q

# Five minutes of the slate reader's recipe from scratch: the loss falls, and both stages decode.
train-slate-smoke: $(VENV)/.export
	$(BIN)/python examples/slate/smoke.py --minutes 5

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.export: $(VENV)/.python pyproject.toml
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable ".[export]"
	@touch $@

$(VENV)/.dev: $(VENV)/.export pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
