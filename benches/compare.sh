#!/bin/sh
# How long imdswatch takes for a capture, beside tcpdump, tshark and Suricata (those that are installed), warm cache.
#
# usage: compare.sh [CAPTURE [RUNS]]      CAPTURE: target/real-mix-1g.pcap (see benches/README.md)
#
# Prints medians and spread (slowest minus fastest), and each median as a multiple of tcpdump's, which is what reading
# the file costs at all. The programs take turns, so that a busy machine is busy for all of them.
set -eu
cd "$(dirname "$0")/.."
capture=${1:-target/real-mix-1g.pcap}
runs=${2:-5}
program=${IMDSWATCH:-target/release/imdswatch}
[ -r "$capture" ] || { echo "$capture: not there; benches/README.md says where it comes from" >&2; exit 1; }
[ -x "$program" ] || { echo "$program: not built (cargo build --release)" >&2; exit 1; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
printf 'alert http any any -> 169.254.169.254 any (msg:"metadata"; sid:1;)\n' >"$dir/imds.rules"

one() { # NAME: runs a program once
    case $1 in
    tcpdump) tcpdump -nr "$capture" -w /dev/null 'host 169.254.169.254' ;;
    imdswatch) "$program" -r "$capture" -o "$dir/events.ndjson" --quiet ;;
    imdswatch-all) "$program" -r "$capture" -e all -o "$dir/events.ndjson" --quiet ;;
    imdswatch-2) "$program" -r "$capture" --threads 2 -o "$dir/events.ndjson" --quiet ;;
    suricata) suricata -r "$capture" -S "$dir/imds.rules" -l "$dir" -k none --runmode single ;;
    tshark) tshark -n -r "$capture" -Y 'http.request or dns.qry.name' -T fields \
        -e ip.dst -e http.request.uri -e dns.qry.name ;;
    esac >/dev/null 2>&1
}

names="tcpdump imdswatch imdswatch-2 imdswatch-all"
for other in suricata tshark; do
    if ! command -v "$other" >/dev/null; then
        echo "$other: not installed" >&2
    elif [ "$other" = tshark ] && [ "$(wc -c <"$capture")" -gt 200000000 ] && [ -z "${TSHARK:-}" ]; then
        echo "tshark: left out for so large a capture (TSHARK=1 runs it)" >&2
    else
        names="$names $other"
    fi
done

cat "$capture" >/dev/null
round=0
while [ "$round" -lt "$runs" ]; do
    for name in $names; do
        rm -f "$dir/events.ndjson"
        start=$(date +%s%N)
        one "$name" || { echo "$name failed" >&2; exit 1; }
        echo $((($(date +%s%N) - start) / 1000)) >>"$dir/$name.times"
    done
    round=$((round + 1))
done

packets=$("$program" -r "$capture" -o "$dir/events.ndjson" 2>&1 | sed -n 's/^\([0-9]*\) packets.*/\1/p')
bytes=$(wc -c <"$capture")
printf '%-14s %9s %9s %9s %9s %12s\n' program median spread 'x tcpdump' MB/s packets/s
for name in $names; do
    sort -n "$dir/$name.times" | awk -v name="$name" -v bytes="$bytes" -v packets="$packets" -v base="$dir/base" '
        { time[NR] = $1 / 1e6 }
        END {
            median = time[int((NR + 1) / 2)]
            if (name == "tcpdump") print median >base; else getline first <base
            if (name == "tcpdump") first = median
            printf "%-14s %8.3fs %8.3fs %9.2f %9.0f %12.0f\n", name, median, time[NR] - time[1], median / first,
                bytes / 1e6 / median, packets / median
        }'
done
