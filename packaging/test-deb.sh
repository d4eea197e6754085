#!/bin/sh
# Installs, runs, upgrades, removes and purges the Debian package in a debootstrap of Debian 12, and asks lintian.
#
# usage: test-deb.sh PACKAGE [FOLDER]    FOLDER: where the root file system is made (default: a temporary one)
#
# Needs root, debootstrap and python3; without lintian that check is left out. systemd does not run in there: the unit's command is run
# by hand, against a metadata service on loopback of a network of its own.
set -eu
package=$(realpath "$1")
top=$(cd "$(dirname "$0")/.." && pwd)
dir=${2:-$(mktemp -d)}
mkdir -p "$dir"
root=$dir/root
[ -n "${STEP:-}" ] || STEP=1 exec unshare --mount --net sh "$0" "$package" "$dir"

command -v debootstrap >/dev/null || { echo "test-deb: debootstrap is not installed" >&2; exit 77; }
# All that the package depends on is there before: the network of its own reaches no mirror.
[ -e "$root/etc/debian_version" ] || nsenter --target "$PPID" --net debootstrap --variant=minbase \
    --include=adduser,libpcap0.8 bookworm "$root" >"$dir/debootstrap.log"
if command -v lintian >/dev/null; then lintian --allow-root --fail-on error,warning "$package"; fi
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
inside() { chroot "$root" env -i DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
fail() { echo "test-deb: $*" >&2; exit 1; }
state() { inside stat -c '%U:%G %a' "$1"; }

cp "$package" "$root/package.deb"
inside dpkg -i /package.deb >"$dir/install.log" 2>&1 || { cat "$dir/install.log"; fail "it does not install"; }
inside imdswatch --version
inside imdswatch check-config /etc/imdswatch/imdswatch.toml
for page in imdswatch imdswatch-rules imdswatch-report imdswatch-import-packetbeat; do
    gzip -t "$root/usr/share/man/man1/$page.1.gz" || fail "there is no manual page $page(1)"
done
[ "$(state /var/log/imdswatch)" = "imdswatch:imdswatch 750" ] || fail "log folder: $(state /var/log/imdswatch)"
[ "$(state /var/lib/imdswatch)" = "imdswatch:imdswatch 700" ] || fail "state folder: $(state /var/lib/imdswatch)"
[ "$(state /etc/imdswatch/imdswatch.toml)" = "root:imdswatch 640" ] || fail "configuration: $(state /etc/imdswatch/imdswatch.toml)"
[ -L "$root/etc/systemd/system/multi-user.target.wants/imdswatch.service" ] || fail "the unit is not enabled"

# The unit's own command.
. "$top/packaging/metadata.sh"
serve_metadata "$root/srv" "$dir/served.log"
command=$(sed -n 's/^ExecStart=//p' "$root/usr/lib/systemd/system/imdswatch.service" "$root/lib/systemd/system/imdswatch.service" 2>/dev/null | head -1)
# shellcheck disable=SC2086
chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin $command >"$dir/messages" 2>&1 &
watching=$!
trap 'kill $server $watching 2>/dev/null || true' EXIT
wait_until_confined $watching || { cat "$dir/messages"; fail "it does not watch"; }
ask_metadata
grep -q "^Uid:.$(inside id -u imdswatch)" /proc/$watching/status || fail "it runs as another user than imdswatch"
kill -TERM $watching
wait $watching || { cat "$dir/messages"; fail "it ended with status $?"; }
grep -q '"path":"/latest/meta-data/"' "$root/var/log/imdswatch/events.ndjson" || fail "no event was written"

# An upgrade keeps what was changed and learned.
echo '# changed by hand' >>"$root/etc/imdswatch/imdswatch.toml"
rm -rf "$dir/newer"
dpkg-deb -R "$package" "$dir/newer"
sed -i 's/^Version: .*/&+upgrade/' "$dir/newer/DEBIAN/control"
dpkg-deb --root-owner-group -Znone -b "$dir/newer" "$root/newer.deb" >/dev/null
inside dpkg -i /newer.deb >"$dir/upgrade.log" 2>&1 || { cat "$dir/upgrade.log"; fail "it does not upgrade"; }
grep -q 'changed by hand' "$root/etc/imdswatch/imdswatch.toml" || fail "the upgrade lost the configuration"
[ "$(state /etc/imdswatch/imdswatch.toml)" = "root:imdswatch 640" ] || fail "the upgrade opened the configuration"
[ -s "$root/var/log/imdswatch/events.ndjson" ] || fail "the upgrade lost the events"

inside dpkg -r imdswatch >/dev/null 2>&1 || fail "it cannot be removed"
[ ! -e "$root/usr/bin/imdswatch" ] && [ -e "$root/etc/imdswatch/imdswatch.toml" ] || fail "removal takes too little or too much"
[ -s "$root/var/log/imdswatch/events.ndjson" ] || fail "removal took the events"
inside dpkg -P imdswatch >/dev/null 2>&1 || fail "it cannot be purged"
left=$(find "$root" -xdev -name '*imdswatch*' -not -path "$root/proc/*")
[ -z "$left" ] || fail "left after the purge: $left"
echo "test-deb: passed"
