#!/usr/bin/env python3
"""Builds variations of every kind of disguise, leak, tunnel and false alarm, and checks what the program says of each.

usage: check.py --bin BINARY [--only PATTERN] [--one-in N] [--keep FOLDER]

Prints `FAIL NAME: what was wrong` (`known` for what is in KNOWN) and last `variations RIGHT / ALL, N known`. Exit status 1 where
something is wrong that is not in KNOWN, or right that is: the list shrinks as the program learns. `--one-in` takes a part of
them, chosen by their names. Needs nothing but Python; those in brotli and zstd are built only where the modules `brotli` and
`zstandard` are there.
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
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import disguises
import forms
import harmless
import leaks
import outward
import quiet
import tunnels
from wire import Capture

# Not right yet: a page that is longer than what is captured of an answer, a line of HTTP/0.9 in several segments.
KNOWN = {"page-late", "http09-lf-pieces", "http09-crlf-pieces", "http09-blank-pieces"}

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
    for module in (disguises, forms, leaks, outward, tunnels):
        for name, case in module.cases():
            if case and case[0]:
                yield name, listed(case[0]), [], case[1]
    for module in (harmless, quiet):
        for name, case in module.cases():
            yield name, listed(case[2] if len(case) > 2 else []), listed(case[0]), case[1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--only", default="*")
    parser.add_argument("--one-in", type=int, default=1)
    parser.add_argument("--keep")
    args = parser.parse_args()
    folder = args.keep or tempfile.mkdtemp()
    os.makedirs(folder, exist_ok=True)
    jobs, names = [], set()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name, must, must_not, build in every():
            if not fnmatch.fnmatch(name, args.only) or zlib.crc32(name.encode()) % args.one_in:
                continue
            if name in names:
                raise SystemExit(f"two variations are called {name}")
            names.add(name)
            capture = Capture()
            build(capture)
            path = f"{folder}/{name}.pcap"
            capture.write(path)
            jobs.append((name, path, pool.submit(check, args.bin, path, must, must_not)))
        wrong, surprises = 0, 0
        for name, path, job in jobs:
            if job.result():
                wrong += 1
                print(f"{'known' if name in KNOWN else 'FAIL'} {name}: {job.result()}")
            elif name in KNOWN:
                print(f"RIGHT {name}: take it out of KNOWN")
            surprises += bool(job.result()) != (name in KNOWN)
            if not args.keep:
                os.unlink(path)
    print(f"variations  {len(jobs) - wrong} / {len(jobs)}, {len(KNOWN & names)} known")
    sys.exit(1 if surprises else 0)


if __name__ == "__main__":
    main()
