# The usual ways in; each installs what is missing first. The work is done by cmake/setup.sh and the
# CMake presets.
PRESET ?= release
PREFIX ?= /usr/local
SEED ?= 42
BUILD_DIR := $(if $(filter release,$(PRESET)),build,build-$(PRESET))
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# CC=clang asks for the C++ compiler of that name: clang -> clang++, gcc-12 -> g++-12.
ifneq ($(filter environment command,$(firstword $(origin CC))),)
ifeq ($(origin CXX),default)
  export CXX := $(subst gcc,g++,$(subst clang,clang++,$(CC)))
endif
endif

.DEFAULT_GOAL := help
.PHONY: help setup build train speedrun test install package wheel tune bench bench-rivals clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup:  ## install the tools and libraries that are missing
	@cmake/setup.sh

# For another architecture: its libraries, and the generators, which run here.
ifneq ($(filter aarch64 riscv64,$(PRESET)),)
.PHONY: setup-cross
setup: setup-cross
setup-cross:
	@cmake/sysroot.sh $(PRESET) $(BUILD_DIR)/sysroot
	@cmake/build.sh release build generators
endif

build: setup  ## build every program into build/bin (PRESET=dev, asan: build-dev, build-asan)
	@cmake/build.sh $(PRESET) $(BUILD_DIR)

train: setup  ## build `train`, train on Tiny Shakespeare (a few minutes), print a sample
	@cmake/build.sh $(PRESET) $(BUILD_DIR) train
	@$(BUILD_DIR)/bin/train --data data/tiny_shakespeare/input.txt --val-split 0.1 \
	  --out checkpoints/shakespeare --overwrite

speedrun: setup  ## train on Tiny Shakespeare to a loss of 1.47; print loss, time, tokens (SEED=43: with it)
	@cmake/build.sh $(PRESET) $(BUILD_DIR) train evaluate
	@$(BUILD_DIR)/bin/train --data data/tiny_shakespeare/input.txt --val-split 0.1 \
	  --tokenizer char --steps 1350 --batch 12 --eval-every 0 --save-every 0 --sample-tokens 0 \
	  --precision bf16 --seed $(SEED) --out checkpoints/speedrun --overwrite
	@$(BUILD_DIR)/bin/evaluate --checkpoint checkpoints/speedrun

test: build  ## run all tests
	@ctest --preset $(PRESET)

install: build  ## install programs, libraries and headers (PREFIX=/usr/local)
	@cmake --install $(BUILD_DIR) --prefix $(PREFIX)

package: build  ## make a .deb and a .tar.gz of the same in the build folder
	@cd $(BUILD_DIR) && cpack

wheel: setup  ## make the Python package's wheel, with kernels for every x86-64 CPU, in build-python/
	@.venv/bin/python3 -m pip wheel --quiet --disable-pip-version-check --no-build-isolation \
	  --no-deps --wheel-dir build-python .

tune: build  ## find the fastest schedules, build with them, test and time them (ten minutes)
	@$(BUILD_DIR)/bin/tune sweep $(TUNE)
	@$(BUILD_DIR)/bin/tune apply
	@$(BUILD_DIR)/bin/tune verify
	@$(BUILD_DIR)/bin/tune measure

bench: build  ## time the kernels
	@$(BUILD_DIR)/bin/bench

bench-rivals: build  ## time PyTorch, JAX, MKL, OpenBLAS and oneDNN in turn with ours (installs them the first time)
	@bench/rivals/setup.sh products
	@$(BUILD_DIR)/bin/bench --suite gemm
	@bench/rivals/setup.sh frameworks
	@.venv-rivals/bin/python bench/rivals/python/driver.py --bench $(BUILD_DIR)/bin/bench \
	  --json $(BUILD_DIR)/bench-rivals.json

clean:  ## remove the build
	rm -rf $(BUILD_DIR)
