//! Every output against the real receiver: every event of all bundled captures arrives, once, and none is rejected.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

mod document;
#[path = "../receiver_faults/fake.rs"]
#[allow(dead_code)]
mod fake;
mod server;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use document::Section;
use fake::Certificates;
use imdswatch::output::net::settings::{RedisType, Sasl, Tls};
use imdswatch::output::net::{self, Settings};
use imdswatch::output::receiver::{Event, Fault, Outcome, Receiver};
use rskafka::client::ClientBuilder;
use rskafka::client::partition::UnknownTopicHandling;
use serde_json::Value;
use server::Server;

/// The program, with arguments; what it printed, and whether all went well.
fn imdswatch(arguments: &[&str]) -> (String, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_imdswatch"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

/// All events of all bundled captures, each id once: a capture that is there whole and cut has the same ids twice.
fn events(profile: &str) -> Vec<String> {
    let (text, _) = imdswatch(&["-r", "pcaps", "-e", "all", "--format", "ndjson", "--profile", profile, "--quiet"]);
    let mut ids = BTreeSet::new();
    let distinct = |line: &&str| ids.insert(Event::read(line.as_bytes()).id.to_owned());
    text.lines().filter(distinct).map(str::to_owned).collect()
}

fn all() -> &'static [String] {
    static ALL: OnceLock<Vec<String>> = OnceLock::new();
    ALL.get_or_init(|| events("packetbeat"))
}

/// What became of events.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    taken: usize,
    duplicate: usize,
    rejected: Vec<String>,
}

/// Sends all events as an output's queue would, until each is decided.
fn deliver(receiver: &mut dyn Receiver, lines: &[String]) -> Sum {
    let mut sum = Sum::default();
    let mut left: Vec<_> = lines.iter().map(|line| Event::read(line.as_bytes())).collect();
    let mut most = receiver.limits().events;
    let start = Instant::now();
    while !left.is_empty() {
        let mut bytes = 0;
        let fits = |event: &&Event<'_>| {
            bytes += event.json.len();
            bytes <= receiver.limits().bytes
        };
        let count = left.iter().take(most).take_while(fits).count().max(1);
        let reply = receiver.send(&left[..count]);
        if reply.trouble.as_ref().is_some_and(|trouble| trouble.fault == Fault::TooLarge) {
            most = (count / 2).max(1);
        }
        assert!(start.elapsed() < Duration::from_secs(120), "{:?}", reply.trouble);
        let mut outcomes = reply.outcomes.into_iter();
        let mut again = Vec::new();
        for event in left.drain(..count) {
            match outcomes.next() {
                Some(Outcome::Taken) => sum.taken += 1,
                Some(Outcome::Duplicate) => sum.duplicate += 1,
                Some(Outcome::Rejected(why)) => sum.rejected.push(why),
                Some(Outcome::Again) | None => again.push(event),
            }
        }
        left.splice(0..0, again);
    }
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("{} events in {seconds:.2} s, {:.0}/s", lines.len(), lines.len() as f64 / seconds);
    sum
}

/// All were taken. On a busy machine a request may be sent again after its time-out, and find what it has written.
#[track_caller]
fn arrives(receiver: &mut dyn Receiver, lines: &[String]) {
    assert!(lines.len() > 300, "{}", lines.len());
    let sum = deliver(receiver, lines);
    assert!(sum.rejected.is_empty() && sum.taken + sum.duplicate == lines.len(), "{sum:?}");
}

fn open(url: &str) -> Box<dyn Receiver> {
    net::open(&Settings::of_url(url).unwrap()).unwrap()
}

/// One request to OpenSearch; its answer as JSON.
fn ask(server: &Server, method: &str, path: &str, body: &str) -> Value {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("http://127.0.0.1:{}/{path}", server.port))
        .header("content-type", "application/json")
        .body(body.to_owned())
        .unwrap();
    let text = agent.run(request).unwrap().body_mut().read_to_string().unwrap();
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

fn count(server: &Server, index: &str) -> u64 {
    ask(server, "POST", &format!("{index}/_refresh"), "");
    ask(server, "GET", &format!("{index}/_count"), "")["count"].as_u64().unwrap()
}

#[test]
fn opensearch_indexes_every_event_without_a_rejection() {
    let Some(server) = server::opensearch(&[]) else { return };
    let url = format!("elasticsearch+http://127.0.0.1:{}", server.port);

    // The template, never over a newer one nor over another's.
    let (said, good) = imdswatch(&["setup", "-o", &url]);
    assert!(good && said.contains("Opensearch 2") && said.contains("template `imdswatch` 0.1.0 put"), "{said}");
    for (meta, expected) in
        [(r#"{"description":"Events of imdswatch","version":"99.0.0"}"#, "is newer"), ("{}", "is not ours")]
    {
        let body = format!(r#"{{"index_patterns":["other-*"],"_meta":{meta}}}"#);
        ask(&server, "PUT", "_index_template/imdswatch-edge", &body);
        let (said, _) = imdswatch(&["setup", "-o", &format!("{url}/edge")]);
        assert!(said.contains(expected) && said.contains("left as it is"), "{said}");
    }

    // Data streams: of profile packetbeat one, of profile network_traffic one for each dataset.
    arrives(&mut *open(&url), all());
    assert_eq!(count(&server, "imdswatch-default"), all().len() as u64);
    let other = events("network_traffic");
    arrives(&mut *open(&url), &other);
    assert_eq!(count(&server, "logs-network_traffic.*-default"), other.len() as u64);
    assert!(count(&server, "logs-network_traffic.alert-default") > 50);

    // An index, by the mapping that is printed. What is sent again is there once.
    let (mapping, _) = imdswatch(&["mapping", "--for", "opensearch"]);
    let mapping = mapping.replace("imdswatch-*", "plain");
    assert_eq!(ask(&server, "PUT", "_index_template/plain", &mapping)["acknowledged"], true);
    let mut receiver = open(&format!("{url}/plain"));
    arrives(&mut *receiver, all());
    assert_eq!(deliver(&mut *receiver, all()), Sum { duplicate: all().len(), ..Sum::default() });
    assert_eq!(count(&server, "plain"), all().len() as u64);
    let query = r#"{"query":{"bool":{"filter":[{"term":{"imds.signals":"issued"}},{"range":{"event.severity":{"gte":73}}},{"term":{"destination.ip":"169.254.0.0/16"}}]}}}"#;
    assert!(ask(&server, "POST", "plain/_search", query)["hits"]["total"]["value"].as_u64().unwrap() > 10);

    // A pipeline by name.
    let configuration = server.folder.path().join("imdswatch.toml");
    std::fs::write(&configuration, format!("[[output]]\nto = \"{url}/piped\"\npipeline = \"imdswatch\"\n")).unwrap();
    let (said, good) = imdswatch(&["setup", "-c", configuration.to_str().unwrap()]);
    assert!(good && said.contains("pipeline `imdswatch` put"), "{said}");
    let settings =
        Settings { pipeline: Some("imdswatch".into()), ..Settings::of_url(&format!("{url}/piped")).unwrap() };
    deliver(&mut *net::open(&settings).unwrap(), &all()[..10]);
    ask(&server, "POST", "piped/_refresh", "");
    let found = ask(&server, "GET", "piped/_search?size=1", "");
    assert!(found["hits"]["hits"][0]["_source"]["event"]["ingested"].is_string(), "{found}");

    // An event that does not fit is refused by itself; a full disk is waited for.
    let mut lines = all()[..3].to_vec();
    lines[1] = r#"{"@timestamp":"no date","event":{"id":"odd"}}"#.to_owned();
    let sum = deliver(&mut *open(&format!("{url}/plain")), &lines);
    assert!(sum.duplicate == 2 && sum.rejected[0].contains("failed to parse"), "{sum:?}");
    ask(&server, "PUT", "plain/_settings", r#"{"index.blocks.read_only_allow_delete":true}"#);
    let line = r#"{"@timestamp":"2026-11-24T03:29:04Z","event":{"id":"late"}}"#;
    let reply = open(&format!("{url}/plain")).send(&[Event::read(line.as_bytes())]);
    assert_eq!((&reply.outcomes[..], reply.trouble.unwrap().fault), (&[Outcome::Again][..], Fault::Busy));

    // A data stream without a timestamp, a missing pipeline: said, nothing lost.
    let settings = Settings { pipeline: Some("nowhere".into()), ..Settings::of_url(&format!("{url}/piped")).unwrap() };
    let reply = net::open(&settings).unwrap().send(&[Event::read(line.as_bytes())]);
    assert_eq!((&reply.outcomes[..], reply.trouble.unwrap().fault), (&[Outcome::Again][..], Fault::Refused));

    // As the document says; the events are there.
    let plain = Section::of("Elasticsearch").until("```toml");
    plain.run(&[("127.0.0.1:9200", &format!("127.0.0.1:{}", server.port))], &[]);
    assert_eq!(count(&server, "imdswatch-default"), all().len() as u64);

    let (said, good) = imdswatch(&["test", "output", "-o", &format!("{url}/tested")]);
    assert!(good && said.contains("test event taken"), "{said}");
    let (said, good) =
        imdswatch(&["test", "output", "-o", &format!("elasticsearch+http://127.0.0.1:{}", server::free_port())]);
    assert!(!good && said.contains("FAILED"), "{said}");
}

#[test]
fn opensearch_takes_smaller_requests_where_large_ones_are_refused() {
    let Some(server) = server::opensearch(&["http.max_content_length=100kb"]) else { return };
    let settings = Settings {
        compression: Some(net::settings::Compression::None),
        ..Settings::of_url(&format!("elasticsearch+http://127.0.0.1:{}/small", server.port)).unwrap()
    };
    let sum = deliver(&mut *net::open(&settings).unwrap(), &all()[..300]);
    assert!(sum.rejected.is_empty() && sum.taken + sum.duplicate == 300, "{sum:?}");
    assert_eq!(count(&server, "small"), 300);
}

/// What a topic holds: partition, key and value of each record.
fn consumed(port: u16, topic: &str, partitions: i32) -> Vec<(i32, Option<Vec<u8>>, Vec<u8>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = ClientBuilder::new(vec![format!("127.0.0.1:{port}")]).build().await.unwrap();
        let mut all = Vec::new();
        for partition in 0..partitions {
            let client = client.partition_client(topic, partition, UnknownTopicHandling::Retry).await.unwrap();
            let mut next = 0;
            loop {
                let (records, end) = client.fetch_records(next, 1..50_000_000, 500).await.unwrap();
                next = records.last().map_or(next, |record| record.offset + 1);
                all.extend(records.into_iter().map(|r| (partition, r.record.key, r.record.value.unwrap())));
                if next >= end {
                    break;
                }
            }
        }
        all
    })
}

fn create_topic(port: u16, topic: &str, partitions: i32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = ClientBuilder::new(vec![format!("127.0.0.1:{port}")]).build().await.unwrap();
        client.controller_client().unwrap().create_topic(topic, partitions, 1, 30_000).await.unwrap();
    });
}

#[test]
fn kafka_keeps_each_connection_in_one_partition() {
    let certificates = Certificates::make();
    let (port, tls) = (server::free_port(), server::free_port());
    let Some(server) = server::kafka(certificates.as_ref(), (port, tls)) else { return };

    let reply = open(&format!("kafka://127.0.0.1:{port}/none")).send(&[Event::read(all()[0].as_bytes())]);
    let trouble = reply.trouble.unwrap();
    assert!(trouble.fault == Fault::Refused && trouble.text.contains("no topic `none`"), "{trouble}");

    create_topic(port, "imdswatch", 3);
    arrives(&mut *open(&format!("kafka://127.0.0.1:{port}/imdswatch")), all());
    let records = consumed(port, "imdswatch", 3);
    // Kafka has no ids of its own: what is sent again after a time-out is there twice.
    let values: BTreeSet<_> = records.iter().map(|(.., value)| value.as_slice()).collect();
    assert_eq!(values, all().iter().map(|line| line.as_bytes()).collect());
    let places: BTreeSet<_> =
        records.iter().filter_map(|(partition, key, _)| Some((key.as_ref()?, partition))).collect();
    let keys: BTreeSet<_> = places.iter().map(|(key, _)| key).collect();
    assert!(keys.len() > 50 && places.len() == keys.len(), "{} {}", keys.len(), places.len());

    if let Some(certificates) = &certificates {
        create_topic(port, "secure", 1);
        for sasl in [Sasl::Plain, Sasl::ScramSha256, Sasl::ScramSha512] {
            let with = |password: &str| Settings {
                sasl,
                tls: Tls { ca: Some(certificates.path("ca.pem")), ..Tls::default() },
                timeout: Duration::from_secs(10),
                ..Settings::of_url(&format!("kafka+tls://sensor:{password}@127.0.0.1:{tls}/secure")).unwrap()
            };
            assert_eq!(deliver(&mut *net::open(&with("p4ssword")).unwrap(), &all()[..100]).taken, 100);
            let reply = net::open(&with("wrong")).unwrap().send(&[Event::read(all()[0].as_bytes())]);
            let trouble = reply.trouble.unwrap();
            assert!(reply.outcomes.iter().all(|outcome| *outcome == Outcome::Again), "{trouble}");
            assert!(!trouble.text.contains("wrong"), "{trouble}");
            eprintln!("{sasl:?}, wrong password: {:?} {trouble}", trouble.fault);
        }
    }

    // As the document says.
    if let Some(certificates) = &certificates {
        let before = consumed(port, "imdswatch", 3).len();
        Section::of("Kafka").until("### ").run(
            &[
                ("127.0.0.1:9092", &format!("127.0.0.1:{port}")),
                ("kafka-1.example:9093,kafka-2.example:9093", &format!("127.0.0.1:{tls}")),
                ("/etc/imdswatch/ca.pem", certificates.path("ca.pem").to_str().unwrap()),
            ],
            &[("KAFKA_PASSWORD", "p4ssword")],
        );
        assert!(consumed(port, "imdswatch", 3).len() >= before + 2 * document::expected().0);
    }

    // The broker goes away in the middle, and comes back as another that has the topic.
    let settings = Settings {
        timeout: Duration::from_secs(4),
        ..Settings::of_url(&format!("kafka://127.0.0.1:{port}/imdswatch")).unwrap()
    };
    let mut receiver = net::open(&settings).unwrap();
    assert_eq!(deliver(&mut *receiver, &all()[..10]).taken, 10);
    drop(server);
    let start = Instant::now();
    let reply = receiver.send(&[Event::read(all()[0].as_bytes())]);
    assert_eq!(reply.trouble.map(|trouble| trouble.fault), Some(Fault::Away));
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    let Some(_moved) = server::kafka(None, (port, tls)) else { return };
    create_topic(port, "imdswatch", 1);
    assert_eq!(deliver(&mut *receiver, &all()[..10]).taken, 10);
}

#[test]
fn the_beats_receiver_acknowledges_every_window() {
    let Some(server) = server::lumberjack() else { return };
    arrives(&mut *open(&format!("logstash://127.0.0.1:{}", server.port)), all());
    let settings = Settings {
        compression: Some(net::settings::Compression::None),
        ..Settings::of_url(&format!("logstash://127.0.0.1:{}", server.port)).unwrap()
    };
    arrives(&mut *net::open(&settings).unwrap(), all());
}

/// One command to Redis and the line that answers it.
fn redis_says(port: u16, command: &str) -> String {
    use std::io::{BufRead as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(format!("AUTH p4ssword\r\n{command}\r\n").as_bytes()).unwrap();
    std::io::BufReader::new(stream).lines().nth(1).unwrap().unwrap()
}

#[test]
fn redis_has_every_event_in_its_list() {
    let certificates = Certificates::make();
    let tls = server::free_port();
    let Some(server) = server::redis(certificates.as_ref(), tls) else { return };
    arrives(&mut *open(&format!("redis://:p4ssword@127.0.0.1:{}/events?db=0", server.port)), all());
    assert_eq!(redis_says(server.port, "LLEN events"), format!(":{}", all().len()));
    let channel = Settings {
        redis_type: RedisType::Channel,
        ..Settings::of_url(&format!("redis://default:p4ssword@127.0.0.1:{}/channel", server.port)).unwrap()
    };
    arrives(&mut *net::open(&channel).unwrap(), all());
    let reply = open(&format!("redis://:wrong@127.0.0.1:{}/events", server.port)).send(&[Event::read(b"{}")]);
    assert_eq!(reply.trouble.map(|trouble| trouble.fault), Some(Fault::Refused));
    if let Some(certificates) = &certificates {
        let secure = Settings {
            tls: Tls { ca: Some(certificates.path("ca.pem")), ..Tls::default() },
            ..Settings::of_url(&format!("rediss://:p4ssword@127.0.0.1:{tls}/secure")).unwrap()
        };
        arrives(&mut *net::open(&secure).unwrap(), all());
        assert_eq!(redis_says(server.port, "LLEN secure"), format!(":{}", all().len()));
    }
}

/// Waits until rsyslog has written so many lines; they.
fn written(server: &Server, count: usize) -> Vec<String> {
    let path = server.folder.path().join("out");
    let start = Instant::now();
    loop {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.lines().count() >= count || start.elapsed() > Duration::from_secs(20) {
            let _ = std::fs::remove_file(&path);
            return text.lines().map(str::to_owned).collect();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn rsyslog_reads_every_message() {
    let certificates = Certificates::make();
    let tls = server::free_port();
    let Some(server) = server::rsyslog(certificates.as_ref(), tls) else { return };
    arrives(&mut *open(&format!("syslog+tcp://127.0.0.1:{}", server.port)), all());
    let lines = written(&server, all().len());
    assert_eq!(lines.len(), all().len());
    for line in &lines {
        let json = line.split_once('{').map(|(_, json)| format!("{{{json}")).unwrap();
        serde_json::from_str::<Value>(&json).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    assert!(lines.iter().any(|line| line.starts_with("imdswatch alert crit ")), "{}", lines[0]);
}

#[test]
fn rsyslog_reads_cef_in_datagrams() {
    let Some(server) = server::rsyslog(None, 0) else { return };
    let alerts: Vec<_> = all().iter().filter(|line| line.contains("\"kind\":\"alert\"")).take(100).cloned().collect();
    let sum = deliver(&mut *open(&format!("syslog+udp://127.0.0.1:{}", server.port)), &alerts);
    assert_eq!(sum.taken, alerts.len());
    let lines = written(&server, alerts.len());
    assert_eq!(lines.len(), alerts.len());
    assert!(lines.iter().all(|line| line.contains("CEF:0|imdswatch|imdswatch|")), "{}", lines[0]);
}

#[test]
fn rsyslog_takes_messages_over_tls() {
    let Some(certificates) = Certificates::make() else { return };
    let tls = server::free_port();
    let Some(server) = server::rsyslog(Some(&certificates), tls) else { return };
    if std::net::TcpStream::connect(("127.0.0.1", tls)).is_err() {
        eprintln!("skipped: rsyslog has no TLS (rsyslog-gnutls)");
        return;
    }
    let settings = Settings {
        tls: Tls { ca: Some(certificates.path("ca.pem")), ..Tls::default() },
        ..Settings::of_url(&format!("syslog+tls://127.0.0.1:{tls}")).unwrap()
    };
    arrives(&mut *net::open(&settings).unwrap(), all());
    assert_eq!(written(&server, all().len()).len(), all().len());
}

/// What a collector would parse, by OpenTelemetry's own definition of a request where Python has it.
#[test]
fn otlp_requests_are_what_the_protocol_defines() {
    let (port, seen) = fake::http(|_, _| fake::answer(200, "content-type: application/json\r\n", "{}"));
    arrives(&mut *open(&format!("otlp+http://127.0.0.1:{port}")), all());
    let seen = seen.lock().unwrap();
    let mut records = 0;
    for request in seen.iter() {
        assert!(request.head.starts_with("post /v1/logs ") && request.head.contains("content-type: application/json"));
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        records += body["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap().len();
    }
    assert_eq!(records, all().len());
    let python = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers/venv/bin/python");
    if !python.exists() {
        eprintln!("skipped: no opentelemetry-proto in target/servers/venv: scripts/servers.sh");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("request.json");
    std::fs::write(&path, &seen[0].body).unwrap();
    let program = "import sys\nfrom google.protobuf import json_format\n\
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest as R\n\
        r = json_format.Parse(open(sys.argv[1]).read(), R())\n\
        l = r.resource_logs[0].scope_logs[0].log_records\n\
        assert all(x.time_unix_nano and x.severity_number and x.body.string_value for x in l)\nprint(len(l))";
    let output = Command::new(python).args(["-c", program]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_opentelemetry_collector_takes_every_event() {
    let Some(server) = server::otelcol() else { return };
    arrives(&mut *open(&format!("otlp+http://127.0.0.1:{}", server.port)), all());
    let records = |text: &str| text.lines().filter(|line| line.starts_with("LogRecord #")).count();
    let start = Instant::now();
    while records(&server.output()) < all().len() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(100));
    }
    let text = server.output();
    assert_eq!(records(&text), all().len());
    let missing = all().iter().find(|line| !text.contains(Event::read(line.as_bytes()).id));
    assert_eq!(missing, None);
    // As the document says.
    let before = records(&text);
    Section::of("OpenTelemetry").run(&[("127.0.0.1:4318", &format!("127.0.0.1:{}", server.port))], &[]);
    assert!(records(&server.output()) > before);
}
