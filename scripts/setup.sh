# Sourced by the other scripts: installs what building needs and is missing, on Debian and Ubuntu. Changes nothing else.
# shellcheck shell=sh
set -eu

need_rust=1.95

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
        echo "This needs root: run as root, or install sudo, or run yourself: $*" >&2
        exit 1
    fi
}

install_packages() {
    missing=
    command -v cc >/dev/null || missing="$missing gcc libc6-dev"
    command -v pkg-config >/dev/null || missing="$missing pkg-config"
    [ -e /usr/include/pcap/pcap.h ] || [ -e /usr/include/pcap.h ] || missing="$missing libpcap-dev"
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "Please install with your package manager: a C compiler, pkg-config, and libpcap's headers (missing here:$missing)" >&2
        exit 1
    fi
    echo "Installing$missing" >&2
    as_root apt-get update -qq
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

rust_is_new_enough() {
    command -v cargo >/dev/null || return 1
    have=$(rustc --version 2>/dev/null | sed 's/^rustc \([0-9]*\.[0-9]*\).*/\1/')
    [ -n "$have" ] || return 1
    [ "$(printf '%s\n%s\n' "$need_rust" "$have" | sort -V | head -n 1)" = "$need_rust" ]
}

install_rust() {
    if rust_is_new_enough; then return 0; fi
    if [ -f "$HOME/.cargo/env" ]; then . "$HOME/.cargo/env"; fi
    if rust_is_new_enough; then return 0; fi
    if command -v rustup >/dev/null; then
        rustup toolchain install stable --profile minimal --component clippy,rustfmt && rustup default stable || true
    elif command -v apt-get >/dev/null && apt-cache show rustup >/dev/null 2>&1; then
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rustup >/dev/null &&
            rustup toolchain install stable --profile minimal --component clippy,rustfmt && rustup default stable || true
    elif command -v curl >/dev/null; then
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --component clippy,rustfmt || true
        if [ -f "$HOME/.cargo/env" ]; then . "$HOME/.cargo/env"; fi
    fi
    if ! rust_is_new_enough; then
        echo "imdswatch needs Rust $need_rust or newer; found: $(rustc --version 2>/dev/null || echo none)." >&2
        echo "Distributions ship an older one. Install rustup (https://rustup.rs), then: rustup toolchain install stable" >&2
        exit 1
    fi
}

install_packages
install_rust
