//! `output.*` of a packetbeat.yml as `[[output]]` tables. Secrets that stand in the file are not printed: an environment
//! variable takes their place, and a comment says which.

use std::fmt::Write as _;

use yaml_rust2::Yaml;

use super::quoted;

/// Outputs in the order in which the file first names them.
#[derive(Default)]
pub(super) struct Outputs {
    outputs: Vec<Output>,
}

#[derive(Default)]
struct Output {
    kind: String,
    settings: Vec<(String, Value)>,
}

/// A setting: a list has one entry for each element.
#[derive(Clone)]
struct Value {
    texts: Vec<String>,
}

impl Value {
    fn of(yaml: &Yaml) -> Option<Self> {
        let scalar = |yaml: &Yaml| match yaml {
            Yaml::String(text) | Yaml::Real(text) => Some(text.clone()),
            Yaml::Integer(number) => Some(number.to_string()),
            Yaml::Boolean(yes) => Some(yes.to_string()),
            _ => None,
        };
        let texts = match yaml {
            Yaml::Array(items) => items.iter().filter_map(scalar).collect(),
            yaml => vec![scalar(yaml)?],
        };
        Some(Self { texts })
    }

    fn first(&self) -> &str {
        self.texts.first().map_or("", String::as_str)
    }
}

impl Outputs {
    /// Takes a setting `KIND.KEY`; `false` where this is no output that has an equal.
    pub(super) fn take(&mut self, name: &str, yaml: &Yaml) -> bool {
        let (kind, key) = name.split_once('.').unwrap_or((name, ""));
        if !["elasticsearch", "logstash", "kafka", "redis", "file", "console"].contains(&kind) {
            return false;
        }
        let Some(value) = Value::of(yaml) else { return true };
        let at = self.outputs.iter().position(|output| output.kind == kind).unwrap_or_else(|| {
            self.outputs.push(Output { kind: kind.to_owned(), settings: Vec::new() });
            self.outputs.len() - 1
        });
        if let Some(output) = self.outputs.get_mut(at) {
            output.settings.push((key.to_owned(), value));
        }
        true
    }

    /// The tables. What has no equal goes to `nothing`, with its reason.
    pub(super) fn toml(&self, nothing: &mut impl FnMut(&str, &str)) -> String {
        let mut out = String::new();
        for output in &self.outputs {
            let Some(lines) = output.lines(nothing) else { continue };
            out.push_str("\n[[output]]\n");
            for (key, value) in lines {
                let _ = writeln!(out, "{key} = {value}");
            }
        }
        out
    }
}

/// Key and value of a TOML line.
type Line = (String, String);

impl Output {
    fn get(&self, key: &str) -> Option<&Value> {
        self.settings.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.get(key).map(Value::first).filter(|text| !text.is_empty())
    }

    fn is_off(&self) -> bool {
        self.text("enabled") == Some("false")
    }

    fn lines(&self, nothing: &mut impl FnMut(&str, &str)) -> Option<Vec<Line>> {
        if self.is_off() {
            nothing(&format!("output.{}", self.kind), "is switched off there and was left out");
            return None;
        }
        let mut used = vec!["enabled"];
        let lines = match self.kind.as_str() {
            "console" => vec![("to".to_owned(), quoted("-"))],
            "file" => self.file(&mut used),
            _ => self.network(&mut used, nothing),
        };
        if self.kind == "console" || self.kind == "file" {
            used.extend(["codec.json.pretty"].iter().filter(|key| self.text(key) == Some("false")));
        }
        for (key, _) in &self.settings {
            if !used.contains(&key.as_str()) && !key.starts_with("headers.") {
                nothing(&format!("output.{}.{key}", self.kind), reason(&self.kind, key));
            }
        }
        Some(lines)
    }

    /// Packetbeat rotates at 10 MB and keeps seven files unless told otherwise.
    fn file(&self, used: &mut Vec<&'static str>) -> Vec<Line> {
        used.extend(["path", "filename", "rotate_every_kb", "number_of_files"]);
        let folder = self.text("path").unwrap_or(".").trim_end_matches('/');
        let name = self.text("filename").unwrap_or("packetbeat");
        let kilobytes = self.text("rotate_every_kb").and_then(|text| text.parse().ok()).unwrap_or(10_240_u64);
        let size =
            if kilobytes.is_multiple_of(1024) { format!("{}M", kilobytes / 1024) } else { format!("{kilobytes}K") };
        let keep = self.text("number_of_files").and_then(|text| text.parse().ok()).unwrap_or(7_u32);
        vec![
            ("to".to_owned(), quoted(&format!("{folder}/{name}.ndjson"))),
            ("rotate".to_owned(), quoted(&size)),
            ("keep".to_owned(), keep.to_string()),
        ]
    }

    fn network(&self, used: &mut Vec<&'static str>, nothing: &mut impl FnMut(&str, &str)) -> Vec<Line> {
        used.extend(["hosts", "protocol", "path", "index", "topic", "key", "db", "ssl.enabled"]);
        let hosts = self.get("hosts").map(|value| value.texts.clone()).unwrap_or_default();
        let hosts = if hosts.is_empty() { vec!["localhost".to_owned()] } else { hosts };
        let mut tls = self.is_tls();
        let mut folder = self.text("path").unwrap_or_default().trim_matches('/').to_owned();
        let mut bare = Vec::new();
        for host in &hosts {
            let (scheme, rest) = host.split_once("://").unwrap_or(("", host));
            tls |= matches!(scheme, "https" | "rediss");
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            if !path.trim_matches('/').is_empty() {
                path.trim_matches('/').clone_into(&mut folder);
            }
            bare.push(authority.to_owned());
        }
        if self.kind == "redis" && bare.len() > 1 {
            nothing("output.redis.hosts", "goes to one host here: the first");
            bare.truncate(1);
        }
        let mut lines = vec![("to".to_owned(), quoted(&self.url(tls, &bare.join(","), &folder, nothing)))];
        lines.extend(self.common(used, nothing));
        let certificates = self.certificates(used, nothing);
        // Without TLS Packetbeat does not look at them.
        lines.extend(certificates.into_iter().filter(|_| tls));
        lines
    }

    fn is_tls(&self) -> bool {
        let any = self.settings.iter().any(|(key, _)| key.starts_with("ssl.") && key != "ssl.enabled");
        let on = self.text("ssl.enabled").map(|text| text == "true");
        self.text("protocol") == Some("https") || on.unwrap_or(any && self.kind != "elasticsearch")
    }

    fn url(&self, tls: bool, hosts: &str, folder: &str, nothing: &mut impl FnMut(&str, &str)) -> String {
        let folder = if folder.is_empty() { String::new() } else { format!("/{folder}") };
        let mut name = |key: &str| {
            let text = self.text(key)?;
            if text.contains("%{") {
                nothing(
                    &format!("output.{}.{key}", self.kind),
                    &format!("a name made from events ({text}); the default goes"),
                );
                return None;
            }
            Some(text.to_owned())
        };
        match self.kind.as_str() {
            "elasticsearch" => {
                let index = name("index").unwrap_or_default();
                format!("elasticsearch+http{}://{hosts}{folder}/{index}", if tls { "s" } else { "" })
            }
            "kafka" => {
                let topic = name("topic").unwrap_or_else(|| "imdswatch".to_owned());
                format!("kafka{}://{hosts}/{topic}", if tls { "+tls" } else { "" })
            }
            "redis" => {
                let key = name("key").or_else(|| name("index")).unwrap_or_else(|| "packetbeat".to_owned());
                let database = self.text("db").filter(|number| *number != "0");
                let query = database.map_or_else(String::new, |number| format!("?db={number}"));
                format!("redis{}://{hosts}/{key}{query}", if tls { "s" } else { "" })
            }
            _ => format!("logstash{}://{hosts}", if tls { "+tls" } else { "" }),
        }
    }

    /// Settings that several kinds have.
    fn common(&self, used: &mut Vec<&'static str>, nothing: &mut impl FnMut(&str, &str)) -> Vec<Line> {
        let mut lines = Vec::new();
        for (theirs, ours) in [("username", "username"), ("pipeline", "pipeline"), ("datatype", "redis_type")] {
            used.push(theirs);
            lines.extend(self.text(theirs).map(|text| (ours.to_owned(), quoted(text))));
        }
        for (theirs, ours) in [("worker", "requests"), ("workers", "requests"), ("bulk_max_size", "batch")] {
            used.push(theirs);
            let number = self.text(theirs).and_then(|text| text.parse::<u32>().ok()).filter(|number| *number > 0);
            lines.extend(number.map(|number| (ours.to_owned(), number.to_string())));
        }
        lines.extend(self.secrets(used, nothing));
        lines.extend(self.times(used));
        lines.extend(self.kinds(used, nothing));
        lines
    }

    fn secrets(&self, used: &mut Vec<&'static str>, nothing: &mut impl FnMut(&str, &str)) -> Vec<Line> {
        used.extend(["password", "api_key"]);
        let keys = ["password", "api_key"].into_iter().filter_map(|key| Some((key, self.text(key)?)));
        let found = keys.map(|(key, text)| {
            if text.contains("${") {
                return (key.to_owned(), quoted(text));
            }
            let variable = format!("{}_{}", self.kind, key).to_uppercase();
            let why = format!("is not copied: put it into the environment as {variable}, or use `{key}_file`");
            nothing(&format!("output.{}.{key}", self.kind), &why);
            (key.to_owned(), quoted(&format!("${{{variable}}}")))
        });
        found.collect()
    }

    fn certificates(&self, used: &mut Vec<&'static str>, nothing: &mut impl FnMut(&str, &str)) -> Vec<Line> {
        used.extend(["ssl.certificate_authorities", "ssl.verification_mode", "ssl.certificate", "ssl.key"]);
        let mut lines = Vec::new();
        for key in ["certificate", "key"] {
            lines.extend(self.text(&format!("ssl.{key}")).map(|text| (key.to_owned(), quoted(text))));
        }
        if let Some(authorities) = self.get("ssl.certificate_authorities") {
            if authorities.texts.len() > 1 {
                nothing("ssl.certificate_authorities", "`ca` is one file: join the others to the first");
            }
            lines.push(("ca".to_owned(), quoted(authorities.first())));
        }
        let mode = self.text("ssl.verification_mode").filter(|mode| ["certificate", "none"].contains(mode));
        lines.extend(mode.map(|mode| ("verify".to_owned(), quoted(mode))));
        lines
    }

    /// Numbers are seconds there.
    fn times(&self, used: &mut Vec<&'static str>) -> Vec<Line> {
        used.extend(["timeout", "backoff.max"]);
        let keys = [("timeout", "timeout"), ("backoff.max", "backoff")];
        let found = keys.iter().filter_map(|(theirs, ours)| {
            let text = self.text(theirs)?;
            let text = if text.bytes().all(|b| b.is_ascii_digit()) { format!("{text}s") } else { text.to_owned() };
            crate::duration::Span::parse(&text).ok()?;
            Some(((*ours).to_owned(), quoted(&text)))
        });
        found.collect()
    }

    fn kinds(&self, used: &mut Vec<&'static str>, nothing: &mut impl FnMut(&str, &str)) -> Vec<Line> {
        used.extend(["compression_level", "compression", "sasl.mechanism"]);
        let mut lines = Vec::new();
        let off = self.text("compression_level") == Some("0") || self.text("compression") == Some("none");
        if off {
            lines.push(("compression".to_owned(), quoted("none")));
        }
        if let Some(other) = self.text("compression").filter(|text| !["none", "gzip"].contains(text)) {
            nothing("output.kafka.compression", &format!("{other} becomes gzip"));
        }
        if let Some(mechanism) = self.text("sasl.mechanism") {
            lines.push(("sasl".to_owned(), quoted(&mechanism.to_lowercase())));
        }
        let headers =
            self.settings.iter().filter_map(|(key, value)| Some((key.strip_prefix("headers.")?, value.first())));
        let headers: Vec<_> = headers.map(|(name, value)| format!("{} = {}", quoted(name), quoted(value))).collect();
        if !headers.is_empty() {
            lines.push(("headers".to_owned(), format!("{{ {} }}", headers.join(", "))));
        }
        lines
    }
}

/// Why a setting of an output has no equal.
fn reason(kind: &str, key: &str) -> &'static str {
    match (kind, key) {
        (_, "loadbalance") => "is not needed: hosts take turns, and one that fails rests",
        (_, "max_retries") => "is not needed: what a receiver has not taken is sent until it has",
        (_, "proxy_url") => "proxies are not used",
        ("kafka", key) if key.starts_with("partition.") || key == "key" => {
            "the key is the community id, and its partition the one that Kafka's clients choose"
        }
        ("kafka", "required_acks") => "is not needed: all replicas acknowledge",
        ("kafka", "version" | "client_id") => "is not needed",
        ("console", "pretty") => "events are one line each; `--format text` is for people",
        _ => "has no equal",
    }
}
