#!/bin/sh
# Checks that replay compiles for Windows and macOS, without a warning, as far as their Rust targets are installed (rustup target
# add x86_64-pc-windows-gnu x86_64-apple-darwin). Nothing is linked, so that no compiler of theirs is needed: a stand-in writes
# empty objects for the C parts of crates.
#
# usage: elsewhere.sh [TARGET ...]
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- x86_64-pc-windows-gnu x86_64-apple-darwin
dir=${CARGO_TARGET_DIR:-$PWD/target}/elsewhere
mkdir -p "$dir"

# Makes what is to be made: what follows `-o`, or (as `ar`) what ends in `.a`.
cat >"$dir/stand-in" <<'END'
#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in
    -o) : >"$2"; shift ;;
    *.a) [ -e "$1" ] || printf '!<arch>\n' >"$1" ;;
    esac
    shift
done
END
chmod +x "$dir/stand-in"

for target; do
    libdir=$(rustc --print target-libdir --target "$target" 2>/dev/null || true)
    [ -d "$libdir" ] || { echo "elsewhere: skipped $target, which is not installed" >&2; continue; }
    name=$(echo "$target" | tr - _)
    # A folder of its own: no other build takes the empty objects for real ones.
    env "CC_$name=$dir/stand-in" "CXX_$name=$dir/stand-in" "AR_$name=$dir/stand-in" SDKROOT=/ MACOSX_DEPLOYMENT_TARGET=11.0 \
        LIBPCAP_VER=1.0.0 CARGO_TARGET_DIR="$dir" cargo clippy --locked --quiet --target "$target" --lib --bins -- -D warnings
    echo "elsewhere: $target passes" >&2
done
