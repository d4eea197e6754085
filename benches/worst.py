#!/usr/bin/env python3
"""What the dearest bytes cost: worst.py [KIND...], every kind of traffic/hostile.py when none is named.

Environment: IMDSWATCH (the program), SIZE (bytes of each capture, 3000000), MEMORY (32M), EVENTS (metadata, or a list
such as "metadata all"), GENERATOR (a program that is called as `GENERATOR KIND N FILE`), RUNS (1).

Columns, for the whole program on one worker:
  ns/byte     CPU time (user and system, start-up taken off, the least of RUNS) by captured byte
  us/msg      CPU time by message: what `-e all` writes events of, flows included
  x plain     ns/byte against that of plain traffic of the same size
  budget      CPU time as a part of 50 ns a byte plus 20 us a message: more than 100 % is too dear
  RSS         most resident memory in MB; the bound is MEMORY + 32 MB
  written     bytes written, as a part of four times the captured bytes plus 4 kB a message
A last column names what is beyond its bound.
"""
import os
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.environ.get("IMDSWATCH", os.path.join(HERE, "../target/release/imdswatch"))
GENERATOR = os.environ.get("GENERATOR", os.path.join(HERE, "traffic/hostile.py"))
SIZE, RUNS = int(os.environ.get("SIZE", "3000000")), int(os.environ.get("RUNS", "1"))
MEMORY = os.environ.get("MEMORY", "32M")
LIMIT = 120  # seconds


def generate(kind, n, path):
    subprocess.run([sys.executable, GENERATOR, kind, str(n), path], check=True, stdout=subprocess.DEVNULL)
    return os.path.getsize(path)


def make(kind, path):
    """Writes about SIZE bytes of a kind: in three goes, since what one unit takes is not known before."""
    few, more = generate(kind, 8, path), generate(kind, 24, path)
    return generate(kind, SIZE * 16 // max(more - few, 16) + 1, path)


def run(path, events, output):
    """CPU seconds, most resident kB, and the exit status of one run."""
    command = [PROGRAM, "-r", path, "-o", output, "-e", events, "--quiet", "--threads", "1", "--memory", MEMORY]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    signal.signal(signal.SIGALRM, lambda *_: child.kill())
    signal.alarm(LIMIT)
    _, status, usage = os.wait4(child.pid, 0)
    signal.alarm(0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss, child.returncode


def least(path, events, output):
    best = None
    for _ in range(RUNS):
        if os.path.exists(output):
            os.remove(output)
        got = run(path, events, output)
        best = min(best, got) if best else got
    return best


def messages(path, folder):
    """How many events `-e all` writes of a capture, alerts left out."""
    output = os.path.join(folder, "all.ndjson")
    run(path, "all", output)
    with open(output, "rb") as lines:
        count = sum(1 for line in lines if b'"kind":"alert"' not in line)
    os.remove(output)
    return count


def measure(kind, events, folder, start, plain):
    path, output = os.path.join(folder, kind), os.path.join(folder, "out.ndjson")
    size, count = os.path.getsize(path), messages(path, folder)
    cpu, rss, status = least(path, events, output)
    cpu = max(cpu - start, 0)
    written = os.path.getsize(output)
    each, rate = cpu / max(count, 1) * 1e6, cpu / size * 1e9
    budget, room = cpu / (50e-9 * size + 20e-6 * count), written / (4 * size + 4096 * count)
    bound = int(MEMORY.rstrip("M")) + 32 if MEMORY.endswith("M") else 1 << 30
    beyond = [name for name, is_so in (
        ("cpu", budget > 1), ("memory", rss / 1024 > bound), ("written", room > 1), (f"exit {status}", status not in (0, 3)),
    ) if is_so]
    print(f"{kind:22}{events:9}{count:8}{size / 1e6:7.2f}{rate:9.1f}{each:9.2f}{rate / plain:8.1f}{budget * 100:7.0f}%"
          f"{rss / 1024:7.0f}{room * 100:8.1f}%  {' '.join(beyond)}", flush=True)
    return rate


def main():
    kinds = sys.argv[1:] or subprocess.run(
        [sys.executable, GENERATOR], check=True, capture_output=True, text=True).stdout.split()
    with tempfile.TemporaryDirectory() as folder:
        empty, output = os.path.join(folder, "empty"), os.path.join(folder, "out.ndjson")
        with open(empty, "wb") as file:
            file.write(bytes.fromhex("d4c3b2a1020004000000000000000000000004000100") + b"\0\0")
        start = min(run(empty, "all", output)[0] for _ in range(3))
        print(f"{'kind':22}{'events':9}{'messages':>8}{'MB':>7}{'ns/byte':>9}{'us/msg':>9}{'x plain':>8}{'budget':>8}"
              f"{'RSS':>7}{'written':>9}  beyond")
        plain = 1.0
        if "GENERATOR" not in os.environ:
            make("plain", os.path.join(folder, "plain"))
            plain = max(measure("plain", "metadata", folder, start, 1.0), 0.1)
        for kind in kinds:
            make(kind, os.path.join(folder, kind))
            for events in os.environ.get("EVENTS", "metadata").split():
                measure(kind, events, folder, start, plain)
            os.remove(os.path.join(folder, kind))


if __name__ == "__main__":
    main()
