//! Elasticsearch and OpenSearch: bulk requests of `create` actions with `_id` = `event.id`, so that what is sent twice is
//! there once.
//!
//! Goes to an index or data stream by name, else to data streams named after what the events are. Each item of the answer
//! is judged by itself ([`judge`]). Kinds and texts of errors: OpenSearch 2.19 and the bulk API's reference.

use std::io::Write as _;

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::connect::Dialer;
use super::hosts::Hosts;
use super::http::{Answer, Client};
use super::settings::{Compression, Settings};
use super::text::{base64, json_string, plain};
use super::url::{HostPort, Target};
use super::{SettingsError, endpoints, tls};
use crate::output::receiver::{Event, Fault, Limits, Needs, Outcome, Receiver, Reply, Trouble};

/// A bulk client.
pub struct Elasticsearch {
    client: Client,
    hosts: Hosts,
    target: Target,
    /// Path and query of bulk requests.
    bulk: String,
    index: Option<String>,
    namespace: String,
    authorization: Option<super::secret::Secret>,
    gzip: bool,
    batch: usize,
    body: Vec<u8>,
    packed: Vec<u8>,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Elasticsearch.
    Elasticsearch,
    /// OpenSearch.
    Opensearch,
}

impl Elasticsearch {
    /// Reads certificates; connects to nothing yet.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let index = settings.target.name();
        if let Some(wrong) = index.as_deref().filter(|name| !is_index_name(name)) {
            let text =
                format!("`{wrong}` cannot be the name of an index: lower case, none of \\/*?\"<>|,#: and blanks");
            return Err(SettingsError { key: "to", text });
        }
        let pipeline =
            settings.pipeline.as_ref().map_or_else(String::new, |name| format!("&pipeline={}", encoded(name)));
        let folder = settings.target.folder();
        let dialer = Dialer {
            tls: settings.target.tls.then(|| tls::configuration(&settings.tls)).transpose()?,
            timeout: settings.timeout,
        };
        Ok(Self {
            client: Client::new(settings, dialer, ANSWER),
            hosts: Hosts::new(&settings.target.hosts),
            bulk: format!("{folder}/_bulk?filter_path=errors,items.*.status,items.*.error{pipeline}"),
            index,
            namespace: settings.namespace.clone(),
            authorization: settings.api_key.as_ref().map(|key| api_key(key.expose())),
            gzip: settings.compression != Some(Compression::None),
            batch: settings.batch.unwrap_or(2000),
            body: Vec::new(),
            packed: Vec::new(),
            target: settings.target.clone(),
        })
    }

    /// One request to the next host.
    ///
    /// # Errors
    /// [`Trouble`] where there is no answer; the host then rests.
    pub fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> Result<(HostPort, Answer), Trouble> {
        self.request(method, path, &[("content-type", "application/json")], body)
    }

    fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(HostPort, Answer), Trouble> {
        let host = self.hosts.pick();
        let mut headers = headers.to_vec();
        headers.extend(self.authorization.as_ref().map(|value| ("authorization", value.expose())));
        match self.client.send(method, &host, path, &headers, body) {
            Ok(answer) => {
                let is_down = matches!(answer.status, 502..=504);
                if is_down {
                    self.hosts.failed(&host)
                } else {
                    self.hosts.answered(&host)
                }
                Ok((host, answer))
            }
            Err(trouble) => {
                self.hosts.failed(&host);
                Err(trouble)
            }
        }
    }

    /// Asks who is there, and the version.
    ///
    /// # Errors
    /// [`Trouble`]: nobody, or one who does not let us in.
    pub fn flavour(&mut self) -> Result<(Flavour, String), Trouble> {
        #[derive(Deserialize)]
        struct Root {
            version: Version,
        }
        #[derive(Deserialize)]
        struct Version {
            #[serde(default)]
            distribution: String,
            number: String,
        }
        let path = format!("{}/", self.target.folder());
        let (host, answer) = self.ask("GET", &path, b"")?;
        if answer.status != 200 {
            return Err(whole_request(&host, &answer));
        }
        let root: Root = serde_json::from_slice(&answer.body)
            .map_err(|_| Trouble::refused(format!("{host}: what answers is neither Elasticsearch nor OpenSearch")))?;
        let flavour =
            if root.version.distribution == "opensearch" { Flavour::Opensearch } else { Flavour::Elasticsearch };
        Ok((flavour, plain(&root.version.number, 40)))
    }

    /// Where events go, for templates: an index, or the patterns of all streams.
    pub fn index(&self) -> Option<&str> {
        self.index.as_deref()
    }

    /// The path in front of the API's.
    pub fn folder(&self) -> &str {
        self.target.folder()
    }

    fn render(&mut self, batch: &[Event<'_>]) {
        self.body.clear();
        for event in batch {
            self.body.extend_from_slice(b"{\"create\":{\"_index\":");
            let stream = self.index.clone().unwrap_or_else(|| stream_of(event.dataset, &self.namespace));
            self.body.extend_from_slice(json_string(&stream).as_bytes());
            if !event.id.is_empty() {
                self.body.extend_from_slice(b",\"_id\":");
                self.body.extend_from_slice(json_string(&id_of(event.id)).as_bytes());
            }
            self.body.extend_from_slice(b"}}\n");
            self.body.extend_from_slice(event.json);
            self.body.push(b'\n');
        }
    }

    fn pack(&mut self) {
        self.packed.clear();
        let mut encoder = GzEncoder::new(std::mem::take(&mut self.packed), Level::new(1));
        // Writing to memory does not fail.
        let _ = encoder.write_all(&self.body);
        self.packed = encoder.finish().unwrap_or_default();
    }
}

impl Receiver for Elasticsearch {
    fn send(&mut self, batch: &[Event<'_>]) -> Reply {
        self.render(batch);
        let mut headers = vec![("content-type", "application/x-ndjson")];
        if self.gzip {
            self.pack();
            headers.push(("content-encoding", "gzip"));
        }
        let path = self.bulk.clone();
        let body = std::mem::take(if self.gzip { &mut self.packed } else { &mut self.body });
        let result = self.request("POST", &path, &headers, &body);
        *(if self.gzip { &mut self.packed } else { &mut self.body }) = body;
        match result {
            Ok((host, answer)) if answer.status == 200 => items(&host, &answer, batch.len()),
            Ok((host, answer)) => whole_request(&host, &answer).into(),
            Err(trouble) => trouble.into(),
        }
    }

    fn limits(&self) -> Limits {
        Limits { events: self.batch, bytes: 5 << 20 }
    }

    fn needs(&self) -> Needs {
        Needs { endpoints: endpoints(&self.target, false), follows: false }
    }

    fn check(&mut self, steps: &mut Vec<String>) -> Result<(), Trouble> {
        let (flavour, version) = self.flavour()?;
        steps.push(format!("{flavour:?} {version} answers"));
        Ok(())
    }
}

/// The answer to a bulk request.
#[derive(Deserialize)]
struct Bulk {
    errors: bool,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: ItemResult,
}

#[derive(Deserialize)]
struct ItemResult {
    status: u16,
    #[serde(default)]
    error: Option<Cause>,
}

/// Why one item failed.
#[derive(Default, Deserialize)]
struct Cause {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    caused_by: Option<Box<Self>>,
}

impl Cause {
    fn text(&self) -> String {
        let inner = self.caused_by.as_ref().map_or_else(String::new, |cause| format!(": {}", cause.reason));
        plain(&format!("{}: {}{inner}", self.kind, self.reason), 300)
    }
}

fn items(host: &HostPort, answer: &Answer, count: usize) -> Reply {
    let bulk: Bulk = match serde_json::from_slice(&answer.body) {
        Ok(bulk) => bulk,
        Err(error) => return Trouble::away(format!("{host}: the answer cannot be read: {error}")).into(),
    };
    if bulk.items.len() != count && (bulk.errors || !bulk.items.is_empty()) {
        return Trouble::away(format!("{host}: {} answers to {count} events", bulk.items.len())).into();
    }
    if !bulk.errors {
        return Reply::taken(count);
    }
    let mut reply = Reply::default();
    for item in bulk.items {
        let (outcome, fault) = judge(&item.create);
        if let Some(fault) = fault.filter(|_| reply.trouble.is_none()) {
            let cause = item.create.error.map_or_else(String::new, |cause| cause.text());
            reply.trouble = Some(Trouble::new(fault, format!("{host}: {} {cause}", item.create.status)));
        }
        reply.outcomes.push(outcome);
    }
    if let Some(trouble) = &mut reply.trouble {
        trouble.after = answer.after;
    }
    reply
}

/// What became of one item.
fn judge(item: &ItemResult) -> (Outcome, Option<Fault>) {
    let cause = item.error.as_ref();
    let kind = cause.map_or("", |cause| cause.kind.as_str());
    let about_pipeline = cause.is_some_and(|cause| cause.reason.contains("pipeline with id"));
    match item.status {
        200 | 201 => (Outcome::Taken, None),
        409 => (Outcome::Duplicate, None),
        429 | 500.. => (Outcome::Again, Some(Fault::Busy)),
        401 | 403 | 404 => (Outcome::Again, Some(Fault::Refused)),
        400 if about_pipeline || kind == "index_closed_exception" || kind == "invalid_index_name_exception" => {
            (Outcome::Again, Some(Fault::Refused))
        }
        status => (Outcome::Rejected(cause.map_or_else(|| format!("status {status}"), Cause::text)), None),
    }
}

/// What a status other than 200 says of the whole request.
fn whole_request(host: &HostPort, answer: &Answer) -> Trouble {
    #[derive(Deserialize)]
    struct Failure {
        error: Cause,
    }
    let text = serde_json::from_slice(&answer.body).map_or_else(|_| answer.text(), |body: Failure| body.error.text());
    let fault = match answer.status {
        413 | 400 => Fault::TooLarge,
        429 | 503 => Fault::Busy,
        408 | 500.. => Fault::Away,
        _ => Fault::Refused,
    };
    let mut trouble = Trouble::new(fault, format!("{host}: {} {text}", answer.status).trim_end().to_owned());
    trouble.after = answer.after;
    trouble
}

/// The data stream of an event: `logs-network_traffic.http-default`, or one for all where datasets have no prefix.
fn stream_of(dataset: &str, namespace: &str) -> String {
    if dataset.starts_with("network_traffic.") {
        format!("logs-{dataset}-{namespace}")
    } else {
        format!("imdswatch-{namespace}")
    }
}

/// An `_id`: at most 512 bytes long, so what is longer (ids of other sensors) goes by its hash.
fn id_of(id: &str) -> String {
    if id.len() <= 512 { id.to_owned() } else { base64(&Sha256::digest(id.as_bytes())) }
}

fn is_index_name(name: &str) -> bool {
    let forbidden = |c: char| c.is_uppercase() || c.is_control() || "\\/*?\"<>|,#: ".contains(c);
    !name.starts_with(['-', '_', '+', '.']) && name.len() <= 255 && !name.contains(forbidden)
}

/// An API key as it is sent: `ID:KEY` in base64, which Kibana shows already encoded.
fn api_key(key: &str) -> super::secret::Secret {
    let encoded = if key.contains(':') { base64(key.as_bytes()) } else { key.to_owned() };
    super::secret::Secret::new(format!("ApiKey {encoded}"))
}

/// A name as part of a query.
fn encoded(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Bytes of an answer at most: 5 MB of events are refused with less, each with a reason.
const ANSWER: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(body: &str, count: usize) -> Reply {
        let host = HostPort { host: "h".into(), port: 1 };
        items(&host, &Answer { status: 200, after: None, body: body.into() }, count)
    }

    #[test]
    fn each_item_is_judged_by_itself() {
        let body = r#"{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"x"}}},
            {"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"queue full"}}},
            {"create":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"failed to parse","caused_by":{"type":"x","reason":"bad date"}}}}]}"#;
        let reply = reply(body, 4);
        let rejected = Outcome::Rejected("mapper_parsing_exception: failed to parse: bad date".into());
        assert_eq!(reply.outcomes, [Outcome::Taken, Outcome::Duplicate, Outcome::Again, rejected]);
        let trouble = reply.trouble.unwrap();
        assert_eq!((trouble.fault, trouble.text.contains("queue full")), (Fault::Busy, true));
    }

    #[test]
    fn a_wrong_configuration_rejects_no_event() {
        for error in [
            r#""status":404,"error":{"type":"index_not_found_exception","reason":"no such index"}"#,
            r#""status":403,"error":{"type":"security_exception","reason":"unauthorized"}"#,
            r#""status":400,"error":{"type":"illegal_argument_exception","reason":"pipeline with id [x] does not exist"}"#,
        ] {
            let reply = reply(&format!("{{\"errors\":true,\"items\":[{{\"create\":{{{error}}}}}]}}"), 1);
            assert_eq!(reply.outcomes, [Outcome::Again], "{error}");
            assert_eq!(reply.trouble.map(|trouble| trouble.fault), Some(Fault::Refused), "{error}");
        }
    }

    #[test]
    fn answers_that_cannot_be_matched_decide_nothing() {
        for body in ["", "{", r#"{"errors":true}"#, r#"{"errors":true,"items":[{"create":{"status":201}}]}"#] {
            let reply = reply(body, 2);
            assert!(reply.outcomes.is_empty() && reply.trouble.is_some(), "{body}");
        }
        assert_eq!(reply(r#"{"errors":false}"#, 2), Reply::taken(2));
    }

    #[test]
    fn streams_are_named_after_what_is_in_them() {
        assert_eq!(stream_of("network_traffic.dns", "prod"), "logs-network_traffic.dns-prod");
        assert_eq!(stream_of("http", "prod"), "imdswatch-prod");
        assert!(is_index_name("imdswatch-2026.11") && !is_index_name("Imds") && !is_index_name("-a"));
        assert_eq!(api_key("id:key").expose(), "ApiKey aWQ6a2V5");
    }
}
