#!/bin/sh
# Builds imdswatch for x86_64 Linux as one file without shared libraries, with its own libpcap: what the sidecar image is
# made of. The result is target/static/imdswatch, with its checksum beside it.
#
# usage: static.sh [PROFILE]    PROFILE: of Cargo.toml (default: release)
#
# Everything it needs beside Rust and GCC is unpacked below target/static: nothing is installed, so a machine's other
# programs never find musl by accident (Java's native libraries would take it). Musl and libpcap's source come from Debian's
# archive through apt; elsewhere have musl-gcc in PATH and name the source: LIBPCAP_SOURCE=libpcap-1.10.3.tar.gz.
# Ends with status 77 and a message where a part cannot be had.
set -eu
cd "$(dirname "$0")/.."
profile=${1:-release}
target=x86_64-unknown-linux-musl
top=${CARGO_TARGET_DIR:-$PWD/target}
dir=$top/static
mkdir -p "$dir/bin" "$dir/source"

cannot() { echo "static: $*" >&2; exit 77; }

compiler() { # leaves $dir/bin/musl-gcc
    [ ! -x "$dir/bin/musl-gcc" ] || return 0
    if command -v musl-gcc >/dev/null; then
        ln -sf "$(command -v musl-gcc)" "$dir/bin/musl-gcc"
        return
    fi
    command -v apt-get >/dev/null || cannot "there is no musl-gcc, and no apt-get to fetch it with"
    (cd "$dir/source" && apt-get download -qq musl-dev musl-tools 2>/dev/null) || cannot "apt-get has no musl-dev, musl-tools (apt-get update?)"
    for package in "$dir"/source/musl-*.deb; do dpkg-deb -x "$package" "$dir/musl"; done
    specs=$dir/musl/usr/lib/x86_64-linux-musl/musl-gcc.specs
    sed -i -E "s#/usr/(include|lib)/x86_64-linux-musl#$dir/musl/usr/\1/x86_64-linux-musl#g" "$specs"
    printf '#!/bin/sh\nexec gcc "$@" -specs "%s"\n' "$specs" >"$dir/bin/musl-gcc"
    chmod +x "$dir/bin/musl-gcc"
}

kernel_headers() { # musl has none; only these, so that no header of glibc comes with them
    mkdir -p "$dir/kernel"
    for name in linux asm-generic; do ln -sfn /usr/include/$name "$dir/kernel/$name"; done
    asm=/usr/include/x86_64-linux-gnu/asm
    [ -d $asm ] || asm=/usr/include/asm
    ln -sfn "$asm" "$dir/kernel/asm"
    [ -e "$dir/kernel/linux/if_packet.h" ] && [ -e "$dir/kernel/asm/types.h" ] || cannot "no kernel headers (linux-libc-dev)"
}

libpcap_source() { # leaves $dir/libpcap, unpacked
    [ ! -x "$dir/libpcap/configure" ] || return 0
    source=${LIBPCAP_SOURCE:-}
    if [ -z "$source" ]; then
        command -v apt-get >/dev/null || cannot "name libpcap's source: LIBPCAP_SOURCE=FILE.tar.gz"
        # From where the machine has its packages; its own list is left alone, which mostly names no sources.
        mkdir -p "$dir/source/lists/partial"
        keys=$(ls /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/ubuntu-archive-keyring.gpg 2>/dev/null | paste -sd,)
        apt-get indextargets --format "deb-src ${keys:+[signed-by=$keys] }\$(REPO_URI) \$(RELEASE) \$(COMPONENT)" \
            'Created-By: Packages' | grep ' main$' | sort -u >"$dir/source/sources.list"
        [ -s "$dir/source/sources.list" ] || cannot "apt-get knows no archive (apt-get update?)"
        (
            cd "$dir/source"
            set -- -qq -o "Dir::Etc::sourcelist=$PWD/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$PWD/lists" \
                -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
            apt-get "$@" update && apt-get "$@" source --download-only libpcap
        ) >"$dir/apt.log" 2>&1 || cannot "libpcap's source cannot be had: $(tail -1 "$dir/apt.log")"
        source=$(ls "$dir"/source/libpcap_*.orig.tar.gz | tail -1)
    fi
    mkdir -p "$dir/libpcap"
    tar -xzf "$source" -C "$dir/libpcap" --strip-components 1
}

libpcap() { # leaves $dir/lib/libpcap.a, and its version in $dir/lib/version
    [ ! -e "$dir/lib/libpcap.a" ] || return 0
    for tool in flex bison make; do command -v $tool >/dev/null || cannot "libpcap's build needs $tool"; done
    libpcap_source
    (
        cd "$dir/libpcap"
        ./configure --host=x86_64-linux-musl --disable-shared --disable-dbus --disable-rdma --disable-usb --disable-bluetooth \
            --without-libnl CC="$dir/bin/musl-gcc" CFLAGS="-O2 -idirafter $dir/kernel"
        make libpcap.a
    ) >"$dir/libpcap.log" 2>&1 || { tail -5 "$dir/libpcap.log" >&2; exit 1; }
    mkdir -p "$dir/lib"
    cp "$dir/libpcap/libpcap.a" "$dir/lib/"
    cp "$dir/libpcap/VERSION" "$dir/lib/version"
}

rust() {
    libdir=$(rustc --print target-libdir --target $target 2>/dev/null || true)
    [ -d "$libdir" ] || rustup target add $target >&2 || cannot "the Rust target $target is not installed (rustup target add $target)"
}

rust
compiler
kernel_headers
libpcap
LIBPCAP_LIBDIR=$dir/lib LIBPCAP_VER=$(cat "$dir/lib/version") \
    CC_x86_64_unknown_linux_musl=$dir/bin/musl-gcc CFLAGS_x86_64_unknown_linux_musl="-idirafter $dir/kernel" \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="-L native=$dir/lib -l static=pcap" \
    cargo build --locked --profile "$profile" --target $target --bin imdswatch
folder=$profile
[ "$profile" != dev ] || folder=debug
built=$top/$target/$folder/imdswatch
strip -o "$dir/imdswatch" "$built"
(cd "$dir" && sha256sum imdswatch >imdswatch.sha256)

# It is what it says: no interpreter, no library to load; and it starts.
if readelf -l "$dir/imdswatch" | grep -q INTERP || readelf -d "$dir/imdswatch" | grep -q NEEDED; then
    echo "static: $dir/imdswatch is not static" >&2
    exit 1
fi
"$dir/imdswatch" --version
ls -l "$dir/imdswatch" >&2
