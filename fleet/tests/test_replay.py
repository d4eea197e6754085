"""Replay of many captures: what arrives, what fails, how it is packed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import replay
from conftest import ROOT, lines
from pyspark.sql import SparkSession
from replay import Capture

CASES = ["aws/theft-through-curl", "aws/ecs-task-role", "ssrf/redirect-chain"]


def folder(tmp_path: Path) -> Path:
    captures = tmp_path / "captures" / "deeper"
    captures.mkdir(parents=True)
    for number, case in enumerate(CASES):
        source = next(path for path in (ROOT / "pcaps" / case).iterdir() if path.name.startswith("input."))
        shutil.copy(source, captures / f"{number}.pcap")
    whole = (captures / "0.pcap").read_bytes()
    (captures / "cut.pcap").write_bytes(whole[:-5])
    (captures / "nothing.pcap").write_bytes(b"no capture at all")
    (captures / "readme.txt").write_text("not a capture")
    return captures.parent


@pytest.mark.parametrize("through_spark", [False, True])
def test_every_event_of_every_capture_arrives_and_failures_are_rows(spark: SparkSession, binary: str, tmp_path: Path, through_spark: bool) -> None:
    captures = list(replay.find(spark, [str(folder(tmp_path))]))
    assert len(captures) == 5
    output = str(tmp_path / "out")
    replay.save(replay.replay(spark, captures, binary, ["-e", "metadata"], whole=through_spark), output)
    written = spark.read.parquet(output)
    found = {(Path(row.capture).name, row.raw) for row in written.where("id is not null").collect()}
    wanted = {
        (path.name, line) for capture in captures for path in [Path(capture.local or "")] for line in lines(binary, path)
    }
    assert len(wanted) > 8 and found == wanted
    failures = {Path(row.capture).name: row for row in written.where("replay_error is not null").collect()}
    assert set(failures) == {"cut.pcap", "nothing.pcap"}
    assert all(row.exit_status == 1 and row.day == "none" for row in failures.values())
    assert "the file ends inside a record" in failures["cut.pcap"].replay_error
    assert "cut.pcap" in {name for name, _ in found}, "what was read before the damage is kept"
    days = {row.day for row in written.select("day").distinct().collect()}
    assert days == {"2026-11-24", "none"}


def test_a_missing_program_is_a_failure_of_each_capture(spark: SparkSession, tmp_path: Path) -> None:
    captures = list(replay.find(spark, [str(folder(tmp_path))]))
    rows = replay.replay(spark, captures, "/nonexistent/imdswatch", []).collect()
    assert len(rows) == 5 and all("No such file" in row.replay_error for row in rows)


def test_a_path_that_is_not_there_is_an_error(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list(replay.find(spark, [str(tmp_path / "nowhere")]))


def test_small_captures_are_packed_and_big_ones_are_alone() -> None:
    big, small = [Capture(f"b{n}", 300 << 20) for n in range(2)], [Capture(f"s{n}", 1 << 20) for n in range(200)]
    packs = replay.pack([*small, *big], 256 << 20)
    assert [len(one) for one in packs[:2]] == [1, 1], "and first, since they take longest"
    assert len(packs) == 4 and sum(len(one) for one in packs) == 202
    assert all(sum(one.size + (1 << 20) for one in pack) <= 256 << 20 for pack in packs[2:])


def test_what_is_read_in_place_and_what_is_not() -> None:
    places = {"file:/a/b.pcap": "/a/b.pcap", "file:///a/b.pcap": "/a/b.pcap", "/a/b.pcap": "/a/b.pcap", "s3a://bucket/b.pcap": None}
    assert {uri: Capture(uri, 1).local for uri in places} == places
    assert [replay.is_capture(name) for name in ("a.pcap", "A.PCAPNG.GZ", "a.cap.zst", "a.txt", "a.gz")] == [True, True, True, False, False]
