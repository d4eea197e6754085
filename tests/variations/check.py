#!/usr/bin/env python3
"""Builds variations of every kind of disguise, leak, tunnel and false alarm, and checks what the program says of each.

usage: check.py --bin BINARY [--only PATTERN] [--keep FOLDER]

Prints `FAIL NAME: what was wrong` and last `variations P / N`. Needs nothing but Python; those in brotli and zstd are built
only where the modules `brotli` and `zstandard` are there.
"""
import argparse
import concurrent.futures
import fnmatch
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import disguises
import harmless
import leaks
import tunnels
from wire import Capture

# Not right yet: scripts and pages of which one would have to know what they do with a URL, compressed bodies that are longer
# than what is captured of them, pieces that nothing marks as parts of one URL.
KNOWN = [
    "attempt-jdbc-h2-*", "attempt-jdbc-oracle-*", "cbor", "msgpack", "coding-*-long", "fields-host-path-*-headers", "late-*-gzip", "long-*-fields", "long-*-gzip",
    "long-*-utf16", "page-base", "page-form-submit", "page-late", "page-link-header", "page-manifest", "page-oembed", "page-og-image", "page-script-atob",
    "target-b64-split", "target-b64-twice", "target-blank-tab", "target-nul-end", "target-redir-httpbin", "target-semicolon", "target-slash-at", "ws-long",
    "http09-*", "alike-*", "mongodb-*-zlib", "portal-user-data", "shell-azure-prompt", "syslog-azure-octets", "config-patch", "utf16-*-query", "utf32-json", "zip-*-in-zip",
    "record-*", "tunnel-ah", "tunnel-capwap", "tunnel-cisco-metadata", "tunnel-esp-null", "tunnel-lisp-8472-l2", "tunnel-macsec-clear", "tunnel-pbb", "tunnel-trill",
    "tunnel-tzsp-4739", "tunnel-vxlan-250",
]

SEVERITY = {"low": 21, "medium": 47, "high": 73, "critical": 99}


def raised(alerts, term):
    """`rule`, `rule>=high`, `any>=medium`, `ssrf-*`, `a|b`."""
    for one in term.split("|"):
        rule, _, least = one.partition(">=")
        for alert in alerts:
            if (rule == "any" or fnmatch.fnmatchcase(alert["rule"]["id"], rule)) and alert["event"]["severity"] >= SEVERITY.get(least, 0):
                return True
    return False


def check(binary, path, must, must_not):
    done = subprocess.run([binary, "-r", path, "-e", "alerts", "--format", "ndjson"], capture_output=True, stdin=subprocess.DEVNULL, timeout=120)
    if done.returncode:
        return f"exit status {done.returncode}: {done.stderr[-200:].decode(errors='replace')}"
    alerts = [json.loads(line) for line in done.stdout.splitlines()]
    seen = ", ".join(sorted({a["rule"]["id"] + "[" + str(a["event"]["severity"]) + "]" for a in alerts})) or "no alert"
    wrong = [f"not raised: {term}" for term in must if not raised(alerts, term)] + [f"raised: {term}" for term in must_not if raised(alerts, term)]
    return wrong and f"{'; '.join(wrong)} (got {seen})"


def listed(terms):
    return [terms] if isinstance(terms, str) else list(terms or [])


def every():
    for module in (disguises, leaks, tunnels):
        for name, case in module.cases():
            if case and case[0]:
                yield name, listed(case[0]), [], case[1]
    for name, case in harmless.cases():
        yield name, listed(case[2] if len(case) > 2 else []), listed(case[0]), case[1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--only", default="*")
    parser.add_argument("--keep")
    args = parser.parse_args()
    folder = args.keep or tempfile.mkdtemp()
    os.makedirs(folder, exist_ok=True)
    jobs, names = [], set()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name, must, must_not, build in every():
            if not fnmatch.fnmatch(name, args.only):
                continue
            if name in names:
                raise SystemExit(f"two variations are called {name}")
            names.add(name)
            capture = Capture()
            build(capture)
            path = f"{folder}/{name}.pcap"
            capture.write(path)
            jobs.append((name, path, pool.submit(check, args.bin, path, must, must_not)))
        failed = 0
        for name, path, job in jobs:
            if job.result():
                known = any(fnmatch.fnmatch(name, pattern) for pattern in KNOWN)
                failed += not known
                print(f"{'known' if known else 'FAIL'} {name}: {job.result()}")
            if not args.keep:
                os.unlink(path)
    print(f"variations  {len(jobs) - failed} / {len(jobs)}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
