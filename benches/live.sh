#!/bin/sh
# What imdswatch loses live, and what it costs, beside tcpdump and Suricata (those that are installed).
#
# usage: live.sh CAPTURE [RATE ...]      RATE: Mbit/s, or `top` (default: 100 500 top)
#
# Needs root, iproute2 and tcpreplay. The capture is replayed over a veth pair in namespaces made here: for every rate
# once for each program alone, and once for all at the same time. Environment: LOOPS (10), IMDSWATCH, ARGS (of imdswatch).
# CPU is user and system time of the watching process and its children, in seconds; lost are packets that the kernel
# passed to the program's filter and the program did not take.
set -eu
capture=$(realpath "$1")
shift
program=$(realpath "${IMDSWATCH:-$(dirname "$0")/../target/release/imdswatch}")
loops=${LOOPS:-10}
dir=$(mktemp -d)
net=live$$
stop_all() {
    for pid in $(ip netns pids "$net-c" 2>/dev/null); do kill "$pid"; done
    ip netns del "$net-c" && ip netns del "$net-s"
    rm -rf "$dir"
}
trap stop_all EXIT
ip netns add "$net-c"
ip netns add "$net-s"
ip link add watched netns "$net-c" mtu 65535 type veth peer name watched netns "$net-s" mtu 65535
for end in c s; do
    ip netns exec "$net-$end" sysctl -qw net.ipv6.conf.all.disable_ipv6=1
    ip -n "$net-$end" link set watched up
done
printf 'alert http any any -> 169.254.169.254 any (msg:"metadata"; sid:1;)\n' >"$dir/imds.rules"

start() { # NAME: starts a program; its process id is in $pid
    out=$dir/$1.out
    case $1 in
    imdswatch) set -- "$program" -i watched ${ARGS:-} -o "$dir/events.ndjson" ;;
    tcpdump) set -- tcpdump -ni watched -w /dev/null ;;
    suricata) set -- suricata --af-packet=watched -S "$dir/imds.rules" -l "$dir" -k none --set af-packet.0.tpacket-v3=yes ;;
    esac
    ip netns exec "$net-c" "$@" >"$out" 2>&1 &
    pid=$!
}

ready() { # NAME PID: waits until it captures
    for _ in $(seq 300); do
        case $1 in
        imdswatch) grep -qs 'Seccomp:.2' "/proc/$2/status" && break ;;
        tcpdump) grep -qs 'listening on' "$dir/$1.out" && break ;;
        suricata) grep -qs 'Engine started' "$dir/$1.out" && break ;;
        esac
        sleep 0.1
    done
}

cpu() { # PID: hundredths of a second so far, with children
    for one in $1 $(cat "/proc/$1/task/$1/children"); do
        sed 's/.*) //' "/proc/$one/stat" | cut -d' ' -f12,13
    done | awk '{ sum += $1 + $2 } END { print sum }'
}

counts() { # NAME: packets received and lost
    case $1 in
    suricata) sed -nE "s/.*packets: ([0-9]+), drops: ([0-9]+).*/\1 \2/p" "$dir/$1.out" | tail -1 ;;
    *) awk '/packets received by filter/ { r = $1 } /packets dropped by (kernel|imdswatch)/ { d += $1 } END { print r, d }' \
        "$dir/$1.out" ;;
    esac
}

replay() { # RATE
    case $1 in
    top) speed=--topspeed ;;
    *) speed=--mbps=$1 ;;
    esac
    ip netns exec "$net-s" tcpreplay -q -K "$speed" --loop="$loops" --intf1=watched "$capture" >"$dir/replay" 2>&1
    sent=$(sed -nE 's/^Actual: ([0-9]+) packets.*/\1/p' "$dir/replay")
    reached=$(sed -nE 's/^Rated: .*, ([0-9.]+ Mbps), ([0-9.]+) pps.*/\1 \2 pps/p' "$dir/replay")
}

round() { # RATE NAME ...: one replay that all of these watch
    rate=$1
    shift
    running=
    for name; do
        rm -f "$dir/$name.out"
        start "$name"
        running="$running $name:$pid"
    done
    for one in $running; do ready "${one%:*}" "${one#*:}"; done
    sleep 1
    for one in $running; do cpu "${one#*:}" >"$dir/${one%:*}.before"; done
    replay "$rate"
    sleep 2
    for one in $running; do
        name=${one%:*}
        used=$(($(cpu "${one#*:}") - $(cat "$dir/$name.before")))
        kill -INT "${one#*:}"
        wait "${one#*:}" || true
        counts "$name" | awk -v rate="$rate" -v how="$([ $# -gt 1 ] && echo together || echo alone)" -v name="$name" \
            -v sent="$sent" -v used="$used" -v reached="$reached" \
            '{ printf "%-5s %-9s %-10s %10d %10d %9d %8.2f  %s\n", rate, how, name, sent, $1, $2, used / 100, reached }'
    done
}

names="imdswatch"
for other in tcpdump suricata; do
    if command -v "$other" >/dev/null; then names="$names $other"; else echo "$other: not installed" >&2; fi
done
printf '%-5s %-9s %-10s %10s %10s %9s %8s  %s\n' rate watched program sent received lost 'CPU s' reached
for rate in ${*:-100 500 top}; do
    for name in $names; do round "$rate" "$name"; done
    # shellcheck disable=SC2086
    round "$rate" $names
done
