# trunkgate: everything that is run on this tree.
CARGO ?= cargo
TOOLS := $(CURDIR)/target/tools
SHIPPED := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/guided/trunkgate
DENY_VERSION := 0.20.2

.PHONY: demo dist test soak bench fuzz faults lint ci peers cores docs deny build

demo: ## two tenants, two carriers, calls in both directions; nothing else needed
	$(CARGO) run --release -- demo

dist: ## the program as it is shipped, target/guided/trunkgate: twice built, the second time by a profile of calls; half an hour
	@CARGO=$(CARGO) benches/guided

build:
	$(CARGO) build --profile ci -p gateway

peers: ## independent clients that the black-box tests speak to (Debian packages, PyPI wheels)
	@tests/peers/install

test: peers build ## all tests: crates, then the binary against real peers
	$(CARGO) test --profile ci --workspace

cores: ## the cores build and pass without sockets, clocks or tokio
	$(CARGO) check --profile ci --no-default-features -p sip-stack -p media-relay
	$(CARGO) test --profile ci --no-default-features -p sip-stack -p media-relay --lib

soak: peers build dist ## the black-box tests against the program as it is shipped, then five times over: what fails once in a while, fails here; 500,000 seeds of calls on virtual time; 100,000 calls; ten minutes of reloads; kill -9 under 200 calls; 1,000 calls of every kind over bad lines; minutes beside a greedy neighbour; 2^17 packets each way, half an hour against PJSIP; two hours without a slope in memory
	TRUNKGATE_SEEDS=500000 $(CARGO) test --profile ci -p gateway --lib -- simulation
	TRUNKGATE_CALLS=200 $(CARGO) test --profile ci -p tests -- r01_
	TRUNKGATE_MIX_CALLS=1000 $(CARGO) test --profile ci -p tests -- calls_of_every_kind
	TRUNKGATE_NEIGHBOUR_SECONDS=60 $(CARGO) test --profile ci -p tests -- at_07_a_tenant_at_ten_times
	TRUNKGATE_LEAK_CALLS=100000 $(CARGO) test --profile ci -p tests -- r14_
	TRUNKGATE_RELOAD_SECONDS=600 $(CARGO) test --profile ci -p tests -- r04_
	TRUNKGATE_CALL_MINUTES=30 $(CARGO) test --profile ci -p tests -- tr_042_tr_044_pjsip
	TRUNKGATE_PACKETS=131072 $(CARGO) test --profile ci -p tests -- tr_044_
	TRUNKGATE_SOAK_MINUTES=120 $(CARGO) test --profile ci -p tests -- r13_
	TRUNKGATE_BIN=$(abspath $(SHIPPED)) $(CARGO) test --profile ci -p tests
	for round in 1 2 3 4 5; do $(CARGO) test --profile ci -p tests || exit 1; done

fuzz: ## everything that reads bytes of others, FUZZ_SECONDS (60) each; fails on a find
	@CARGO=$(CARGO) tests/fuzz/run

faults: ## a gateway with seeded faults: `trunkgate lab conformance` finds each of them
	@CARGO=$(CARGO) tests/faults/run

bench: dist ## parts beside their peers, the whole gateway beside Kamailio and rtpengine; fails when a bound is missed
	TRUNKGATE_BIN=$(abspath $(SHIPPED)) $(CARGO) bench --profile dist -p benches --no-fail-fast

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --profile ci --workspace --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --profile ci --workspace --no-deps

deny: $(TOOLS)/bin/cargo-deny
	$(CARGO) fetch --locked
	$(TOOLS)/bin/cargo-deny --offline check licenses bans sources

$(TOOLS)/bin/cargo-deny:
	$(CARGO) install cargo-deny --version $(DENY_VERSION) --locked --debug --no-default-features --root $(TOOLS)

ci: ## the whole gate, with minutes per stage
	@.ci/stages lint cores test docs deny
