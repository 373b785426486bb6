# The commands of this project. Each installs what it needs (scripts/), says what it does, and is safe to run twice.
#   make demo [KEEP=1]   the main job from push to pulled image, before your eyes; KEEP=1 leaves it running
#   make test            every test
#   make check           formatting, lints, documentation, licences, scripts
#   make fuzz            every parser against hostile input, FUZZ_SECONDS (30) each
#   make bench           the measurements, in release mode

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Build results lie outside of the checkout, so that a clean checkout builds fast.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/slipway
export CARGO_TARGET_DIR ?= $(CACHE)/target
# The client that belongs to the engine; an earlier one on PATH may lack what is needed.
export SLIPWAY_DOCKER ?= $(or $(wildcard /usr/bin/docker),docker)
export SLIPWAY_BIN = $(CARGO_TARGET_DIR)/debug/slipway
export SLIPWAY_E2E_MODULES ?= $(CACHE)/e2e/node_modules
export KEEP
CARGO_FLAGS ?= --locked

.PHONY: help build demo test check fmt clippy doc deny scripts bench fuzz

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -n 6

# One build for demo and tests: the same packages, features and profile, so nothing is built twice.
build:
	@scripts/check-toolchain
	@cargo build $(CARGO_FLAGS) --workspace --bins

demo:
	@scripts/install-docker
	@$(MAKE) build
	@$(CARGO_TARGET_DIR)/debug/slipway-demo

test:
	@scripts/install-test-parts
	@$(MAKE) build
	cargo test $(CARGO_FLAGS) --workspace

check: fmt clippy doc deny scripts

fmt:
	cargo fmt --all --check

clippy:
	cargo clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc $(CARGO_FLAGS) --workspace --no-deps --document-private-items

# Advisories need a database from the network and belong to a scheduled job; what is checked here depends on the lock file only.
deny:
	program="$$(scripts/install-cargo-deny)" && "$$program" --locked --all-features check bans licenses sources

scripts:
	@for script in scripts/* .ci/run; do bash -n "$$script" || exit 1; done
	@for script in crates/builder/src/sandbox/*.sh; do sh -n "$$script" || exit 1; done
	@if command -v shellcheck >/dev/null; then shellcheck --shell=bash --exclude=SC1091 scripts/* .ci/run; fi
	@echo "scripts: syntax is good"

# Two targets at a time on two cores: a score of them is done in under six minutes.
FUZZ_SECONDS ?= 30
fuzz:
	@scripts/check-toolchain
	BOLERO_RANDOM_TEST_TIME_MS=$$(( $(FUZZ_SECONDS) * 1000 )) cargo test $(CARGO_FLAGS) -p slipway-fuzz --test parsers --test sources

bench:
	@scripts/install-test-parts
	@scripts/install-bench-parts
	@scripts/check-toolchain
	@cargo build $(CARGO_FLAGS) --release -p slipway-server -p slipway-benches
	@SLIPWAY_BIN=$(CARGO_TARGET_DIR)/release/slipway $(CARGO_TARGET_DIR)/release/slipway-benches
