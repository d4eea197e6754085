#!/bin/sh
# Instructions for a whole run, counted by valgrind: what a shared machine can compare, within a few in a thousand.
#
# usage: instructions.sh [CAPTURE [MOST]]    fails when the run takes more than MOST instructions per packet
set -eu
cd "$(dirname "$0")/.."
capture=${1:-target/real-mix.pcap}
most=${2:-}
program=${IMDSWATCH:-target/release/imdswatch}
[ -r "$capture" ] || { echo "$capture: not there; benches/README.md says where it comes from" >&2; exit 1; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
count() { # ARGUMENTS of the program
    valgrind --tool=callgrind --callgrind-out-file="$dir/out" "$program" "$@" --threads 1 -o "$dir/events.ndjson" 2>&1 |
        tee "$dir/said" | sed -n 's/.*Collected : \([0-9]*\)/\1/p'
}
# What starting and stopping costs does not depend on the capture.
head -c 24 "$capture" >"$dir/empty.pcap"
start=$(count -r "$dir/empty.pcap")
all=$(count -r "$capture")
packets=$(sed -n 's/^\([0-9]*\) packets.*/\1/p' "$dir/said")
each=$(((all - start) / packets))
echo "$((start / 1000000)) M instructions to start and stop; $packets packets, $each instructions each"
[ -z "$most" ] || [ "$each" -le "$most" ] || { echo "more than $most" >&2; exit 1; }
