#!/bin/sh
# Builds the fuzz targets with the compiler at hand, nightly or not, and without cargo-fuzz: its flags for `-s none`, since
# there is no unsafe code for a sanitizer to look at. Usage: fuzz/build.sh [TARGET...]; prints where the targets are.
set -eu
cd "$(dirname "$0")"
host=$(rustc -vV | sed -n 's/^host: //p')
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags="$flags -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags="$flags -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0"
bins=
for target in "$@"; do
    bins="$bins --bin $target"
done
# shellcheck disable=SC2086 # words of their own
RUSTFLAGS="$flags" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}" \
    cargo build --quiet --release --target "$host" ${bins:---bins} >&2
echo "${CARGO_TARGET_DIR:-$(pwd)/target}/$host/release"
