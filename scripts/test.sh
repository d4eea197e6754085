#!/bin/sh
# Installs what is missing and runs all tests. Those that need captures outside the project skip with a message.
cd "$(dirname "$0")/.."
. scripts/setup.sh
exec cargo test --all-targets "$@"
