#!/bin/sh
# Installs what the test of the HTML report opens it with: Chromium, and the packages of tests/report in target/report-check.
cd "$(dirname "$0")/.."
. scripts/setup.sh

if ! command -v chromium >/dev/null && command -v apt-get >/dev/null; then
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
fi
if ! command -v npm >/dev/null && command -v apt-get >/dev/null; then
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null
fi
mkdir -p target/report-check
cp tests/report/package.json tests/report/check.mjs target/report-check/
[ -d target/report-check/node_modules/playwright-core ] || (cd target/report-check && npm install --silent --no-audit --no-fund >/dev/null)
