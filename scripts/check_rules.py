#!/usr/bin/env python3
"""Check the rule files that `imdswatch rules --export` prints with the formats' own tools, and what they hit.

usage: check_rules.py BINARY [EVENTS.ndjson]...      (pip install eql pysigma pysigma-backend-elasticsearch suricataparser)

Sigma: parsed and validated by pySigma, converted to EQL, and run over EVENTS with the eql engine. Elastic: every EQL query parsed, and run.
Suricata: every rule parsed by suricataparser; numbers are unique, contents are balanced. Exit status 1 when something is not as it should be.
"""
import itertools
import json
import re
import subprocess
import sys

import eql
from eql import PythonEngine
from eql.parser import elasticsearch_syntax, parse_query
from sigma.backends.elasticsearch import EqlBackend
from sigma.collection import SigmaCollection
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations import FieldMappingTransformation
from suricataparser import parse_rules

ARRAYS = ("event.category", "event.type", "process.args", "related.ip", "related.hosts")


def get(event, path):
    for key in path.split("."):
        event = event.get(key) if isinstance(event, dict) else None
    return event


def put(event, path, value):
    *heads, last = path.split(".")
    for key in heads:
        event = event[key]
    event[last] = value


def variants(event):
    """Arrays match when any of their values does, as in Elasticsearch: every way to choose one of each."""
    arrays = [(path, get(event, path)) for path in ARRAYS if isinstance(get(event, path), list) and get(event, path)]
    for values in itertools.islice(itertools.product(*(v for _, v in arrays)), 4096):
        copy = json.loads(json.dumps(event))
        for (path, _), value in zip(arrays, values):
            put(copy, path, value)
        yield copy


def hits(query, events):
    """Numbers of the events that a query of single events matches."""
    found, hit = [], []
    engine = PythonEngine({"flatten": True})
    with elasticsearch_syntax:
        engine.add_query(parse_query(query, implied_any=True))
    engine.add_output_hook(lambda result: hit.append(True))
    for number, event in enumerate(events):
        for variant in variants(event):
            hit.clear()
            category = get(variant, "event.category")
            engine.stream_event(eql.Event(category if isinstance(category, str) else "any", 0, variant))
            if hit:
                found.append(number)
                break
    return found


def sequences(query, events):
    """How many sequences a query finds in the events, in the order of `event.start`."""
    found = []
    engine = PythonEngine({"flatten": True})
    with elasticsearch_syntax:
        engine.add_query(parse_query(query, implied_any=True))
    engine.add_output_hook(found.append)
    for event in sorted(events, key=lambda event: get(event, "event.start") or event["@timestamp"]):
        engine.stream_event(eql.Event("any", 0, event))
    return len(found)


def ecs():
    """Sigma's generic names of fields, as ECS has them."""
    names = {"CommandLine": "process.command_line", "Image": "process.executable", "DestinationIp": "destination.ip", "DestinationHostname": "destination.domain"}
    return ProcessingPipeline(items=[ProcessingItem(FieldMappingTransformation(names))])


def exported(binary, engine):
    return subprocess.run([binary, "rules", "--export", engine], check=True, capture_output=True, text=True).stdout


def sigma(binary, events, say):
    rules = SigmaCollection.from_yaml(exported(binary, "sigma"))
    assert not rules.errors, rules.errors
    for rule in rules:
        assert not rule.errors, (rule.title, rule.errors)
        alone = SigmaCollection([rule])
        for name, pipeline in (("plain", None), ("ecs", ecs())):
            queries = EqlBackend(pipeline).convert(alone)
            for query in queries:
                with elasticsearch_syntax:
                    parse_query(query, implied_any=True)
        query = EqlBackend(ecs()).convert(alone)[0]
        say(f"sigma: {rule.title}: {len(hits(query, events))} of {len(events)} events")


def elastic(binary, events, say):
    names = set()
    needed = {"rule_id", "name", "description", "type", "language", "query", "index", "risk_score", "severity", "threat", "from", "interval", "version"}
    for line in exported(binary, "elastic").splitlines():
        rule = json.loads(line)
        assert needed <= rule.keys(), needed - rule.keys()
        assert rule["rule_id"] not in names
        names.add(rule["rule_id"])
        assert rule["severity"] in ("low", "medium", "high", "critical") and 0 <= rule["risk_score"] <= 100
        if rule["language"] != "eql":
            alerts = [e for e in events if get(e, "event.kind") == "alert" and get(e, "rule.ruleset") == "imdswatch"]
            say(f"elastic: {rule['name']}: {len(alerts)} of {len(events)} events")
        elif rule["query"].startswith("sequence"):
            assert rule["timestamp_field"] == "event.start"
            say(f"elastic: {rule['name']}: {sequences(rule['query'], events)} sequences")
        else:
            say(f"elastic: {rule['name']}: {len(hits(rule['query'], events))} of {len(events)} events")


def suricata(binary, say):
    text = exported(binary, "suricata")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    rules = parse_rules(text)
    assert len(rules) == len(lines), (len(rules), len(lines))
    assert len({rule.sid for rule in rules}) == len(rules)
    for rule, line in zip(rules, lines):
        assert 1000000 <= rule.sid <= 1999999 and rule.msg, line
        for content in re.findall(r'content:"([^"]*)"', line):
            assert content.count("|") % 2 == 0 and not re.search(r"[;:\\]", content), content
        for pattern in re.findall(r'pcre:"/(.*?)/";', line):
            re.compile(pattern)
    say(f"suricata: {len(rules)} rules")


def main():
    binary, *files = sys.argv[1:]
    events = [json.loads(line) for name in files for line in open(name) if line.strip()]
    sigma(binary, events, print)
    elastic(binary, events, print)
    suricata(binary, print)


if __name__ == "__main__":
    main()
