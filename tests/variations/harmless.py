"""What only looks like an attack. `must_not` first; an issuance by a known SDK stands before many of them."""
import base64
import json
from urllib.parse import quote

from disguises import FORM, JSON, XML, h2, multipart_post
from wire import *

SDK = "aws-sdk-go-v2/1.24.0 os/linux lang/go#1.21 md/GOOS#linux md/GOARCH#amd64 ft/ec2-imds"
SIGNED = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={KEY_ID}%2F20261124%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20261124T030000Z&X-Amz-Expires=900&X-Amz-Security-Token={quote(SESSION, safe='')}&X-Amz-SignedHeaders=host&X-Amz-Signature={rand(9, 64, '0123456789abcdef')}"
S3 = f"https://acme.s3.us-east-1.amazonaws.com/reports/2026.pdf?{SIGNED}"
S3_LATE = S3.replace("X-Amz-Algorithm=AWS4-HMAC-SHA256&", "") + "&X-Amz-Algorithm=AWS4-HMAC-SHA256"
V2 = f"https://acme.s3.amazonaws.com/a.zip?AWSAccessKeyId={KEY_ID}&Expires=1795510000&Signature=abc%3D&x-amz-security-token={quote(SESSION, safe='')}"
STS = f"https://sts.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&{SIGNED}"
POLICY = base64.b64encode(json.dumps({"expiration": "2026-11-24T12:00:00Z", "conditions": [{"bucket": "acme"}, {"x-amz-security-token": SESSION}]}).encode()).decode()
FIELDS = {"key": "uploads/${filename}", "x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-credential": f"{KEY_ID}/20261124/us-east-1/s3/aws4_request", "x-amz-date": "20261124T030000Z", "x-amz-security-token": SESSION, "policy": POLICY, "x-amz-signature": rand(9, 64, "0123456789abcdef")}
SIGNED_HEADERS = {"Authorization": [f"AWS4-HMAC-SHA256 Credential={KEY_ID}/20261124/us-east-1/sts/aws4_request, SignedHeaders=host;x-amz-date;x-amz-security-token, Signature={rand(9, 64, '0123456789abcdef')}"], "X-Amz-Date": ["20261124T030000Z"], "X-Amz-Security-Token": [SESSION], "Content-Type": ["application/x-www-form-urlencoded"], "Host": ["sts.amazonaws.com"]}
NO_RELAY = "credential-relayed"
QUIET = "any>=medium"
B = lambda text: base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def handed_out(response=None, request=None, client=USER, server=APP, port=8080, provider="aws"):
    """After an issuance to APP: an exchange that carries what is signed with it."""
    def build(capture):
        capture.fetch(provider, SDK)
        capture.time += 30
        capture.exchange(client, server, request or get("/download/1"), response or answer(b"ok"), port)
    return NO_RELAY, build


def sent(request, server=OTHER, port=80, provider="aws"):
    return handed_out(request=request, client=APP, server=server, port=port, provider=provider)


def quiet(request, response=None, server=APP, port=8080, client=USER, must_not=QUIET):
    return must_not, lambda c: c.exchange(client, server, request, response or answer(b"{}", kind=JSON), port)


def reported(body, kind=JSON, target="/v1/traces", headers="", port=4318):
    """A collector takes a report, then reads the same path itself half a minute later."""
    def build(capture):
        capture.exchange(USER, APP, post(body if isinstance(body, (str, bytes)) else json.dumps(body), kind, target, headers), answer(b"{}", kind=JSON), port)
    return QUIET, build


def reported_then_read(body, kind=JSON, target="/v1/traces", port=4318):
    def build(capture):
        capture.exchange(USER, APP, post(body if isinstance(body, (str, bytes)) else json.dumps(body), kind, target), answer(b"{}", kind=JSON), port)
        capture.time += 30
        capture.fetch("aws", SDK)
    return "ssrf-*", build


def cases():
    # --- signed URLs and forms, handed out
    for name, url in {"v4": S3, "v4-late": S3_LATE, "v2": V2, "sts": STS}.items():
        amp = url.replace("&", "&amp;")
        yield f"signed-{name}-json", handed_out(answer(json.dumps({"data": {"download": {"url": url}}}).encode(), kind=JSON))
        yield f"signed-{name}-json-escaped", handed_out(answer(json.dumps({"url": url}).replace("/", "\\/").replace("&", "\\u0026").encode(), kind=JSON))
        yield f"signed-{name}-location", handed_out(answer(b"", f"Location: {url}\r\n", status="302 Found"))
        yield f"signed-{name}-page", handed_out(answer(f"<a href=\"{amp}\">Download</a>".encode(), kind="text/html"))
        yield f"signed-{name}-img", handed_out(answer(f"<img src='{url}'>".encode(), kind="text/html"))
        yield f"signed-{name}-text", handed_out(answer(url.encode()))
        yield f"signed-{name}-xml", handed_out(answer(f"<?xml version='1.0'?><r><u>{amp}</u></r>".encode(), kind=XML))
        yield f"signed-{name}-list", handed_out(answer(json.dumps([url] * 20).encode(), kind=JSON))
        yield f"signed-{name}-query", sent(get("/convert?src=" + quote(url, safe="")))
        yield f"signed-{name}-form", sent(post("src=" + quote(url, safe=""), FORM))
        yield f"signed-{name}-post-json", sent(post(json.dumps({"src": url}), JSON))
        yield f"signed-{name}-mail", handed_out(answer(b"ok"), post(json.dumps({"text": f"Get it: {url} within 15 minutes"}), JSON), APP, OTHER, 80)
        yield f"signed-{name}-base64", sent(post(json.dumps({"iam_request_url": B(url)}), JSON))
        yield f"signed-{name}-eks-token", sent(get("/api/v1/pods", "Authorization: Bearer k8s-aws-v1." + url64(url.encode()) + "\r\n", host="kube.example"))
        yield f"signed-{name}-target", sent(f"GET {url.split('amazonaws.com')[1]} HTTP/1.1\r\nHost: acme.s3.us-east-1.amazonaws.com\r\n\r\n".encode())
        yield f"signed-{name}-referer", sent(get("/a.css", f"Referer: {url}\r\n"))
        yield f"signed-{name}-multipart", sent(multipart_post([('Content-Disposition: form-data; name="url"', url)]))
        yield f"signed-{name}-gzip", handed_out(answer(__import__("gzip").compress(json.dumps({"url": url}).encode()), "Content-Encoding: gzip\r\n", JSON))
        yield f"signed-{name}-late", handed_out(answer(json.dumps({"pad": rand(1, 90_000), "url": url}).encode(), kind=JSON))
    hidden = "".join(f"<input type=\"hidden\" name=\"{k}\" value=\"{v}\"/>" for k, v in FIELDS.items())
    yield "signed-form-page", handed_out(answer(f"<form action=\"https://acme.s3.amazonaws.com/\" method=\"post\">{hidden}</form>".encode(), kind="text/html"))
    for name, field in {"alone": f"<input type=hidden name='X-Amz-Security-Token' value='{SESSION}'>", "turned": f"<input value=\"{SESSION}\" type=\"hidden\" name=\"x-amz-security-token\">", "id": f"<input type=\"hidden\" id=\"t\" name=\"x-amz-security-token\" class=\"form-control\" value=\"{SESSION}\">", "spaces": f"<input type = 'hidden' name = 'X-AMZ-SECURITY-TOKEN' value = '{SESSION}' >"}.items():
        yield f"signed-form-page-{name}", handed_out(answer(f"<html><form action='https://acme.s3.amazonaws.com/' method='post' enctype='multipart/form-data'>{field}<input type=file name=file></form>".encode(), kind="text/html"))
    yield "signed-form-json", handed_out(answer(json.dumps({"url": "https://acme.s3.amazonaws.com/", "fields": FIELDS}).encode(), kind=JSON))
    yield "signed-form-list", handed_out(answer(json.dumps({"fields": [{"name": k, "value": v} for k, v in FIELDS.items()]}).encode(), kind=JSON))
    yield "signed-form-upload", sent(multipart_post([(f'Content-Disposition: form-data; name="{k}"', v) for k, v in FIELDS.items()] + [('Content-Disposition: form-data; name="file"; filename="a"', "x")]))
    yield "signed-cookie", handed_out(answer(b"", "Set-Cookie: dl=" + quote(S3, safe="") + "\r\n"))
    gcs = f"https://storage.googleapis.com/acme/a.pdf?X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=sa%40p.iam.gserviceaccount.com%2F20261124%2Fauto%2Fstorage%2Fgoog4_request&X-Goog-Signature={rand(3, 256, '0123456789abcdef')}"
    sas = f"https://acme.blob.core.windows.net/c/a.pdf?sv=2022-11-02&skoid=7c3e9a2e-0000-4000-8000-aaaaaaaaaaaa&sktid=t&skt=2026-11-24&ske=2026-11-25&sks=b&skv=2022-11-02&sr=b&sp=r&sig={quote(rand(4, 43), safe='')}%3D"
    for provider, url in {"gcp": gcs, "azure": sas}.items():
        yield f"signed-{provider}-json", handed_out(answer(json.dumps({"url": url}).encode(), kind=JSON), provider=provider)
        yield f"signed-{provider}-location", handed_out(answer(b"", f"Location: {url}\r\n", status="302 Found"), provider=provider)
        yield f"signed-{provider}-page", handed_out(answer(f"<a href='{url}'>".encode(), kind="text/html"), provider=provider)
    # --- logins with signed identity requests
    headers_b64, flat = B(json.dumps(SIGNED_HEADERS)), {k: v[0] for k, v in SIGNED_HEADERS.items()}
    body = B("Action=GetCallerIdentity&Version=2011-06-15")
    vault = {"role": "app", "iam_http_request_method": "POST", "iam_request_url": B("https://sts.amazonaws.com/"), "iam_request_body": body, "iam_request_headers": headers_b64}
    yield "login-vault", sent(post(json.dumps(vault), JSON, "/v1/auth/aws/login"), port=8200)
    yield "login-vault-form", sent(post("&".join(f"{k}={quote(v, safe='')}" for k, v in vault.items()), FORM, "/v1/auth/aws/login"), port=8200)
    yield "login-vault-flat", sent(post(json.dumps(vault | {"iam_request_headers": B(json.dumps(flat))}), JSON, "/v1/auth/aws/login"), port=8200)
    yield "login-vault-plain-headers", sent(post(json.dumps(vault | {"iam_request_headers": json.dumps(SIGNED_HEADERS)}), JSON, "/v1/auth/aws/login"), port=8200)
    yield "login-vault-lower", sent(post(json.dumps(vault | {"iam_request_headers": B(json.dumps({k.lower(): v for k, v in flat.items()}))}), JSON, "/v1/auth/aws/login"), port=8200)
    yield "login-consul", sent(post(json.dumps({"AuthMethod": "aws", "BearerToken": json.dumps(vault)}), JSON, "/v1/acl/login"), port=8500)
    yield "login-nomad", sent(post(json.dumps({"AuthMethodName": "aws", "LoginToken": B(json.dumps(vault))}), JSON, "/v1/acl/login"), port=4646)
    yield "login-conjur", sent(post(json.dumps({"host": "sts.amazonaws.com", "x-amz-date": "20261124T030000Z", "x-amz-security-token": SESSION, "x-amz-content-sha256": rand(1, 64, "0123456789abcdef"), "authorization": SIGNED_HEADERS["Authorization"][0]}), "text/plain", "/authn-iam/prod/acme/host%2Fapp/authenticate"))
    yield "login-teleport", sent(post(json.dumps({"token": "iam-token", "sts_identity_request": B(f"POST / HTTP/1.1\r\nHost: sts.amazonaws.com\r\nAuthorization: {flat['Authorization']}\r\nX-Amz-Security-Token: {SESSION}\r\n\r\nAction=GetCallerIdentity")}), JSON, "/v1/webapi/join"))
    yield "login-gcp-wif", sent(post(json.dumps({"grantType": "urn:ietf:params:oauth:grant-type:token-exchange", "subjectToken": quote(json.dumps({"url": "https://sts.us-east-1.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15", "method": "POST", "headers": [{"key": k.lower(), "value": v} for k, v in flat.items()]}), safe="")}), JSON, "/v1/token"))
    yield "login-gcp-wif-form", sent(post("grant_type=x&subject_token=" + quote(quote(json.dumps({"url": "https://sts.us-east-1.amazonaws.com", "method": "POST", "headers": [{"key": k, "value": v} for k, v in flat.items()]}), safe=""), safe=""), FORM, "/v1/token"))
    yield "login-kafka-msk", handed_out(answer(b"ok"), post(json.dumps({"version": "2020_10_22", "host": "b-1.kafka", "action": "kafka-cluster:Connect", "x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-credential": KEY_ID, "x-amz-date": "20261124T030000Z", "x-amz-security-token": SESSION, "x-amz-signedheaders": "host", "x-amz-expires": "900", "x-amz-signature": "00ff"}), JSON), APP, OTHER, 9098)
    msk = json.dumps({"version": "2020_10_22", "host": "b-1.kafka", "action": "kafka-cluster:Connect", "x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-credential": KEY_ID, "x-amz-date": "20261124T030000Z", "x-amz-security-token": SESSION, "x-amz-signedheaders": "host", "x-amz-expires": "900", "x-amz-signature": "00ff"}).encode()
    def msk_raw(c):
        c.fetch("aws", SDK)
        c.talk(APP, OTHER, 9098, [("c", b"\0\0\0\x20\0\x11\0\1\0\0\0\1\0\3abc\0\x0bAWS_MSK_IAM"), ("s", b"\0\0\0\x10\0\0\0\1\0\0\0\0\0\1\0\x0bAWS"), ("c", b"\0\0\4\0\0\x24\0\1\0\0\0\2\0\3abc" + msk)])
    yield "login-kafka-msk-raw", (NO_RELAY, msk_raw)
    rds = f"db.x.us-east-1.rds.amazonaws.com:5432/?Action=connect&DBUser=app&{SIGNED}".encode()
    def rds_raw(c):
        c.fetch("aws", SDK)
        c.talk(APP, OTHER, 5432, [("c", b"\0\0\0\x21\0\3\0\0user\0app\0database\0db\0\0\0\0\0\0\0\0"), ("s", b"R\0\0\0\x08\0\0\0\3"), ("c", b"p" + (len(rds) + 5).to_bytes(4, "big") + rds + b"\0"), ("s", b"R\0\0\0\x08\0\0\0\0")])
    yield "login-rds-iam", (NO_RELAY, rds_raw)
    # --- use of one's own token
    sign = f"Authorization: {flat['Authorization']}\r\nX-Amz-Date: 20261124T030000Z\r\nX-Amz-Security-Token: {SESSION}\r\n"
    yield "own-signed-s3", sent(get("/bucket/key", sign, "minio.internal"))
    yield "own-signed-sqs", sent(post("Action=SendMessage", FORM, "/", sign, "sqs.us-east-1.amazonaws.com"))
    yield "own-signed-long", sent(post(rand(1, 200_000), "application/octet-stream", "/up", sign, "acme.s3.amazonaws.com"))
    yield "own-bearer-gcp", sent(get("/storage/v1/b", f"Authorization: Bearer {GCP_TOKEN}\r\n", "storage.googleapis.com"), provider="gcp")
    yield "own-bearer-azure", sent(get("/secrets/a", f"Authorization: Bearer {AZURE_TOKEN}\r\n", "acme.vault.azure.net"), provider="azure")
    yield "own-bearer-internal", sent(get("/api/v1/entries", f"Authorization: Bearer {AZURE_TOKEN}\r\n", "ledger.internal"), "10.20.0.40", 8080, provider="azure")
    def via_proxy(c):
        c.fetch("azure", "azsdk-net-Identity/1.10")
        request = get("/api/v1/entries", f"Authorization: Bearer {AZURE_TOKEN}\r\n", "ledger.internal")
        c.exchange(APP, "10.20.0.30", request, answer(b"[]"), 80, lambda: c.exchange("10.20.0.30", "10.20.0.40", request, answer(b"[]"), 8080))
    yield "own-bearer-through-gateway", (NO_RELAY, via_proxy)
    # --- records: traces, logs, errors, documents
    attributes = [{"key": "http.url", "value": {"stringValue": URL}}, {"key": "http.method", "value": {"stringValue": "GET"}}, {"key": "url.full", "value": {"stringValue": URL}}, {"key": "net.peer.ip", "value": {"stringValue": IMDS}}]
    span = {"traceId": rand(1, 32, "0123456789abcdef"), "spanId": rand(2, 16, "0123456789abcdef"), "name": "GET", "kind": 3, "startTimeUnixNano": "1795500000000000000", "endTimeUnixNano": "1795500000100000000", "attributes": attributes}
    otlp = {"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "api"}}]}, "scopeSpans": [{"scope": {"name": "http"}, "spans": [span]}]}]}
    records = {
        "otlp": (otlp, "/v1/traces", JSON), "otlp-other-path": (otlp, "/ingest/otlp", JSON), "otlp-logs": ({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": "1", "body": {"stringValue": f"GET {URL} 200"}, "attributes": attributes}]}]}]}, "/v1/logs", JSON), "otlp-metrics": ({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "http.client.duration", "histogram": {"dataPoints": [{"attributes": attributes}]}}]}]}]}, "/v1/metrics", JSON),
        "zipkin": ([{"traceId": "a1", "id": "b2", "kind": "CLIENT", "name": "get", "timestamp": 1, "duration": 2, "localEndpoint": {"serviceName": "api"}, "remoteEndpoint": {"ipv4": IMDS, "port": 80}, "tags": {"http.url": URL, "http.path": PATH}}], "/api/v2/spans", JSON), "zipkin-v1": ([{"traceId": "a1", "id": "b2", "name": "get", "annotations": [{"timestamp": 1, "value": "cs"}], "binaryAnnotations": [{"key": "http.url", "value": URL}]}], "/api/v1/spans", JSON),
        "jaeger": ({"batch": {"process": {"serviceName": "api"}, "spans": [{"traceIdLow": 1, "spanId": 2, "operationName": "GET", "tags": [{"key": "http.url", "vStr": URL}]}]}}, "/api/traces?format=jaeger", JSON), "datadog-traces": ([[{"trace_id": 1, "span_id": 2, "service": "api", "resource": f"GET {PATH}", "name": "http.request", "meta": {"http.url": URL, "out.host": IMDS}, "start": 1, "duration": 2}]], "/v0.4/traces", JSON), "datadog-logs": ([{"ddsource": "app", "service": "api", "hostname": "h", "message": f"GET {URL}", "http": {"url": URL}}], "/api/v2/logs", JSON), "datadog-series": ({"series": [{"metric": "http", "points": [[1, 2]], "tags": [f"url:{URL}"]}]}, "/api/v1/series", JSON),
        "newrelic": ([{"common": {"attributes": {"service": "api"}}, "spans": [{"id": "a", "trace.id": "b", "attributes": {"http.url": URL, "duration.ms": 1}}]}], "/trace/v1", JSON), "xray": ({"TraceSegmentDocuments": [json.dumps({"trace_id": "1-2-3", "id": "a", "name": "api", "subsegments": [{"namespace": "remote", "http": {"request": {"url": URL}}}]})]}, "/TraceSegments", JSON), "skywalking": ([{"traceId": "a", "traceSegmentId": "b", "service": "s", "spans": [{"operationName": PATH, "peer": f"{IMDS}:80", "tags": [{"key": "url", "value": URL}]}]}], "/v3/segments", JSON), "honeycomb": ([{"time": "2026-11-24T03:00:00Z", "data": {"name": "GET", "trace.span_id": "a", "http.url": URL}}], "/1/batch/api", JSON), "elastic-apm": (json.dumps({"metadata": {"service": {"name": "api"}}}) + "\n" + json.dumps({"span": {"id": "a", "trace_id": "b", "name": "GET", "context": {"http": {"url": URL}, "destination": {"address": IMDS}}}}) + "\n", "/intake/v2/events", "application/x-ndjson"),
        "sentry-store": ({"event_id": "a" * 32, "platform": "python", "timestamp": 1, "breadcrumbs": {"values": [{"type": "http", "category": "httplib", "data": {"url": URL, "method": "GET"}}]}, "exception": {"values": [{"type": "Timeout", "value": URL}]}}, "/api/42/store/", JSON), "sentry-envelope": (json.dumps({"event_id": "a" * 32, "dsn": "http://k@s/1"}) + "\n" + json.dumps({"type": "event"}) + "\n" + json.dumps({"breadcrumbs": [{"data": {"url": URL}}]}) + "\n", "/api/42/envelope/", "application/x-sentry-envelope"), "bugsnag": ({"payloadVersion": "5", "notifier": {"name": "B"}, "events": [{"exceptions": [{"errorClass": "E", "message": URL}], "breadcrumbs": [{"type": "request", "metaData": {"url": URL}}]}]}, "/", JSON), "rollbar": ({"data": {"environment": "p", "body": {"trace_chain": [], "telemetry": [{"body": {"url": URL}}]}, "notifier": {"name": "pyrollbar"}}}, "/api/1/item/", JSON), "airbrake": ({"notifier": {"name": "a"}, "errors": [{"type": "E", "message": URL, "backtrace": []}], "context": {"url": URL}}, "/api/v3/projects/1/notices", JSON),
        "hec": ({"time": 1, "host": "h", "source": "app", "sourcetype": "_json", "event": {"url": URL, "status": 200}}, "/services/collector/event", JSON), "hec-batch": (json.dumps({"event": {"url": URL}}) + json.dumps({"event": {"url": URL}}), "/services/collector", JSON), "hec-raw": (f"2026-11-24 GET {URL} 200\n", "/services/collector/raw", "text/plain"), "loki": ({"streams": [{"stream": {"app": "api"}, "values": [["1795500000000000000", f"url={URL}"], ["1795500000000000001", URL]]}]}, "/loki/api/v1/push", JSON), "elastic-bulk": (json.dumps({"index": {"_index": "logs"}}) + "\n" + json.dumps({"@timestamp": "2026-11-24T03:00:00Z", "url": {"full": URL}}) + "\n", "/_bulk", "application/x-ndjson"), "elastic-bulk-create": (json.dumps({"create": {}}) + "\n" + json.dumps({"request_url": URL}) + "\n", "/logs-app/_bulk", "application/x-ndjson"), "elastic-doc": ({"request_url": URL}, "/logs/_doc", JSON), "elastic-doc-id": ({"callback": URL}, "/inventory/_doc/17", JSON), "elastic-update": ({"doc": {"url": URL}}, "/inventory/_update/17", JSON), "elastic-search": ({"query": {"term": {"url.full": URL}}}, "/logs/_search", JSON), "opensearch-sql": ({"query": f"select * from l where url='{URL}'"}, "/_plugins/_sql", JSON), "solr": ([{"id": "1", "url_s": URL}], "/solr/core/update/json/docs", JSON), "meilisearch": ([{"id": 1, "url": URL}], "/indexes/l/documents", JSON), "influx": (f"http,url={URL} value=1 1795500000000000000\n", "/write?db=m", "text/plain"), "victorialogs": (json.dumps({"_msg": URL, "_time": "2026"}) + "\n", "/insert/jsonline", "application/stream+json"), "fluentd": ({"log": f"GET {URL}", "url": URL, "container_id": "a", "kubernetes": {"pod_name": "p"}}, "/app.log", JSON), "fluentbit": ([{"date": 1.0, "log": URL, "stream": "stdout"}], "/", JSON), "vector": ([{"message": URL, "timestamp": "2026-11-24T03:00:00Z", "source_type": "file", "host": "h"}], "/", JSON), "graylog": ({"version": "1.1", "host": "h", "short_message": URL, "_url": URL}, "/gelf", JSON), "logstash": ({"@timestamp": "2026-11-24T03:00:00Z", "@version": "1", "url": URL, "message": "GET"}, "/", JSON), "seq": ({"@t": "2026-11-24T03:00:00Z", "@mt": "GET {Url}", "Url": URL}, "/api/events/raw", "application/vnd.serilog.clef"), "sumo": (json.dumps({"ts": 1, "url": URL, "level": "info"}) + "\n", "/receiver/v1/http/abc", JSON), "papertrail": (f"<13>1 2026 h app - - - GET {URL}", "/v1/log/bulk", "application/octet-stream"),
        "har": ({"log": {"version": "1.2", "creator": {"name": "x"}, "entries": [{"startedDateTime": "x", "request": {"method": "GET", "url": URL}}]}}, "/har", JSON), "csp": ({"csp-report": {"document-uri": "http://a.example/", "violated-directive": "connect-src", "blocked-uri": URL}}, "/csp-report", "application/csp-report"), "reports": ([{"type": "network-error", "age": 1, "url": URL, "user_agent": "m", "body": {"phase": "application"}}], "/reports", "application/reports+json"), "cloudevents": ({"specversion": "1.0", "type": "com.example.request.logged", "source": "/api", "id": "1", "time": "2026-11-24T03:00:00Z", "data": {"url": URL}}, "/", "application/cloudevents+json"), "eve": ({"timestamp": "2026", "flow_id": 1, "event_type": "http", "src_ip": "10.0.0.1", "http": {"hostname": IMDS, "url": PATH}}, "/eve", JSON), "zeek": ({"ts": 1.0, "uid": "C1", "id.orig_h": "10.0.0.1", "id.resp_h": IMDS, "host": IMDS, "uri": PATH, "method": "GET"}, "/zeek", JSON), "ecs": ([{"@timestamp": "2026-11-24T03:00:00Z", "ecs": {"version": "8.11"}, "event": {"category": ["network"]}, "url": {"full": URL, "domain": IMDS, "path": PATH}, "destination": {"ip": IMDS}}], "/ingest", JSON), "ocsf": ({"class_uid": 4002, "metadata": {"version": "1.1.0"}, "http_request": {"url": {"url_string": URL, "hostname": IMDS, "path": PATH}}, "time": 1}, "/v1/ocsf", JSON), "cloudtrail": ({"Records": [{"eventVersion": "1.08", "eventSource": "ec2.amazonaws.com", "eventName": "RunInstances", "requestParameters": {"userData": URL}}]}, "/ct", JSON), "falco": ({"output": f"curl {URL}", "priority": "Notice", "rule": "Contact metadata", "time": "2026-11-24T03:00:00Z", "output_fields": {"proc.cmdline": f"curl {URL}", "fd.name": f"10.0.0.1:4->{IMDS}:80"}}, "/", JSON), "alertmanager": ([{"labels": {"alertname": "x", "instance": f"{IMDS}:80"}, "annotations": {"url": URL}, "generatorURL": "http://p/g", "startsAt": "2026-11-24T03:00:00Z"}], "/api/v2/alerts", JSON), "faro": ({"meta": {"app": {"name": "a"}}, "logs": [{"message": URL, "level": "error", "timestamp": "2026"}]}, "/collect", JSON), "imds-alert-webhook": ({"text": f"imdswatch: 10.0.0.1 read {URL}", "attachments": [{"title_link": "https://wiki", "text": URL}]}, "/services/T/B/x", JSON),
    }
    for name, (body, target, kind) in records.items():
        yield f"record-{name}", reported(body, kind, target)
        yield f"record-{name}-then-read", reported_then_read(body, kind, target)
        raw = body if isinstance(body, str) else json.dumps(body)
        yield f"record-{name}-gzip", reported(__import__("gzip").compress(raw.encode()), kind, target, "Content-Encoding: gzip\r\n")
        yield f"record-{name}-many", reported(raw.replace(URL, URL, 1) if not raw.startswith("[") else json.dumps(json.loads(raw) * 40), kind, target)
    proto_span = b"\x0a\x20" + rand(1, 32).encode() + b"\x52" + bytes([len(URL) + 14]) + b"\x0a\x08http.url\x12" + bytes([len(URL) + 2]) + b"\x0a" + bytes([len(URL)]) + URL.encode()
    yield "record-otlp-protobuf", reported(proto_span, "application/x-protobuf", "/v1/traces")
    yield "record-otlp-grpc", (QUIET, h2([(":method", "POST"), (":scheme", "http"), (":path", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"), (":authority", "otel:4317"), ("content-type", "application/grpc")], b"\0" + len(proto_span).to_bytes(4, "big") + proto_span, [(":status", "200"), ("content-type", "application/grpc")], b"\0\0\0\0\0", meanwhile=lambda: None, port=4317))
    yield "record-loki-grpc-like", reported(b"\x0a\x30\x0a\x0b{app=\"api\"}\x12\x21" + URL.encode(), "application/x-protobuf", "/loki/api/v1/push")
    yield "record-datadog-msgpack", reported(b"\x91\x91\x83\xa7service\xa3api\xa4name\xacweb.request\xa4meta\x81\xa8http.url\xd9" + bytes([len(URL)]) + URL.encode(), "application/msgpack", "/v0.4/traces")
    # --- configuration being stored
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": "AWS_EC2_METADATA_SERVICE_ENDPOINT", "value": f"http://{IMDS}"}, {"name": "M", "value": URL}]}]}}
    yield "config-pod", quiet(post(json.dumps(pod), JSON, "/api/v1/namespaces/d/pods"))
    yield "config-pod-yaml", quiet(post(f"apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - args: ['{URL}']\n", "application/yaml", "/api/v1/namespaces/d/pods"))
    yield "config-networkpolicy", quiet(post(json.dumps({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": [f"{IMDS}/32"]}}]}]}}), JSON, "/apis/networking.k8s.io/v1/namespaces/d/networkpolicies"))
    yield "config-patch", quiet(post(json.dumps([{"op": "replace", "path": "/spec/template/spec/containers/0/env/0", "value": {"name": "X", "value": URL}}]), "application/json-patch+json", "/apis/apps/v1/namespaces/d/deployments/x"))
    yield "config-ecs", quiet(post(json.dumps({"family": "web", "containerDefinitions": [{"environment": [{"name": "METADATA_URL", "value": URL}]}]}), "application/x-amz-json-1.1", "/"))
    yield "config-terraform", quiet(post(json.dumps({"version": 4, "terraform_version": "1.6", "resources": [{"instances": [{"attributes": {"user_data": f"curl {URL}"}}]}]}), JSON, "/state/prod"))
    yield "config-docker", quiet(post(json.dumps({"Image": "x", "Env": [f"AWS_METADATA={URL}"], "Cmd": ["run"]}), JSON, "/v1.43/containers/create"))
    yield "config-consul", quiet(post(json.dumps({"Name": "metadata", "Address": IMDS, "Port": 80, "Check": {"HTTP": f"http://{IMDS}/", "Interval": "10s"}}), JSON, "/v1/agent/service/register"), must_not="any>=high")
    # --- inventories and prose
    for name, target in {"hosts": f"/api/hosts/{IMDS}", "hosts-trailing": f"/api/hosts/{IMDS}/", "history": f"/api/v1/ip/{IMDS}/history", "whois": f"/whois/{IMDS}", "query": f"/search?q={IMDS}", "ip": f"/lookup?ip={IMDS}", "geo": f"/json/{IMDS}?fields=country", "shodan": f"/shodan/host/{IMDS}?key=abc", "vt": f"/api/v3/ip_addresses/{IMDS}/resolutions", "netbox": f"/api/ipam/ip-addresses/?address={IMDS}", "cidr": f"/api/prefixes/{IMDS}/32", "ports": f"/api/hosts/{IMDS}/ports/80", "prometheus": f"/api/v1/query?query=up%7Binstance%3D%22{IMDS}%3A80%22%7D", "grafana": f"/d/abc/hosts?var-host={IMDS}&from=now-1h", "kibana": f"/app/discover#/?q=destination.ip:{IMDS}", "ripe": f"/data/network-info/data.json?resource={IMDS}", "filter": f"/api/flows?filter[dst]={IMDS}&filter[port]=80", "doc": "/docs/ec2/latest/meta-data.html", "blog": "/blog/how-169.254.169.254-works", "static": f"/img/{IMDS}.png", "tag": f"/tags/{IMDS}"}.items():
        yield f"lookup-{name}", quiet(get(target))
    yield "lookup-json", quiet(post(json.dumps({"ip": IMDS}), JSON, "/api/lookup"))
    yield "lookup-json-port", quiet(post(json.dumps({"address": IMDS, "port": 80, "protocol": "tcp"}), JSON, "/api/firewall/rules"))
    yield "lookup-json-host-path", quiet(post(json.dumps({"host": IMDS, "path": "/var/log/syslog"}), JSON, "/api/logs"))
    yield "lookup-list", quiet(post(json.dumps({"ips": [IMDS, "10.0.0.1", "8.8.8.8"]}), JSON, "/bulk"))
    yield "lookup-graphql", quiet(post(json.dumps({"query": "query($ip:String!){host(ip:$ip){name}}", "variables": {"ip": IMDS}}), JSON, "/graphql"))
    yield "prose-json", quiet(post(json.dumps({"comment": f"Do not let pods reach {URL} please"}), JSON, "/api/comments"))
    yield "prose-form", quiet(post("comment=" + quote(f"I read that curl {URL} gives keys"), FORM, "/comments"))
    yield "prose-markdown", quiet(post(json.dumps({"body": f"# IMDS\n\nRun `curl {URL}` or see [docs](https://docs.example/)"}), JSON, "/wiki/pages"))
    yield "prose-diff", quiet(post(f"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-url = {URL}\n+url = x\n", "text/x-patch", "/review"))
    yield "prose-link", quiet(post(json.dumps({"html": f"<p>See <a href='{URL}'>this</a></p>"}), JSON, "/api/posts"))
    yield "prose-link-page", quiet(post("html=" + quote(f"<p>See <a href='{URL}'>this</a> and <a href='http://a.example/'>that</a></p>"), FORM, "/posts"))
    yield "answer-docs", quiet(get("/docs/imds"), answer(f"<html><code>curl {URL}</code><a href='{URL}'>x</a></html>".encode(), kind="text/html"))
    yield "host-without-path-json", quiet(post(json.dumps({"endpoint": f"http://{IMDS}"}), JSON, "/settings"))
    yield "host-slash-json", quiet(post(json.dumps({"endpoint": f"http://{IMDS}/"}), JSON, "/settings"))
    yield "referer", quiet(get("/", f"Referer: {URL}\r\n"))
    yield "cookie-url", quiet(get("/", f"Cookie: last={quote(URL)}\r\n"))
    yield "agent-url", quiet(f"GET / HTTP/1.1\r\nHost: a.example\r\nUser-Agent: bot (+{URL})\r\n\r\n".encode())
    yield "forwarded", quiet(get("/", f"X-Forwarded-For: {IMDS}\r\nX-Real-IP: {IMDS}\r\nForwarded: for={IMDS}\r\n"))
    yield "origin", quiet(get("/", f"Origin: http://{IMDS}\r\n"))
    # --- services with such names
    def lookup_then_get(host, ip_text, path="/api/items", body=b"[]"):
        def build(c):
            q = b"".join(bytes([len(l)]) + l.encode() for l in host.split(".")) + b"\0\0\1\0\1"
            c.datagram(APP, "10.20.0.2", 40001, 53, b"\0\7\1\0\0\1\0\0\0\0\0\0" + q)
            c.datagram("10.20.0.2", APP, 53, 40001, b"\0\7\x81\x80\0\1\0\1\0\0\0\0" + q + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + address(ip_text))
            c.exchange(APP, ip_text, get(path, host=host), answer(body, kind=JSON), 80)
        return QUIET, build
    for host in ("metadata", "data-server", "instance-data", "metadata.default.svc.cluster.local", "metadata-service.internal", "metadata.example.com", "imds.example.com", "metadata.google.internal.example.com"):
        yield f"named-{host}", lookup_then_get(host, "10.96.4.20")
        yield f"named-{host}-latest", lookup_then_get(host, "10.96.4.20", "/latest/items")
        yield f"named-{host}-metadata", lookup_then_get(host, "10.96.4.20", "/metadata/books/1")
        yield f"named-{host}-put", (QUIET, lambda c, host=host: c.exchange(APP, "10.96.4.20", post(json.dumps({"a": 1}), JSON, "/v1/things", host=host), answer(b"{}", kind=JSON), 8080))
    yield "oauth-token", quiet(post("grant_type=client_credentials&resource=x", FORM, "/oauth2/token"), answer(AZURE.encode(), kind=JSON))
    yield "latest-api", quiet(get("/latest/meta-data/index.json"), answer(b"{}", kind=JSON))
    # --- sidecars and agents
    go = "GET /latest/meta-data/iam/security-credentials/{} HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: " + SDK + "\r\nX-Aws-Ec2-Metadata-Token: AQAEAExampleToken123456789==\r\nAccept-Encoding: gzip\r\n{}\r\n"
    token = "PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: " + SDK + "\r\nContent-Length: 0\r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: 300\r\nAccept-Encoding: gzip\r\n{}\r\n"
    envoy = "x-forwarded-proto: http\r\nx-request-id: 5f0d4a3c-0000-4000-8000-000000000000\r\nx-envoy-attempt-count: 1\r\n"
    linkerd = "l5d-dst-canonical: 169.254.169.254:80\r\n"

    def steps(c, client, server, port, more="", inner=None):
        tok = answer(b"AQAEAExampleToken123456789==", "Server: EC2ws\r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: 300\r\n")
        for request, response in ((token, tok), (go.replace("{}", "", 1), answer(b"demo", "Server: EC2ws\r\n")), (go.replace("{}", "demo", 1), answer(AWS.encode(), "Server: EC2ws\r\n"))):
            meanwhile = inner and (lambda request=request, response=response: inner(request, response))
            c.exchange(client, server, request.replace("{}", more).encode(), response, port, meanwhile)
    for name, more in {"envoy": envoy, "linkerd": linkerd, "plain": ""}.items():
        yield f"sidecar-{name}", ("ssrf-*", lambda c, more=more: steps(c, APP, "127.0.0.1", 15001, "", lambda q, r: c.exchange(APP, IMDS, q.replace("{}", more).encode(), r)))
        yield f"sidecar-{name}-gateway", ("ssrf-*", lambda c, more=more: steps(c, APP, "10.20.0.77", 15001, "", lambda q, r: c.exchange("10.20.0.77", IMDS, q.replace("{}", more).encode(), r)))
    for name, port in {"kube2iam": 8181, "kiam": 8181, "eks-agent": 80, "other": 18080}.items():
        yield f"agent-{name}-{port}", ("ssrf-*", lambda c, port=port: steps(c, APP, "10.20.0.1", port))
        yield f"agent-{name}-{port}-reads", ("ssrf-*", lambda c, port=port: steps(c, APP, "10.20.0.1", port, "", lambda q, r: c.exchange("10.20.0.1", IMDS, q.replace("{}", "").encode(), r)))
    gke = f"GET {GCP_PATH} HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: gcloud-golang/0.1\r\nMetadata-Flavor: Google\r\nAccept-Encoding: gzip\r\n\r\n".encode()
    yield "agent-gke", ("ssrf-*", lambda c: c.exchange(APP, "10.20.0.1", gke, answer(GCP.encode(), "Metadata-Flavor: Google\r\nServer: GKE Metadata Server\r\n", JSON), 988))
    # --- probes, scanners, portals
    def probe(client, server, port, times=4, answered=True):
        def build(c):
            for _ in range(times):
                c.port += 1
                c.segment(client, server, c.port, port, 1000, 0, SYN)
                if answered:
                    c.segment(server, client, port, c.port, 5000, 1001, SYN | ACK)
                    c.segment(client, server, c.port, port, 1001, 5001, ACK)
                    c.segment(client, server, c.port, port, 1001, 5001, FIN | ACK)
                    c.segment(server, client, port, c.port, 5001, 1002, FIN | ACK)
                c.time += 5
        return "any", build
    yield "probe-tcp", probe("168.63.129.16", APP, 8443)
    yield "probe-tcp-80", probe("168.63.129.16", APP, 80)
    yield "probe-tcp-unanswered", probe("168.63.129.16", APP, 9000, answered=False)
    yield "probe-http", ("any", lambda c: c.exchange("168.63.129.16", APP, get("/healthz", host=APP), answer(b"ok"), 8080))
    yield "probe-http-503", ("any", lambda c: c.exchange("168.63.129.16", APP, get("/", host=f"{APP}:80"), answer(b"no", status="503 Service Unavailable"), 80))
    for name, status in {"404": "404 Not Found", "200": "200 OK", "400": "400 Bad Request", "301": "301 Moved Permanently", "421": "421 Misdirected Request"}.items():
        yield f"scanner-{name}", ("imds-*|ssrf-confirmed|any>=high", lambda c, status=status: c.exchange(USER, "203.0.113.10", get(PATH, host=IMDS), answer(b"<html><title>nginx</title></html>", "Server: nginx\r\n", "text/html", status)))
        yield f"scanner-gcp-{name}", ("imds-*|ssrf-confirmed|any>=high", lambda c, status=status: c.exchange(USER, "203.0.113.10", get(GCP_PATH, "Metadata-Flavor: Google\r\n", host="metadata.google.internal"), answer(b"<html><title>nginx</title></html>", "Server: nginx\r\n", "text/html", status)))
    for name, location in {"login": f"http://{IMDS}/login", "captive": "http://captive.example/fw?url=http://a.example/", "fw": f"https://{IMDS}:4443/webauth/login.html"}.items():
        yield f"portal-{name}", quiet(get("/", host="news.example"), answer(b"", f"Location: {location}\r\n", status="302 Found"), must_not="any>=high")
    portal = b"<html><body>Web Authentication required. <a href=\"http://1.1.1.1/login\">Login</a><form method=POST><input name=password></form></body></html>"
    yield "portal-page", ("imds-credential-issued|imds-user-data|imds-identity", lambda c: c.exchange(APP, IMDS, get(PATH, host=IMDS), answer(portal, kind="text/html")))
    yield "portal-user-data", ("imds-credential-issued|imds-user-data>=high", lambda c: c.exchange(APP, IMDS, get("/latest/user-data", host=IMDS), answer(portal, kind="text/html")))
    # --- links that end alike
    def alike(url):
        def build(c):
            c.inbound(post(json.dumps({"text": f"see {url} for more"}), JSON))
            c.time += 3
            c.fetch("aws", SDK)
        return "ssrf-confirmed", build
    yield "alike-prefix", alike(f"https://docs.example.com{PATH}")
    yield "alike-deeper", alike(f"https://docs.example.com/en{PATH}")
    yield "alike-tail", alike("https://docs.example.com/security-credentials/demo")
    yield "alike-last", alike("https://docs.example.com/demo")
    # --- usual readers
    def crawl(agent, leaves, missing=()):
        def build(c):
            for leaf in leaves:
                ok = leaf not in missing
                c.exchange(APP, IMDS, f"GET /latest/meta-data/{leaf} HTTP/1.1\r\nHost: {IMDS}\r\nUser-Agent: {agent}\r\nAccept: */*\r\n\r\n".encode(), answer(b"value" if ok else b"", "Server: EC2ws\r\n", status="200 OK" if ok else "404 Not Found"))
        return "imds-enumeration>=medium", build
    leaves = ["ami-id", "ami-launch-index", "ami-manifest-path", "ancestor-ami-ids", "block-device-mapping/", "instance-id", "instance-type", "local-hostname", "local-ipv4", "kernel-id", "placement/availability-zone", "product-codes", "public-hostname", "public-ipv4", "public-keys/", "ramdisk-id", "reservation-id", "security-groups"]
    yield "crawl-ec2-metadata", crawl("curl/7.88.1", leaves, ("kernel-id", "ramdisk-id", "product-codes", "ancestor-ami-ids"))
    yield "crawl-facter", crawl("Facter/4.5.0", ["", *leaves])
    yield "crawl-ansible", crawl("ansible-httpget", ["", *leaves, "network/", "network/interfaces/", "network/interfaces/macs/", "services/", "services/domain", "metrics/", "events/"])
