#!/bin/sh
# Builds the Debian package: target/debian/imdswatch_VERSION_ARCH.deb, with its checksum beside it.
#
# usage: deb.sh [PROFILE [VERSION]]    PROFILE: of Cargo.toml (default: release)
#
# Needs cargo-deb (cargo install cargo-deb) and dpkg-dev. Contents and maintainer scripts stand in Cargo.toml and packaging/deb.
set -eu
cd "$(dirname "$0")/.."
profile=${1:-release}
command -v cargo-deb >/dev/null || { echo "deb: cargo-deb is not installed (cargo install cargo-deb)" >&2; exit 77; }

cargo build --locked --profile "$profile" --bin imdswatch
folder=$profile
[ "$profile" != dev ] || folder=debug
program=${CARGO_TARGET_DIR:-target}/$folder/imdswatch
# The package takes everything from one folder, whatever the profile.
to=target/package
rm -rf "$to"
mkdir -p "$to"
strip -o "$to/imdswatch" "$program"
for shell in bash zsh fish; do "$to/imdswatch" completions $shell >"$to/completion.$shell"; done
mkdir "$to/man"
"$to/imdswatch" man --to "$to/man"
gzip -9 -n "$to"/man/*.1
cargo deb --no-build --no-strip --locked ${2:+--deb-version "$2"} -o target/debian/
cd target/debian
for package in imdswatch_*.deb; do sha256sum "$package" >"$package.sha256"; done
