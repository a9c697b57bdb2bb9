# Entry points only: what they do lives in Rust and in .ci/.

.DEFAULT_GOAL := help
.PHONY: help run test lint fmt bench conformance faults doc install

# A fresh checkout answers after the debug build: measured on 2 cores 1 min 41 s, where release takes
# 3 min 29 s, and `make test` builds the same things. For figures: PROFILE=release make run.
PROFILE ?= dev
# Where the HTTP side listens: PORT=9000 make run.
PORT ?= 8080
export PORT

help: ## What can be asked for
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

run: install ## Everything, with private servers and demo data, on http://localhost:8080 (PORT=)
	cargo run --profile $(PROFILE) --bin tributary -- dev

test: install ## Every test, against private servers that it starts itself
	cargo build --workspace --bins --examples # Some tests start these.
	cargo test --workspace --exclude tests --lib --bins --tests
	cargo test --package tests --test add_a_context
	cargo test --package tests --test it

lint: ## Formatting, clippy, documentation, dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
	.ci/deny

fmt: ## Format the code
	cargo fmt --all

bench: install ## Measure: BENCH=alerts, append, feed or page_views; pass arguments with ARGS=
	cargo run --release --package benches --bin $(BENCH) -- $(ARGS)
BENCH ?= append

conformance: install ## Schemathesis against the running API, as its own document describes it
	.ci/schemathesis

faults: install ## Kill servers, roles and a rebuild of a million events, for longer than `make test` does
	cargo build --workspace --bins
	TRIBUTARY_FAULT_SECONDS=60 cargo test --package tests --test it faults::
	cargo build --release --bins
	TRIBUTARY_REBUILD_EVENTS=1000000 cargo test --release --package tests --test it rebuild_readers::

doc: ## Build the API documentation
	cargo doc --workspace --no-deps

install:
	@.ci/install.sh
