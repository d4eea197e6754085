//! `import-packetbeat`: a packetbeat.yml in, the TOML that means the same out. What has no equal is said in comments,
//! so that nothing is lost silently.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use yaml_rust2::{Yaml, YamlLoader};

mod output;

/// Translates a packetbeat.yml.
///
/// # Errors
/// The YAML parser's words, with line and column.
pub fn import(text: &str) -> Result<String, String> {
    let documents = YamlLoader::load_from_str(text).map_err(|e| e.to_string())?;
    let mut settings = Vec::new();
    for document in &documents {
        flatten("", document, &mut settings);
    }
    let mut import = Import::default();
    for (key, value) in &settings {
        import.setting(key, value);
    }
    import.filters();
    Ok(import.toml())
}

/// One setting: dotted name, scalar or list of scalars.
type Setting<'y> = (String, &'y Yaml);

/// Nested and dotted keys made alike; protocols are named by their type wherever they stand.
fn flatten<'y>(prefix: &str, value: &'y Yaml, out: &mut Vec<Setting<'y>>) {
    let join = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    match value {
        Yaml::Hash(map) => {
            for (key, value) in map {
                flatten(&join(key.as_str().unwrap_or_default()), value, out);
            }
        }
        Yaml::Array(items) if items.iter().any(|item| matches!(item, Yaml::Hash(_))) => {
            for (nth, item) in items.iter().enumerate() {
                let number = || (prefix == "packetbeat.interfaces").then(|| nth.to_string());
                let name = number().or_else(|| item["type"].as_str().map(str::to_owned));
                flatten(&join(&name.unwrap_or_else(|| "item".to_owned())), item, out);
            }
        }
        _ => out.push((prefix.to_owned(), value)),
    }
}

/// TOML sections in the making; the root has no name.
#[derive(Default)]
struct Import {
    sections: Vec<(&'static str, Vec<(String, String)>)>,
    no_equal: Vec<String>,
    outputs: output::Outputs,
    /// Device and filter of each interface, by its place.
    interfaces: BTreeMap<usize, (Option<String>, Option<String>)>,
}

impl Import {
    fn setting(&mut self, key: &str, value: &Yaml) {
        let key = key.strip_prefix("packetbeat.").unwrap_or(key);
        let text = match toml_value(value) {
            Some(text) => text,
            // Processors need no settings to do something; all else that is empty is not set.
            None if key.starts_with("processors.") => return self.nothing(key, "has no equal"),
            None => return,
        };
        if let Some(key) = key.strip_prefix("interfaces.") {
            let numbered = key.split_once('.').and_then(|(nth, key)| Some((nth.parse().ok()?, key)));
            let (nth, key) = numbered.unwrap_or((0, key));
            return self.interface(nth, key, value, text);
        }
        if let Some(name) = key.strip_prefix("output.")
            && self.outputs.take(name, value)
        {
            return;
        }
        if let Some(key) = key.strip_prefix("protocols.") {
            return match key.split_once('.') {
                Some((protocol, key)) => self.protocol(protocol, key, text),
                None => self.nothing(key, "is not a setting"),
            };
        }
        match key {
            "flows.enabled" | "flows.timeout" | "flows.period" | "flows.enable_delta_flow_reports" => {
                self.put("flows", key.trim_start_matches("flows."), text);
            }
            "name" | "tags" | "fields_under_root" | "ignore_outgoing" => self.put("", key, text),
            "timestamp.precision" => self.put("timestamp", "precision", text),
            "procs.enabled" => self.nothing(key, "processes are always looked up in live capture"),
            _ => match key.strip_prefix("fields.") {
                Some(field) => {
                    let path: Vec<_> = field.split('.').map(quoted_key).collect();
                    self.put("fields", &path.join("."), text);
                }
                None => self.nothing(key, "has no equal"),
            },
        }
    }

    fn interface(&mut self, nth: usize, key: &str, value: &Yaml, text: String) {
        match key {
            "device" => {
                self.interfaces.entry(nth).or_default().0 = Some(text.clone());
                self.put("capture", "interfaces", text);
            }
            "snaplen" => self.put("capture", "snaplen", text),
            "bpf_filter" => {
                let filter = value.as_str().map(str::trim).filter(|filter| !filter.is_empty());
                self.interfaces.entry(nth).or_default().1 = filter.map(str::to_owned);
            }
            "buffer_size_mb" => self.put("capture", "buffer", format!("\"{}M\"", value.as_i64().unwrap_or(30))),
            "internal_networks" => self.put("", "internal_networks", text),
            "ignore_outgoing" => self.put("", "ignore_outgoing", text),
            "type" | "with_vlans" => self.nothing(key, "is not needed: every link layer and VLAN tag is read"),
            _ => self.nothing(&format!("interfaces.{key}"), "has no equal"),
        }
    }

    /// There is one filter for all interfaces: what any of them lets through. Where they differ each is said.
    fn filters(&mut self) {
        let filters: Vec<_> = self.interfaces.values().map(|(_, filter)| filter.clone()).collect();
        let mut distinct: Vec<_> = filters.iter().flatten().cloned().collect();
        distinct.dedup();
        if filters.iter().all(Option::is_some) {
            let joined = match distinct.as_slice() {
                [] => return,
                [one] => one.clone(),
                several => several.iter().map(|filter| format!("({filter})")).collect::<Vec<_>>().join(" or "),
            };
            self.put("capture", "filter", quoted(&joined));
        }
        if filters.iter().any(|filter| Some(filter) != filters.first()) {
            for (nth, (device, filter)) in self.interfaces.clone() {
                let device = device.unwrap_or_else(|| nth.to_string());
                let filter = filter.unwrap_or_else(|| "none".to_owned());
                let why =
                    format!("its own filter was: {filter}. One filter goes for all: what any of them lets through");
                self.nothing(&format!("interfaces.{nth} ({device})"), &why);
            }
        }
    }

    fn protocol(&mut self, protocol: &str, key: &str, text: String) {
        let name = format!("{protocol}.{key}");
        match (protocol, key) {
            (_, "type") => {}
            ("http" | "dns" | "icmp", "enabled") if text == "true" => {}
            ("http" | "dns" | "icmp", "enabled") => {
                let name = protocol.to_uppercase();
                let why = format!(
                    "{name} is switched off there; here it goes on being read, because what is looked for is in it; \
                     `events.write = \"metadata\"` leaves out what has nothing to do with metadata services"
                );
                self.nothing(&format!("{protocol}.enabled = {text}"), &why);
            }
            ("http" | "dns", "ports") => self.nothing(&name, "is not needed: found by content on any port"),
            ("http", key) if HTTP.contains(&key) => self.put("http", key, text),
            ("dns", key) if DNS.contains(&key) => self.put("dns", key, text),
            ("icmp", "transaction_timeout") => self.put("icmp", key, text),
            ("http" | "dns" | "icmp", _) => self.nothing(&name, "has no equal"),
            (_, _) => self.nothing(&name, "another protocol than HTTP, DNS and ICMP"),
        }
    }

    /// Keeps a setting if the program would take it. Lists that are given more than once, as for several interfaces, are
    /// joined; of everything else the last one counts.
    fn put(&mut self, section: &'static str, key: &str, mut value: String) {
        if LISTS.contains(&key) && !value.starts_with('[') {
            value = format!("[{value}]");
        }
        let header = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
        if let Err(error) = toml::from_str::<super::file::File>(&format!("{header}{key} = {value}")) {
            return self.nothing(key, &format!("{value} cannot be used: {}", error.message()));
        }
        let at = self.sections.iter().position(|(name, _)| *name == section).unwrap_or_else(|| {
            self.sections.push((section, Vec::new()));
            self.sections.len() - 1
        });
        let Some((_, lines)) = self.sections.get_mut(at) else { return };
        match lines.iter_mut().find(|(known, _)| known == key) {
            Some((_, list)) if LISTS.contains(&key) => {
                *list = format!("{}, {}", list.trim_end_matches(']'), value.trim_start_matches('['));
            }
            Some((_, known)) => *known = value,
            None => lines.push((key.to_owned(), value)),
        }
    }

    fn nothing(&mut self, key: &str, why: &str) {
        let line = format!("{key}: {why}");
        if !self.no_equal.contains(&line) {
            self.no_equal.push(line);
        }
    }

    fn toml(&mut self) -> String {
        let mut missing = Vec::new();
        let outputs = self.outputs.toml(&mut |key, why| missing.push((key.to_owned(), why.to_owned())));
        for (key, why) in missing {
            self.nothing(&key, &why);
        }
        self.written(&outputs)
    }

    fn written(&self, outputs: &str) -> String {
        let mut out = String::from("# From a packetbeat.yml, by `imdswatch import-packetbeat`.\n");
        if !self.no_equal.is_empty() {
            out.push_str("#\n# Without an equal here:\n");
            for line in &self.no_equal {
                let _ = writeln!(out, "#   {}", line.replace('\n', " "));
            }
        }
        if !self.has("http", "redact_authorization") {
            out.push_str("\n# Packetbeat does not redact Authorization unless told to; imdswatch does.\n");
            out.push_str("# To have it as before: redact_authorization = false under [http].\n");
        }
        let (root, named): (Vec<_>, Vec<_>) = self.sections.iter().partition(|(name, _)| name.is_empty());
        for (name, lines) in root.into_iter().chain(named) {
            out.push('\n');
            if !name.is_empty() {
                let _ = writeln!(out, "[{name}]");
            }
            for (key, value) in lines {
                let _ = writeln!(out, "{key} = {value}");
            }
        }
        out.push_str(outputs);
        out
    }

    fn has(&self, section: &str, key: &str) -> bool {
        let mut lines = self.sections.iter().filter(|(name, _)| *name == section).flat_map(|(_, lines)| lines);
        lines.any(|(known, _)| known == key)
    }
}

/// Settings that are lists here, also where one value was given alone.
const LISTS: &[&str] = &[
    "interfaces",
    "internal_networks",
    "tags",
    "send_headers",
    "redact_headers",
    "hide_keywords",
    "include_body_for",
    "include_request_body_for",
    "include_response_body_for",
];

const HTTP: &[&str] = &[
    "send_headers",
    "send_all_headers",
    "split_cookie",
    "redact_authorization",
    "redact_headers",
    "hide_keywords",
    "real_ip_header",
    "include_body_for",
    "include_request_body_for",
    "include_response_body_for",
    "decode_body",
    "max_message_size",
    "send_request",
    "send_response",
    "transaction_timeout",
];

const DNS: &[&str] =
    &["include_authorities", "include_additionals", "send_request", "send_response", "transaction_timeout"];

/// A scalar or list in TOML; `None` for nothing.
fn toml_value(value: &Yaml) -> Option<String> {
    Some(match value {
        Yaml::String(text) => quoted(text),
        Yaml::Integer(n) => n.to_string(),
        Yaml::Real(n) => n.clone(),
        Yaml::Boolean(yes) => yes.to_string(),
        Yaml::Array(items) => format!("[{}]", items.iter().filter_map(toml_value).collect::<Vec<_>>().join(", ")),
        _ => return None,
    })
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn quoted_key(key: &str) -> String {
    let bare = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { key.to_owned() } else { quoted(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_and_dotted_settings_mean_the_same() {
        let text = "
packetbeat.interfaces:
  device: any
  internal_networks: [private]
packetbeat.flows.timeout: 30s
packetbeat.protocols:
  - type: dns
    ports: [53]
    include_authorities: true
  - type: http
    ports: [80, 8080]
    real_ip_header: \"X-Forwarded-For\"
    redact_authorization: true
  - type: mysql
    ports: [3306]
timestamp.precision: microsecond
fields:
  env: test
output.file.path: /tmp
";
        let toml = import(text).unwrap();
        let value: toml::Table = toml::from_str(&toml).unwrap();
        assert_eq!(value["capture"]["interfaces"][0].as_str(), Some("any"));
        assert_eq!(value["flows"]["timeout"].as_str(), Some("30s"));
        assert_eq!(value["http"]["real_ip_header"].as_str(), Some("X-Forwarded-For"));
        assert_eq!(value["dns"]["include_authorities"].as_bool(), Some(true));
        assert_eq!(value["timestamp"]["precision"].as_str(), Some("microsecond"));
        assert_eq!(value["fields"]["env"].as_str(), Some("test"));
        assert_eq!(value["output"][0]["to"].as_str(), Some("/tmp/packetbeat.ndjson"));
        for missing in ["mysql.ports: another protocol", "http.ports: is not needed"] {
            assert!(toml.contains(missing), "{missing} in\n{toml}");
        }
        toml::from_str::<super::super::file::File>(&toml).unwrap();
    }

    #[test]
    fn whatever_is_given_the_result_can_be_used() {
        let text = "
packetbeat.interfaces:
  - {device: eth0, internal_networks: private}
  - {device: 1, internal_networks: [10.0.0.0/8]}
packetbeat.protocols.http.ports: [80]
packetbeat.protocols:
  http: {ports: [8080], send_headers: Host, transaction_timeout: soon}
  dns: {enabled: false}
fields: {a: {b: 1, 'c d': x}}
keep_null: true
processors: [add_host_metadata: ~, drop_fields: {fields: [a]}]
";
        let toml = import(text).unwrap();
        let file: super::super::file::File = toml::from_str(&toml).unwrap_or_else(|error| panic!("{error}{toml}"));
        assert_eq!(file.capture.interfaces, ["eth0"]);
        assert_eq!(file.internal_networks.unwrap().len(), 2);
        assert_eq!(file.http.send_headers, ["Host"]);
        assert_eq!(file.fields["a"], serde_json::json!({"b": 1, "c d": "x"}));
        for missing in
            ["interfaces: [1] cannot", "transaction_timeout: ", "dns.enabled", "keep_null", "add_host_metadata"]
        {
            assert!(toml.contains(missing), "{missing} in\n{toml}");
        }
        assert_eq!(toml.matches("http.ports").count(), 1);
    }

    /// What an import says of outputs, and each of them as settings.
    fn outputs(text: &str) -> (String, Vec<crate::output::net::Settings>) {
        let toml = import(text).unwrap();
        let file: super::super::file::File = toml::from_str(&toml).unwrap_or_else(|error| panic!("{error}{toml}"));
        let read =
            |output| super::super::receiver::settings(output, "default").unwrap_or_else(|e| panic!("{e:?}{toml}"));
        let settings = file.output.iter().map(read).collect();
        (toml, settings)
    }

    #[test]
    fn outputs_go_where_they_went() {
        let (toml, settings) = outputs(
            "
output.elasticsearch:
  hosts: ['https://a:9243/base', 'https://b:9243']
  index: edge
  username: elastic
  password: hunter2
  worker: 3
  timeout: 90
  ssl: {certificate_authorities: [/etc/ca.pem], verification_mode: certificate}
  headers: {X-Tenant: one}
  loadbalance: true
",
        );
        assert_eq!(settings[0].target.to_string(), "elasticsearch+https://a:9243,b:9243/base/edge");
        assert_eq!(settings[0].timeout.as_secs(), 90);
        assert_eq!(settings[0].tls.ca.as_deref(), Some(std::path::Path::new("/etc/ca.pem")));
        assert!(!toml.contains("hunter2") && toml.contains("ELASTICSEARCH_PASSWORD"), "{toml}");
        assert!(toml.contains("requests = 3") && toml.contains("loadbalance: is not needed"), "{toml}");
        for (text, to) in [
            (
                "output.logstash: {hosts: [a, 'b:5045'], ssl.certificate: /c, ssl.key: /k}",
                "logstash+tls://a:5044,b:5045",
            ),
            ("output.kafka: {hosts: ['k:9092'], topic: beats, compression: lz4}", "kafka://k:9092/beats"),
            ("output.kafka: {hosts: [k], topic: '%{[type]}', ssl.enabled: true}", "kafka+tls://k:9093/imdswatch"),
            ("output.redis: {hosts: [r, s], key: beats, db: 2, datatype: channel}", "redis://r:6379/beats?db=2"),
        ] {
            let (toml, settings) = outputs(text);
            assert_eq!(settings[0].target.to_string(), to, "{toml}");
        }
    }

    #[test]
    fn what_is_switched_off_stays_so_or_is_said() {
        let toml = import(
            "output.logstash: {enabled: false, hosts: [a]}\npacketbeat.protocols: [{type: dns, enabled: false}]",
        );
        let toml = toml.unwrap();
        assert!(!toml.contains("[[output]]") && toml.contains("output.logstash: is switched off"), "{toml}");
        assert!(toml.contains("DNS is switched off there; here it goes on being read"), "{toml}");
    }

    #[test]
    fn each_interface_keeps_its_filter_or_is_named_with_it() {
        let filter = |text: &str| {
            let toml = import(text).unwrap();
            let file: super::super::file::File = toml::from_str(&toml).unwrap();
            (file.capture.filter, toml.matches("its own filter was").count())
        };
        let same = "packetbeat.interfaces: [{device: a, bpf_filter: tcp}, {device: b, bpf_filter: tcp}]";
        assert_eq!(filter(same), (Some("tcp".into()), 0));
        let differ = "packetbeat.interfaces: [{bpf_filter: port 80, device: a}, {device: b, bpf_filter: udp}]";
        assert_eq!(filter(differ), (Some("(port 80) or (udp)".into()), 2));
        let one = "packetbeat.interfaces: [{device: a}, {device: b, bpf_filter: udp}]";
        assert_eq!(filter(one), (None, 2));
    }

    #[test]
    fn broken_yaml_says_where() {
        assert!(import("a: [1, 2").unwrap_err().contains("line"));
    }
}
