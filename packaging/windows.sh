#!/bin/sh
# Builds imdswatch.exe, for replay on a forensics workstation: target/windows/imdswatch.exe, with its checksum beside it.
#
# usage: windows.sh [PROFILE]    PROFILE: of Cargo.toml (default: release)
#
# Needs the Rust target x86_64-pc-windows-gnu and MinGW (Debian: gcc-mingw-w64-x86-64). Neither Npcap nor its SDK: wpcap.dll
# is loaded at its first use, which is a filter, so that the program starts where it is not installed. Ends with status 77
# and a message where a part cannot be had.
set -eu
cd "$(dirname "$0")/.."
profile=${1:-release}
target=x86_64-pc-windows-gnu
top=${CARGO_TARGET_DIR:-$PWD/target}
dir=$top/windows
mkdir -p "$dir/lib"

cannot() { echo "windows: $*" >&2; exit 77; }
command -v x86_64-w64-mingw32-dlltool >/dev/null || cannot "there is no MinGW (gcc-mingw-w64-x86-64)"
libdir=$(rustc --print target-libdir --target $target 2>/dev/null || true)
[ -d "$libdir" ] || rustup target add $target >&2 || cannot "the Rust target $target is not installed (rustup target add $target)"

# What the crate `pcap` may call of it.
{
    echo LIBRARY wpcap.dll
    echo EXPORTS
    sed -n 's/^ *pub fn \(pcap_[a-z_]*\)(.*/\1/p' "$(cargo metadata --format-version 1 --locked --filter-platform $target |
        sed -n 's#.*"manifest_path":"\([^"]*/pcap-[0-9.]*\)/Cargo.toml".*#\1#p')/src/raw.rs" | sort -u
} >"$dir/lib/wpcap.def"
x86_64-w64-mingw32-dlltool -d "$dir/lib/wpcap.def" -y "$dir/lib/libwpcap.a"

LIBPCAP_VER=1.0.0 CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS="-L native=$dir/lib" \
    cargo build --locked --profile "$profile" --target $target --bin imdswatch
folder=$profile
[ "$profile" != dev ] || folder=debug
x86_64-w64-mingw32-strip -o "$dir/imdswatch.exe" "$top/$target/$folder/imdswatch.exe"
(cd "$dir" && sha256sum imdswatch.exe >imdswatch.exe.sha256)
# It starts where no Npcap is: no load-time import.
if x86_64-w64-mingw32-objdump -p "$dir/imdswatch.exe" | sed '/Delay Import/,$d' | grep -qi 'DLL Name: wpcap'; then
    echo "windows: imdswatch.exe wants wpcap.dll at its start" >&2
    exit 1
fi
ls -l "$dir/imdswatch.exe" >&2
