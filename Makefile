# `make demo` and `make test` do everything on a fresh Debian with Rust: they install what is missing, and say so.
# The tests of containers use the Docker daemon that answers, or one that .ci/docker starts and stops.
CARGO ?= cargo
.PHONY: demo test lint bench deps deps-test deps-bench

demo: deps
	$(CARGO) build --release --locked
	./target/release/meshbed run scenarios/demo.yaml

test: deps-test
	sh .ci/docker $(CARGO) test --workspace --locked

lint: deps
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps --locked

bench: deps-bench
	$(CARGO) build --release --locked --workspace --bins --examples
	sh benches/run.sh

deps:
	@sh .ci/install build

deps-test:
	@sh .ci/install build test

deps-bench:
	@sh .ci/install build test bench
