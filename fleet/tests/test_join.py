"""Joins over sensors, in batch."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import join
from conftest import APART, METADATA, corpus, halves, later, lines
from pyspark.sql import DataFrame, SparkSession

Table = Callable[[dict[str, list[str]]], DataFrame]
SKEW, WITHIN = 2.0, 6 * 3600.0


def alerts(frame: DataFrame) -> list[dict]:
    return [json.loads(row.value) for row in frame.collect()]


def test_ssrf_whose_halves_two_sensors_saw_is_joined(table: Table, thefts: dict[str, dict[str, list[str]]]) -> None:
    joined = set()
    # One table for all, as it is in life; pairs of two captures are no finding of this test.
    everything = {f"{name} {half}": some for name, both in thefts.items() for half, some in both.items()}
    for pair in join.join_ssrf(table(everything).cache(), SKEW).collect():
        (edge, _), (host, _) = pair.a_sensor.rsplit(" ", 1), pair.b_sensor.rsplit(" ", 1)
        if edge == host:
            joined.add(edge)
    print(f"{len(joined)} of {len(thefts)} joined; not: {sorted(set(thefts) - joined)}")
    assert len(thefts) >= 42 and len(joined) >= 37


def test_what_is_found_is_an_alert_of_the_usual_form(table: Table, thefts: dict[str, dict[str, list[str]]]) -> None:
    both = next(both for name, both in thefts.items() if "query" in name or "ssrf" in name)
    found = alerts(join.ssrf_alerts(table(both), SKEW))
    assert len({alert["event"]["id"] for alert in found}) == len(found) >= 1
    alert = found[0]
    assert (alert["event"]["kind"], alert["event"]["severity"], alert["rule"]["id"]) == ("alert", 99, "ssrf-confirmed")
    assert alert["imds"]["credential"]["fingerprint"] and "issued" in alert["imds"]["signals"]
    assert [link["what"] for link in alert["imds"]["chain"]] == ["request", "fetch", "issued"]
    assert {alert["imds"]["chain"][0]["id"], alert["imds"]["chain"][1]["id"]} <= {json.loads(line)["event"]["id"] for some in both.values() for line in some}
    assert alert["source"]["ip"] in alert["related"]["ip"] and alert["threat"]["technique"]["id"] == ["T1552"]
    again = alerts(join.ssrf_alerts(table(both), SKEW))
    assert {one["event"]["id"] for one in again} == {one["event"]["id"] for one in found}, "the same input, the same ids"


def test_clocks_further_apart_than_the_skew_join_nothing(table: Table, thefts: dict[str, dict[str, list[str]]]) -> None:
    both = next(iter(thefts.values()))
    assert join.join_ssrf(table({"edge": both["edge"], "host": [later(line, 5) for line in both["host"]]}), SKEW).count() == 0


def test_a_day_without_theft_joins_nothing(binary: str, table: Table, tmp_path: Path) -> None:
    day = corpus("noise") / "host_day.pcap.zst"
    theft = [row for row in truth(corpus("noise")) if row[6] == "theft"]
    ports = " or ".join(f"port {row[2]}" for row in theft)
    quiet = [line for line in lines(binary, day, f"not (host {theft[0][1]} and ({ports}))")]
    assert len(quiet) > 5000
    # The host's own sensor, one on the mirror port that saw the same, and one of another host of the same kind.
    sensors = table({"host": quiet, "mirror": [later(line, 0.3) for line in quiet], "edge": lines(binary, day, f"not {METADATA}")}).cache()
    assert alerts(join.ssrf_alerts(sensors, SKEW)) == []
    assert alerts(join.holders_alerts(sensors, SKEW, WITHIN)) == []


def truth(folder: Path) -> list[list]:
    text = subprocess.run(["zstd", "-dc", str(folder / "host_day.truth.jsonl.zst")], capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in text.splitlines()]


def issuance(binary: str) -> dict:
    from conftest import ROOT

    found = [json.loads(line) for line in lines(binary, ROOT / "pcaps/aws/theft-through-curl/input.pcap")]
    return next(event for event in found if event["event"]["kind"] == "event" and event.get("imds", {}).get("credential", {}).get("issued"))


def elsewhere(event: dict, ip: str, seconds: float, **credential: object) -> str:
    other = json.loads(json.dumps(event))
    other["source"]["ip"] = other["client"]["ip"] = ip
    other["event"]["id"] = f"{ip}{seconds}"
    other["imds"]["credential"] |= credential
    return later(json.dumps(other), seconds)


def test_one_credential_in_two_hands_is_found_once(binary: str, table: Table) -> None:
    event = issuance(binary)
    shaped = elsewhere(event, "198.51.100.9", 60, issued=False)
    shaped = json.dumps(json.loads(shaped) | {"imds": json.loads(shaped)["imds"] | {"signals": ["credential-shaped"]}})
    found = alerts(join.holders_alerts(table({"host": [json.dumps(event)], "proxy": [shaped]}), SKEW, WITHIN))
    assert [alert["rule"]["id"] for alert in found] == ["credential-relayed"]
    assert found[0]["source"]["ip"] == "198.51.100.9" and "used-elsewhere" in found[0]["imds"]["signals"]
    issued_there = elsewhere(event, "198.51.100.9", 60)
    assert len(alerts(join.holders_alerts(table({"host": [json.dumps(event)], "other": [issued_there]}), SKEW, WITHIN))) == 1


def test_the_answer_that_carries_a_credential_out_is_seen_at_the_edge(table: Table, thefts: dict[str, dict[str, list[str]]]) -> None:
    carried = {name for name, both in thefts.items() if any("credential-shaped" in line for line in both["edge"])}
    assert len(carried) > 20
    joined = {name for name in sorted(carried)[:6] if join.join_holders(table(thefts[name]), SKEW, WITHIN).count()}
    assert joined == set(sorted(carried)[:6])


def test_what_is_no_second_holder(binary: str, table: Table) -> None:
    event = issuance(binary)
    first = json.dumps(event)
    for what, sensors in {
        "the same exchange on another leg": {"host": [first], "mirror": [elsewhere(event, "10.1.1.1", 0.4)]},
        "the same client again": {"host": [first], "mirror": [elsewhere(event, event["source"]["ip"], 600)]},
        "pods of one node": {"node": [first, elsewhere(event, "10.1.1.2", 30)]},
        "long after": {"host": [first], "other": [elsewhere(event, "10.1.1.3", WITHIN + 60)]},
    }.items():
        assert alerts(join.holders_alerts(table(sensors), SKEW, WITHIN)) == [], what


def test_a_key_that_cloudtrail_saw_elsewhere(spark: SparkSession, binary: str, table: Table, tmp_path: Path) -> None:
    event = issuance(binary)
    key, time = event["imds"]["credential"]["id"], event["@timestamp"][:19] + "Z"

    def record(address: str, number: int) -> dict:
        user = {"type": "AssumedRole", "accessKeyId": key}
        return {"eventTime": time, "eventID": f"r{number}", "eventName": "ListBuckets", "sourceIPAddress": address, "userIdentity": user}

    addresses = [event["source"]["ip"], "192.0.2.1", "203.0.113.5", "203.0.113.5", "ec2.amazonaws.com"]
    path = tmp_path / "trail.json"
    path.write_text(json.dumps({"Records": [record(address, number) for number, address in enumerate(addresses)]}))
    records = spark.read.option("multiLine", True).json(str(path))
    found = alerts(join.cloudtrail_alerts(table({"host": [json.dumps(event)]}), records, ["192.0.2.1"]))
    assert [(alert["source"]["ip"], key in alert["message"]) for alert in found] == [("203.0.113.5", True)]


def test_bundled_capture_is_joined_too(binary: str, table: Table) -> None:
    from conftest import ROOT

    both = halves(binary, ROOT / "pcaps/ssrf/json-escaped/input.pcap")
    found = alerts(join.ssrf_alerts(table(both), SKEW))
    assert len(found) == 1 and APART < SKEW
    bare = {sensor: [line for line in some if '"kind":"alert"' in line.replace(" ", "")] for sensor, some in both.items()}
    assert len(alerts(join.ssrf_alerts(join.only_alerts(table(bare)), SKEW))) == 1, "where sensors write alerts alone"
