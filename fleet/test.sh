#!/bin/sh
# Runs the tests of fleet/ in an environment of their own (target/fleet): Python, Java and PySpark are wanted, and for the stream
# what scripts/servers.sh fetches. What cannot be had is said, and nothing fails for it.
#
# usage: test.sh [--fetch | ARGUMENTS OF PYTEST]    --fetch: only makes the environment
cd "$(dirname "$0")/.." || exit 1
here=target/fleet
command -v java >/dev/null || { echo "skipped: fleet/ needs java" >&2; exit 0; }
if [ ! -e "$here/.whole" ]; then
    { python3 -m venv "$here" && "$here/bin/pip" install -q -r fleet/requirements.txt; } >"$here.log" 2>&1 ||
        { echo "skipped: $(tail -1 "$here.log")" >&2; exit 0; }
    touch "$here/.whole"
fi
[ "${1:-}" != --fetch ] || exit 0
exec "$here/bin/python" -m pytest -q -rs fleet/tests "$@"
