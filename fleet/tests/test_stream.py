"""Joins as a stream from a real Kafka: stopped in the middle and started again, nothing is lost and nothing comes twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import join
import pytest
from conftest import FLEET, SETTINGS, jars
from pyspark.sql import DataFrame, SparkSession

Table = Callable[[dict[str, list[str]]], DataFrame]


def named(line: str, sensor: str) -> str:
    """The event as a sensor of that name writes it."""
    event = json.loads(line)
    event["agent"]["name"] = sensor
    return json.dumps(event)


def send(spark: SparkSession, broker: str, topic: str, lines: list[str]) -> None:
    rows = spark.createDataFrame([(line,) for line in lines], "value string").coalesce(1)
    rows.write.format("kafka").option("kafka.bootstrap.servers", broker).option("topic", topic).save()


def command(broker: str, topic: str, folder: Path, *more: str) -> list[str]:
    submit = Path(sys.executable).parent / "spark-submit"
    # As few as each step has, they are interpreted.
    settings = SETTINGS | {"spark.sql.shuffle.partitions": "1", "spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
    conf = [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
    stream = ["--kafka", broker, "--topic", topic, "--checkpoint", str(folder / "checkpoint"), "--joins", "ssrf"]
    return [str(submit), "--master", "local[2]", "--jars", jars(), *conf, "--py-files", str(FLEET / "events.py"), str(FLEET / "join.py"), *stream, *more]


def found(spark: SparkSession, folder: Path) -> list[str]:
    """Ids of what was written; a table that is not there yet holds nothing."""
    if not list((folder / "ssrf").glob("*.parquet")) or not list((folder / "ssrf" / "_spark_metadata").glob("[0-9]*")):
        return []
    return [row.id for row in spark.read.parquet(str(folder / "ssrf")).collect()]


def test_a_stream_that_is_killed_goes_on_where_it_was(
    spark: SparkSession, kafka: str, table: Table, thefts: dict[str, dict[str, list[str]]], tmp_path: Path
) -> None:
    some = dict(list(thefts.items())[:12])
    sensors = {half: [named(line, half) for both in some.values() for line in both[half]] for half in ("edge", "host")}
    wanted = {json.loads(row.value)["event"]["id"] for row in join.ssrf_alerts(table(sensors), 2.0).collect()}
    assert len(wanted) >= 8
    lines = sorted((line for part in sensors.values() for line in part), key=lambda line: json.loads(line)["@timestamp"])
    send(spark, kafka, "imdswatch", lines[: len(lines) // 2])
    out = tmp_path / "found"
    more = ["--to-parquet", str(out), "--most", "40", "--watermark", "1 day"]
    environment = os.environ | {"PYSPARK_PYTHON": sys.executable}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    stream = subprocess.Popen(command(kafka, "imdswatch", tmp_path, *more), env=environment, start_new_session=True, **quiet)
    try:
        begun = time.monotonic()
        while not found(spark, out):
            assert stream.poll() is None and time.monotonic() - begun < 600
            time.sleep(0.5)
    finally:
        os.killpg(stream.pid, signal.SIGKILL)
        stream.wait()
    before = found(spark, out)
    send(spark, kafka, "imdswatch", lines[len(lines) // 2 :])
    ended = subprocess.run(command(kafka, "imdswatch", tmp_path, *more, "--once"), env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3000:]
    after = found(spark, out)
    assert set(before) <= set(after), "nothing is lost"
    assert len(after) == len(set(after)) and set(after) == wanted, "nothing twice"


def test_alerts_go_to_kafka_under_their_ids(
    spark: SparkSession, kafka: str, table: Table, thefts: dict[str, dict[str, list[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = next(both for both in thefts.values() if join.join_ssrf(table(both), 2.0).count() == 1)
    send(spark, kafka, "few", [named(line, half) for half, lines in both.items() for line in lines])
    arguments = ["--kafka", kafka, "--topic", "few", "--checkpoint", str(tmp_path), "--joins", "ssrf,holders", "--to-kafka", "alerts", "--once"]
    monkeypatch.setattr(sys, "argv", ["join.py", *arguments])
    join.stream(spark, join.arguments())
    topic = spark.read.format("kafka").option("kafka.bootstrap.servers", kafka).option("subscribe", "alerts").load()
    records = topic.select(topic.key.cast("string").alias("key"), topic.value.cast("string").alias("value")).collect()
    assert [json.loads(row.value)["event"]["id"] for row in records] == [row.key for row in records] and len(records) == 1


@pytest.mark.parametrize("arguments", [[], ["--parquet", "a", "--topic", "b"], ["--topic", "b", "--kafka", "c"]])
def test_arguments_that_make_no_sense_are_said(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["join.py", *arguments])
    with pytest.raises(SystemExit):
        join.arguments()
    assert "need" in capsys.readouterr().err
