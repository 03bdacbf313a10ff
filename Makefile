# Two commands matter: `make demo` and `make test`. Each makes .venv if it is missing, builds, installs, and does its job.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= torch==2.13.0
NATIVE := CMakeLists.txt $(wildcard cmake/*.cmake csrc/*.h csrc/*/*)

# Libraries that are not part of the installation: the CUDA kernels for a GPU, and for the host.
CONFIGURE = $(BIN)/cmake -S . -DGNNKIT_TORCH_DIR="$$($(BIN)/python build_backend/torch_location.py)"
JOBS ?= 2

# Test processes: one for each processor, or WORKERS=0 for none but pytest's own.
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
# As many test processes as processors, and some tests start threads: those that wait must not keep others from running.
test references sanitize sanitize-emulation: export OMP_WAIT_POLICY := passive
# One instruction set: compiling with sanitizers is slow, and all are made of the same sources.
SANITIZE_ISA ?= avx2
SANITIZE = $(BIN)/cmake -S . -DGNNKIT_SANITIZE=ON -DGNNKIT_ISAS=$(SANITIZE_ISA) \
  -DGNNKIT_TORCH_DIR="$$($(BIN)/python build_backend/torch_location.py)"

.PHONY: help demo test references abi sanitize sanitize-emulation cuda emulation lint format bench bench-quick build clean

help:
	@echo "make demo    train three models on RingTransfer and show over-squashing (3 minutes)"
	@echo "make test    run all tests"
	@echo "make references  run the tests of operators and layers without the native library"
	@echo "make cuda    compile the CUDA kernels with nvcc; needs no GPU"
	@echo "make emulation   compile them for the host, so that the tests can run them"
	@echo "make sanitize    run the tests of the kernels under AddressSanitizer and UndefinedBehaviorSanitizer"
	@echo "make abi     build a wheel against torch 2.13.0 and test it under 2.14.1 (downloads both)"
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

# Without the native library everything runs on the reference operators; the fuzz tests are about the kernels.
references: export GNNKIT_DISABLE_EXT := 1
references: build
	$(PYTEST) -q -m "not slow" --ignore tests/ops/test_fuzz.py tests/ops tests/nn tests/test_graph.py

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

# The name of each symbol that torch must provide tells its namespace: those of at and c10 change between releases.
cuda: build
	$(CONFIGURE) -B build/cuda -DGNNKIT_CUDA=ON
	$(BIN)/cmake --build build/cuda --target gnnkit_cuda --parallel $(JOBS)
	nm -D --undefined-only build/cuda/libgnnkit_cuda*.so > build/cuda/symbols.txt
	! grep -E '_ZNK?(2at|3c10|5torch)' build/cuda/symbols.txt

emulation: build
	$(CONFIGURE) -B build/emulation -DGNNKIT_EMULATION=ON
	$(BIN)/cmake --build build/emulation --target emulation --parallel $(JOBS)

# Two whole torches: gigabytes and minutes, hence not part of continuous integration.
abi: build
	$(BIN)/python -m tests.abi.run build/abi

lint: build
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/clang-format --dry-run --Werror $(shell git ls-files csrc)

format: build
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(shell git ls-files csrc)

# 35 minutes on two cores; candidates take turns, but an idle machine is what makes the figures mean something.
bench: build
	$(BIN)/python -m benchmarks.ops --json benchmarks/results/speed/ops.json --plot benchmarks/results/speed/ops.png
	$(BIN)/python -m benchmarks.spgemm
	$(BIN)/python -m benchmarks.relational
	$(BIN)/python -m benchmarks.selective_scan
	$(BIN)/python -m benchmarks.ssd
	$(BIN)/python -m benchmarks.gated_delta
	$(BIN)/python -m benchmarks.walk_tokens
	$(BIN)/python -m benchmarks.hypergraph
	$(BIN)/python -m benchmarks.segment_topk
	$(BIN)/python -m benchmarks.saint
	$(BIN)/python -m benchmarks.neighbors
	$(BIN)/python -m benchmarks.encodings --only cora-size
	$(BIN)/python -m benchmarks.encodings --only gnm
	if [ -n "$(GNNKIT_DATA)" ]; then $(BIN)/python -m benchmarks.encodings --only peptides; fi
	if [ -n "$(GNNKIT_DATA)" ]; then $(BIN)/python -m benchmarks.training_step; fi
	$(BIN)/python -m benchmarks.rewiring --slow-peers
	if [ -n "$(GNNKIT_DATA)" ]; then $(BIN)/python -m benchmarks.rewiring.real_data; fi
	$(BIN)/python -m benchmarks.render

bench-quick: build
	$(BIN)/python -m benchmarks.ops --quick

clean:
	rm -rf build dist $(VENV) runs .pytest_cache .ruff_cache .hypothesis
