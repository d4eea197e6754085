//! `import-packetbeat`: a packetbeat.yml in, the TOML that means the same out. What has no equal is said in comments,
//! so that nothing is lost silently.

use std::fmt::Write as _;

use yaml_rust2::{Yaml, YamlLoader};

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
            for item in items {
                let name = item["type"].as_str().or_else(|| (!item["device"].is_badvalue()).then_some("0"));
                let name = name.unwrap_or("item");
                flatten(&join(name), item, out);
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
        let interface = key.strip_prefix("interfaces.").map(|k| k.strip_prefix("0.").unwrap_or(k));
        if let Some(key) = interface {
            return self.interface(key, value, text);
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
            "output.console.enabled" | "output.console.pretty" => self.nothing(key, "standard output is the default"),
            _ => match key.strip_prefix("fields.") {
                Some(field) => {
                    let path: Vec<_> = field.split('.').map(quoted_key).collect();
                    self.put("fields", &path.join("."), text);
                }
                None => self.nothing(key, "has no equal"),
            },
        }
    }

    fn interface(&mut self, key: &str, value: &Yaml, text: String) {
        match key {
            "device" => self.put("capture", "interfaces", text),
            "snaplen" => self.put("capture", "snaplen", text),
            "bpf_filter" => self.put("capture", "filter", text),
            "buffer_size_mb" => self.put("capture", "buffer", format!("\"{}M\"", value.as_i64().unwrap_or(30))),
            "internal_networks" => self.put("", "internal_networks", text),
            "ignore_outgoing" => self.put("", "ignore_outgoing", text),
            "type" | "with_vlans" => self.nothing(key, "is not needed: every link layer and VLAN tag is read"),
            _ => self.nothing(&format!("interfaces.{key}"), "has no equal"),
        }
    }

    fn protocol(&mut self, protocol: &str, key: &str, text: String) {
        let name = format!("{protocol}.{key}");
        match (protocol, key) {
            (_, "type") => {}
            ("http" | "dns" | "icmp", "enabled") if text == "true" => {}
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

    fn toml(&self) -> String {
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
        for missing in ["output.file.path: has no equal", "mysql.ports: another protocol", "http.ports: is not needed"]
        {
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

    #[test]
    fn broken_yaml_says_where() {
        assert!(import("a: [1, 2").unwrap_err().contains("line"));
    }
}
