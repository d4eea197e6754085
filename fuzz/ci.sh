#!/bin/sh
# Fuzzes each target for a few seconds, from seeds made of the bundled captures; skips where cargo-fuzz is absent (the
# seeds and past findings run in `cargo test --test fuzz_seeds` anyway). Usage: fuzz/ci.sh [SECONDS-PER-TARGET]
set -eu
cd "$(dirname "$0")/.."
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "skipped: no cargo-fuzz (cargo install cargo-fuzz)" >&2
    exit 0
fi
WRITE_SEEDS=1 cargo test --quiet --test fuzz_seeds >/dev/null
for target in $(cargo fuzz list); do
    cargo fuzz run -s none "$target" -- -max_total_time="${1:-6}" -max_len=16384 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1
done
