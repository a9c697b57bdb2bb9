# Entry points only. The work is done by the executable and by the scripts in .ci/.

.DEFAULT_GOAL := help
.PHONY: help run test lint check fmt bench console conformance clients faults alerts arm64 containers image sbom devcontainer ha kubernetes pods systemd workflows doc install chromium

# Cargo profile of `make run`. The debug build is the shorter one. To measure performance:
# PROFILE=release make run.
PROFILE ?= dev
# HTTP port of `make run`: PORT=9000 make run.
PORT ?= 8080
export PORT

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

run: install ## Run every role with private servers and demo data on http://localhost:8080 (PORT=)
	cargo run --profile $(PROFILE) --bin tributary $(if $(filter dev,$(PROFILE)),--no-default-features) -- dev

test: chromium ## Run every test, on private servers that the tests start themselves
	.ci/test

lint: ## Check format, Clippy, documentation and dependencies
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
	.ci/deny

check: install lint ## Run the pre-commit checks: lint, unit tests, architecture tests
	cargo test --workspace --lib --bins --quiet
	cargo test --workspace --test it --quiet -- architecture:: imports::

fmt: ## Format the code
	cargo fmt --all

bench: install ## Run a benchmark: BENCH=alerts, append, feed, page_views or rebuild; ARGS= for its arguments
	cargo run --release --package benches --bin $(BENCH) -- $(ARGS)
BENCH ?= append

console: chromium ## Check and build the web console, and test its pages in Chromium
	cargo build --workspace --bins
	.ci/console

conformance: install ## Run Schemathesis against the API and its OpenAPI document
	.ci/schemathesis

clients: install ## Generate clients in TypeScript and Python, and run a program with each
	.ci/clients/run

kubernetes: ## Validate the manifests of deploy/kubernetes
	.ci/kubernetes/check

pods: ## Start the manifests of deploy/kubernetes with Podman, and use and kill every role (as root)
	cargo build --workspace --bins
	.ci/kubernetes/play

systemd: ## Verify the units of deploy/systemd
	.ci/systemd/check

workflows: ## Check the workflows of GitHub Actions
	.ci/workflows

faults: install ## Kill servers, roles and a rebuild of 1,000,000 events, for longer than `make test`
	cargo build --workspace --bins
	TRIBUTARY_FAULT_SECONDS=60 cargo test --workspace --test it faults::
	cargo build --release --bins
	TRIBUTARY_REBUILD_EVENTS=1000000 cargo test --release --package tests --test it rebuild_readers::

alerts: install ## Provoke every alert of deploy/prometheus on a running system, with a real Prometheus
	cargo build --workspace --bins
	TRIBUTARY_ALL_ALERTS=1 cargo test --workspace --test it monitoring::

image: ## Build the image by its Dockerfile under Podman, from the sources, then as `make containers` (as root)
	.ci/containers/run --compile

arm64: install ## Compile for arm64, and run every role under QEMU with the servers of this machine (as root)
	.ci/arm64

sbom: ## Build the executable of a release, and print its software bill of materials in CycloneDX
	@.ci/sbom

containers: ## Bring up compose.yaml under Podman, kill every container, and check that all recovers (as root)
	cargo build --workspace --bins
	.ci/containers/run

devcontainer: ## Build the development container under Podman, and start `make run` in it (as root)
	.ci/containers/devcontainer

ha: install ## Kill each server and role of a cluster under load (docs/high-availability.md), and fill its disks
	cargo build --workspace --bins
	.ci/ha/run failover
	.ci/ha/run disk_full

doc: ## Build the Rust documentation
	cargo doc --workspace --no-deps

install:
	@.ci/install.sh

chromium:
	@.ci/install.sh chromium
