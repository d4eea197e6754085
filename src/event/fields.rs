//! Every key that events have: name, Elasticsearch type, and where it comes from. The one list that mapping, README and
//! tests go by.
//!
//! Out: [`FIELDS`], the index template of [`mapping`], and [`check`], which refuses a line with a key that is not here.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Who defines a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Elastic Common Schema.
    Ecs,
    /// Packetbeat, beside ECS.
    Packetbeat,
    /// This program.
    Ours,
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Dotted name; a last part of `*` stands for any key below.
    pub name: &'static str,
    /// Elasticsearch field type.
    pub kind: &'static str,
    /// Who defines it.
    pub origin: Origin,
}

const fn field(name: &'static str, kind: &'static str, origin: Origin) -> Field {
    Field { name, kind, origin }
}

use Origin::{Ecs, Ours, Packetbeat};

/// All keys, by name.
pub const FIELDS: &[Field] = &[
    field("@metadata.beat", "keyword", Packetbeat),
    field("@metadata.type", "keyword", Packetbeat),
    field("@metadata.version", "keyword", Packetbeat),
    field("@timestamp", "date", Ecs),
    field("agent.ephemeral_id", "keyword", Ecs),
    field("agent.id", "keyword", Ecs),
    field("agent.name", "keyword", Ecs),
    field("agent.type", "keyword", Ecs),
    field("agent.version", "keyword", Ecs),
    field("client.bytes", "long", Ecs),
    field("client.domain", "keyword", Ecs),
    field("client.ip", "ip", Ecs),
    field("client.port", "long", Ecs),
    field("data_stream.dataset", "constant_keyword", Ecs),
    field("data_stream.namespace", "constant_keyword", Ecs),
    field("data_stream.type", "constant_keyword", Ecs),
    field("destination.address", "keyword", Ecs),
    field("destination.bytes", "long", Ecs),
    field("destination.domain", "keyword", Ecs),
    field("destination.ip", "ip", Ecs),
    field("destination.mac", "keyword", Ecs),
    field("destination.packets", "long", Ecs),
    field("destination.port", "long", Ecs),
    field("dns.additionals.*", "object", Packetbeat),
    field("dns.additionals_count", "long", Packetbeat),
    field("dns.answers.*", "object", Ecs),
    field("dns.answers_count", "long", Packetbeat),
    field("dns.authorities.*", "object", Packetbeat),
    field("dns.authorities_count", "long", Packetbeat),
    field("dns.flags.authentic_data", "boolean", Packetbeat),
    field("dns.flags.authoritative", "boolean", Packetbeat),
    field("dns.flags.checking_disabled", "boolean", Packetbeat),
    field("dns.flags.recursion_available", "boolean", Packetbeat),
    field("dns.flags.recursion_desired", "boolean", Packetbeat),
    field("dns.flags.truncated_response", "boolean", Packetbeat),
    field("dns.header_flags", "keyword", Ecs),
    field("dns.id", "keyword", Ecs),
    field("dns.op_code", "keyword", Ecs),
    field("dns.opt.cookie", "keyword", Packetbeat),
    field("dns.opt.dau", "keyword", Packetbeat),
    field("dns.opt.dhu", "keyword", Packetbeat),
    field("dns.opt.do", "boolean", Packetbeat),
    field("dns.opt.ext_rcode", "keyword", Packetbeat),
    field("dns.opt.llq", "keyword", Packetbeat),
    field("dns.opt.local", "keyword", Packetbeat),
    field("dns.opt.n3u", "keyword", Packetbeat),
    field("dns.opt.nsid", "keyword", Packetbeat),
    field("dns.opt.subnet", "keyword", Packetbeat),
    field("dns.opt.udp_size", "long", Packetbeat),
    field("dns.opt.ul", "keyword", Packetbeat),
    field("dns.opt.version", "keyword", Packetbeat),
    field("dns.question.class", "keyword", Ecs),
    field("dns.question.etld_plus_one", "keyword", Packetbeat),
    field("dns.question.name", "keyword", Ecs),
    field("dns.question.registered_domain", "keyword", Ecs),
    field("dns.question.subdomain", "keyword", Ecs),
    field("dns.question.top_level_domain", "keyword", Ecs),
    field("dns.question.type", "keyword", Ecs),
    field("dns.resolved_ip", "ip", Ecs),
    field("dns.response_code", "keyword", Ecs),
    field("dns.type", "keyword", Ecs),
    field("ecs.version", "keyword", Ecs),
    field("error.message", "match_only_text", Ecs),
    field("event.action", "keyword", Ecs),
    field("event.category", "keyword", Ecs),
    field("event.dataset", "keyword", Ecs),
    field("event.duration", "long", Ecs),
    field("event.end", "date", Ecs),
    field("event.id", "keyword", Ecs),
    field("event.kind", "keyword", Ecs),
    field("event.module", "keyword", Ecs),
    field("event.outcome", "keyword", Ecs),
    field("event.risk_score", "float", Ecs),
    field("event.severity", "long", Ecs),
    field("event.start", "date", Ecs),
    field("event.type", "keyword", Ecs),
    field("fields.*", "keyword", Packetbeat),
    field("flow.final", "boolean", Packetbeat),
    field("flow.id", "keyword", Packetbeat),
    field("flow.vlan", "long", Packetbeat),
    field("host.name", "keyword", Ecs),
    field("http.request.body.bytes", "long", Ecs),
    field("http.request.body.content", "wildcard", Ecs),
    field("http.request.bytes", "long", Ecs),
    field("http.request.headers.*", "flattened", Packetbeat),
    field("http.request.method", "keyword", Ecs),
    field("http.request.referrer", "keyword", Ecs),
    field("http.response.body.bytes", "long", Ecs),
    field("http.response.body.content", "wildcard", Ecs),
    field("http.response.bytes", "long", Ecs),
    field("http.response.headers.*", "flattened", Packetbeat),
    field("http.response.status_code", "long", Ecs),
    field("http.response.status_phrase", "keyword", Packetbeat),
    field("http.version", "keyword", Ecs),
    field("icmp.request.code", "keyword", Packetbeat),
    field("icmp.request.message", "keyword", Packetbeat),
    field("icmp.request.type", "long", Packetbeat),
    field("icmp.response.code", "keyword", Packetbeat),
    field("icmp.response.message", "keyword", Packetbeat),
    field("icmp.response.type", "long", Packetbeat),
    field("icmp.version", "long", Packetbeat),
    field("imds.allowed_by", "keyword", Ours),
    field("imds.chain.destination", "keyword", Ours),
    field("imds.chain.id", "keyword", Ours),
    field("imds.chain.source", "keyword", Ours),
    field("imds.chain.time", "date", Ours),
    field("imds.chain.url", "keyword", Ours),
    field("imds.chain.what", "keyword", Ours),
    field("imds.client.name", "keyword", Ours),
    field("imds.client.shape", "keyword", Ours),
    field("imds.credential.expires", "date", Ours),
    field("imds.credential.fingerprint", "keyword", Ours),
    field("imds.credential.id", "keyword", Ours),
    field("imds.credential.ids", "keyword", Ours),
    field("imds.credential.issued", "boolean", Ours),
    field("imds.credential.kind", "keyword", Ours),
    field("imds.credential.more_ids", "long", Ours),
    field("imds.credential.scope", "keyword", Ours),
    field("imds.headers.*", "flattened", Ours),
    field("imds.path", "wildcard", Ours),
    field("imds.path_id", "keyword", Ours),
    field("imds.provider", "keyword", Ours),
    field("imds.repeats", "long", Ours),
    field("imds.sensitivity", "keyword", Ours),
    field("imds.service", "keyword", Ours),
    field("imds.signals", "keyword", Ours),
    field("imds.version", "keyword", Ours),
    field("imdswatch.stats.*", "long", Ours),
    field("message", "match_only_text", Ecs),
    field("method", "keyword", Packetbeat),
    field("network.bytes", "long", Ecs),
    field("network.community_id", "keyword", Ecs),
    field("network.direction", "keyword", Ecs),
    field("network.forwarded_ip", "ip", Ecs),
    field("network.packets", "long", Ecs),
    field("network.protocol", "keyword", Ecs),
    field("network.transport", "keyword", Ecs),
    field("network.tunnel.destination", "ip", Ours),
    field("network.tunnel.id", "long", Ours),
    field("network.tunnel.source", "ip", Ours),
    field("network.tunnel.type", "keyword", Ours),
    field("network.type", "keyword", Ecs),
    field("path", "keyword", Packetbeat),
    field("process.args", "keyword", Ecs),
    field("process.container.id", "keyword", Ours),
    field("process.entity_id", "keyword", Ecs),
    field("process.executable", "keyword", Ecs),
    field("process.name", "keyword", Ecs),
    field("process.parent.pid", "long", Ecs),
    field("process.pid", "long", Ecs),
    field("process.start", "date", Ecs),
    field("process.user.id", "keyword", Ecs),
    field("query", "keyword", Packetbeat),
    field("related.hosts", "keyword", Ecs),
    field("related.ip", "ip", Ecs),
    field("related.user", "keyword", Ecs),
    field("request", "text", Packetbeat),
    field("resource", "keyword", Packetbeat),
    field("response", "text", Packetbeat),
    field("rule.description", "keyword", Ecs),
    field("rule.id", "keyword", Ecs),
    field("rule.name", "keyword", Ecs),
    field("rule.reference", "keyword", Ecs),
    field("rule.ruleset", "keyword", Ecs),
    field("rule.version", "keyword", Ecs),
    field("server.bytes", "long", Ecs),
    field("server.domain", "keyword", Ecs),
    field("server.ip", "ip", Ecs),
    field("server.port", "long", Ecs),
    field("source.bytes", "long", Ecs),
    field("source.ip", "ip", Ecs),
    field("source.mac", "keyword", Ecs),
    field("source.packets", "long", Ecs),
    field("source.port", "long", Ecs),
    field("source.process.args", "keyword", Packetbeat),
    field("source.process.container.id", "keyword", Ours),
    field("source.process.entity_id", "keyword", Ours),
    field("source.process.executable", "keyword", Packetbeat),
    field("source.process.name", "keyword", Packetbeat),
    field("source.process.parent.pid", "long", Packetbeat),
    field("source.process.pid", "long", Packetbeat),
    field("source.process.start", "date", Packetbeat),
    field("source.process.user.id", "keyword", Ours),
    field("status", "keyword", Packetbeat),
    field("tags", "keyword", Ecs),
    field("threat.framework", "keyword", Ecs),
    field("threat.tactic.id", "keyword", Ecs),
    field("threat.tactic.name", "keyword", Ecs),
    field("threat.tactic.reference", "keyword", Ecs),
    field("threat.technique.id", "keyword", Ecs),
    field("threat.technique.name", "keyword", Ecs),
    field("threat.technique.reference", "keyword", Ecs),
    field("threat.technique.subtechnique.id", "keyword", Ecs),
    field("threat.technique.subtechnique.name", "keyword", Ecs),
    field("threat.technique.subtechnique.reference", "keyword", Ecs),
    field("type", "keyword", Packetbeat),
    field("url.domain", "keyword", Ecs),
    field("url.extension", "keyword", Ecs),
    field("url.full", "wildcard", Ecs),
    field("url.original", "wildcard", Ecs),
    field("url.path", "wildcard", Ecs),
    field("url.port", "long", Ecs),
    field("url.query", "keyword", Ecs),
    field("url.scheme", "keyword", Ecs),
    field("user.name", "keyword", Ecs),
    field("user_agent.original", "keyword", Ecs),
];

/// Whether events may have a key of this dotted name.
pub fn is_declared(name: &str) -> bool {
    FIELDS.iter().any(|field| match field.name.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => field.name == name,
    })
}

/// Checks one line of JSON: an object, each of whose keys is declared and stands once.
pub fn check(line: &[u8]) -> Result<(), String> {
    let event: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let mut undeclared = None;
    walk(&event, &mut String::new(), &mut |name| {
        if undeclared.is_none() && !is_declared(name) {
            undeclared = Some(format!("undeclared key {name}"));
        }
    });
    undeclared.map_or(Ok(()), Err)
}

/// Calls `visit` with the dotted name of each leaf; members of arrays count as their array.
fn walk(value: &Value, name: &mut String, visit: &mut impl FnMut(&str)) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, member) in members {
                let len = name.len();
                if len > 0 {
                    name.push('.');
                }
                name.push_str(key);
                walk(member, name, visit);
                name.truncate(len);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items.iter().for_each(|item| walk(item, name, visit));
        }
        _ => visit(name),
    }
}

/// The index template of Elasticsearch or OpenSearch: what `imdswatch mapping` prints and `setup` puts. Covers the fields
/// that are ours and, so that the template also serves an index without Packetbeat's own, Packetbeat's and ECS's.
///
/// Without an index the template is for all indices, or with `data_stream` all streams, that events go to by default.
pub fn template(opensearch: bool, data_stream: bool, index: Option<&str>) -> Value {
    let mut root = Value::Object(Default::default());
    for field in FIELDS.iter().filter(|field| !field.name.starts_with("@metadata")) {
        let (name, kind) = match field.name.strip_suffix(".*") {
            Some(name) => (name, if field.kind == "flattened" { "flattened" } else { "object" }),
            None => (field.name, field.kind),
        };
        place(&mut root, name, leaf(kind, opensearch));
    }
    let patterns = match index {
        Some(index) => vec![index.to_owned(), format!("{index}-*")],
        None if data_stream => vec!["imdswatch-*".to_owned(), "logs-network_traffic.*-*".to_owned()],
        None => vec!["imdswatch-*".to_owned()],
    };
    // Above the general `logs-*-*` (100), below the templates of Elastic's own integration (200), which has more to say
    // of its streams; the template of one index above the one for all.
    let priority = if index.is_some() { 160 } else { 150 };
    let mut template = json!({
        "index_patterns": patterns,
        "priority": priority,
        "template": {
            "settings": {"index": {"mapping": {"total_fields": {"limit": 2000}}}},
            "mappings": {"dynamic_templates": [strings()], "properties": root["properties"]},
        },
        "_meta": {"description": "Events of imdswatch", "version": env!("CARGO_PKG_VERSION")},
    });
    if data_stream {
        template["data_stream"] = json!({});
    }
    template
}

/// [`template`] as text.
pub fn mapping(opensearch: bool, data_stream: bool) -> String {
    serde_json::to_string_pretty(&template(opensearch, data_stream, None)).unwrap_or_default() + "\n"
}

/// Puts the mapping of a field at its dotted name.
fn place(root: &mut Value, name: &str, mapping: Value) {
    let mut place = root;
    for part in name.split('.') {
        let properties = &mut place["properties"];
        if properties.is_null() {
            *properties = Value::Object(Default::default());
        }
        place = &mut properties[part];
        if place.is_null() {
            *place = Value::Object(Default::default());
        }
    }
    *place = mapping;
}

/// The mapping of one field. Values longer than 1024 characters are kept but not indexed. A constant keyword takes one
/// value for the whole index, which holds events of several datasets: so it is a keyword.
fn leaf(kind: &str, opensearch: bool) -> Value {
    match kind {
        "flattened" if opensearch => json!({"type": "flat_object"}),
        "keyword" | "wildcard" | "flattened" => json!({"type": kind, "ignore_above": 1024}),
        "constant_keyword" => json!({"type": "keyword", "ignore_above": 1024}),
        "ip" => json!({"type": "ip", "ignore_malformed": true}),
        _ => json!({"type": kind}),
    }
}

/// What is not in the list (the user's own `fields`, members of DNS records): strings are keywords.
fn strings() -> Value {
    let mapping = BTreeMap::from([("type", json!("keyword")), ("ignore_above", json!(1024))]);
    json!({"strings": {"match_mapping_type": "string", "mapping": mapping}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_unique() {
        assert!(FIELDS.windows(2).all(|pair| pair[0].name < pair[1].name));
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"@_.*".contains(&byte);
        assert!(FIELDS.iter().all(|field| field.name.bytes().all(plain)));
    }

    #[test]
    fn undeclared_keys_are_found_at_any_depth() {
        check(br#"{"type":"http","user.name":"x","imds":{"chain":[{"id":"1"}],"headers":{"any":"1"}}}"#).unwrap();
        assert_eq!(check(br#"{"imds":{"chain":[{"id":"1","odd":2}]}}"#), Err("undeclared key imds.chain.odd".into()));
        assert!(check(b"{\"type\":").is_err());
    }

    #[test]
    fn the_mapping_has_every_field_once() {
        let template: Value = serde_json::from_str(&mapping(false, true)).unwrap();
        let properties = &template["template"]["mappings"]["properties"];
        assert_eq!(properties["imds"]["properties"]["signals"]["type"], "keyword");
        assert_eq!(properties["imds"]["properties"]["headers"]["type"], "flattened");
        assert_eq!(properties["source"]["properties"]["ip"]["type"], "ip");
        assert!(template["data_stream"].is_object());
        let other = mapping(true, false);
        assert!(other.contains("flat_object") && !other.contains("flattened") && !other.contains("data_stream\": {}"));
        assert!(!other.contains("constant_keyword"));
        assert_eq!(properties["imds"]["properties"]["chain"]["properties"]["time"]["type"], "date");
    }
}
