#!/usr/bin/env python3
"""Check the rule files that `imdswatch rules --export` prints with the formats' own tools, and that each hits what it says.

usage: check_rules.py BINARY [SAMPLES]      (pip install -r tests/rules/requirements.txt; Python 3.11 or later)

Sigma: parsed and validated by pySigma, converted to EQL. Elastic: every query parsed by the eql engine. Suricata: every rule parsed by
suricataparser. Then each is run, over the events of the bundled captures, over the process starts of tests/sensors/starts.toml as three
sensors write them, and over the events of a folder SAMPLES; what it hits is compared with this program's own verdict. Exit status 1 when
something is not as it should be.
"""
import base64
import functools
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/rules"))

from eql_events import get, hits, parse, sequences  # noqa: E402
from sigma.backends.elasticsearch import EqlBackend  # noqa: E402
from sigma.collection import SigmaCollection  # noqa: E402
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline  # noqa: E402
from sigma.processing.transformations import FieldMappingTransformation  # noqa: E402
from suricataparser import parse_rules  # noqa: E402

SERVICE = "169.254.169.254"
# Ports of DNS, DHCP and time at the same addresses.
NEIGHBOURS = (53, 67, 68, 123)


class Program:
    """The program under test."""

    def __init__(self, binary):
        self.binary = str(pathlib.Path(binary).resolve())

    def exported(self, engine):
        return self.run("rules", "--export", engine)

    def run(self, *args):
        done = subprocess.run([self.binary, *args], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode in (0, 1), done.stderr
        return done.stdout

    def replay(self, *args):
        text = self.run("--format", "ndjson", "--profile", "network_traffic", "-e", "all", "--quiet", *map(str, args))
        return [json.loads(line) for line in text.splitlines()]


def is_alert(event):
    return get(event, "event.kind") == "alert"


def expect(what, found, wanted, events, misses=(), extra=()):
    """That a rule hits `wanted`, but for what it is known to miss and to hit besides."""
    missed, more = sorted(set(wanted) - set(found) - set(misses)), sorted(set(found) - set(wanted) - set(extra))
    print(f"{what}: {len(found)} of {len(events)} events, {len(set(wanted) & set(misses) - set(found))} missed as it must")
    assert found, f"{what} hits nothing"
    for title, numbers in (("misses", missed), ("hits besides", more)):
        assert not numbers, f"{what} {title} {len(numbers)}, as {json.dumps(events[numbers[0]])[:1500]}"


# Process starts


def expanded(arg):
    """`BASE64(...)`, `UTF16(...)` and `HEX(...)` written as such."""
    for name, encode in (
        ("BASE64", lambda text: base64.b64encode(text.encode()).decode()),
        ("UTF16", lambda text: base64.b64encode(text.encode("utf-16-le")).decode()),
        ("HEX", lambda text: text.encode().hex()),
    ):
        start = arg.find(name + "(")
        if start < 0:
            continue
        depth, end = 0, start + len(name)
        while end < len(arg):
            depth += {"(": 1, ")": -1}.get(arg[end], 0)
            if depth == 0:
                break
            end += 1
        arg = arg[:start] + encode(arg[start + len(name) + 1:end]) + arg[end + 1:]
    return arg


def starts():
    """The labelled process starts: executable, arguments, command line."""
    for nth, start in enumerate(tomllib.loads((ROOT / "tests/sensors/starts.toml").read_text())["start"]):
        args = [expanded(arg) for arg in start["args"]]
        folder = "C:\\Windows\\System32\\" if start.get("windows") else "/usr/bin/"
        exe = start.get("exe") or (args[0] if "/" in args[0] else folder + args[0])
        line = " ".join('"' + arg.replace('"', '\\"') + '"' if " " in arg else arg for arg in args)
        yield nth, exe, args, line, start["is"]


def endpoint(nth, exe, args, line):
    name = re.split(r"[/\\]", exe)[-1]
    return {"@timestamp": f"2026-03-01T{nth // 60:02}:{nth % 60:02}:00Z", "host": {"name": f"e{nth}"}, "agent": {"type": "endpoint"},
            "event": {"kind": "event", "category": ["process"], "type": ["start"], "action": "exec", "id": f"e{nth}", "module": "endpoint"},
            "process": {"pid": 1000 + nth, "executable": exe, "name": name, "args": args, "command_line": line}}


def auditbeat(nth, exe, args, line):
    event = endpoint(nth, exe, args, line)
    event["agent"]["type"], event["event"]["module"], event["event"]["action"] = "auditbeat", "auditd", "executed"
    event["host"]["name"] = event["event"]["id"] = f"a{nth}"
    event["process"]["name"] = event["process"]["name"][:15]
    del event["process"]["command_line"]
    return event


def sysmon(nth, exe, args, line):
    return {"EventID": 1, "Channel": "Microsoft-Windows-Sysmon/Operational", "UtcTime": f"2026-03-01 {nth // 60:02}:{nth % 60:02}:00.000",
            "Hostname": f"s{nth}", "ProcessId": str(1000 + nth), "Image": exe, "CommandLine": line, "event": {"id": f"s{nth}"}}


def judged(program, events):
    """Our verdict on each event: its alert, or its event, or nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "events.ndjson"
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
        out = {}
        for event in program.replay("-r", path):
            key = get(event, "host.name")
            if is_alert(event) or key not in out:
                out[key] = event
    return out


def commands(program, what, query, writer):
    """A rule for command lines hits what we alert, but for disguises; and a few more, as it knows no more than substrings."""
    labelled = list(starts())
    events = [writer(*start[:4]) for start in labelled]
    verdicts = judged(program, events)
    wanted, misses, extra = [], [], []
    for nth, event in enumerate(events):
        verdict = verdicts.get(get(event, "host.name") or event["Hostname"])
        text = " ".join(labelled[nth][2])
        if verdict and is_alert(verdict):
            wanted.append(nth)
            # in another spelling, or not written out
            plain = re.search(r"\d\.\d+\.\d+\.\d|metadata|fd00:ec2", text, re.I) and "BASE64" not in text
            if "obfuscated-path" in verdict["imds"].get("signals", []) or not plain or "[" in text:
                misses.append(nth)
        elif labelled[nth][4] == "allowed" and exe_is_an_interpreter(labelled[nth][1]):
            extra.append(nth)  # the rules know an agent by its executable alone
        elif re.search(r"\d" + re.escape(SERVICE), text) or "/etc/metadata" in text:
            extra.append(nth)
    if writer is auditbeat:
        extra += [nth for nth, start in enumerate(labelled) if start[4] == "allowed" and len(re.split(r"[/\\]", start[1])[-1]) > 15]
    expect(what, hits(query, events), wanted, events, misses, extra)


def exe_is_an_interpreter(exe):
    return "python" in exe


# Formats


def ecs():
    """Sigma's generic names of fields, as ECS has them."""
    names = {"CommandLine": "process.command_line", "Image": "process.executable", "DestinationIp": "destination.ip", "DestinationPort": "destination.port", "DestinationHostname": "destination.domain"}
    return ProcessingPipeline(items=[ProcessingItem(FieldMappingTransformation(names))])


def sigma(program, ours):
    rules = SigmaCollection.from_yaml(program.exported("sigma"))
    assert not rules.errors and len(rules) == 3, rules.errors
    for rule in rules:
        assert not rule.errors, (rule.title, rule.errors)
        alone, detection = SigmaCollection([rule]), rule.to_dict()["detection"]
        (plain,), (query,) = (EqlBackend(pipeline).convert(alone) for pipeline in (None, ecs()))
        parse(plain), parse(query)
        what = f"sigma: {rule.title}"
        category = rule.logsource.category
        if category == "process_creation":
            commands(program, f"{what}, Endpoint", query, endpoint)
            commands(program, f"{what}, Sysmon", plain, sysmon)
        elif category == "network_connection":
            connections(what, query, detection["selection_address"]["DestinationIp"], detection["selection_name"]["DestinationHostname"], ours)
        else:
            strong = [n for n, e in enumerate(ours) if is_alert(e) and get(e, "event.severity") >= 73]
            expect(what, hits(query, ours), strong, ours)


def connections(what, query, addresses, names, ours):
    """Every event whose destination is a metadata address or name, on ports where nothing else is served; and each is one of ours."""
    def run_by(exe):
        """The events as live capture writes them, with the process; without one a condition on it is never true."""
        events = [event for event in ours if event.get("type") != "flow"]
        return [{**event, "process": {**event.get("process", {}), "executable": exe}} for event in events]

    assert not hits(query, run_by("/usr/bin/cloud-init")), what
    ours = run_by("/usr/bin/curl")
    to = [n for n, e in enumerate(ours) if get(e, "destination.port") not in NEIGHBOURS
          and (get(e, "destination.ip") in addresses or get(e, "destination.domain") in names)]
    expect(what, hits(query, ours), to, ours)
    others = [n for n in to if "imds" not in ours[n]]
    assert len(others) * 50 <= len(to), [get(ours[n], "url.full") for n in others]


def elastic(program, ours):
    names = set()
    needed = {"rule_id", "name", "description", "type", "language", "query", "index", "risk_score", "severity", "threat", "from", "interval", "version"}
    for line in program.exported("elastic").splitlines():
        rule = json.loads(line)
        assert needed <= rule.keys(), needed - rule.keys()
        assert rule["rule_id"] not in names
        names.add(rule["rule_id"])
        assert rule["severity"] in ("low", "medium", "high", "critical") and 0 <= rule["risk_score"] <= 100
        what = f"elastic: {rule['name']}"
        if rule["language"] == "kuery":
            # what it says is the same in EQL
            expect(what, hits(f"any where {rule['query']}", ours), [n for n, e in enumerate(ours) if is_alert(e)], ours)
        elif rule["query"].startswith("sequence"):
            assert rule["timestamp_field"] == "event.start"
            two_sensors(program, what, rule["query"], rule["rule_id"].endswith("reversed"))
        else:
            commands(program, f"{what}, Endpoint", rule["query"], endpoint)
            commands(program, f"{what}, Auditbeat", rule["query"], auditbeat)
    assert len(names) == 4, names


def started(event):
    return get(event, "event.start") or event["@timestamp"]


@functools.cache
def seen_by_two(program):
    """Of each forgery in the bundled captures: whether it is confirmed and a credential was issued; and the alerts of a sensor at the edge
    and of one at the host."""
    out = []
    for capture in sorted((ROOT / "pcaps/ssrf").glob("*/input.*")):
        whole = program.replay("-r", capture)
        confirmed = any(get(e, "rule.id") == "ssrf-confirmed" and "issued" in e["imds"]["signals"] for e in whole)
        edge, host = (program.replay("-r", capture, *words) for words in (("not", "host", SERVICE), ("host", SERVICE)))
        out.append((capture, confirmed, [e for e in edge if is_alert(e)], [e for e in host if is_alert(e)]))
    return out


def two_sensors(program, what, query, is_reversed):
    """The sequence joins what one sensor between them confirms; the other order where the edge's clock is ahead."""
    joined = confirmed = 0
    for capture, is_confirmed, edge, host in seen_by_two(program):
        edge, host = sorted(edge, key=started), sorted(host, key=started)
        found = sequences(query, host + edge if is_reversed else sorted(edge + host, key=started))
        assert is_confirmed or not found, f"{what} joins {capture}, which is not confirmed"
        joined, confirmed = joined + bool(found), confirmed + is_confirmed
    print(f"{what}: {joined} of {confirmed} captures with an issued credential, as two sensors see them")
    assert joined + 1 >= confirmed > 5, (joined, confirmed)


def suricata(program, ours):
    text = program.exported("suricata")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    rules = parse_rules(text)
    assert len(rules) == len(lines), (len(rules), len(lines))
    assert len({rule.sid for rule in rules}) == len(rules)
    paths = []
    for rule, line in zip(rules, lines):
        assert 1000000 <= rule.sid <= 1999999 and rule.msg, line
        contents = re.findall(r'content:"([^"]*)"', line)
        patterns = re.findall(r'pcre:"/(.*?)/";', line)
        for content in contents:
            assert content.count("|") % 2 == 0 and not re.search(r"[;:\\]", content), content
        compiled = [re.compile(pattern.replace(r"\/", "/")) for pattern in patterns]
        if compiled:
            servers = re.search(r"-> \[([^\]]*)\]", line).group(1).split(",")
            paths.append((servers, [unescaped(content) for content in contents], compiled))
    requests = [(n, e) for n, e in enumerate(ours) if get(e, "type") == "http" and not is_alert(e) and get(e, "url.original")]
    found = [n for n, e in requests if any(asks(e, *path) for path in paths)]
    wanted = [n for n, e in requests if get(e, "imds.sensitivity") == "credential" and get(e, "destination.ip") in paths[0][0]
              and get(e, "url.original").startswith("/")]
    # Suricata reads the path decoded once and with dots resolved; parameters and methods are not in the rules
    misses = [n for n in wanted if "obfuscated-path" in get(ours[n], "imds.signals")]
    # what is known to be a word of scanners, and was not there, is no credential to us
    extra = [n for n in found if get(ours[n], "http.response.status_code") == 404]
    expect(f"suricata: {len(paths)} rules for paths", found, wanted, ours, misses, extra)
    print(f"suricata: {len(rules)} rules")


def suricata_itself(program):
    """The engine's own word, where it is installed: it loads every rule, a theft is hit, and nothing is hit where we are silent."""
    engine = shutil.which("suricata")
    if engine is None:
        print("suricata itself: skipped, there is no such program")
        return
    with tempfile.TemporaryDirectory() as folder:
        rules = pathlib.Path(folder) / "imdswatch.rules"
        rules.write_text(program.exported("suricata"))
        alone = ["-S", str(rules), "-l", folder, "--set", "app-layer.protocols.http.enabled=yes"]
        subprocess.run([engine, "-T", *alone], check=True, capture_output=True)

        def alerts(capture):
            eve = pathlib.Path(folder) / "eve.json"
            eve.unlink(missing_ok=True)
            subprocess.run([engine, "-r", str(capture), "-k", "none", *alone], check=True, capture_output=True)
            lines = eve.read_text().splitlines() if eve.exists() else []
            return sum(json.loads(line).get("event_type") == "alert" for line in lines)

        hit = alerts(ROOT / "pcaps/aws/theft-through-curl/input.pcap")
        silent = {capture: alerts(capture) for capture in sorted((ROOT / "pcaps/negative").glob("*/input.*"))}
    assert hit, "suricata itself hits no theft"
    assert not any(silent.values()), silent
    print(f"suricata itself: {hit} alerts of a theft, none of {len(silent)} harmless captures")


def unescaped(content):
    return re.sub(r"\|([0-9a-f ]+)\|", lambda hexadecimal: bytes.fromhex(hexadecimal.group(1)).decode(), content)


def asks(event, servers, contents, patterns):
    """As Suricata would: destination, contents and patterns in the normalised URI."""
    uri = urllib.parse.unquote(get(event, "url.original"))
    return (get(event, "destination.ip") in servers and all(content in uri for content in contents)
            and all(pattern.search(uri) for pattern in patterns))


def samples(program, folder):
    """What the rules hit of other projects' events, beside our verdict: said, and nothing that we are silent on."""
    files = sorted(pathlib.Path(folder).glob("*.json"))
    events = [json.loads(file.read_text()) for file in files]
    rules = [json.loads(line) for line in program.exported("elastic").splitlines()]
    query = next(rule["query"] for rule in rules if rule["rule_id"] == "imdswatch-command-line")
    plain = EqlBackend(None).convert(SigmaCollection.from_yaml(program.exported("sigma")))[0]
    found = {**{n: "elastic" for n in hits(query, events)}, **{n: "sigma" for n in hits(plain, events)}}
    for number, by in sorted(found.items()):
        ids = {get(event, "rule.id") for event in program.replay("-r", files[number])} - {None}
        print(f"{by}: {files[number].name}: {', '.join(ids) or 'allowed'}")
        assert ids <= {"imds-command"}, (files[number], ids)
    commands_seen = [n for n, file in enumerate(files)
                     if any(get(event, "rule.id") == "imds-command" for event in program.replay("-r", file))]
    assert set(commands_seen) <= set(found), [files[n].name for n in set(commands_seen) - set(found)]


def main():
    binary, *folders = sys.argv[1:]
    program = Program(binary)
    ours = program.replay("-r", "pcaps")
    sigma(program, ours)
    elastic(program, ours)
    suricata(program, ours)
    suricata_itself(program)
    for folder in folders:
        samples(program, folder)


if __name__ == "__main__":
    main()
