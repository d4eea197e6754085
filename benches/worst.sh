#!/bin/sh
# What the dearest bytes cost: every kind of benches/traffic/hostile.py beside plain traffic of the same size.
#
# usage: worst.sh [KIND...]      SIZE: bytes of each kind (3000000)
#
# Prints per kind: packets, megabytes, CPU time (user and system, the whole program on one worker, the least of three
# runs), nanoseconds per captured byte, microseconds per packet, and a multiple of plain traffic's. The goal is 50 ns
# per byte and 20 microseconds per message.
set -eu
cd "$(dirname "$0")/.."
program=${IMDSWATCH:-target/release/imdswatch}
[ -x "$program" ] || { echo "$program: not built (cargo build --release)" >&2; exit 1; }
size=${SIZE:-3000000}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
[ $# -gt 0 ] || set -- $(python3 benches/traffic/hostile.py)

# KIND: writes $dir/KIND.pcap of about $size bytes: twice, since what one unit takes is not known before
make() {
    python3 benches/traffic/hostile.py "$1" 8 "$dir/$1.pcap"
    few=$(wc -c <"$dir/$1.pcap")
    python3 benches/traffic/hostile.py "$1" 24 "$dir/$1.pcap"
    more=$(wc -c <"$dir/$1.pcap")
    each=$(((more - few) / 16))
    [ "$each" -gt 0 ] || each=1
    python3 benches/traffic/hostile.py "$1" $((size / each + 1)) "$dir/$1.pcap"
}

# FILE: CPU time in milliseconds, the least of three runs
cpu() {
    python3 - "$program" "$1" <<'END'
import os, subprocess, sys
def once():
    before = os.times()
    command = [sys.argv[1], "-r", sys.argv[2], "-o", "/dev/null", "--quiet", "--threads", "1"]
    subprocess.run(command, stderr=subprocess.DEVNULL, check=False)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system
print(round(min(once() for _ in range(3)) * 1000))
END
}

packets() { # FILE: number of its packets
    python3 - "$1" <<'END'
import struct, sys
data, at, count = open(sys.argv[1], "rb").read(), 24, 0
while at < len(data):
    at += 16 + struct.unpack_from("<I", data, at + 8)[0]
    count += 1
print(count)
END
}

make plain
plain=$(cpu "$dir/plain.pcap")
bytes=$(wc -c <"$dir/plain.pcap")
base=$((plain * 1000000 / bytes))
[ "$base" -gt 0 ] || base=1
printf '%-22s %9s %8s %8s %9s %10s %8s\n' kind packets MB ms ns/byte us/packet 'x plain'
for kind in "$@"; do
    make "$kind"
    file=$dir/$kind.pcap
    bytes=$(wc -c <"$file") count=$(packets "$file") ms=$(cpu "$file")
    echo "$kind $count $bytes $ms $base" | awk '{
        printf "%-22s %9d %8.2f %8d %9.1f %10.2f %8.1f\n", $1, $2, $3 / 1e6, $4, $4 * 1e6 / $3, $4 * 1e3 / $2, $4 * 1e6 / $3 / $5 }'
    rm "$file"
done
