"""Join what several imdswatch sensors saw.

    spark-submit --py-files fleet/events.py fleet/join.py --parquet s3a://lake/imds --to-parquet s3a://lake/found
    spark-submit --packages org.apache.spark:spark-sql-kafka-0-10_2.12:3.5.3 --py-files fleet/events.py fleet/join.py \\
        --kafka broker:9092 --topic imdswatch --to-kafka imdswatch-fleet --checkpoint s3a://lake/checkpoint

Three joins:

* `ssrf`: one sensor (the edge) saw a request that names a metadata service, another (the host) saw a credential issued to the
  server that got that request, or along the very path that the request names, while the request was open.
* `holders`: a credential that was issued to one client is issued at another sensor to another, or its shape is seen there in an
  answer (`credential-shaped`).
* `cloudtrail` (batch): an access key that was issued on the wire is used, by CloudTrail's records, from an address that is neither
  its holder's nor one of `--known`.

What is found are alert events of the same form as a sensor's (`docs/spec/contract.md`, section 4). Their `event.id` depends on
nothing but what they join: whatever is found twice (a batch that is run again, a stream that was stopped between writing and its
checkpoint) has one id, which an index or a compacted topic keeps once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import events
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as f

# Requests are open for a moment; two rows are compared only where they fall into one piece of time.
PIECE = 10
# Longest that a request is taken to be open, in seconds.
MOST_OPEN = 120
ATTACK = {
    "framework": "MITRE ATT&CK",
    "tactic": ("TA0006", "Credential Access"),
    "technique": ("T1552", "Unsecured Credentials"),
    "subtechnique": ("T1552.005", "Cloud Instance Metadata API"),
}


def attempts(table: DataFrame) -> DataFrame:
    """Requests that name a metadata service."""
    return table.where("kind = 'alert' and rule = 'ssrf-attempt'")


def issuances(table: DataFrame) -> DataFrame:
    """Exchanges that issued a credential: transactions, or their alerts where a sensor writes nothing else (`only_alerts`)."""
    return table.where("credential.issued and credential.fingerprint is not null and kind = 'event'")


def only_alerts(table: DataFrame) -> DataFrame:
    """Events of sensors that write alerts alone (`-e alerts`): an alert of an issuance stands for its transaction."""
    stands = f.when(f.col("rule") == "imds-credential-issued", "event").otherwise(f.col("kind"))
    return table.where("kind = 'alert'").withColumn("kind", stands)


def shaped(table: DataFrame) -> DataFrame:
    """Answers of any server that have the form of a credential; nobody knows at that sensor where it was issued."""
    return table.where("kind = 'event' and array_contains(signals, 'credential-shaped') and credential.fingerprint is not null")


def sides(left: DataFrame, right: DataFrame) -> tuple[DataFrame, DataFrame]:
    """Both with prefixes, so that a row of the join can name both."""
    return (
        left.select(*(f.col(name).alias(f"a_{name}") for name in left.columns)),
        right.select(*(f.col(name).alias(f"b_{name}") for name in right.columns)),
    )


def seconds(count: float) -> Column:
    return f.expr(f"interval {round(count * 1000)} milliseconds")


def join_ssrf(table: DataFrame, skew: float) -> DataFrame:
    """Attempts at one sensor, with issuances at another; clocks differ by at most `skew` seconds.

    By the server's address; or, where the host asked from another of its addresses, by a path of the request, if no SDK of that
    host asks so by itself.
    """
    a, b = sides(attempts(table), issuances(table))
    # A join of streams needs something equal: the piece of time. An issuance falls into one piece, so no pair comes twice.
    first, last = (f.floor(f.unix_seconds(f.col(side)) / PIECE) for side in ("a_from", "a_until"))
    a = (
        a.withColumn("a_from", f.col("a_start") - seconds(skew))
        .withColumn("a_until", f.least(f.col("a_end"), f.col("a_start") + seconds(MOST_OPEN)) + seconds(skew))
        .withColumn("piece", f.explode(f.sequence(first, last)))
    )
    b = b.withColumn("b_piece", f.floor(f.unix_seconds("b_start") / PIECE))
    by_address = f.col("a_destination_ip") == f.col("b_source_ip")
    whole_path = (f.length("b_path") > 8) & f.expr("contains(a_message, b_path) or contains(url_decode(a_url), b_path)")
    by_path = whole_path & ~f.array_contains("b_signals", "sdk-pattern")
    # A range of both event times, too: it bounds what a stream remembers.
    while_open = f.col("b_start").between(f.col("a_from"), f.col("a_until")) & f.col("b_start").between(
        f.col("a_start") - seconds(skew), f.col("a_start") + seconds(MOST_OPEN + skew)
    )
    other = f.col("a_sensor") != f.col("b_sensor")
    pairs = a.join(b, (f.col("piece") == f.col("b_piece")) & other & while_open & (by_address | by_path))
    return pairs.withColumn("by", f.when(by_address, "address").otherwise("path"))


def join_holders(table: DataFrame, skew: float, within: float) -> DataFrame:
    """Issuances, with the same credential at another sensor in other hands within so many seconds.

    Not two legs of one issuance (before and after an address translation): those are at one time. Nor pods of one node, which share
    its role and its sensor.
    """
    issued = issuances(table)
    seen = issued.unionByName(shaped(table))
    a, b = sides(issued, seen)
    other = (f.col("a_sensor") != f.col("b_sensor")) & (f.col("a_source_ip") != f.col("b_source_ip"))
    # An answer goes to who asked, the source; it may have asked before the server did.
    asked = f.col("b_start").between(f.col("a_start") - seconds(MOST_OPEN + skew), f.col("a_start") + seconds(within))
    no_leg = ~f.col("b_credential.issued") | (f.col("b_start") >= f.col("a_start") + seconds(skew))
    return a.join(b, (f.col("a_credential.fingerprint") == f.col("b_credential.fingerprint")) & other & asked & no_leg)


def join_cloudtrail(table: DataFrame, records: DataFrame, known: list[str]) -> DataFrame:
    """Issuances, with uses of the same access key from elsewhere. `records` is CloudTrail's files (`Records`), as they lie."""
    uses = (
        records.select(f.explode("Records").alias("r"))
        .select(
            f.col("r.userIdentity.accessKeyId").alias("key"),
            f.col("r.sourceIPAddress").alias("address"),
            f.col("r.eventName").alias("action"),
            f.col("r.eventID").alias("record"),
            f.to_timestamp("r.eventTime").alias("time"),
        )
        # A service of AWS that acts for the role names itself, not an address.
        .where("key is not null and address rlike '^[0-9a-fA-F:.]+$'")
    )
    holders = issuances(table).select("id", "start", "source_ip", "source_port", "destination_ip", "destination_port", "provider", "path", "credential", "sensor")
    a = holders.select(*(f.col(name).alias(f"a_{name}") for name in holders.columns))
    # One key is issued often: the first time that it was seen stands for all.
    a = a.withColumn("nth", f.expr("row_number() over (partition by a_credential.id order by a_start, a_id)")).where("nth = 1").drop("nth")
    own = a.groupBy(f.col("a_credential.id").alias("own_key")).agg(f.collect_set("a_source_ip").alias("own"))
    pairs = a.join(uses, (f.col("a_credential.id") == f.col("key")) & (f.col("time") >= f.col("a_start") - seconds(300)))
    pairs = pairs.join(own, f.col("key") == f.col("own_key"))
    elsewhere = ~f.array_contains("own", f.col("address"))
    return pairs.where(elsewhere & ~f.col("address").isin(known)) if known else pairs.where(elsewhere)


def alert(
    pairs: DataFrame, *, rule: str, name: str, message: Column, parts: list[str], start: Column, end: Column, source: Column, destination: Column,
    credential: Column, path: Column, provider: Column, signals: list[str], chain: Column, risk: int,
) -> DataFrame:
    """Alert events: `id`, `time`, and `value`, the event as JSON."""
    identity = f.substring(f.sha2(f.concat_ws("|", f.lit(rule), *(f.col(part) for part in parts)), 256), 1, 32)
    stamp = lambda at: f.date_format(at, "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'")
    pair = lambda one: f.struct(f.array(f.lit(one[0])).alias("id"), f.array(f.lit(one[1])).alias("name"))
    technique = f.struct(
        f.array(f.lit(ATTACK["technique"][0])).alias("id"),
        f.array(f.lit(ATTACK["technique"][1])).alias("name"),
        pair(ATTACK["subtechnique"]).alias("subtechnique"),
    )
    event = f.struct(
        stamp(end).alias("@timestamp"),
        f.lit("alert").alias("type"),
        message.alias("message"),
        f.struct(
            identity.alias("id"),
            f.lit("alert").alias("kind"),
            f.array(f.lit("network"), f.lit("intrusion_detection")).alias("category"),
            f.array(f.lit("info")).alias("type"),
            f.lit("alert").alias("dataset"),
            f.lit(99).alias("severity"),
            f.lit(risk).alias("risk_score"),
            stamp(start).alias("start"),
            stamp(end).alias("end"),
        ).alias("event"),
        source.alias("source"),
        destination.alias("destination"),
        f.struct(f.array_distinct(f.array(source["ip"], destination["ip"])).alias("ip")).alias("related"),
        f.struct(f.lit(rule).alias("id"), f.lit(name).alias("name"), f.lit("imdswatch-fleet").alias("ruleset")).alias("rule"),
        f.struct(f.lit(ATTACK["framework"]).alias("framework"), pair(ATTACK["tactic"]).alias("tactic"), technique.alias("technique")).alias("threat"),
        f.struct(
            provider.alias("provider"),
            path.alias("path"),
            credential.alias("credential"),
            f.array(*(f.lit(signal) for signal in signals)).alias("signals"),
            chain.alias("chain"),
        ).alias("imds"),
        f.struct(f.lit("8.0.0").alias("version")).alias("ecs"),
        f.struct(f.lit("packetbeat").alias("type"), f.lit("imdswatch-fleet").alias("name")).alias("agent"),
    )
    return pairs.select(identity.alias("id"), end.alias("time"), f.to_json(event).alias("value"))


def end_of(side: str, which: str) -> Column:
    """`source` or `destination` of one side."""
    return f.struct(f.col(f"{side}_{which}_ip").alias("ip"), f.col(f"{side}_{which}_port").alias("port"))


def link(side: str, what: str) -> Column:
    """An entry of `imds.chain`."""
    at = f.date_format(f"{side}_start", "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'")
    name = lambda which: f.concat_ws(":", f.when(f.col(f"{side}_{which}_ip").contains(":"), f.concat(f.lit("["), f.col(f"{side}_{which}_ip"), f.lit("]"))).otherwise(f.col(f"{side}_{which}_ip")), f.col(f"{side}_{which}_port"))
    return f.struct(
        f.col(f"{side}_id").alias("id"), at.alias("time"), f.lit(what).alias("what"), name("source").alias("source"),
        name("destination").alias("destination"), f.col(f"{side}_sensor").alias("sensor"),
    )


def named(side: str) -> Column:
    """A credential in words."""
    return f.concat_ws(" ", f.col(f"{side}_credential.kind"), f.coalesce(f.col(f"{side}_credential.id"), f.col(f"{side}_credential.fingerprint")))


def ssrf_alerts(table: DataFrame, skew: float) -> DataFrame:
    """`ssrf-confirmed`, over two sensors."""
    pairs = join_ssrf(table, skew)
    message = f.concat(
        f.col("a_source_ip"), f.lit(" made "), f.col("b_source_ip"), f.lit(" (asked as "), f.col("a_destination_ip"), f.lit(") fetch "), f.col("b_path"),
        f.lit("; a credential ("), named("b"), f.lit(") was issued. The request was seen by "), f.col("a_sensor"), f.lit(", the issuance by "),
        f.col("b_sensor"), f.lit(": close the hole and revoke the credential's sessions"),
    )
    return alert(
        pairs, rule="ssrf-confirmed", name="Server made the metadata request that it was sent", message=message, parts=["a_id", "b_id"], start=f.col("a_start"),
        end=f.greatest("a_end", "b_end"), source=end_of("a", "source"), destination=end_of("a", "destination"), credential=f.col("b_credential"),
        path=f.col("b_path"), provider=f.col("b_provider"), signals=["issued", "across-sensors"],
        chain=f.array(link("a", "request"), link("b", "fetch"), link("b", "issued")), risk=98,
    )


def holders_alerts(table: DataFrame, skew: float, within: float) -> DataFrame:
    """`credential-relayed`, where a credential is in other hands at another sensor."""
    pairs = join_holders(table, skew, within)
    message = f.concat(
        f.lit("The credential ("), named("a"), f.lit(") that was issued to "), f.col("a_source_ip"), f.lit(" (seen by "), f.col("a_sensor"),
        f.lit(") is in the hands of "), f.col("b_source_ip"), f.lit(" (seen by "), f.col("b_sensor"), f.lit("): revoke its sessions"),
    )
    return alert(
        pairs, rule="credential-relayed", name="Issued credential seen in clear text", message=message, parts=["a_id", "b_id"], start=f.col("a_start"),
        end=f.col("b_end"), source=end_of("b", "source"), destination=end_of("b", "destination"), credential=f.col("a_credential"), path=f.col("a_path"),
        provider=f.col("a_provider"), signals=["issued", "used-elsewhere", "across-sensors"],
        chain=f.array(link("a", "issued"), link("b", "relayed")), risk=95,
    )


def cloudtrail_alerts(table: DataFrame, records: DataFrame, known: list[str]) -> DataFrame:
    """`credential-relayed`, where CloudTrail saw the key used from elsewhere; one for each key and address."""
    pairs = join_cloudtrail(table, records, known)
    pairs = pairs.withColumn("nth", f.expr("row_number() over (partition by key, address order by time, record)")).where("nth = 1")
    user = f.struct(f.col("address").alias("ip"), f.lit(None).cast("int").alias("port"))
    message = f.concat(
        f.lit("The access key "), f.col("key"), f.lit(" that was issued to "), f.col("a_source_ip"), f.lit(" was used from "), f.col("address"),
        f.lit(" ("), f.col("action"), f.lit(", CloudTrail record "), f.col("record"), f.lit("): revoke its sessions"),
    )
    return alert(
        pairs, rule="credential-relayed", name="Issued credential seen in clear text", message=message, parts=["key", "address"], start=f.col("a_start"),
        end=f.col("time"), source=user, destination=end_of("a", "source"), credential=f.col("a_credential"), path=f.col("a_path"),
        provider=f.col("a_provider"), signals=["issued", "used-elsewhere", "across-sensors"], chain=f.array(link("a", "issued")), risk=95,
    )


def found(table: DataFrame, args: argparse.Namespace) -> list[DataFrame]:
    """What the joins that were asked for find."""
    joins: dict[str, Callable[[], DataFrame]] = {
        "ssrf": lambda: ssrf_alerts(table, args.skew),
        "holders": lambda: holders_alerts(table, args.skew, args.within),
    }
    return [joins[name]() for name in args.joins.split(",")]


def batch(spark: SparkSession, args: argparse.Namespace) -> None:
    """Joins what lies in files; prints how much was found."""
    if args.parquet:
        table = spark.read.parquet(*args.parquet).where("id is not null")
    else:
        lines = spark.read.text(args.ndjson).withColumnRenamed("value", "raw")
        # A file of events is a sensor's where its events do not name one.
        table = events.table(lines.withColumn("capture", f.input_file_name()) if args.sensor_by_file else lines)
    table = (only_alerts(table) if args.only_alerts else table).dropDuplicates(["id", "sensor"]).cache()
    results = found(table, args)
    if args.cloudtrail:
        records = spark.read.option("multiLine", True).json(args.cloudtrail)
        results.append(cloudtrail_alerts(table, records, args.known))
    everything = results[0]
    for more in results[1:]:
        everything = everything.unionByName(more)
    everything = everything.dropDuplicates(["id"]).orderBy("time", "id").cache()
    if args.to_parquet:
        everything.write.mode("append").option("compression", "zstd").parquet(args.to_parquet)
    if args.to_kafka:
        to_kafka(everything, args)
    if not args.to_parquet and not args.to_kafka:
        for row in everything.toLocalIterator():
            print(row.value)


def to_kafka(alerts: DataFrame, args: argparse.Namespace) -> None:
    """Writes alerts to a topic, keyed by id."""
    out = alerts.select(f.col("id").alias("key"), "value")
    out.write.format("kafka").option("kafka.bootstrap.servers", args.kafka).option("topic", args.to_kafka).save()


def stream(spark: SparkSession, args: argparse.Namespace) -> None:
    """Joins what comes from Kafka, until it is stopped.

    One query for each join, each with its own checkpoint: offsets, what is remembered of both sides, and what was written. Parquet
    has every alert exactly once; Kafka at least once, under the alert's id.
    """
    source = spark.readStream.format("kafka").option("kafka.bootstrap.servers", args.kafka).option("subscribe", args.topic)
    source = source.option("startingOffsets", "earliest").option("maxOffsetsPerTrigger", args.most).option("failOnDataLoss", "true")
    lines = source.load().select(f.col("value").cast("string").alias("raw"))
    table = events.table(lines)
    table = (only_alerts(table) if args.only_alerts else table).withWatermark("start", args.watermark)
    queries = []
    for name, alerts in zip(args.joins.split(","), found(table, args), strict=True):
        writer = alerts.writeStream.queryName(name).outputMode("append").option("checkpointLocation", f"{args.checkpoint}/{name}")
        if args.once:
            writer = writer.trigger(availableNow=True)
        if args.to_kafka:
            out = writer.format("kafka").option("kafka.bootstrap.servers", args.kafka).option("topic", args.to_kafka)
        else:
            out = writer.format("parquet").option("compression", "zstd").option("path", f"{args.to_parquet}/{name}")
        queries.append(out.start())
    for query in queries:
        query.awaitTermination()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parquet", nargs="+", help="tables of replay.py")
    parser.add_argument("--ndjson", nargs="+", help="files or folders of events")
    parser.add_argument("--sensor-by-file", action="store_true", help="each file of --ndjson is a sensor of its own")
    parser.add_argument("--kafka", metavar="BROKERS", help="read a stream from --topic, or write to --to-kafka")
    parser.add_argument("--topic", help="topic that sensors write to: joined as a stream")
    parser.add_argument("--once", action="store_true", help="a stream that ends when it has read what is there")
    parser.add_argument("--to-parquet", metavar="FOLDER")
    parser.add_argument("--to-kafka", metavar="TOPIC")
    parser.add_argument("--checkpoint", metavar="FOLDER", help="of a stream; it goes on where it was")
    parser.add_argument("--joins", default="ssrf,holders")
    parser.add_argument("--only-alerts", action="store_true", help="sensors write no transactions (-e alerts)")
    parser.add_argument("--cloudtrail", nargs="+", help="CloudTrail's files, for the third join")
    parser.add_argument("--known", nargs="*", default=[], help="addresses that the hosts' traffic leaves by (NAT gateways)")
    parser.add_argument("--skew", type=float, default=2.0, help="seconds that two sensors' clocks may differ")
    parser.add_argument("--within", type=float, default=6 * 3600, help="seconds in which a credential is looked for in other hands")
    parser.add_argument("--watermark", default="10 minutes", help="how late a sensor's events may come")
    parser.add_argument("--most", type=int, default=500_000, help="events of one step of a stream")
    args = parser.parse_args()
    if sum(bool(one) for one in (args.parquet, args.ndjson, args.topic)) != 1:
        parser.error("one of --parquet, --ndjson and --topic is needed")
    if args.topic and not (args.kafka and args.checkpoint and (args.to_kafka or args.to_parquet)):
        parser.error("a stream needs --kafka, --checkpoint, and --to-kafka or --to-parquet")
    if args.topic and args.cloudtrail:
        parser.error("CloudTrail's files are joined in batch")
    return args


def main() -> None:
    args = arguments()
    spark = SparkSession.builder.appName("imdswatch join").config("spark.sql.session.timeZone", "UTC").getOrCreate()
    (stream if args.topic else batch)(spark, args)
    spark.stop()


if __name__ == "__main__":
    main()
