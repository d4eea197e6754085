"""More of what only looks like an attack: other collectors, messages, stores, signed requests, probes, readers."""
import base64
import gzip
import json
from urllib.parse import quote

from disguises import FORM, JSON, XML, confirmed, websocket, ws_frame
from harmless import B, FIELDS, NO_RELAY, QUIET, S3, SDK, SIGNED, SIGNED_HEADERS, STS, handed_out, quiet, reported, reported_then_read, sent
from wire import *

NAME = "metadata.google.internal"
# What is asked of the modules' cases: the first terms of each must not be raised.
HARMLESS = True
# Prose that mentions a URL: it is one reason to read it, and stays a candidate.
PROSE = ("github-issue", "jira")
TEXT = f"GET {URL} failed: timeout after 1s"


def reports():
    """Body, target, content type."""
    yield "raygun", {"occurredOn": "2026-11-24T03:00:00Z", "details": {"error": {"message": TEXT, "stackTrace": []}, "request": {"url": URL}}}, "/entries", JSON
    yield "honeybadger", {"notifier": {"name": "hb"}, "error": {"class": "E", "message": TEXT, "backtrace": []}, "request": {"url": URL}}, "/v1/notices", JSON
    yield "appsignal", {"timestamp": 1, "namespace": "frontend", "error": {"name": "E", "message": TEXT, "backtrace": []}, "breadcrumbs": [{"category": "Network", "metadata": {"url": URL}}]}, "/collect", JSON
    yield "segment", {"type": "track", "event": "request", "messageId": "a", "timestamp": "2026-11-24T03:00:00Z", "properties": {"url": URL}}, "/v1/track", JSON
    yield "mixpanel", [{"event": "request", "properties": {"time": 1, "distinct_id": "a", "url": URL}}], "/track", JSON
    yield "amplitude", {"api_key": "k", "events": [{"event_type": "request", "user_id": "a", "event_properties": {"url": URL}}]}, "/2/httpapi", JSON
    yield "posthog", {"api_key": "k", "batch": [{"event": "$pageview", "timestamp": "2026-11-24T03:00:00Z", "properties": {"$current_url": URL}}]}, "/batch/", JSON
    yield "datadog-rum", {"type": "resource", "date": 1, "application": {"id": "a"}, "session": {"id": "s"}, "resource": {"url": URL, "duration": 1}}, "/api/v2/rum", JSON
    yield "datadog-events", {"title": "x", "text": TEXT, "alert_type": "error", "tags": [f"url:{URL}"]}, "/api/v1/events", JSON
    yield "dynatrace", [{"timestamp": "2026-11-24T03:00:00Z", "severity": "error", "content": TEXT, "http.url": URL}], "/api/v2/logs/ingest", JSON
    yield "coralogix", {"applicationName": "a", "subsystemName": "b", "logEntries": [{"timestamp": 1, "severity": 3, "text": URL}]}, "/logs/v1/singles", JSON
    yield "axiom", [{"_time": "2026-11-24T03:00:00Z", "attributes": {"url": URL}, "severity": "info"}], "/v1/datasets/a/ingest", JSON
    yield "betterstack", {"dt": "2026-11-24T03:00:00Z", "message": URL, "level": "info"}, "/", JSON
    yield "mezmo", {"lines": [{"timestamp": 1, "line": URL, "app": "a", "level": "INFO"}]}, "/logs/ingest", JSON
    yield "humio", [{"tags": {"host": "h"}, "events": [{"timestamp": "2026-11-24T03:00:00Z", "attributes": {"url": URL}}]}], "/api/v1/ingest/humio-structured", JSON
    yield "honeycomb-one", {"name": "GET", "trace.trace_id": "a", "http.url": URL, "duration_ms": 1}, "/1/events/api", JSON
    yield "lightstep", {"timestampOffsetMicros": 1, "reporter": {"reporterId": 1}, "spans": [{"spanContext": {"traceId": 1, "spanId": 2}, "operationName": "GET", "tags": [{"key": "http.url", "stringValue": URL}]}]}, "/api/v2/reports", JSON
    yield "instana", {"spans": [{"t": "a", "s": "b", "n": "http", "ts": 1, "d": 2, "data": {"http": {"url": URL}}}]}, "/com.instana.plugin.generic.trace", JSON
    yield "xray-daemon", {"trace_id": "1-2-3", "id": "a", "name": "api", "start_time": 1.0, "end_time": 2.0, "subsegments": [{"http": {"request": {"url": URL}}}]}, "/", JSON
    yield "gcp-trace", {"spans": [{"spanId": "a", "displayName": {"value": "GET"}, "startTime": "2026-11-24T03:00:00Z", "attributes": {"attributeMap": {"/http/url": {"stringValue": {"value": URL}}}}}]}, "/v2/projects/p/traces:batchWrite", JSON
    yield "gcp-logs", {"entries": [{"logName": "projects/p/logs/a", "resource": {"type": "gce_instance"}, "httpRequest": {"requestUrl": URL}}]}, "/v2/entries:write", JSON
    yield "cloudwatch", {"logGroupName": "a", "logStreamName": "b", "logEvents": [{"timestamp": 1, "message": URL}]}, "/", "application/x-amz-json-1.1"
    yield "kinesis", {"StreamName": "logs", "Records": [{"Data": B(json.dumps({"url": URL, "level": "info", "ts": 1})), "PartitionKey": "a"}]}, "/", "application/x-amz-json-1.1"
    yield "firehose", {"requestId": "a", "timestamp": 1, "records": [{"data": B(json.dumps({"url": URL, "msg": TEXT}))}]}, "/firehose", JSON
    yield "azure-monitor", [{"time": "2026-11-24T03:00:00Z", "name": "Microsoft.ApplicationInsights.RemoteDependency", "iKey": "k", "data": {"baseType": "RemoteDependencyData", "baseData": {"name": "GET", "data": URL, "target": IMDS}}}], "/v2/track", JSON
    yield "fluent-http", {"log": URL, "stream": "stdout", "time": "2026-11-24T03:00:00Z"}, "/docker.log", JSON
    yield "vector", json.dumps({"timestamp": "2026-11-24T03:00:00Z", "message": URL, "source_type": "http"}) + "\n", "/", "application/x-ndjson"
    yield "audit-webhook", {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [{"level": "Request", "requestURI": "/api", "annotations": {"x": URL}}]}, "/k8s-audit", JSON
    yield "admission", {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "a", "object": {"spec": {"containers": [{"env": [{"name": "U", "value": URL}]}]}}}}, "/validate", JSON
    yield "alertmanager-hook", {"version": "4", "groupKey": "{}", "status": "firing", "receiver": "x", "alerts": [{"status": "firing", "labels": {"alertname": "x"}, "annotations": {"description": URL}, "startsAt": "2026-11-24T03:00:00Z"}]}, "/hook", JSON
    yield "grafana-hook", {"receiver": "x", "status": "firing", "orgId": 1, "alerts": [{"labels": {"alertname": "a"}, "annotations": {"summary": URL}, "startsAt": "x", "valueString": URL}], "title": "x"}, "/hook", JSON
    yield "pagerduty", {"routing_key": "k", "event_action": "trigger", "payload": {"summary": "x", "source": IMDS, "severity": "critical", "custom_details": {"url": URL}}}, "/v2/enqueue", JSON
    yield "opsgenie", {"message": "x", "alias": "a", "description": TEXT, "details": {"url": URL}, "priority": "P1"}, "/v2/alerts", JSON
    yield "slack-blocks", {"text": "x", "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": URL}}]}, "/services/T0/B0/x", JSON
    yield "slack-text", {"text": URL}, "/services/T0/B0/x", JSON
    yield "teams", {"@type": "MessageCard", "@context": "http://schema.org/extensions", "text": TEXT, "sections": [{"facts": [{"name": "url", "value": URL}]}]}, "/webhookb2/a", JSON
    yield "teams-adaptive", {"type": "message", "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "content": {"type": "AdaptiveCard", "body": [{"type": "TextBlock", "text": URL}]}}]}, "/workflows/a", JSON
    yield "discord", {"content": "alert", "embeds": [{"title": "x", "fields": [{"name": "url", "value": URL}]}]}, "/api/webhooks/1/a", JSON
    yield "falcosidekick", {"uuid": "a", "output": TEXT, "priority": "Critical", "rule": "r", "time": "2026-11-24T03:00:00Z", "output_fields": {"fd.sip": IMDS, "proc.cmdline": f"curl {URL}"}}, "/", JSON
    yield "guardduty", {"version": "0", "id": "a", "detail-type": "GuardDuty Finding", "source": "aws.guardduty", "detail": {"service": {"action": {"awsApiCallAction": {"api": "x"}}, "evidence": {"url": URL}}}}, "/events", JSON
    yield "sarif", {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x"}}, "results": [{"message": {"text": TEXT}, "webRequest": {"target": URL}}]}]}, "/upload", JSON
    yield "junit", f"<?xml version='1.0'?><testsuites><testsuite name='a'><testcase name='b'><failure message='x'>{TEXT}</failure><system-out>{TEXT}</system-out></testcase></testsuite></testsuites>", "/results", XML
    yield "solr", [{"id": "1", "url": URL}], "/solr/logs/update/json/docs", JSON
    yield "solr-update", [{"id": "1", "url_s": URL}], "/solr/logs/update?commit=true", JSON
    yield "meilisearch", [{"id": 1, "url": URL}], "/indexes/requests/documents", JSON
    yield "typesense", json.dumps({"id": "1", "url": URL}) + "\n", "/collections/requests/documents/import?action=create", "text/plain"
    yield "algolia", {"requests": [{"action": "addObject", "body": {"objectID": "1", "url": URL}}]}, "/1/indexes/requests/batch", JSON
    yield "elastic-bulk", json.dumps({"index": {"_index": "a"}}) + "\n" + json.dumps({"url": URL}) + "\n", "/_bulk", "application/x-ndjson"
    yield "elastic-search", {"query": {"term": {"url.full": URL}}}, "/logs-*/_search", JSON
    yield "elastic-msearch", "{}\n" + json.dumps({"query": {"match_phrase": {"url.full": URL}}}) + "\n", "/_msearch", "application/x-ndjson"
    yield "kibana", {"batch": [{"request": {"params": {"index": "logs-*", "body": {"query": {"bool": {"filter": [{"match_phrase": {"url.full": URL}}]}}}}}}]}, "/internal/bsearch", JSON
    yield "splunk-search", "search=" + quote(f'search index=web url="{URL}" | head 10'), "/services/search/jobs", FORM
    yield "clickhouse", json.dumps({"ts": 1, "url": URL}) + "\n", "/?query=INSERT%20INTO%20logs%20FORMAT%20JSONEachRow", "text/plain"
    yield "influx", f"http,url={URL.replace(',', '')} duration=1 1795500000000000000\n", "/api/v2/write?bucket=a", "text/plain"
    yield "prometheus-push", f"probe_success{{target=\"{URL}\"}} 0\n", "/metrics/job/blackbox", "text/plain"
    yield "nessus", f"<?xml version='1.0'?><NessusClientData_v2><Report><ReportHost name='a'><ReportItem><plugin_output>{TEXT}</plugin_output></ReportItem></ReportHost></Report></NessusClientData_v2>", "/import", XML
    yield "github-push", {"ref": "refs/heads/main", "commits": [{"id": "a", "message": f"Block {URL}", "url": "https://github.com/a/b/commit/c"}], "repository": {"url": "https://github.com/a/b"}}, "/hook", JSON
    yield "github-issue", {"action": "opened", "issue": {"title": "IMDS", "body": f"Please block {URL}\n\nThanks"}}, "/hook", JSON
    yield "jira", {"fields": {"summary": "SSRF", "description": f"The scanner requested\n{TEXT}\nand got an answer."}}, "/rest/api/2/issue", JSON


def configuration():
    yield "nomad", {"Job": {"ID": "a", "TaskGroups": [{"Tasks": [{"Env": {"AWS_METADATA_URL": f"http://{IMDS}"}}]}]}}, "/v1/jobs"
    yield "consul-kv", {"KV": {"Verb": "set", "Key": "a", "Value": B(URL)}}, "/v1/txn"
    yield "grafana-dashboard", {"dashboard": {"panels": [{"targets": [{"expr": f"up{{instance=\"{IMDS}:80\"}}"}]}]}}, "/api/dashboards/db"
    yield "helm-values", {"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "spec": {"values": {"metadataUrl": URL}}}, "/apis/helm.toolkit.fluxcd.io/v2/namespaces/a/helmreleases"
    yield "firewall", {"rules": [{"destination": f"{IMDS}/32", "ports": [80], "action": "deny"}]}, "/api/firewall"
    yield "no-proxy", {"env": {"NO_PROXY": f"localhost,127.0.0.1,{IMDS},.internal"}}, "/api/settings"
    yield "route", {"destination": f"{IMDS}/32", "gateway": "10.0.0.1"}, "/v2.0/routers/a/add_extraroutes"
    yield "flow", {"src": "10.0.0.1", "dst": IMDS, "dport": 80, "bytes": 1200, "packets": 9}, "/flows"
    yield "inventory", {"hosts": [{"name": "metadata", "address": IMDS, "path": "/"}]}, "/api/hosts"
    yield "resolver", {"domain": NAME}, "/api/resolve"
    yield "block-list", {"blocked": [NAME, IMDS, "100.100.100.200", "fd00:ec2::254"]}, "/api/policies"


def cases():
    for name, body, target, kind in reports():
        yield f"report-{name}", reported(body, kind, target)
        if name not in PROSE:
            yield f"report-{name}-then-read", reported_then_read(body, kind, target)
    for name, body, target in configuration():
        yield f"stored-{name}", quiet(post(json.dumps(body), JSON, target))
    # --- signed requests in other places
    for name, url in {"s3": S3, "sts": STS}.items():
        yield f"signed-{name}-csv", handed_out(answer(f"name,url\na,{url}\n".encode(), kind="text/csv"))
        yield f"signed-{name}-markdown", handed_out(answer(f"# a\n\n[file]({url})\n".encode(), kind="text/markdown"))
        yield f"signed-{name}-script", handed_out(answer(f"<script>window.file = \"{url}\";</script>".encode(), kind="text/html"))
        yield f"signed-{name}-javascript", handed_out(answer(f"export const file = '{url}';".encode(), kind="application/javascript"))
        yield f"signed-{name}-events", handed_out(answer(f"event: file\ndata: {json.dumps({'url': url})}\n\n".encode(), kind="text/event-stream"))
        yield f"signed-{name}-nested-json", handed_out(answer(json.dumps({"body": json.dumps({"url": url})}).encode(), kind=JSON))
        yield f"signed-{name}-refresh", handed_out(answer(b"", f"Refresh: 0; url={url}\r\n", "text/html"))
        yield f"signed-{name}-link", handed_out(answer(b"", f"Link: <{url}>; rel=preload\r\n", "text/html"))
        yield f"signed-{name}-playlist", handed_out(answer(f"#EXTM3U\n#EXTINF:9,\n{url}\n".encode(), kind="application/vnd.apple.mpegurl"))
        yield f"signed-{name}-gzip-long", handed_out(answer(gzip.compress(json.dumps({"pad": rand(1, 150_000), "url": url}).encode()), "Content-Encoding: gzip\r\n", JSON))
        yield f"signed-{name}-queue", sent(post("Action=SendMessage&MessageBody=" + quote(json.dumps({"url": url}), safe=""), FORM))
        def socket(c, url=url):
            c.fetch("aws", SDK)
            websocket([ws_frame(b"file")], [ws_frame(json.dumps({"url": url}).encode(), mask=None)], meanwhile=lambda: None)(c)
        yield f"signed-{name}-socket", (NO_RELAY, socket)
        def redis(c, url=url):
            c.fetch("aws", SDK)
            c.talk(APP, OTHER, 6379, [("c", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%s\r\n" % (len(url), url.encode())), ("s", b"+OK\r\n")])
        yield f"signed-{name}-cache", (NO_RELAY, redis)
    yield "signed-form-nested", handed_out(answer(json.dumps({"data": {"createUpload": {"url": "https://acme.s3.amazonaws.com/", "fields": json.dumps(FIELDS)}}}).encode(), kind=JSON))
    flat = {k: v[0] for k, v in SIGNED_HEADERS.items()}
    yield "login-mongodb-aws", sent(post(json.dumps({"saslStart": 1, "mechanism": "MONGODB-AWS", "headers": flat}), JSON, "/login"))
    yield "login-signed-headers", sent(post("{}", JSON, "/graphql", "".join(f"{k}: {v}\r\n" for k, v in flat.items() if k.startswith(("Auth", "X-Amz"))), "abc.appsync-api.us-east-1.amazonaws.com"))
    # --- the service's other neighbours
    def datagram(port, address_text, payload=b"\0" * 48):
        return "any>=medium", lambda c: (c.datagram(APP, address_text, 40000, port, payload), c.datagram(address_text, APP, port, 40000, payload))
    yield "neighbour-ntp", datagram(123, "169.254.169.123")
    yield "neighbour-resolver", datagram(53, "169.254.169.253", b"\0\7\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1")
    yield "neighbour-azure-resolver", datagram(53, "168.63.129.16", b"\0\7\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1")
    yield "neighbour-kms", ("any>=medium", lambda c: c.talk(APP, "169.254.169.250", 1688, [("c", b"\5\0\x0b\3" + b"\0" * 60), ("s", b"\5\0\x0c\3" + b"\0" * 60)]))
    # --- scanners with a forged Host
    pages = {"portal": b"<html><head><title>Sign in</title></head><form action='/login'>", "json": b"{\"error\":\"not found\"}", "waf": b"<html><h1>Request blocked</h1>", "empty": b"", "app": b"<!doctype html><div id=root></div>"}
    for name, page in pages.items():
        for host, path in {IMDS: PATH, f"{IMDS}:80": "/latest/meta-data/", NAME: GCP_PATH, "[fd00:ec2::254]": PATH, "100.100.100.200": "/latest/meta-data/ram/security-credentials/"}.items():
            status = "403 Forbidden" if name == "waf" else "200 OK"
            tag = host.strip("[]").replace(":", "-")
            yield f"forged-{tag}-{name}", ("imds-*|ssrf-confirmed|any>=high", lambda c, page=page, host=host, path=path, status=status: c.exchange(USER, "203.0.113.10", get(path, host=host), answer(page, "Server: nginx\r\n", "text/html", status)))
    # --- ordinary services with such paths
    for name, path in {"versions": "/latest/meta-data/schema", "books": "/metadata/v1/books/7", "opc": "/opc/v2/status", "token": "/oauth2/token?x=1", "identity": "/metadata/identity/providers", "v1": "/v1/instance/list", "credentials": "/v1/credentials", "latest-user": "/latest/user-data-export", "openstack": "/openstack/latest/health"}.items():
        yield f"own-path-{name}", quiet(get(path), answer(b'{"items":[]}', kind=JSON))
    # --- texts with links
    for name, text in {"https": f"see https://docs.example.com{PATH} for more", "http-name": "see http://docs.example.com/guides/imds for more", "list": f"- https://docs.example.com{PATH}\n- https://b.example/x", "html": f"<p>see <a href='https://docs.example.com{PATH}'>docs</a></p>"}.items():
        def build(c, text=text):
            c.inbound(post(json.dumps({"text": text}), JSON))
            c.time += 3
            c.fetch("aws", SDK)
        yield f"linked-{name}", ("ssrf-*", build)
