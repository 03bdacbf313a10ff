# Two commands matter: `make demo` and `make test`. Each makes .venv if it is missing, builds, installs, and does its job.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= torch==2.13.0
NATIVE := CMakeLists.txt $(wildcard csrc/*.h csrc/*/*.h csrc/*/*.cpp)

# Test processes: one for each processor, or WORKERS=0 for none but pytest's own.
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
# One instruction set: compiling with sanitizers is slow, and all are made of the same sources.
SANITIZE_ISA ?= avx2
SANITIZE = $(BIN)/cmake -S . -DGNNKIT_SANITIZE=ON -DGNNKIT_ISAS=$(SANITIZE_ISA) \
  -DGNNKIT_TORCH_DIR="$$($(BIN)/python build_backend/torch_location.py)"

.PHONY: help demo test sanitize sanitize-emulation lint format bench build clean

help:
	@echo "make demo    train three models on RingTransfer and show over-squashing (3 minutes)"
	@echo "make test    run all tests"
	@echo "make sanitize    run the tests of the kernels under AddressSanitizer and UndefinedBehaviorSanitizer"
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
	$(PYTEST)

# The run fails on a report, and unless the sanitizers report the mistakes of tests/sanitize/probe.cpp.
sanitize: build
	$(SANITIZE) -B build/sanitize
	$(BIN)/cmake --build build/sanitize --target gnnkit_cpu gnnkit_probe --parallel 2
	$(BIN)/python -m tests.sanitize.run build/sanitize/libgnnkit_cpu.so \
	  --probe build/sanitize/libgnnkit_probe.so --workers $(WORKERS)

sanitize-emulation: build
	$(SANITIZE) -B build/sanitize-emulation -DGNNKIT_EMULATION=ON
	$(BIN)/cmake --build build/sanitize-emulation --target gnnkit_emulated gnnkit_probe --parallel 2
	$(BIN)/python -m tests.sanitize.run build/sanitize-emulation/libgnnkit_emulated.so \
	  --probe build/sanitize-emulation/libgnnkit_probe.so --workers $(WORKERS)

lint: build
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/clang-format --dry-run --Werror $(shell git ls-files 'csrc/*.h' 'csrc/*.cpp')

format: build
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(shell git ls-files 'csrc/*.h' 'csrc/*.cpp')

bench: build
	$(BIN)/python -m benchmarks.spmm
	$(BIN)/python -m benchmarks.attention
	$(BIN)/python -m benchmarks.training_step

clean:
	rm -rf build dist $(VENV) runs .pytest_cache .ruff_cache .hypothesis
