#!/bin/sh
# Builds imdswatch and replays a bundled capture of a credential theft.
cd "$(dirname "$0")/.."
. scripts/setup.sh
cargo build --profile quick --quiet
capture=pcaps/aws/theft-through-curl/input.pcap
echo "\$ imdswatch -r $capture --format text" >&2
exec "${CARGO_TARGET_DIR:-target}"/quick/imdswatch -r "$capture" --format text
