#!/usr/bin/env python3
"""Resident memory and descriptors of a live run over hours: soak.py MINUTES [PACKETS-A-SECOND] (600, 1500).

Needs root and iproute2. In two namespaces made here, packets of many kinds of traffic/hostile.py go over a veth pair, the
order of kinds changing from round to round; each minute the program is sent a SIGHUP, and each third minute the watched
interface goes down for two seconds. Every ten seconds a line: seconds, resident kB, descriptors, threads, bytes written.
At the end: the slope of resident memory after the first half hour (or the first third of a shorter run), in MB a minute.

Environment: IMDSWATCH (the program), MEMORY (64M), EVENTS (metadata), ARGS (of imdswatch).
"""
import ctypes
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.abspath(os.environ.get("IMDSWATCH", os.path.join(HERE, "../target/release/imdswatch")))
GENERATOR = os.path.join(HERE, "traffic/hostile.py")
SENDER, WATCHER = f"soak{os.getpid()}-s", f"soak{os.getpid()}-w"
CLONE_NEWNET = 0x40000000
KINDS = """plain udp_flows syn_imds http_imds_clients http_imds_one_client issuances tokens_v2 enumeration ping pipelined
ssrf_open ssrf_mentions ssrf_redirects masked_text tcp_holes_random h2_streams h2_hpack_bomb h2_tables dns_names dns_meta
dns_rebind dns_questions frags_distinct half_open half_heads gzip_small_bomb many_headers json_keys vlans roles""".split()


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def packets_of(folder, kind):
    path = os.path.join(folder, kind)
    subprocess.run([sys.executable, GENERATOR, kind, "1500" if kind != "plain" else "40", path], check=True)
    with open(path, "rb") as file:
        data = file.read()
    at, found = 24, []
    while at < len(data) and len(found) < 6000:
        length = struct.unpack_from("<I", data, at + 8)[0]
        found.append(data[at + 16 : at + 16 + length])
        at += 16 + length
    os.remove(path)
    return found


def send(captures, rate, until):
    """Runs in the sender's namespace."""
    end, sent = time.monotonic(), 0
    rng = random.Random(1)
    while True:
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        link.bind(("soak", 0))
        for kind in rng.sample(list(captures), len(captures)):
            for packet in captures[kind]:
                end += 1 / rate
                if time.monotonic() > until:
                    return
                if end - time.monotonic() > 0.02:
                    time.sleep(max(end - time.monotonic(), 0))
                try:
                    link.send(packet)
                    sent += 1
                except OSError:
                    time.sleep(0.01)
        link.close()


def reading(pid, output):
    with open(f"/proc/{pid}/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    size = os.path.getsize(output) if os.path.exists(output) else 0
    return int(fields["VmRSS"].split()[0]), len(os.listdir(f"/proc/{pid}/fd")), int(fields["Threads"]), size


def watch(program, output, until):
    started, readings, minute = time.monotonic(), [], 0
    while time.monotonic() < until and program.poll() is None:
        time.sleep(10)
        seconds = time.monotonic() - started
        rss, files, threads, size = reading(program.pid, output)
        readings.append((seconds / 60, rss / 1024))
        print(f"{seconds:8.0f} {rss:9d} {files:5d} {threads:4d} {size:13d}", flush=True)
        if seconds // 60 > minute:
            minute = int(seconds // 60)
            program.send_signal(signal.SIGHUP)
            if os.path.getsize(output) > 1 << 30:
                os.truncate(output, 0)
            if minute % 3 == 0:
                ip("-n", WATCHER, "link", "set", "soak", "down")
                time.sleep(2)
                ip("-n", WATCHER, "link", "set", "soak", "up")
    return readings


def slope(readings):
    """MB a minute, by least squares."""
    mean_x = sum(x for x, _ in readings) / len(readings)
    mean_y = sum(y for _, y in readings) / len(readings)
    return sum((x - mean_x) * (y - mean_y) for x, y in readings) / sum((x - mean_x) ** 2 for x, _ in readings)


def run(folder, minutes, rate):
    captures = {kind: packets_of(folder, kind) for kind in KINDS}
    ip("netns", "add", SENDER)
    ip("netns", "add", WATCHER)
    ip("link", "add", "soak", "netns", WATCHER, "mtu", "65535", "type", "veth", "peer", "soak", "netns", SENDER, "mtu", "65535")
    for end in (SENDER, WATCHER):
        ip("-n", end, "link", "set", "soak", "up")
    output = os.path.join(folder, "events.ndjson")
    command = [PROGRAM, "-i", "soak", "-o", output, "--memory", os.environ.get("MEMORY", "64M"), "-e",
               os.environ.get("EVENTS", "metadata"), "--rotate", "64M", "--keep", "2", *os.environ.get("ARGS", "").split()]
    program = subprocess.Popen(["ip", "netns", "exec", WATCHER, *command])
    time.sleep(3)
    until = time.monotonic() + 60 * minutes
    sender = os.fork()
    if sender == 0:
        try:
            with open(f"/var/run/netns/{SENDER}") as namespace:
                if ctypes.CDLL(None).setns(namespace.fileno(), CLONE_NEWNET) == 0:
                    send(captures, rate, until)
        finally:
            os._exit(0)
    readings = watch(program, output, until)
    os.waitpid(sender, 0)
    program.send_signal(signal.SIGTERM)
    print(f"exit status {program.wait(30)}")
    later = [one for one in readings if one[0] > min(30, minutes / 3)]
    print(f"{slope(later):+.3f} MB a minute after the first {min(30, minutes / 3):.0f} minutes; {len(later)} readings")


def main():
    minutes, rate = float((sys.argv[1:] + ["600"])[0]), float((sys.argv[2:] + ["1500"])[0])
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        try:
            run(folder, minutes, rate)
        finally:
            for name in (SENDER, WATCHER):
                subprocess.run(["ip", "netns", "del", name], check=False)


if __name__ == "__main__":
    main()
