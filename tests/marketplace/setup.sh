#!/bin/sh
# Installs what the marketplace needs, here and nowhere else: node_modules, .venv, artifacts.
# Run it as often as you like: each step is skipped while what it depends on has not changed.
set -eu
cd "$(dirname "$0")"

PYTHON="${PYTHON:-python3}"
export HARDHAT_DISABLE_TELEMETRY_PROMPT=true

missing() { # what is missing, the command that installs it
    printf 'setup: %s\n       on Debian or Ubuntu: %s\n' "$1" "$2" >&2
    exit 1
}

# changed NAME FILE...: whether the files differ from when `done_with NAME FILE...` was called.
stamp() { cksum "$@"; }
changed() {
    name=$1
    shift
    [ "$(cat "$name/.setup-stamp" 2>/dev/null)" != "$(stamp "$@")" ]
}
done_with() {
    name=$1
    shift
    stamp "$@" >"$name/.setup-stamp"
}

command -v node >/dev/null || missing "Node.js 20 or later is missing" "apt install nodejs npm, or see https://nodejs.org"
node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' ||
    missing "Node.js 20 or later is needed, this is $(node --version)" "see https://nodejs.org"
command -v npm >/dev/null || missing "npm is missing" "apt install npm"
command -v "$PYTHON" >/dev/null || missing "Python 3.10 or later is missing" "apt install python3 python3-venv"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    missing "Python 3.10 or later is needed, this is $("$PYTHON" --version)" "apt install python3 python3-venv, or set PYTHON"
"$PYTHON" -c 'import ensurepip' 2>/dev/null || missing "Python's venv module is missing" "apt install python3-venv"

if changed node_modules package.json package-lock.json; then
    npm ci --no-audit --no-fund
    done_with node_modules package.json package-lock.json
fi

requirements="api/requirements.txt api/requirements-otel.txt fidelity/requirements.txt"
# shellcheck disable=SC2086  # three names
if changed .venv $requirements; then
    [ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --requirement api/requirements.txt --requirement api/requirements-otel.txt \
        --requirement fidelity/requirements.txt
    done_with .venv $requirements
fi

if changed artifacts hardhat.config.js package-lock.json contracts/*.sol contracts/probes/*.sol; then
    node_modules/.bin/hardhat compile
    done_with artifacts hardhat.config.js package-lock.json contracts/*.sol contracts/probes/*.sol
fi
