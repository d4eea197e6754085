//! Events of other sensors, from their bytes to alerts: labelled process starts as every source writes them, files of every
//! kind, what several sensors tell of one doing, and events that come in while they are read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine as _;
use common::{config, config_with, corpus, root, run};
use imdswatch::config::Config;
use serde::Deserialize;
use serde_json::{Value, json};

/// What is written of `files`, as a run with `config` reads them.
fn written(config: &Config, files: &[PathBuf]) -> Vec<Value> {
    let (written, _) = run(config, files);
    written.json.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// The same of one file with this text.
fn of_text(config: &Config, text: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events");
    std::fs::write(&file, text).unwrap();
    written(config, &[file])
}

fn is_alert(event: &Value) -> bool {
    event["event"]["kind"] == "alert"
}

fn severity(alert: &Value) -> &'static str {
    match alert["event"]["severity"].as_u64() {
        Some(21) => "low",
        Some(47) => "medium",
        Some(73) => "high",
        Some(99) => "critical",
        other => panic!("severity {other:?}"),
    }
}

/// `rule severity` of every alert, and `allowed` for each event without, in order.
fn verdicts(events: &[Value]) -> Vec<String> {
    let verdict = |event: &Value| match event["rule"]["id"].as_str() {
        Some(rule) if is_alert(event) => Some(format!("{rule} {}", severity(event))),
        _ => event["imds"]["allowed_by"].is_string().then(|| "allowed".to_owned()),
    };
    let mut all: Vec<_> = events.iter().filter_map(verdict).collect();
    all.sort();
    all
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    args: Vec<String>,
    exe: Option<String>,
    #[serde(default)]
    windows: bool,
    is: String,
}

#[derive(Deserialize)]
struct Starts {
    start: Vec<Start>,
}

impl Start {
    fn executable(&self) -> String {
        match &self.exe {
            Some(exe) => exe.clone(),
            None if self.args[0].contains('/') => self.args[0].clone(),
            None if self.windows => format!("C:\\Windows\\System32\\{}", self.args[0]),
            None => format!("/usr/bin/{}", self.args[0]),
        }
    }

    fn line(&self) -> String {
        let quoted = |arg: &String| match arg.contains(' ') {
            true => format!("\"{}\"", arg.replace('"', "\\\"")),
            false => arg.clone(),
        };
        self.args.iter().map(quoted).collect::<Vec<_>>().join(" ")
    }
}

/// The labelled starts; `BASE64(…)`, `UTF16(…)` and `HEX(…)` in them are written as such.
fn starts() -> Vec<Start> {
    let text = std::fs::read_to_string(root().join("tests/sensors/starts.toml")).unwrap();
    let mut starts = toml::from_str::<Starts>(&text).unwrap().start;
    starts.iter_mut().flat_map(|start| &mut start.args).for_each(|arg| *arg = expanded(arg));
    starts
}

fn expanded(arg: &str) -> String {
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let encode = |name: &str, text: &str| match name {
        "BASE64" => base64(text.as_bytes()),
        "UTF16" => base64(&text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()),
        _ => hex(text.as_bytes()),
    };
    for name in ["BASE64", "UTF16", "HEX"] {
        let Some(at) = arg.find(&format!("{name}(")) else { continue };
        let inner = &arg[at + name.len() + 1..];
        let mut depth = 1;
        let end = inner.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        });
        let end = end.expect("a closing bracket");
        return format!("{}{}{}", &arg[..at], encode(name, &inner[..end]), &inner[end + 1..]);
    }
    arg.to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02X}");
        out
    })
}

/// One start as one source writes it, of a host of its own and at a time of its own.
type Writer = fn(&Start, &str, usize) -> String;

fn stamp(nth: usize) -> String {
    format!("2026-03-{:02}T{:02}:{:02}:00.000Z", 1 + nth / 1440, nth / 60 % 24, nth % 60)
}

fn base(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap()
}

fn ecs(start: &Start, host: &str, nth: usize) -> Value {
    let exe = start.executable();
    json!({
        "@timestamp": stamp(nth), "host": {"name": host}, "agent": {"type": "endpoint", "version": "8.15.0"},
        "event": {"kind": "event", "category": ["process"], "type": ["start"], "action": "exec", "module": "endpoint", "id": host},
        "process": {"pid": 1000 + nth, "executable": exe, "name": base(&exe), "args": start.args, "command_line": start.line(),
                    "parent": {"pid": 1, "name": "systemd"}},
    })
}

const SOURCES: &[(&str, Writer)] = &[
    ("Endpoint", |start, host, nth| ecs(start, host, nth).to_string()),
    ("Endpoint, a line alone, keys dotted", |start, host, nth| {
        json!({
            "@timestamp": stamp(nth), "host.name": host, "event.category": "process", "event.type": "start",
            "event.action": ["start"], "process.pid": 1000 + nth, "process.executable": start.executable(),
            "process.name": base(&start.executable()), "process.command_line": start.line(),
        })
        .to_string()
    }),
    ("Auditbeat 8, auditd: names cut at 15 bytes, no command line", |start, host, nth| {
        let mut event = ecs(start, host, nth);
        let name: String = base(&start.executable()).chars().take(15).collect();
        event["agent"]["type"] = "auditbeat".into();
        event["event"]["module"] = "auditd".into();
        event["event"]["action"] = "executed".into();
        event["process"]["name"] = name.into();
        event["process"].as_object_mut().unwrap().remove("command_line");
        event.to_string()
    }),
    ("Auditbeat 7: category audit-rule, no type", |start, host, nth| {
        json!({
            "@timestamp": stamp(nth), "host": {"name": host}, "service": {"type": "auditd"},
            "event": {"category": "audit-rule", "action": "executed", "module": "auditd"},
            "auditd": {"data": {"syscall": "execve"}, "result": "success"},
            "process": {"pid": (1000 + nth).to_string(), "executable": start.executable(), "args": start.args, "title": start.args[0]},
        })
        .to_string()
    }),
    ("Auditbeat, system: process_started", |start, host, nth| {
        json!({
            "@timestamp": stamp(nth), "host": {"name": host}, "service": {"type": "system"},
            "event": {"action": "process_started", "dataset": "process", "module": "system", "kind": "event",
                      "category": ["process"], "type": ["start"]},
            "process": {"pid": 1000 + nth, "executable": start.executable(), "args": start.args, "start": stamp(nth)},
        })
        .to_string()
    }),
    ("Winlogbeat, Sysmon 1 as ECS", |start, host, nth| {
        let mut event = ecs(start, host, nth);
        event["event"]["action"] = "Process creation".into();
        event["event"]["module"] = "sysmon".into();
        event["event"]["code"] = "1".into();
        event["winlog"] = json!({"channel": "Microsoft-Windows-Sysmon/Operational", "event_id": "1", "computer_name": host,
                                 "event_data": {"Company": "x"}});
        event.to_string()
    }),
    ("Winlogbeat, Sysmon 1 with its own fields", |start, host, nth| {
        json!({
            "@timestamp": stamp(nth), "event": {"code": 1, "provider": "Microsoft-Windows-Sysmon"},
            "winlog": {"event_id": 1, "computer_name": host, "event_data": {
                "UtcTime": stamp(nth).replace('T', " ").replace('Z', ""), "ProcessId": (1000 + nth).to_string(),
                "Image": start.executable(), "CommandLine": start.line(), "ParentImage": "C:\\Windows\\explorer.exe"}},
        })
        .to_string()
    }),
    ("Sysmon 1, flat", |start, host, nth| {
        json!({
            "EventID": 1, "Channel": "Microsoft-Windows-Sysmon/Operational", "Hostname": host,
            "UtcTime": stamp(nth).replace('T', " ").replace('Z', ""), "ProcessId": (1000 + nth).to_string(),
            "Image": start.executable(), "CommandLine": start.line(),
        })
        .to_string()
    }),
    ("Windows, 4688", |start, host, nth| {
        json!({
            "EventID": "4688", "Channel": "Security", "Computer": host, "EventTime": stamp(nth),
            "NewProcessId": format!("{:#x}", 1000 + nth), "NewProcessName": start.executable(), "CommandLine": start.line(),
            "ProcessId": "0x4", "SubjectUserName": "web",
        })
        .to_string()
    }),
    ("Sysmon for Linux: its own name for every process", |start, host, nth| {
        let mut event = ecs(start, host, nth);
        event["event"]["action"] = "Process creation".into();
        event["event"]["module"] = "sysmon_linux".into();
        event["process"]["name"] = "sysmon".into();
        event["process"].as_object_mut().unwrap().remove("args");
        event.to_string()
    }),
    ("Falco", |start, host, nth| {
        json!({
            "hostname": host, "priority": "Notice", "rule": "Program run", "source": "syscall", "time": stamp(nth),
            "output_fields": {"evt.type": "execve", "proc.cmdline": start.line(), "proc.exepath": start.executable(),
                              "proc.name": base(&start.executable()), "proc.pid": 1000 + nth, "container.id": "host"},
        })
        .to_string()
    }),
    ("An export of Elasticsearch, arrays for scalars", |start, host, nth| {
        let exe = start.executable();
        json!({"_index": "logs", "_id": host, "_source": {
            "@timestamp": [stamp(nth)], "host": {"name": [host]},
            "event": {"category": "process", "type": ["start"], "action": ["exec"], "module": ["endpoint"]},
            "process": {"pid": [1000 + nth], "executable": [exe], "name": [base(&exe)], "command_line": [start.line()]},
        }})
        .to_string()
    }),
    ("Audit records, in hexadecimal where they need it", |start, host, nth| {
        let key = format!("audit({}.000:{})", 1_772_323_200 + nth * 60, 5000 + nth);
        let arg = |arg: &String| match arg.bytes().all(|b| b.is_ascii_graphic() && b != b'"') {
            true => format!("\"{arg}\""),
            false => hex(arg.as_bytes()),
        };
        let args = start.args.iter().enumerate().fold(String::new(), |mut out, (nth, value)| {
            let _ = write!(out, " a{nth}={}", arg(value));
            out
        });
        let exe = start.executable();
        let comm: String = base(&exe).chars().take(15).collect();
        format!(
            "node={host} type=SYSCALL msg={key}: arch=c000003e syscall=59 success=yes exit=0 a0=1 items=2 ppid=1 pid={} auid=0 \
             uid=0 gid=0 euid=0 tty=pts0 ses=1 comm=\"{comm}\" exe=\"{exe}\" key=\"exec\"\n\
             node={host} type=EXECVE msg={key}: argc={}{args}\nnode={host} type=EOE msg={key}:",
            1000 + nth,
            start.args.len(),
        )
    }),
];

#[test]
fn process_starts_are_judged_alike_whatever_source_tells_of_them() {
    let starts = starts();
    assert!(starts.len() > 100);
    let config = config(&["-e", "metadata"]);
    let mut wrong = Vec::new();
    for (source, write) in SOURCES {
        let lines = starts.iter().enumerate().map(|(nth, start)| write(start, &format!("h{nth}"), nth));
        let end = if source.contains("Sysmon") { "\r\n" } else { "\n" };
        let text: String = lines.map(|line| line + end).collect();
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        for event in of_text(&config, &text) {
            let host = event["host"]["name"].as_str().unwrap_or("no host").to_owned();
            let verdict = match event["imds"]["allowed_by"].is_string() {
                _ if is_alert(&event) => {
                    assert_eq!(event["rule"]["id"], "imds-command", "{source}: {event}");
                    severity(&event)
                }
                true => "allowed",
                false => continue,
            };
            let before = found.insert(host, verdict.to_owned());
            assert_eq!(before, None, "{source}: alerted twice: {event}");
        }
        for (nth, start) in starts.iter().enumerate() {
            let verdict = found.get(&format!("h{nth}")).map_or("silent", String::as_str);
            if verdict != start.is {
                wrong.push(format!("{source}: {:?} is {verdict}, not {}", start.args, start.is));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[derive(Deserialize)]
struct Files {
    file: Vec<EventFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventFile {
    name: String,
    text: String,
    is: Vec<String>,
}

#[test]
fn files_of_every_kind_are_judged_by_what_they_tell() {
    let text = std::fs::read_to_string(root().join("tests/sensors/events.toml")).unwrap();
    let config = config(&["-e", "metadata"]);
    for EventFile { name, text, mut is } in toml::from_str::<Files>(&text).unwrap().file {
        is.sort();
        assert_eq!(verdicts(&of_text(&config, &text)), is, "{name}");
        assert_eq!(verdicts(&of_text(&config, &text.replace('\n', "\r\n"))), is, "{name}, by Windows' line ends");
    }
}

/// What stands in `ecs-samples`, if it is there: every event is judged as its label says.
#[test]
fn samples_of_all_sensors_are_judged_as_their_labels_say() {
    let Some(folder) = corpus("ecs-samples") else { return };
    let config = config(&["-e", "metadata"]);
    let labels = std::fs::read_to_string(folder.join("labels.jsonl")).unwrap();
    let mut count = 0;
    for label in labels.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let file = label["file"].as_str().unwrap();
        // `imds-command, high (a tool walks the tree root)`, `allowed (imds.allowed_by), no alert`, `silent`
        let verdict = label["verdict"].as_str().unwrap();
        let words: Vec<&str> = verdict.split([',', ' ']).filter(|word| !word.is_empty()).collect();
        let wanted = match words[..] {
            ["silent", ..] => Vec::new(),
            ["allowed", ..] => vec!["allowed".to_owned()],
            [rule, severity, ..] => vec![format!("{rule} {severity}")],
            _ => panic!("{verdict}"),
        };
        assert_eq!(verdicts(&written(&config, &[folder.join(file)])), wanted, "{file}: {verdict}");
        count += 1;
    }
    assert!(count >= 45, "only {count} samples");
}

// Several sensors

const FORGED: &str =
    "/fetch?u=http%3A%2F%2F169.254.169.254%2Flatest%2Fmeta-data%2Fiam%2Fsecurity-credentials%2Fshop-role";

fn suricata_front(time: &str) -> String {
    json!({
        "timestamp": time, "event_type": "http", "src_ip": "203.0.113.80", "src_port": 50_100, "dest_ip": "10.7.0.20",
        "dest_port": 80, "proto": "TCP", "host": "front-sensor",
        "http": {"hostname": "shop.example.com", "url": FORGED, "http_method": "GET", "status": 200, "http_user_agent": "Mozilla/5.0"},
    })
    .to_string()
}

fn zeek_front(time: &str) -> String {
    json!({
        "_path": "http", "ts": time, "uid": "CX1", "id.orig_h": "203.0.113.80", "id.orig_p": 50_100, "id.resp_h": "10.7.0.20",
        "id.resp_p": 80, "method": "GET", "host": "shop.example.com", "uri": FORGED, "status_code": 200,
    })
    .to_string()
}

fn auditbeat_start(time: &str) -> String {
    json!({
        "@timestamp": time, "agent": {"type": "auditbeat"}, "host": {"name": "shop-1", "ip": ["10.7.0.20"]},
        "event": {"module": "auditd", "category": ["process"], "type": ["start"], "action": "executed"},
        "process": {"pid": 4711, "executable": "/usr/bin/curl", "name": "curl", "parent": {"pid": 4000},
            "args": ["curl", "-s", "http://169.254.169.254/latest/meta-data/iam/security-credentials/shop-role"]},
    })
    .to_string()
}

fn auditbeat_connection(time: &str) -> String {
    json!({
        "@timestamp": time, "agent": {"type": "auditbeat"}, "host": {"name": "shop-1", "ip": ["10.7.0.20"]},
        "event": {"module": "auditd", "category": ["network"], "type": ["connection", "start"], "action": "connected-to"},
        "process": {"pid": 4711, "executable": "/usr/bin/curl", "name": "curl"},
        "source": {"ip": "10.7.0.20"}, "destination": {"ip": "169.254.169.254", "port": 80},
    })
    .to_string()
}

fn alerts(events: &[Value]) -> Vec<&Value> {
    events.iter().filter(|event| is_alert(event)).collect()
}

fn words(alert: &Value) -> Vec<&str> {
    alert["imds"]["chain"].as_array().into_iter().flatten().filter_map(|link| link["what"].as_str()).collect()
}

/// The front's log shows the forged request, the host's the command that it led to: that is one confirmed forgery.
#[test]
fn a_log_of_the_front_and_the_hosts_commands_are_one_confirmed_forgery() {
    let config = config(&["-e", "alerts"]);
    for front in [suricata_front, zeek_front] {
        let text = [front("2026-03-01T12:00:00.100Z"), auditbeat_start("2026-03-01T12:00:00.350Z")].join("\n");
        let events = of_text(&config, &text);
        let alerts = alerts(&events);
        assert_eq!(alerts.len(), 1, "{:?}", verdicts(&events));
        assert_eq!(alerts[0]["rule"]["id"], "ssrf-confirmed");
        assert_eq!(alerts[0]["source"]["ip"], "203.0.113.80");
        assert!(words(alerts[0]).contains(&"request") && words(alerts[0]).len() >= 2, "{}", alerts[0]);
        assert!(
            alerts[0].to_string().contains("shop-role") && !alerts[0].to_string().contains("0.0.0.0"),
            "{}",
            alerts[0]
        );
    }
}

/// A connection without its request proves nothing by itself: the attempt is alerted with it in its chain, once.
#[test]
fn a_log_of_the_front_and_the_hosts_connections_are_one_chain() {
    let config = config(&["-e", "alerts"]);
    for front in [suricata_front, zeek_front] {
        let text = [front("2026-03-01T12:00:00.100Z"), auditbeat_connection("2026-03-01T12:00:00.350Z")].join("\n");
        let events = of_text(&config, &text);
        let alerts = alerts(&events);
        assert_eq!(alerts.len(), 1, "{:?}", verdicts(&events));
        assert_eq!(alerts[0]["rule"]["id"], "ssrf-attempt");
        assert_eq!(words(alerts[0]), ["request", "fetch"], "{}", alerts[0]);
    }
}

/// Clocks that differ by more than is believed keep two sensors apart; the setting says how much that is.
#[test]
fn clocks_may_differ_by_what_the_settings_say() {
    let text = [suricata_front("2026-03-01T12:00:07.100Z"), auditbeat_start("2026-03-01T12:00:00.350Z")].join("\n");
    let apart = of_text(&config(&["-e", "alerts"]), &text);
    assert!(!verdicts(&apart).iter().any(|verdict| verdict.starts_with("ssrf-confirmed")), "{:?}", verdicts(&apart));
    let joined = of_text(&config_with(&["-e", "alerts"], "[alerts]\nclock_skew = \"8s\"\n"), &text);
    let first = verdicts(&joined);
    assert!(first.iter().any(|verdict| verdict.starts_with("ssrf-confirmed")), "{first:?}");
    assert_eq!(joined.len(), 1, "{first:?}");
}

/// The issuance that a bundled capture shows: its alert, as packets alone tell it.
fn issuance(capture: &Path) -> Value {
    let events = written(&config(&["-e", "alerts"]), &[capture.to_owned()]);
    events.into_iter().find(|event| event["rule"]["id"] == "imds-credential-issued").unwrap()
}

/// Packets say what was issued, the host's Sysmon which process asked: one alert, with both.
#[test]
fn packets_and_a_sysmon_log_are_one_alert() {
    let capture = root().join("pcaps/aws/theft-through-curl/input.pcap");
    let alone = issuance(&capture);
    let time = alone["event"]["start"].as_str().or(alone["@timestamp"].as_str()).unwrap();
    let client = &alone["source"];
    let sysmon = |id: u8, more: Value| {
        let mut event = json!({
            "EventID": id, "Channel": "Microsoft-Windows-Sysmon/Operational", "Hostname": "WEB7", "ProcessId": "2040",
            "UtcTime": time.replace('T', " ").trim_end_matches('Z'), "Image": "C:\\Windows\\System32\\curl.exe",
        });
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event.to_string()
    };
    let connection = sysmon(
        3,
        json!({"Protocol": "tcp", "Initiated": "true", "SourceIp": client["ip"], "SourcePort": client["port"],
               "DestinationIp": alone["destination"]["ip"], "DestinationPort": 80}),
    );
    let line = format!("curl.exe -s {}", alone["url"]["full"].as_str().unwrap());
    let start = sysmon(1, json!({"CommandLine": line}));
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("connection", connection.clone()), ("both", format!("{start}\n{connection}"))] {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let events = written(&config(&["-e", "alerts"]), &[file, capture.clone()]);
        let strong: Vec<_> = alerts(&events).into_iter().filter(|alert| severity(alert) != "low").collect();
        assert_eq!(strong.len(), 1, "{name}: {:?}", verdicts(&events));
        assert_eq!(strong[0]["rule"]["id"], "imds-credential-issued");
        assert_eq!(strong[0]["process"]["name"], "curl.exe", "{name}: {}", strong[0]);
        assert!(words(strong[0]).len() >= 2, "{name}: {}", strong[0]);
        assert!(!verdicts(&events).iter().any(|verdict| verdict.starts_with("imds-command")), "{name}");
    }
}

/// What three sensors tell of one exchange is one line, also when it comes again and again.
#[test]
fn one_exchange_that_three_sensors_see_is_one_line_each_time() {
    let mut lines = Vec::new();
    for minute in 0..5 {
        let time = |ms: u32| format!("2026-03-01T12:{:02}:00.{ms:03}Z", minute * 7);
        let port = 40_000 + minute;
        let path = "/latest/meta-data/placement/region";
        lines.push(json!({"timestamp": time(100), "event_type": "http", "src_ip": "10.7.0.20", "src_port": port,
            "dest_ip": "169.254.169.254", "dest_port": 80, "proto": "TCP",
            "http": {"hostname": "169.254.169.254", "url": path, "http_method": "GET", "status": 200, "http_user_agent": "curl/8.5.0"}}));
        lines.push(json!({"ts": time(120), "uid": format!("C{minute}"), "id.orig_h": "10.7.0.20", "id.orig_p": port,
            "id.resp_h": "169.254.169.254", "id.resp_p": 80, "method": "GET", "host": "169.254.169.254", "uri": path, "status_code": 200}));
        lines.push(json!({"@timestamp": time(90), "agent": {"type": "auditbeat"}, "host": {"name": "shop-1", "ip": ["10.7.0.20"]},
            "event": {"module": "auditd", "category": ["network"], "type": ["connection", "start"], "action": "connected-to"},
            "process": {"pid": 5000 + minute, "executable": "/usr/bin/curl", "name": "curl"},
            "source": {"ip": "10.7.0.20", "port": port}, "destination": {"ip": "169.254.169.254", "port": 80}}));
    }
    let text: Vec<_> = lines.iter().map(Value::to_string).collect();
    let events = of_text(&config(&["-e", "alerts"]), &text.join("\n"));
    let first: Vec<_> = alerts(&events).into_iter().filter(|alert| alert["imds"]["repeats"].is_null()).collect();
    assert_eq!(first.len(), 1, "{:?}", verdicts(&events));
    let repeats: u64 = alerts(&events).iter().filter_map(|alert| alert["imds"]["repeats"].as_u64()).sum();
    assert_eq!(repeats, 4, "{:?}", verdicts(&events));
}

// Events that come in while they are read

/// Each alert comes out within two seconds of the event that made it, though the pipe stays open.
#[test]
fn alerts_of_a_stream_come_at_once() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_imdswatch"))
        .args(["-r", "-", "-e", "alerts", "--format", "ndjson", "--quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = child.stdin.take().unwrap();
    let from = BufReader::new(child.stdout.take().unwrap());
    let (tell, lines) = mpsc::channel();
    std::thread::spawn(move || from.lines().map_while(Result::ok).for_each(|line| drop(tell.send(line))));
    let ordinary = "{\"@timestamp\":\"2026-03-01T12:00:00.000Z\",\"event\":{\"category\":[\"process\"]},\"process\":{\"name\":\"ls\"}}";
    // generous, as tests run beside others
    let soon = Duration::from_secs(15);
    for (nth, time) in
        ["2026-03-01T12:00:00.100Z", "2026-03-01T12:20:00.100Z", "2026-03-01T14:00:00.100Z"].iter().enumerate()
    {
        let event =
            auditbeat_start(time).replace("shop-1", &format!("shop-{nth}")).replace("4711", &(4711 + nth).to_string());
        write!(to, "{ordinary}\n{event}\n{ordinary}\n").unwrap();
        to.flush().unwrap();
        let line = lines.recv_timeout(soon).expect("an alert while the pipe is open");
        let alert: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&alert["rule"]["id"], &alert["host"]["name"]),
            (&json!("imds-command"), &json!(format!("shop-{nth}")))
        );
    }
    // half a line is not taken for a whole one
    let event = auditbeat_start("2026-03-01T15:00:00.100Z").replace("shop-1", "shop-9");
    let (one, other) = event.split_at(event.len() / 2);
    write!(to, "{one}").unwrap();
    to.flush().unwrap();
    assert!(lines.recv_timeout(Duration::from_millis(700)).is_err());
    writeln!(to, "{other}").unwrap();
    drop(to);
    let last: Value = serde_json::from_str(&lines.recv_timeout(soon).unwrap()).unwrap();
    assert_eq!(last["host"]["name"], "shop-9");
    assert!(child.wait().unwrap().success());
}
