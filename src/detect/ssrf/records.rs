//! Documents that report what happened, and configuration being stored: what they name, nobody fetches for them (contract
//! section 4, "Records"). Known by their collector's path or by their shape.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// Keys, with their quotes, of which a document with all of one row is a record.
const SHAPES: &[&[&str]] = &[
    // OpenTelemetry
    &["\"resourceSpans\""],
    &["\"resourceLogs\""],
    &["\"resourceMetrics\""],
    // Zipkin and Jaeger
    &["\"traceId\"", "\"tags\""],
    &["\"traceId\"", "\"localEndpoint\""],
    &["\"traceId\"", "\"annotations\""],
    &["\"traceID\"", "\"spanID\""],
    &["\"trace_id\"", "\"span_id\""],
    &["\"trace_id\"", "\"subsegments\""],
    &["\\\"trace_id\\\"", "\\\"id\\\""],
    &["\"traceSegmentId\""],
    &["\"trace.id\""],
    &["\"trace.span_id\""],
    &["\"trace.trace_id\""],
    &["\"TraceSegmentDocuments\""],
    // error reports
    &["\"breadcrumbs\""],
    &["\"stacktrace\"", "\"exception\""],
    &["\"notifier\"", "\"errors\""],
    &["\"notifier\"", "\"events\""],
    &["\"notifier\"", "\"telemetry\""],
    &["\"csp-report\""],
    &["\"age\"", "\"user_agent\"", "\"type\""],
    // events of the Elastic Common Schema, ours among them
    &["\"@timestamp\""],
    &["\"event\"", "\"kind\""],
    &["\"event.kind\""],
    &["\"url.full\""],
    &["\"url.original\""],
    &["\"source.ip\""],
    &["\"http.request.method\""],
    &["\"notifier\"", "\"error\""],
    &["\"occurredOn\""],
    &["\"runs\"", "\"tool\""],
    // what users of an application did
    &["\"messageId\"", "\"timestamp\""],
    &["\"distinct_id\""],
    &["\"event_properties\""],
    &["\"$current_url\""],
    &["\"session\"", "\"resource\"", "\"date\""],
    // log collectors
    &["\"alert_type\""],
    &["\"logEntries\""],
    &["\"_time\""],
    &["\"lines\"", "\"line\""],
    &["\"timestamp\"", "\"attributes\""],
    &["\"spans\""],
    &["\"baseData\""],
    &["\"StreamName\"", "\"Records\""],
    &["\"requestId\"", "\"records\""],
    &["\"sourcetype\""],
    &["\"short_message\"", "\"version\""],
    &["\"ddsource\""],
    &["\"ddtags\""],
    &["\"streams\"", "\"stream\"", "\"values\""],
    &["\"series\"", "\"metric\"", "\"points\""],
    &["\"log\"", "\"container_id\""],
    &["\"log\"", "\"kubernetes\""],
    &["\"log\"", "\"date\""],
    &["\"log\"", "\"stream\""],
    &["\"message\"", "\"timestamp\""],
    &["\"message\"", "\"source_type\""],
    &["\"msg\"", "\"level\""],
    &["\"message\"", "\"level\""],
    &["\"ts\"", "\"level\""],
    &["\"time\"", "\"level\""],
    &["\"_msg\""],
    &["\"@t\"", "\"@m"],
    &["\"log\"", "\"entries\"", "\"request\""],
    &["\"resource\"", "\"logName\""],
    &["\"textPayload\""],
    &["\"jsonPayload\""],
    &["\"specversion\"", "\"source\"", "\"type\""],
    &["\"class_uid\"", "\"metadata\""],
    &["\"labels\"", "\"annotations\"", "\"startsAt\""],
    &["\"alertname\""],
    &["\"logEvents\""],
    // messages to people
    &["\"attachments\"", "\"title_link\""],
    &["\"attachments\"", "\"fallback\""],
    &["\"blocks\"", "\"section\""],
    &["\"routing_key\"", "\"event_action\""],
    &["\"alias\"", "\"priority\""],
    &["\"embeds\"", "\"content\""],
    &["\"MessageCard\""],
    &["\"AdaptiveCard\""],
    // sensors
    &["\"event_type\"", "\"flow_id\""],
    &["\"id.orig_h\""],
    &["\"output_fields\"", "\"rule\""],
    &["\"eventSource\"", "\"eventName\""],
    &["\"detail-type\""],
    &["\"commits\"", "\"repository\""],
    // configuration of orchestrators
    &["\"apiVersion\"", "\"spec\""],
    &["\"apiVersion\"", "\"kind\""],
    &["\"op\"", "\"path\"", "\"value\""],
    &["\"terraform_version\""],
];

/// Lines, of which a document with all of one row is a record.
const LINES: &[&[&str]] = &[&["apiVersion:", "kind:"]];

/// Tags of reports in XML.
const REPORTS: &[&[&str]] =
    &[&["<testsuite"], &["<NessusClientData"], &["<nmaprun"], &["<OWASPZAPReport"], &["<issues burpVersion"]];

/// Paths of collectors and stores: a whole segment or several.
const COLLECTORS: &[&str] = &[
    "/_bulk",
    "/_create",
    "/_doc",
    "/_update",
    "/v1/traces",
    "/v1/logs",
    "/v1/metrics",
    "/api/v1/spans",
    "/api/v2/spans",
    "/api/traces",
    "/services/collector",
    "/loki/api/v1/push",
    "/api/v2/logs",
    "/v1/input",
    "/intake/v2/events",
    "/gelf",
    "/_search",
    "/_msearch",
    "/_plugins/_sql",
    "/update/json/docs",
    "/TraceSegments",
    "/v3/segments",
    "/v0.4/traces",
    "/v0.5/traces",
    "/api/v1/series",
    "/api/v2/series",
    "/api/v1/item",
    "/trace/v1",
    "/log/v1",
    "/insert/jsonline",
    "/receiver/v1/http",
    "/v1/log/bulk",
    "/csp-report",
    "/v2/write",
    "/api/v2/rum",
    "/metrics/job",
    "/services/search",
];

/// Whole paths of collectors.
const ENDPOINTS: &[&str] = &["/write", "/collect", "/ingest", "/telemetry"];

/// How paths of collectors in gRPC begin.
const SERVICES: &[&str] = &["/opentelemetry.proto.collector.", "/jaeger.api_v2.CollectorService/", "/skywalking.v3."];

/// Bytes in which a document shows its shape.
const HEAD: usize = 16 * 1024;

/// All words of the shapes at once, and which of them each shape needs, as bits.
struct Words {
    finder: AhoCorasick,
    shapes: Vec<Bits>,
    lines: Vec<Bits>,
    reports: Vec<Bits>,
}

/// A bit for each word.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Bits([u128; 2]);

impl Bits {
    fn set(&mut self, at: usize) {
        if let Some(half) = self.0.get_mut(at / 128) {
            *half |= 1 << (at % 128);
        }
    }

    fn holds(self, all: Self) -> bool {
        self.0.iter().zip(all.0).all(|(own, all)| own & all == all)
    }
}

static WORDS: LazyLock<Option<Words>> = LazyLock::new(|| {
    let mut words: Vec<&str> =
        SHAPES.iter().chain(LINES).chain(REPORTS).flat_map(|shape| shape.iter().copied()).collect();
    words.sort_unstable();
    words.dedup();
    let shapes = SHAPES.iter().map(|shape| bits(&words, shape)).collect();
    let lines = LINES.iter().map(|shape| bits(&words, shape)).collect();
    let reports = REPORTS.iter().map(|shape| bits(&words, shape)).collect();
    Some(Words { finder: AhoCorasick::new(&words).ok()?, shapes, lines, reports })
});

/// The words of a shape, a bit for each.
fn bits(words: &[&str], shape: &[&str]) -> Bits {
    let mut all = Bits::default();
    shape.iter().filter_map(|word| words.iter().position(|known| known == word)).for_each(|at| all.set(at));
    all
}

impl Words {
    fn of(&self, text: &[u8]) -> Bits {
        let mut all = Bits::default();
        self.finder.find_overlapping_iter(text).for_each(|found| all.set(found.pattern().as_usize()));
        all
    }
}

/// Whether a body is a record. Asked only of bodies in which something was found.
pub(super) fn is_record(content_type: &[u8], target: &[u8], body: &[u8]) -> bool {
    let path = target.split(|b| *b == b'?').next().unwrap_or_default();
    let content_type = content_type.to_ascii_lowercase();
    let is_collected = memchr::memmem::find(&content_type, b"ndjson").is_some()
        || memchr::memmem::find(&content_type, b"x-sentry-envelope").is_some()
        || COLLECTORS.iter().any(|known| has_segments(path, known.as_bytes()))
        || ENDPOINTS.iter().any(|known| path == known.as_bytes())
        || SERVICES.iter().any(|known| path.starts_with(known.as_bytes()))
        || is_documents(path)
        || is_incoming_webhook(path)
        || memchr::memmem::find(target, b"query=INSERT%20INTO").is_some()
        || is_error_store(path);
    let head = body.get(..HEAD).unwrap_or(body);
    let Some(words) = WORDS.as_ref() else { return is_collected };
    let has_one = |shapes: &[Bits]| {
        let found = words.of(head);
        shapes.iter().any(|shape| found.holds(*shape))
    };
    match head.trim_ascii_start().first() {
        _ if is_collected => true,
        Some(b'{' | b'[') => has_one(&words.shapes),
        Some(b'a'..=b'z' | b'-' | b'#') => has_one(&words.lines),
        Some(b'<') => has_one(&words.reports),
        _ => false,
    }
}

/// Whether a path has `segments` as whole segments of it.
fn has_segments(path: &[u8], segments: &[u8]) -> bool {
    let ends = |at: usize| matches!(path.get(at.saturating_add(segments.len())), None | Some(b'/'));
    memchr::memmem::find_iter(path, segments).any(ends)
}

/// `/indexes/NAME/documents` and its like, where a search index takes them.
fn is_documents(path: &[u8]) -> bool {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    path.starts_with(b"/indexes/") && path.ends_with(b"/documents")
        || path.starts_with(b"/collections/") && memchr::memmem::find(path, b"/documents").is_some()
        || path.starts_with(b"/1/indexes/") && path.ends_with(b"/batch")
        || path.starts_with(b"/solr/") && memchr::memmem::find(path, b"/update").is_some()
}

/// `/services/TEAM/BOT/SECRET`, where a chat takes messages.
fn is_incoming_webhook(path: &[u8]) -> bool {
    let mut segments = path.strip_prefix(b"/services/").unwrap_or_default().split(|b| *b == b'/');
    let begins = |segment: Option<&[u8]>, first: u8| segment.and_then(<[u8]>::first) == Some(&first);
    begins(segments.next(), b'T') && begins(segments.next(), b'B') && segments.next().is_some()
}

/// `/api/PROJECT/store/` and `/api/PROJECT/envelope/`.
fn is_error_store(path: &[u8]) -> bool {
    let mut segments = path.split(|b| *b == b'/').skip_while(|segment| *segment != b"api");
    let (_, project, kind) = (segments.next(), segments.next(), segments.next());
    project.is_some_and(|project| !project.is_empty() && project.iter().all(u8::is_ascii_digit))
        && matches!(kind, Some(b"store" | b"envelope" | b"minidump" | b"security"))
}

/// Whether a key is that of an environment: a list of variables with `name` and `value`.
pub(super) fn is_environment(key: &[u8]) -> bool {
    ["env", "environment", "environmentVariables", "variables"]
        .iter()
        .any(|known| key.eq_ignore_ascii_case(known.as_bytes()))
}

/// Whether a key is one of a variable's.
pub(super) fn is_of_variable(key: &[u8]) -> bool {
    ["name", "value", "key", "valueFrom"].iter().any(|known| key.eq_ignore_ascii_case(known.as_bytes()))
}
