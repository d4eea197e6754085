"""Events of imdswatch as tables: the few fields that joins need, and each event whole as it was written.

Field names are those of `docs/spec/contract.md`; the whole event stays in `raw`, so that nothing is lost by a table's columns.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as f
from pyspark.sql import types as t


def _struct(**fields: t.DataType) -> t.StructType:
    return t.StructType([t.StructField(name, kind) for name, kind in fields.items()])


_TEXT, _TEXTS, _NUMBER = t.StringType(), t.ArrayType(t.StringType()), t.LongType()
_END = _struct(ip=_TEXT, port=_NUMBER)
_LINK = _struct(id=_TEXT, what=_TEXT)

# Given rather than inferred: inference reads everything twice.
SCHEMA = t.StructType(
    [
        t.StructField("@timestamp", t.TimestampType()),
        t.StructField("message", _TEXT),
        t.StructField(
            "event",
            _struct(id=_TEXT, kind=_TEXT, dataset=_TEXT, start=t.TimestampType(), end=t.TimestampType(), severity=_NUMBER),
        ),
        t.StructField("source", _END),
        t.StructField("destination", _END),
        t.StructField("url", _struct(original=_TEXT)),
        t.StructField("rule", _struct(id=_TEXT)),
        t.StructField("agent", _struct(id=_TEXT, name=_TEXT)),
        t.StructField(
            "imds",
            _struct(
                provider=_TEXT,
                path=_TEXT,
                signals=_TEXTS,
                credential=_struct(issued=t.BooleanType(), kind=_TEXT, id=_TEXT, scope=_TEXT, expires=_TEXT, fingerprint=_TEXT),
                chain=t.ArrayType(_LINK),
            ),
        ),
    ]
)


def table(lines: DataFrame) -> DataFrame:
    """Events from a column `raw` of JSON; other columns stay. A line that is no event is left out, a row with a `replay_error` stays.

    `sensor` says who saw the event: the capture of a replay, else the agent's id, else its name.
    """
    capture: Column = f.col("capture") if "capture" in lines.columns else f.lit(None).cast("string")
    e = f.from_json("raw", SCHEMA, {"mode": "PERMISSIVE"})
    event = f.col("e.event.id").isNotNull() & f.col("e.@timestamp").isNotNull()
    failure = f.col("replay_error").isNotNull() if "replay_error" in lines.columns else f.lit(False)
    kept = [name for name in lines.columns if name not in ("raw", "capture")]
    return (
        lines.withColumn("e", e)
        .where(event | failure)
        .select(
            *kept,
            capture.alias("capture"),
            f.coalesce(capture, f.col("e.agent.id"), f.col("e.agent.name")).alias("sensor"),
            f.col("e.@timestamp").alias("timestamp"),
            f.coalesce(f.date_format("e.@timestamp", "yyyy-MM-dd"), f.lit("none")).alias("day"),
            f.col("e.event.id").alias("id"),
            f.col("e.event.kind").alias("kind"),
            f.col("e.event.dataset").alias("dataset"),
            f.coalesce("e.event.start", "e.@timestamp").alias("start"),
            f.coalesce("e.event.end", "e.event.start", "e.@timestamp").alias("end"),
            f.col("e.event.severity").cast("int").alias("severity"),
            f.col("e.rule.id").alias("rule"),
            f.col("e.message").alias("message"),
            f.col("e.source.ip").alias("source_ip"),
            f.col("e.source.port").cast("int").alias("source_port"),
            f.col("e.destination.ip").alias("destination_ip"),
            f.col("e.destination.port").cast("int").alias("destination_port"),
            f.col("e.url.original").alias("url"),
            f.col("e.imds.provider").alias("provider"),
            f.col("e.imds.path").alias("path"),
            f.coalesce("e.imds.signals", f.array().cast("array<string>")).alias("signals"),
            f.col("e.imds.credential").alias("credential"),
            f.col("raw"),
        )
    )
