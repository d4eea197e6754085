# Sourced by check.sh and test-deb.sh, in a network of their own: a metadata service on loopback, and what it is asked.
# shellcheck shell=sh

service=http://169.254.169.254/latest/meta-data/

serve_metadata() { # FOLDER LOG: leaves the server's process id in $server
    ip link set lo up
    ip addr add 169.254.169.254/32 dev lo
    mkdir -p "$1/latest/meta-data"
    python3 -m http.server 80 --bind 169.254.169.254 --directory "$1" >"$2" 2>&1 &
    # shellcheck disable=SC2034 # of whoever sources this
    server=$!
}

wait_until_confined() { # PROCESS: the sandbox closes last, when the capture is open
    for _ in $(seq 100); do
        if grep -q 'Seccomp:.2' "/proc/$1/status" 2>/dev/null; then
            sleep 0.5
            return 0
        fi
        kill -0 "$1" 2>/dev/null || break
        sleep 0.2
    done
    echo "the program did not start to watch" >&2
    return 1
}

ask_metadata() { # and gives the program time to see the answer
    python3 -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1]).read()' "$service"
    sleep 1.5
}
