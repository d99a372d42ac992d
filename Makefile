# Two commands on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
# Everything is installed into .venv; nothing else on the machine is touched.

PYTHON ?= python3
# A release that the exporter is tested with. Without a GPU, a CPU build saves gigabytes:
#   make test TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0

VENV := .venv
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

.PHONY: demo test test-arm64 test-cpus test-wheel wheel lint check format clean train-slate-smoke

demo: build/slate.a2d
	$(BIN)/a2d demo

# The built-in slate reader as a bundle, exported once, and again when the checkpoint is newer.
build/slate.a2d: $(VENV)/.export examples/slate/model/model.safetensors
	$(BIN)/a2d-export examples/slate/model -o $@ --precision fp32 --force
	@touch $@

test: $(VENV)/.dev
	$(BIN)/python $(PYTEST)

# A wheel for many Linuxes with the built-in models in it, in dist/. Wants a C compiler.
wheel: $(VENV)/.wheel
	$(BIN)/python packaging/models.py build/models
	$(BIN)/python packaging/wheel.py build/models dist

# The wheel in clean environments: `a2d demo`, `a2d run slate`, `a2d log`.
test-wheel: wheel $(VENV)/.dev
	A2D_WHEEL="$$(ls dist/a2d_runtime-*.whl)" $(BIN)/python -m pytest -n 0 tests/packaging

# The runtime and the engines' contract on arm64, by emulation; says what it needs (qemu, mmdebstrap, root).
test-arm64: $(VENV)/.dev
	$(BIN)/python tests/arm64/check.py

# int8 as on other processors, by emulation; says what it needs (x86-64, qemu-user).
test-cpus: $(VENV)/.dev
	$(BIN)/python tests/cpus/check.py --contract

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

$(VENV)/.wheel: $(VENV)/.export pyproject.toml
	$(BIN)/python -m pip install --editable ".[wheel]"
	@touch $@

$(VENV)/.dev: $(VENV)/.export pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
