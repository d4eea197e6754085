#!/bin/sh
# Follows the steps of the Dockerfile where there is no Docker, and runs what comes out as a container would: as its user,
# with a read-only root, in a network of its own, and with no capability but CAP_NET_RAW.
#
# usage: check.sh [FOLDER]      FOLDER: where root file systems are made (default: a temporary one)
#
# Needs root, debootstrap and python3. A debootstrap of Debian 12 stands for both base images; the Rust toolchain of
# this machine (CARGO_HOME, RUSTUP_HOME) is mounted where the Rust image has its own. BUILD_ENV: variables for the build,
# such as CARGO_PROFILE_RELEASE_LTO=off.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
dir=${1:-$(mktemp -d)}
mkdir -p "$dir"
[ -n "${STEP:-}" ] || STEP=build exec unshare --mount sh "$0" "$dir"

base() { # ROOT: makes a bare system, once
    [ -d "$dir/base" ] || debootstrap --variant=minbase bookworm "$dir/base" >"$dir/debootstrap.log"
    rm -rf "$1"
    cp -a "$dir/base" "$1"
    cp /etc/resolv.conf "$1/etc/"
    mount --bind /dev "$1/dev"
    mount -t proc proc "$1/proc"
}

toolchain() { # ROOT
    mkdir -p "$1/usr/local/cargo" "$1/usr/local/rustup"
    mount --bind "${CARGO_HOME:-$HOME/.cargo}" "$1/usr/local/cargo"
    mount --bind "${RUSTUP_HOME:-$HOME/.rustup}" "$1/usr/local/rustup"
}

# One step a line, continued lines joined.
steps=$(sed -e '/^#/d' -e ':a' -e '/\\$/{N;s/\\\n *//;ba' -e '}' "$top/packaging/Dockerfile")

build() {
    work=/
    echo "$steps" | while read -r word rest; do
        case $word in
        FROM)
            work=/
            case $rest in *' AS build') root=$dir/build ;; *) root=$dir/run ;; esac
            base "$root"
            [ "$root" = "$dir/run" ] || toolchain "$root"
            ;;
        WORKDIR)
            work=$rest
            mkdir -p "$root$work"
            ;;
        COPY)
            from=$top/
            case $rest in --from=build*) from=$dir/build rest=${rest#* } ;; esac
            to=${rest##* }
            case $to in /*) ;; *) to=$work/$to ;; esac
            for one in ${rest% *}; do cp -a "$from$one" "$root$to"; done
            ;;
        RUN)
            echo "RUN $rest"
            chroot "$root" env -i HOME=/root DEBIAN_FRONTEND=noninteractive \
                PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
                CARGO_HOME=/usr/local/cargo RUSTUP_HOME=/usr/local/rustup ${BUILD_ENV:-} sh -ec "cd $work; $rest" \
                >>"$dir/run.log" 2>&1 || { tail -20 "$dir/run.log"; exit 1; }
            ;;
        esac
    done
}

[ "$STEP" = run ] || {
    build
    STEP=run exec unshare --net sh "$0" "$dir"
}

user=$(echo "$steps" | sed -n 's/^USER \([0-9]*\):.*/\1/p')
program=$(echo "$steps" | sed -n 's/^ENTRYPOINT \["\(.*\)"\]/\1/p')
. "$top/packaging/metadata.sh"
serve_metadata "$dir/served" "$dir/served.log"
mount --bind "$dir/run" "$dir/run"
mount -t proc proc "$dir/run/proc"
mount -o remount,ro,bind "$dir/run"
chroot "$dir/run" setpriv --reuid="$user" --regid="$user" --clear-groups --inh-caps=-all --bounding-set=-all,+net_raw \
    "$program" -i lo >"$dir/events" 2>"$dir/messages" &
watching=$!
trap 'kill $server $watching 2>/dev/null || true' EXIT
wait_until_confined $watching || { cat "$dir/messages"; exit 1; }
ask_metadata
cat "$dir/messages"
grep -E '^(Uid|Cap...|NoNewPrivs|Seccomp):' /proc/$watching/status
grep -q "^Uid:.$user" /proc/$watching/status
# Its bounding set is not its own to change, and gives it nothing any more.
[ "$(grep -c '^Cap\(Prm\|Eff\|Inh\|Amb\):.0000000000000000' /proc/$watching/status)" = 4 ]
kill -TERM $watching
wait $watching
grep -q '"path":"/latest/meta-data/"' "$dir/events"
! chroot "$dir/run" touch /written 2>/dev/null
echo "passed: $(wc -l <"$dir/events") events"
