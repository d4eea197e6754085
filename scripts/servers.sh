#!/usr/bin/env bash
# Puts the receivers that tests/receivers talks to into target/servers: OpenSearch and Kafka as their jars (Maven, Java 17
# or later) and Spark's connector for it, Elastic's Beats receiver and OpenTelemetry's collector (Go), Redis and rsyslog (apt), OpenTelemetry's request definition (pip). Each that
# cannot be had is said; its tests skip. Nothing is started here: each test starts what it wants, on loopback.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
here=tests/receivers/servers
to=$PWD/target/servers
mkdir -p "$to/bin"

missing() { echo "servers: no $1: $2" >&2; }

# Jars by Maven profile, once.
jars() {
    [ -e "$to/$1/.whole" ] && return
    command -v mvn >/dev/null && command -v java >/dev/null || { missing "$1" "needs mvn and java"; return 1; }
    mvn -q -B -f "$here/pom.xml" -P "$1" dependency:copy-dependencies -DoutputDirectory="$to/$1" >"$to/$1.log" 2>&1 &&
        touch "$to/$1/.whole" || { rm -rf "${to:?}/$1"; missing "$1" "$(tail -1 "$to/$1.log")"; return 1; }
}

if jars opensearch && [ "$here/Search.java" -nt "$to/opensearch/Search.class" ]; then
    javac -nowarn -cp "$to/opensearch/*" -d "$to/opensearch" "$here/Search.java" 2>"$to/javac.log" ||
        { rm -rf "$to/opensearch"; missing opensearch "$(head -1 "$to/javac.log")"; }
fi
jars kafka
jars spark

if [ ! -x "$to/bin/tst-lj" ]; then
    if command -v go >/dev/null; then
        GOBIN="$to/bin" GOFLAGS=-mod=mod go install github.com/elastic/go-lumber/cmd/tst-lj@v0.1.0 >"$to/go.log" 2>&1 ||
            missing tst-lj "$(tail -1 "$to/go.log")"
    else
        missing tst-lj "needs go"
    fi
fi

wanted=()
command -v redis-server >/dev/null || wanted+=(redis-server)
[ -x /usr/sbin/rsyslogd ] || wanted+=(rsyslog)
[ -e /usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_gtls.so ] || wanted+=(rsyslog-gnutls)
command -v openssl >/dev/null || wanted+=(openssl)
if [ ${#wanted[@]} -gt 0 ]; then
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        # Packages must not start services of their own.
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d.imdswatch && chmod +x /usr/sbin/policy-rc.d.imdswatch
        [ -e /usr/sbin/policy-rc.d ] || { mv /usr/sbin/policy-rc.d.imdswatch /usr/sbin/policy-rc.d; ours=1; }
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}" >"$to/apt.log" 2>&1 ||
            missing "${wanted[*]}" "$(tail -1 "$to/apt.log")"
        [ -n "${ours:-}" ] && rm -f /usr/sbin/policy-rc.d
        rm -f /usr/sbin/policy-rc.d.imdswatch
    else
        missing "${wanted[*]}" "needs apt-get and root"
    fi
fi

if [ ! -x "$to/venv/bin/python" ]; then
    { python3 -m venv "$to/venv" && "$to/venv/bin/pip" install -q opentelemetry-proto; } >"$to/pip.log" 2>&1 ||
        { rm -rf "$to/venv"; missing opentelemetry-proto "$(tail -1 "$to/pip.log")"; }
fi

# Last, since it takes minutes where Go has built none of it before: what comes first is there when this is cut short.
if [ ! -x "$to/otelcol/otelcol" ]; then
    if command -v go >/dev/null; then
        { GOBIN="$to/bin" GOFLAGS=-mod=mod go install go.opentelemetry.io/collector/cmd/builder@v0.165.0 &&
            GOFLAGS=-mod=mod timeout 200 nice "$to/bin/builder" --config "$here/otelcol.yaml"; } >"$to/otelcol.log" 2>&1 ||
            missing otelcol "$(tail -1 "$to/otelcol.log")"
    else
        missing otelcol "needs go"
    fi
fi

exit 0
