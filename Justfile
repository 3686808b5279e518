# What can be done here. `just` alone lists it; `./setup` installs what the recipes need.
#
# All cargo commands take the same packages and features, so that they share what is compiled:
# `--workspace` for tests and lints, the default members (all but the dashboard) for programs.

set positional-arguments

# Show this list.
[private]
default:
    @just --list --unsorted

# A sandbox to click through: a private database, people, an agent and changes, on port 8000.
demo *args: web
    cargo build --bins
    cargo run --bin nexplane -- demo "$@"

# The control plane on this machine, empty, with a private database; prints a first-run link.
up *args: web
    cargo build --bins
    cargo run --bin nexplane -- up "$@"

# Every test: examples in the documentation, then all the rest. `just test -E 'test(change)'` runs some.
test *args: web
    cargo test --workspace --doc --quiet
    cargo nextest run --workspace "$@"

# Of these, the dashboard's in a real Chromium; pictures of its pages are in target/screens.
test-browser: web
    cargo nextest run --workspace -E 'test(/^browser_/)'

# Everything a machine can judge without running the product.
lint: fmt-check clippy deny wasm-check

# Format the code.
fmt:
    cargo fmt --all

# Is the code formatted?
fmt-check:
    cargo fmt --all --check

# The compiler's and clippy's opinion, with no warning left.
clippy:
    cargo clippy --workspace --all-targets -- --deny warnings

# Licences, banned crates and sources of all dependencies. Needs `cargo install --locked cargo-deny`.
deny:
    cargo deny --locked check bans licenses sources

# Does the core compile for browsers, that is, without clock, files, network and threads?
wasm-check:
    wasm_env=$(frontend/toolchain) && eval "$wasm_env" && \
        cargo check --package nexplane-core --all-features --profile wasm-release \
            --target wasm32-unknown-unknown --target-dir "${CARGO_TARGET_DIR:-target}/web"

# Build the dashboard into frontend/dist, when something in it changed.
web:
    frontend/build

# The agent as it is given away: one static program in target/agent-static, below its limit of size.
agent-static:
    agent/build-static

# The agent for Windows: built, and its tests run under Wine. Needs gcc-mingw-w64-x86-64, wine and wine64.
agent-windows:
    agent/cross windows

# Changes of a file from request to undo, with a real control plane here and the Windows agent under Wine.
agent-windows-journey:
    agent/cross windows-journey

# Does the agent compile for macOS? Nothing of it is run. Needs `python3 -m pip install ziglang`.
agent-macos-check:
    agent/cross macos-check

# Measure.
bench *args:
    cargo bench --workspace --bench '*' "$@"

# A thousand and ten thousand agents on one server: what they cost, and how they come back. `just bench-agents 3000`.
bench-agents *args:
    cargo bench --workspace --bench agents -- "$@"

# A change on a thousand and on ten thousand hosts, and its way back, with the server killed on the way. `just bench-rollout 3000`.
bench-rollout *args:
    cargo bench --workspace --bench rollout -- "$@"

# The first rows of every list on a year of a large installation, 50,000 changes of it. `just bench-lists 50000 --data-dir DIR --serve`.
bench-lists *args:
    cargo bench --workspace --bench lists -- "$@"

# The grid of a rollout with ten thousand targets in a real Chromium: frames while it scrolls, and memory.
# `NEXPLANE_GRID=1000 just bench-grid` with fewer.
bench-grid:
    cargo nextest run --workspace -E 'test(bench_grid_of_ten_thousand)' --run-ignored only --no-capture

# How long the first page takes: bytes, first paint and the first row, for lines of several speeds.
bench-page:
    cargo nextest run --workspace -E 'test(bench_first_page)' --run-ignored only --no-capture

# Rewrite the generated files (openapi.json, catalog.json …) from the code; look at the diff before committing.
bless:
    NEXPLANE_BLESS=1 cargo nextest run --workspace --no-tests=pass -E 'test(golden)'

# A connector to start from: `just new-connector acme "Acme Boxes"`. Then docs/guides/add-a-connector.md.
new-connector name title="":
    connectors/new connector "$1" "$2"

# An action to start from: `just new-action acme open_lid "Open a lid"`. Then docs/guides/add-an-action.md.
new-action connector name title="":
    connectors/new action "$1" "$2" "$3"

# What continuous integration runs, from the installation on.
ci:
    .ci/run
