#!/usr/bin/env bash
# Sets up what the tests need and runs all of them: format, lints, then every test against real
# nodes. Works on a fresh Debian-like machine; elsewhere it names what is missing. Idempotent.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
export HARDHAT_DISABLE_TELEMETRY_PROMPT=true

step() { printf '\n== %s (%ds)\n' "$*" "$SECONDS"; }
fail() { printf 'tests/run.sh: %s\n' "$*" >&2; exit 2; }

step "What the tests need"
# command:Debian package
needed=(cc:gcc promtool:prometheus prometheus:prometheus prlimit:util-linux kill:procps
  curl:curl chromium:chromium)
missing=()
for pair in "${needed[@]}"; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
if ((${#missing[@]})); then
  if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  else
    fail "missing: ${missing[*]}. Install with: sudo apt-get install ${missing[*]}"
  fi
fi
command -v cargo >/dev/null || fail "missing: Rust 1.95 or later (https://rustup.rs)"
node_major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/' || true)
[[ ${node_major:-0} -ge 20 ]] || fail "Node 20 or later is needed, found ${node_major:-none}"

step "The marketplace: npm, Python, contracts"
tests/marketplace/setup.sh
step "The other nodes: Hardhat 3, Anvil"
tests/marketplace/nodes/setup.sh

step "The marketplace's API, on both of its servers"
tests/marketplace/.venv/bin/python tests/marketplace/api/test_api.py

step "Format"
cargo fmt --check
step "Lints"
cargo clippy --locked --all-targets --quiet -- -D warnings
step "Tests"
cargo test --locked --no-fail-fast "$@"
step "Done"
