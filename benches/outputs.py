#!/usr/bin/env python3
"""Outputs over the network: what they take, what they cost, and what is remembered while none of them answers.

    outputs.py rate [RECEIVER ...]    events/s to each receiver, and the program's CPU time for each event beyond writing a file
    outputs.py dead [MINUTES [RATE]]  resident memory while every output is dead (10 minutes, 5000 events/s); needs root

`rate` starts the receivers that scripts/servers.sh fetched (opensearch, kafka, logstash, redis, rsyslog: `syslog+tcp`, `syslog+udp`) and a
server that takes everything and does nothing with it (http: `otlp`, `elasticsearch`). Environment: IMDSWATCH (the program), EVENTS
(60000).
"""
import contextlib
import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
SERVERS = os.path.join(HERE, "../target/servers")
PROGRAM = os.path.abspath(os.environ.get("IMDSWATCH", os.path.join(HERE, "../target/release/imdswatch")))
EVENTS = int(os.environ.get("EVENTS", "60000"))


def write_capture(path, count):
    """DNS queries with answers, each pair a transaction and a flow: two events."""
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
    with open(path, "wb") as file:
        file.write(header)
        for n in range(count // 2):
            name = f"host-{n}".encode()
            question = bytes([len(name)]) + name + b"\x07example\x03com\x00\x00\x01\x00\x01"
            answer = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04" + struct.pack(">I", 0xC6336400 + n % 250)
            client, port = f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 1024 + n % 60000
            for is_answer in (False, True):
                flags, answers = (0x8180, 1) if is_answer else (0x0100, 0)
                dns = struct.pack(">HHHHHH", n & 0xFFFF, flags, 1, answers, 0, 0) + question + (answer if is_answer else b"")
                ends = [(client, port), ("10.255.0.53", 53)]
                (source, sport), (target, dport) = ends[::-1] if is_answer else ends
                udp = struct.pack(">HHHH", sport, dport, 8 + len(dns), 0) + dns
                ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, *map(socket.inet_aton, (source, target)))
                frame = b"\x02" * 6 + b"\x04" * 6 + b"\x08\x00" + ip + udp
                micros = n * 100 + (50 if is_answer else 0)
                file.write(struct.pack("<IIII", 1780000000 + micros // 1000000, micros % 1000000, len(frame), len(frame)) + frame)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def running(command, port, folder):
    with open(os.path.join(folder, "log"), "wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > until:
                with open(os.path.join(folder, "log")) as log:
                    raise RuntimeError(f"{command[0]} did not start: {log.read()[-2000:]}")
            time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()


def java(name, *words):
    jars = os.path.abspath(os.path.join(SERVERS, name))
    return ["java", "-Xmx512m", "-cp", f"{jars}/*:{jars}", *words]


@contextlib.contextmanager
def opensearch(folder):
    port = free_port()
    os.mkdir(os.path.join(folder, "config"))
    with running(java("opensearch", "Search", folder, str(port), str(free_port())), port, folder):
        url = f"elasticsearch+http://127.0.0.1:{port}"
        subprocess.run([PROGRAM, "setup", "-o", url], check=True, stdout=subprocess.DEVNULL)
        yield url


def make_topic(port):
    """Asks for what is known of the topic (Metadata, version 4), which makes it."""
    body = struct.pack(">hhihih", 3, 4, 1, -1, 1, len(b"imdswatch")) + b"imdswatch\x01"
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port)) as stream:
            stream.sendall(struct.pack(">i", len(body)) + body)
            stream.recv(1 << 16)
        time.sleep(0.3)


@contextlib.contextmanager
def kafka(folder):
    port, controller = free_port(), free_port()
    properties = os.path.join(folder, "server.properties")
    with open(properties, "w") as file:
        file.write(f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
log.dirs={folder}/data
num.partitions=3
offsets.topic.replication.factor=1
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
""")
    tool = java("kafka", "kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", properties)
    subprocess.run(tool, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
    with running(java("kafka", "kafka.Kafka", properties), port, folder):
        make_topic(port)
        yield f"kafka://127.0.0.1:{port}/imdswatch"


@contextlib.contextmanager
def logstash(folder):
    port = free_port()
    program = os.path.abspath(os.path.join(SERVERS, "bin/tst-lj"))
    with running([program, "-v2", "-bind", f"127.0.0.1:{port}"], port, folder):
        yield f"logstash://127.0.0.1:{port}"


@contextlib.contextmanager
def redis(folder):
    port = free_port()
    with running(["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""], port, folder):
        yield f"redis://127.0.0.1:{port}/imdswatch"


@contextlib.contextmanager
def rsyslog(folder, way):
    port = free_port()
    configuration = os.path.join(folder, "rsyslog.conf")
    with open(configuration, "w") as file:
        file.write(f"""global(workDirectory="{folder}" maxMessageSize="64k")
module(load="imudp")
module(load="imtcp")
ruleset(name="all") {{ action(type="omfile" file="{folder}/out") }}
input(type="imudp" address="127.0.0.1" port="{port}" ruleset="all" rcvbufSize="4m")
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="all")
""")
    with running(["/usr/sbin/rsyslogd", "-n", "-f", configuration, "-i", os.path.join(folder, "pid")], port, folder):
        yield f"syslog+{way}://127.0.0.1:{port}"


def answer(stream):
    """Takes requests, and says yes to each."""
    reader = stream.makefile("rb")
    while head := reader.readline():
        length, bulk = 0, b"_bulk" in head
        while (line := reader.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        reader.read(length)
        body = b'{"errors":false,"items":[]}' if bulk else b'{"version":{"number":"8.0.0"},"tagline":"You Know, for Search"}'
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


@contextlib.contextmanager
def nothing(_, scheme):
    """A server that takes everything."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                stream = listener.accept()[0]
                threading.Thread(target=answer, args=(stream,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


RECEIVERS = {
    "opensearch": opensearch,
    "kafka": kafka,
    "logstash": logstash,
    "redis": redis,
    "syslog+tcp": lambda folder: rsyslog(folder, "tcp"),
    "syslog+udp": lambda folder: rsyslog(folder, "udp"),
    "otlp": lambda folder: nothing(folder, "otlp+http"),
}


def replay(capture, to):
    """Seconds, CPU seconds, and what was said at the end."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([PROGRAM, "-r", capture, "-e", "all", "--format", "ndjson", "-o", to], capture_output=True, text=True, check=False)
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        print(done.stderr[-500:], file=sys.stderr)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.returncode


def rate(names):
    with tempfile.TemporaryDirectory() as top:
        capture, events = os.path.join(top, "dns.pcap"), os.path.join(top, "events.ndjson")
        write_capture(capture, EVENTS)
        seconds, base, _ = replay(capture, events)
        with open(events, "rb") as file:
            count = sum(1 for _ in file)
        print(f"{count} events, {os.path.getsize(events) / count:.0f} bytes each")
        print(f"{'file':12} {count / seconds:9.0f} events/s {base / count * 1e6:6.1f} µs CPU/event in all")
        for name in names or RECEIVERS:
            folder = os.path.join(top, name)
            os.mkdir(folder)
            with RECEIVERS[name](folder) as url:
                seconds, cpu, status = replay(capture, url)
            more = (cpu - base) / count * 1e6
            print(f"{name:12} {count / seconds:9.0f} events/s {more:+6.1f} µs CPU/event" + (f" exit status {status}" if status else ""), flush=True)
            shutil.rmtree(folder, ignore_errors=True)


PIPELINE = 50


def shop(listener):
    """Answers pipelined requests."""
    while True:
        stream = listener.accept()[0]
        with stream:
            while data := stream.recv(1 << 16):
                stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" * data.count(b"\r\n\r\n"))


def ask(port, per_second, until):
    """So many requests a second, a connection for each few thousand."""
    due = time.monotonic()
    while time.monotonic() < until:
        with socket.create_connection(("127.0.0.1", port)) as stream:
            for _ in range(100):
                request = b"GET /item/%d HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench/1.0\r\n\r\n" % int(due * 1000)
                stream.sendall(request * PIPELINE)
                got = 0
                while got < PIPELINE:
                    got += stream.recv(1 << 16).count(b"HTTP/1.1 200 OK")
                due += PIPELINE / per_second
                time.sleep(max(due - time.monotonic(), 0))


def metrics(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        text = page.read().decode()
    return [line for line in text.splitlines() if "output" in line and not line.startswith("#")]


DEAD = ["elasticsearch+http://127.0.0.1:9", "kafka://127.0.0.1:9/t", "logstash://127.0.0.1:9", "syslog+tcp://127.0.0.1:9", "redis://127.0.0.1:9/k",
        "webhook+http://127.0.0.1:9", "otlp+http://127.0.0.1:9"]  # fmt: skip


def dead(minutes=10.0, per_second=5000):
    """In a network and a file system of its own: the spool lies in memory that is not the program's."""
    if os.environ.get("STEP") != "2":
        os.execvpe("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv], {**os.environ, "STEP": "2"})
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", folder], check=True)
        os.chmod(folder, 0o755)
        settings = os.path.join(folder, "imdswatch.toml")
        with open(settings, "w") as file:
            file.write(f'spool = "{folder}/spool"\nspool_most = "64M"\n[events]\nwrite = "all"\n')
            file.writelines(f'[[output]]\nto = "{url}"\n' for url in DEAD)
        listener = socket.create_server(("127.0.0.1", 0))
        port, page = listener.getsockname()[1], free_port()
        threading.Thread(target=shop, args=(listener,), daemon=True).start()
        command = [PROGRAM, "-i", "lo", "-c", settings, "--metrics", f"127.0.0.1:{page}", "tcp", "port", str(port)]
        program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        time.sleep(3)
        began = time.monotonic()
        threading.Thread(target=ask, args=(port, per_second, began + 60 * minutes), daemon=True).start()
        print("minute  resident MB  most MB  spool MB  CPU s")
        with contextlib.suppress(KeyboardInterrupt):
            for minute in range(int(minutes) + 1):
                time.sleep(max(began + 60 * min(minute, minutes) - time.monotonic(), 0))
                with open(f"/proc/{program.pid}/status") as file:
                    status = dict(line.split(":", 1) for line in file)
                with open(f"/proc/{program.pid}/stat") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
                cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
                spool = shutil.disk_usage(folder).used
                resident, most = (int(status[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))
                print(f"{minute:6} {resident:12.1f} {most:8.1f} {spool / 1e6:9.1f} {cpu:6.1f}", flush=True)
        print("\n".join(metrics(page)))
        program.terminate()
        print(program.communicate()[1])
        subprocess.run(["umount", "-l", folder], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["rate"]:
        rate(sys.argv[2:])
    elif sys.argv[1:2] == ["dead"]:
        dead(*(float(word) for word in sys.argv[2:4]))
    else:
        sys.exit(__doc__)
