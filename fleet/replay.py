"""Replay any number of captures with imdswatch, and keep their events as Parquet.

    spark-submit --py-files fleet/events.py fleet/replay.py --binary /usr/bin/imdswatch --output s3a://lake/imds s3a://captures/2026/
    spark-submit … fleet/replay.py --manifest captures.txt --output file:///data/imds

Every capture is read by a process of its own, so that one damaged file costs nothing but itself. Small files are packed into tasks
of some 256 MB, a big one is a task alone. What went wrong with a capture is a row (`replay_error`), and its events are kept.

Captures on a path that the executors see (`file:`, no scheme) are read in place. Those of any other file system come through
Spark's, whole (at most 2 GB each, Spark's bound for one value), or, where they are bigger, through `hadoop fs -cat`, as a stream.

Out: `OUTPUT/day=YYYY-MM-DD/*.zstd.parquet`, columns as in `events.table`, `replay_error` and `exit_status`; rows without an event
stand under `day=none`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

import events
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import types as t

SUFFIXES = (".pcap", ".pcapng", ".cap")
PACKINGS = ("", ".gz", ".zst")
PACK = 256 << 20
# One value of a data frame holds less than 2 GiB.
MOST_WHOLE = (2 << 30) - (64 << 20)
# Of what a process says about a file.
MOST_SAID = 4000
ROW = t.StructType(
    [
        t.StructField("capture", t.StringType()),
        t.StructField("raw", t.StringType()),
        t.StructField("exit_status", t.IntegerType()),
        t.StructField("replay_error", t.StringType()),
    ]
)


@dataclass(frozen=True)
class Capture:
    """A file to be read: its URI, and bytes."""

    uri: str
    size: int

    @property
    def local(self) -> str | None:
        """The path, where every executor sees it in place."""
        if self.uri.startswith("file:"):
            return "/" + self.uri.removeprefix("file:").lstrip("/")
        return self.uri if "://" not in self.uri else None


def is_capture(name: str) -> bool:
    """Whether a file of a folder is read; one that was named is in any case."""
    return any(name.lower().endswith(suffix + packing) for suffix in SUFFIXES for packing in PACKINGS)


def find(spark: SparkSession, paths: Iterable[str]) -> Iterator[Capture]:
    """What the paths stand for: files, folders (to any depth), patterns; through Spark's file systems.

    Raises FileNotFoundError for a path that matches nothing.
    """
    jvm, conf = spark._jvm, spark._jsc.hadoopConfiguration()
    for path in paths:
        where = jvm.org.apache.hadoop.fs.Path(path)
        system = where.getFileSystem(conf)
        found = system.globStatus(where)
        if not found:
            raise FileNotFoundError(path)
        for status in found:
            if status.isFile():
                yield Capture(status.getPath().toString(), status.getLen())
                continue
            files = system.listFiles(status.getPath(), True)
            while files.hasNext():
                one = files.next()
                if is_capture(one.getPath().getName()):
                    yield Capture(one.getPath().toString(), one.getLen())


def pack(captures: Iterable[Capture], size: int) -> list[list[Capture]]:
    """Tasks of at most `size` bytes, or of one capture; biggest first, so that none is begun last."""
    packs: list[list[Capture]] = []
    room = 0
    for capture in sorted(captures, key=lambda one: (-one.size, one.uri)):
        # To open a file costs as much as to read some of it.
        cost = capture.size + (1 << 20)
        if not packs or cost > room:
            packs.append([])
            room = size
        packs[-1].append(capture)
        room -= cost
    return packs


def run(binary: str, arguments: list[str], capture: str, source: str | IO[bytes] | bytes) -> Iterator[Row]:
    """The events of one capture, and a row of what went wrong. Exit status 3 (`--fail-on`) is no failure."""
    name = source if isinstance(source, str) else "-"
    command = [binary, "-r", name, "--format", "ndjson", "--quiet", *arguments]
    # A pipe that nobody reads would stop the process once it is full.
    with tempfile.TemporaryFile() as said:
        stdin = subprocess.DEVNULL if isinstance(source, str) else subprocess.PIPE if isinstance(source, bytes) else source
        try:
            process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=said)
        except OSError as error:
            yield Row(capture=capture, raw=None, exit_status=None, replay_error=f"{binary}: {error.strerror}")
            return
        feeder = threading.Thread(target=feed, args=(process.stdin, source)) if isinstance(source, bytes) else None
        if feeder:
            feeder.start()
        assert process.stdout is not None
        for line in process.stdout:
            yield Row(capture=capture, raw=line.decode("utf-8", "replace").rstrip("\n"), exit_status=None, replay_error=None)
        status = process.wait()
        if feeder:
            feeder.join()
        if status not in (0, 3):
            said.seek(0)
            text = said.read(MOST_SAID).decode("utf-8", "replace").strip()
            yield Row(capture=capture, raw=None, exit_status=status, replay_error=text or f"exit status {status}")


def feed(pipe: IO[bytes], content: bytes) -> None:
    """Gives a process its input; one that ends before it has read all says why itself."""
    try:
        with pipe:
            pipe.write(content)
    except BrokenPipeError:
        pass


def read(binary: str, arguments: list[str], capture: Capture) -> Iterator[Row]:
    """A capture in place, or as a stream."""
    if capture.local is not None:
        yield from run(binary, arguments, capture.uri, capture.local)
        return
    hadoop = shutil.which("hadoop", path=os.pathsep.join([os.path.join(os.environ.get("HADOOP_HOME", ""), "bin"), os.environ["PATH"]]))
    if hadoop is None:
        why = f"{capture.size} bytes are too many for one value, and there is no `hadoop` command to stream them"
        yield Row(capture=capture.uri, raw=None, exit_status=None, replay_error=why)
        return
    with subprocess.Popen([hadoop, "fs", "-cat", capture.uri], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as stream:
        assert stream.stdout is not None
        yield from run(binary, arguments, capture.uri, stream.stdout)
    if stream.returncode != 0:
        yield Row(capture=capture.uri, raw=None, exit_status=None, replay_error=f"hadoop fs -cat: exit status {stream.returncode}")


def replay(spark: SparkSession, captures: list[Capture], binary: str, arguments: list[str], size: int = PACK, whole: bool = False) -> DataFrame:
    """Rows of `ROW`. With `whole` local files too come through Spark: for executors that do not see them."""
    spark.conf.set("spark.sql.files.maxPartitionBytes", str(size))
    through = [one for one in captures if (whole or one.local is None) and one.size <= MOST_WHOLE]
    direct = [one for one in captures if one not in set(through)]
    rows = spark.createDataFrame([], ROW)
    if direct:
        packs = pack(direct, size)
        tasks = spark.sparkContext.parallelize(packs, len(packs))
        rows = spark.createDataFrame(tasks.flatMap(lambda task: (row for one in task for row in read(binary, arguments, one))), ROW)
    if through:
        contents = spark.read.format("binaryFile").load([one.uri for one in through]).select("path", "content")
        read_whole = contents.rdd.flatMap(lambda row: run(binary, arguments, row.path, bytes(row.content)))
        rows = rows.unionByName(spark.createDataFrame(read_whole, ROW))
    return rows


def save(rows: DataFrame, output: str, mode: str = "errorifexists") -> None:
    """Writes events by day, and failures, as one table."""
    # zstd brings no library of its own for each C library, as snappy does
    events.table(rows).write.mode(mode).option("compression", "zstd").partitionBy("day").parquet(output)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", help="captures, folders or patterns, of any file system that Spark knows")
    parser.add_argument("--manifest", help="a file with one path a line (# begins a comment), of any file system")
    parser.add_argument("--output", required=True, help="folder of the Parquet table")
    parser.add_argument("--append", action="store_true", help="add to a table that is there")
    parser.add_argument("--binary", default="imdswatch", help="the program, on every executor")
    parser.add_argument("--events", default="metadata", choices=["alerts", "metadata", "all"])
    parser.add_argument("--config", help="a configuration of imdswatch, on every executor")
    parser.add_argument("--filter", default="", help="a BPF expression")
    parser.add_argument("--pack", type=int, default=PACK, metavar="BYTES", help="captures of one task together")
    parser.add_argument("--through-spark", action="store_true", help="read local files through Spark too: executors do not see them")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    spark = SparkSession.builder.appName("imdswatch replay").config("spark.sql.session.timeZone", "UTC").getOrCreate()
    paths = list(args.paths)
    if args.manifest:
        lines = (row.value.strip() for row in spark.read.text(args.manifest).collect())
        paths += [line for line in lines if line and not line.startswith("#")]
    captures = list(find(spark, paths))
    more = ["-e", args.events, *(["-c", args.config] if args.config else []), *args.filter.split()]
    rows = replay(spark, captures, args.binary, more, args.pack, args.through_spark)
    save(rows, args.output, "append" if args.append else "errorifexists")
    written = spark.read.parquet(args.output)
    failed = written.where("replay_error is not null")
    print(f"{len(captures)} captures, {sum(one.size for one in captures)} bytes: {written.where('id is not null').count()} events, {failed.count()} failures")
    for row in failed.orderBy("capture").limit(20).collect():
        print(f"  {row.capture}: {row.replay_error}")
    spark.stop()


if __name__ == "__main__":
    main()
