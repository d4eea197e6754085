"""Spark on two cores, the program, and captures split into what two sensors would have seen."""

from __future__ import annotations

import datetime
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

FLEET = Path(__file__).resolve().parents[1]
ROOT = FLEET.parent
SERVERS = ROOT / "target" / "servers"
sys.path.insert(0, str(FLEET))
# Spark's workers look for modules there.
os.environ["PYTHONPATH"] = os.pathsep.join([str(FLEET), os.environ.get("PYTHONPATH", "")])
os.environ["PYSPARK_PYTHON"] = sys.executable

METADATA = "(net 169.254.0.0/16 or host 100.100.100.200 or host fd00:ec2::254 or host 168.63.129.16)"
# What the two sensors' clocks differ by, in seconds.
APART = 1.5
# Little data and many plans: to compile each of them costs more than it saves.
JAVA = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.enabled": "false",
    "spark.sql.adaptive.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.extraJavaOptions": " ".join(JAVA),
}


@pytest.fixture(scope="session")
def binary() -> str:
    """The program: `IMDSWATCH`, or the newest that was built here."""
    named = os.environ.get("IMDSWATCH")
    built = [path for path in (ROOT / "target" / profile / "imdswatch" for profile in ("release", "quick", "debug")) if path.exists()]
    found = named or (str(max(built, key=lambda path: path.stat().st_mtime)) if built else None)
    if found is None:
        pytest.skip("no imdswatch: cargo build")
    return found


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    builder = SparkSession.builder.master("local[2]").appName("fleet tests")
    settings = SETTINGS | {"spark.sql.shuffle.partitions": "2"} | ({"spark.jars": jars()} if jars() else {})
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


def jars() -> str:
    """Spark's connector for Kafka, where it was fetched."""
    return ",".join(str(jar) for jar in sorted((SERVERS / "spark").glob("*.jar")))


def corpus(name: str) -> Path:
    """A folder of captures outside the project (`IMDSWATCH_CORPUS`, else `../shared`); skips the test without it."""
    folder = Path(os.environ.get("IMDSWATCH_CORPUS", ROOT.parent / "shared")) / name
    if not folder.exists():
        pytest.skip(f"{folder} is not there (IMDSWATCH_CORPUS)")
    return folder


def lines(binary: str, capture: Path, *more: str) -> list[str]:
    """Events of a capture, as lines."""
    run = subprocess.run([binary, "-r", str(capture), "-e", "metadata", "--format", "ndjson", "--quiet", *more], capture_output=True, text=True)
    return run.stdout.splitlines()


def later(line: str, seconds: float) -> str:
    """The same event by a clock that is ahead."""
    event = json.loads(line)

    def moved(stamp: str) -> str:
        at = datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00")) + datetime.timedelta(seconds=seconds)
        return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"

    event["@timestamp"] = moved(event["@timestamp"])
    for key in ("start", "end"):
        if key in event["event"]:
            event["event"][key] = moved(event["event"][key])
    return json.dumps(event)


def halves(binary: str, capture: Path) -> dict[str, list[str]]:
    """What a sensor before the servers sees, and one on them, whose clock is ahead."""
    host = lines(binary, capture, METADATA)
    return {"edge": lines(binary, capture, f"not {METADATA}"), "host": [later(line, APART) for line in host]}


@pytest.fixture(scope="session")
def thefts(binary: str) -> dict[str, dict[str, list[str]]]:
    """Captures in which a request made a server fetch a credential, each in two halves."""
    found = {}
    for capture in sorted(corpus("captures/attack").glob("*_mirror.pcap*")):
        if any('"ssrf-confirmed"' in line and '"issued"' in line for line in lines(binary, capture)):
            found[capture.name] = halves(binary, capture)
    return found


@pytest.fixture
def table(spark: SparkSession) -> Callable[[dict[str, list[str]]], DataFrame]:
    """A table of lines by sensor."""
    import events

    def made(sensors: dict[str, list[str]]) -> DataFrame:
        rows = [(sensor, line) for sensor, some in sensors.items() for line in some]
        return events.table(spark.createDataFrame(rows, "capture string, raw string"))

    return made


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """A broker of its own; `scripts/servers.sh` fetches what it is made of."""
    if not (SERVERS / "kafka").exists() or not (SERVERS / "spark").exists():
        pytest.skip("no Kafka or no connector for Spark in target/servers: scripts/servers.sh")
    port, controller = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        properties = Path(folder) / "server.properties"
        properties.write_text(
            f"process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n"
            "controller.listener.names=CONTROLLER\nlistener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n"
            f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\nadvertised.listeners=PLAINTEXT://127.0.0.1:{port}\n"
            f"log.dirs={folder}/data\noffsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\nnum.partitions=1\n"
        )
        java = ["java", "-Xmx256m", *JAVA, "-cp", f"{SERVERS}/kafka/*"]
        subprocess.run([*java, "kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", properties], check=True, capture_output=True)
        with open(Path(folder) / "log", "wb") as log, subprocess.Popen([*java, "kafka.Kafka", properties], stdout=log, stderr=log) as broker:
            begun = time.monotonic()
            while not listens(port):
                assert broker.poll() is None and time.monotonic() - begun < 180, (Path(folder) / "log").read_text()[-2000:]
                time.sleep(0.2)
            yield f"127.0.0.1:{port}"
            broker.kill()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
