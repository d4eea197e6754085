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
                let name = item["type"].as_str().or_else(|| item["device"].as_str().map(|_| "0"));
                let name = name.unwrap_or("item");
                flatten(&join(name), item, out);
            }
        }
        _ => out.push((prefix.to_owned(), value)),
    }
}

/// TOML sections in the making.
#[derive(Default)]
struct Import {
    root: Vec<String>,
    sections: Vec<(&'static str, Vec<String>)>,
    no_equal: Vec<String>,
}

impl Import {
    fn setting(&mut self, key: &str, value: &Yaml) {
        let key = key.strip_prefix("packetbeat.").unwrap_or(key);
        let Some(text) = toml_value(value) else { return };
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
                Some(field) => self.put("fields", &quoted_key(field), text),
                None => self.nothing(key, "has no equal"),
            },
        }
    }

    fn interface(&mut self, key: &str, value: &Yaml, text: String) {
        match key {
            "device" => self.put("capture", "interfaces", format!("[{text}]")),
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

    fn put(&mut self, section: &'static str, key: &str, value: String) {
        let line = format!("{key} = {value}");
        if section.is_empty() {
            return self.root.push(line);
        }
        match self.sections.iter_mut().find(|(name, _)| *name == section) {
            Some((_, lines)) => lines.push(line),
            None => self.sections.push((section, vec![line])),
        }
    }

    fn nothing(&mut self, key: &str, why: &str) {
        self.no_equal.push(format!("{key}: {why}"));
    }

    fn toml(&self) -> String {
        let mut out = String::from("# From a packetbeat.yml, by `imdswatch import-packetbeat`.\n");
        if !self.no_equal.is_empty() {
            out.push_str("#\n# Without an equal here:\n");
            for line in &self.no_equal {
                let _ = writeln!(out, "#   {line}");
            }
        }
        for line in &self.root {
            let _ = writeln!(out, "{line}");
        }
        if !self
            .sections
            .iter()
            .any(|(name, lines)| *name == "http" && lines.iter().any(|line| line.starts_with("redact_authorization")))
        {
            out.push_str("\n# Packetbeat does not redact Authorization unless told to; imdswatch does.\n");
            out.push_str("# To have it as before: redact_authorization = false under [http].\n");
        }
        for (name, lines) in &self.sections {
            let _ = writeln!(out, "\n[{name}]");
            for line in lines {
                let _ = writeln!(out, "{line}");
            }
        }
        out
    }
}

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
    fn broken_yaml_says_where() {
        assert!(import("a: [1, 2").unwrap_err().contains("line"));
    }
}
