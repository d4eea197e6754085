"""Events for the `eql` engine from PyPI, which has no arrays: an event is tried once per combination of their values.

ECS arrays (event.category, event.type, process.args) match when any of their values does, as in Elasticsearch.
"""
import itertools
import json

import eql
from eql import PythonEngine
from eql.parser import elasticsearch_syntax, parse_query

ARRAYS = ("event.category", "event.type", "process.args", "related.ip", "related.hosts")
# Most combinations that are tried of one event.
MOST = 4096


def get(event, path):
    """The value at a dotted path, however the event splits it into keys."""
    if not isinstance(event, dict):
        return None
    if path in event:
        return event[path]
    parts = path.split(".")
    for cut in range(1, len(parts)):
        found = get(event.get(".".join(parts[:cut])), ".".join(parts[cut:]))
        if found is not None:
            return found
    return None


def nested(event):
    """A copy whose keys are nested, not dotted, as the engine looks for them."""
    out = {}
    for key, value in event.items():
        value = nested(value) if isinstance(value, dict) else value
        *heads, last = key.split(".")
        place = out
        for head in heads:
            place = place.setdefault(head, {})
        if isinstance(value, dict) and isinstance(place.get(last), dict):
            place[last].update(value)
        else:
            place[last] = value
    return out


def put(event, path, value):
    *heads, last = path.split(".")
    for key in heads:
        event = event[key]
    event[last] = value


def variants(event):
    """Every way to choose one value for each array, `MOST` of them at the most."""
    event = nested(event)
    arrays = [(path, get(event, path)) for path in ARRAYS if isinstance(get(event, path), list) and get(event, path)]
    for values in itertools.islice(itertools.product(*(v for _, v in arrays)), MOST):
        copy = json.loads(json.dumps(event))
        for (path, _), value in zip(arrays, values):
            put(copy, path, value)
        yield copy


def parse(query):
    with elasticsearch_syntax:
        return parse_query(query, implied_any=True)


def hits(query, events):
    """Numbers of the events that a query of single events matches."""
    found, hit = [], []
    engine = PythonEngine({"flatten": True})
    engine.add_query(parse(query))
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
    """How many sequences a query finds in the events, in the order in which they are given."""
    found = []
    engine = PythonEngine({"flatten": True})
    engine.add_query(parse(query))
    engine.add_output_hook(found.append)
    for event in events:
        engine.stream_event(eql.Event("any", 0, event))
    return len(found)
