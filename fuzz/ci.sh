#!/bin/sh
# Fuzzes each target for a few seconds, from the seeds of the bundled captures and the corpus that is kept here. Needs no
# nightly compiler and no cargo-fuzz; where the compiler cannot instrument at all it says so and skips. A finding fails, and
# its input is printed in base64. Usage: fuzz/ci.sh [SECONDS-PER-TARGET]
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-6}
# A few seconds each: building is most of it, and less is optimised than where fuzzing goes on for hours.
export CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_DEBUG=0
if ! command -v c++ >/dev/null; then
    echo "skipped: no C++ compiler, which libFuzzer needs" >&2
    exit 0
fi
if ! built=$(fuzz/build.sh); then
    probe=$(mktemp -d)
    echo 'fn main() {}' >"$probe/probe.rs"
    if rustc -Cpasses=sancov-module -o "$probe/probe" "$probe/probe.rs" 2>/dev/null; then
        echo "the fuzz targets do not build" >&2
        exit 1
    fi
    echo "skipped: this compiler cannot build fuzz targets" >&2
    exit 0
fi
WRITE_SEEDS=1 cargo test --quiet --test fuzz_seeds >/dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/kept"
for archive in fuzz/kept/*.tar.gz; do
    tar -xzf "$archive" -C "$work/kept"
done
for target in fuzz/fuzz_targets/*.rs; do
    target=$(basename "$target" .rs)
    mkdir -p "$work/new/$target" "$work/kept/$target"
    if ! "$built/$target" "$work/new/$target" "fuzz/corpus/$target" "$work/kept/$target" -max_total_time="$seconds" \
        -max_len=16384 -timeout=20 -rss_limit_mb=1024 -artifact_prefix="$work/found-" -print_final_stats=1 >"$work/log" 2>&1
    then
        tail -50 "$work/log" >&2
        for found in "$work"/found-*; do
            [ -e "$found" ] && echo "$target fails on (base64):" && base64 "$found"
        done >&2
        exit 1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")
    echo "fuzzed $target: $runs runs"
done
