#!/bin/bash
# Records captures of real client software against mock metadata services, between network namespaces of its own.
# Usage (as root): record.sh OUT BUILD [PATTERN]
#   OUT    where captures and their labels go
#   BUILD  where client software is installed; kept from one run to the next
# The scripts name both folders as @CORPUS@ and @BUILD@; they run as copies below OUT/make with the real ones in place.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,6p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/make" "$2"
out=$(cd "$1" && pwd) build=$(cd "$2" && pwd)

cp -r "$here/." "$out/make/"
grep -rlE '@(CORPUS|BUILD)@' "$out/make" | xargs sed -i "s#@CORPUS@#$out#g; s#@BUILD@#$build#g"
chmod +x "$out"/make/*.sh

if [ ! -d "$build/venv" ]; then
    apt-get install -y -qq nginx-light ruby wrk ethtool bind9-dnsutils socat libwww-perl php-cli php-curl tinyproxy-bin tcpdump tshark
    python3 -m venv "$build/venv"
    "$build/venv/bin/pip" install -q -r "$here/requirements.txt"
    mkdir -p "$build/node" "$build/x"
    # shellcheck disable=SC2046
    (cd "$build/node" && npm install --silent $(tr '\n' ' ' <"$here/npm-packages.txt") && ln -sf "$out"/make/drivers/*.{mjs,cjs} .)
    (cd "$build" && xargs apt-get download -q <"$here/debs.txt" && for deb in *.deb; do dpkg -x "$deb" x; done)
    cp -r "$here/rs" "$build/" && (cd "$build/rs" && cargo build --release -q)
    "$out/make/setup_files.sh"
fi

trap '"$out/make/services.sh" stop; "$out/make/netns.sh" down' EXIT
"$out/make/netns.sh" up
"$out/make/services.sh" start
"$build/venv/bin/python" "$out/make/c_clients.py" ${3:+"$3"}
