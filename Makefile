# Two commands matter: `make demo` and `make test`. Each makes .venv if it is missing, builds, installs, and does its job.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= torch==2.13.0
NATIVE := CMakeLists.txt $(wildcard cmake/*.cmake csrc/*.h csrc/*/*)

# Libraries that are not part of the installation: the CUDA kernels for a GPU, and for the host.
CMAKE ?= cmake
CONFIGURE = $(CMAKE) -S . -DGNNKIT_TORCH_DIR="$$($(BIN)/python build_backend/torch_location.py)"
JOBS ?= 2

.PHONY: help demo test lint format bench bench-quick build cuda emulation clean

help:
	@echo "make demo    train three models on RingTransfer and show over-squashing (3 minutes)"
	@echo "make test    run all tests"
	@echo "make cuda    compile the CUDA kernels with nvcc; needs no GPU"
	@echo "make emulation   compile them for the host, so that the tests can run them"
	@echo "make lint    ruff, pyright, clang-format"
	@echo "make format  put sources into shape"
	@echo "make bench   measure speed against peers and write benchmarks/results"
	@echo "make clean   remove what was built; .venv too"

# Torch comes first, pinned: an unpinned one may bring gigabytes of CUDA libraries.
$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml $(NATIVE) $(wildcard build_backend/*.py)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

build: $(VENV)/.installed

demo: build
	$(BIN)/python -m benchmarks.demo

test: build
	$(BIN)/python -m pytest

# The name of each symbol that torch must provide tells its namespace: those of at and c10 change between releases.
cuda: $(VENV)/.torch
	$(CONFIGURE) -B build/cuda -DGNNKIT_CUDA=ON
	$(CMAKE) --build build/cuda --target gnnkit_cuda --parallel $(JOBS)
	! nm -D --undefined-only build/cuda/libgnnkit_cuda*.so | grep -E '_ZNK?(2at|3c10|5torch)'

emulation: $(VENV)/.torch
	$(CONFIGURE) -B build/emulation -DGNNKIT_EMULATION=ON
	$(CMAKE) --build build/emulation --target emulation --parallel $(JOBS)

lint: build
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/clang-format --dry-run --Werror $(shell git ls-files csrc)

format: build
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(shell git ls-files csrc)

# About 20 minutes on two cores; candidates take turns, but an idle machine is what makes the figures mean something.
bench: build
	$(BIN)/python -m benchmarks.ops --json benchmarks/results/speed/ops.json --plot benchmarks/results/speed/ops.png
	$(BIN)/python -m benchmarks.spgemm
	$(BIN)/python -m benchmarks.relational
	if [ -n "$(GNNKIT_DATA)" ]; then $(BIN)/python -m benchmarks.training_step; fi
	$(BIN)/python -m benchmarks.render

bench-quick: build
	$(BIN)/python -m benchmarks.ops --quick

clean:
	rm -rf build dist $(VENV) runs .pytest_cache .ruff_cache .hypothesis
