//! Files of every layout, the samples of all sensors, and what the prefilter lets through.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;

use super::prefilter::Prefilter;
use super::*;
use crate::catalogue::Catalogue;
use crate::detect::Config;
use crate::observe::What;

fn read(text: &[u8]) -> (Vec<Fact>, Vec<Trouble>, u64) {
    let catalogue = Catalogue::builtin().unwrap();
    let prefilter = Arc::new(Prefilter::new(&catalogue).unwrap());
    let mut reader = Reader::new(Box::new(Cursor::new(text.to_vec())), prefilter);
    let (mut facts, mut troubles) = (Vec::new(), Vec::new());
    while reader.next(&mut facts, &mut troubles).unwrap() {}
    (facts, troubles, reader.records)
}

const HTTP: &str = r#"{"timestamp":"2026-01-01T00:00:00Z","event_type":"http","src_ip":"10.0.0.1","src_port":4000,"dest_ip":"169.254.169.254","dest_port":80,"proto":"TCP","http":{"hostname":"169.254.169.254","url":"/latest/meta-data/","http_method":"GET","status":200}}"#;

#[test]
fn layouts() {
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(HTTP).unwrap()).unwrap();
    for (name, text) in [
        ("lines", format!("{HTTP}\n{HTTP}\n")),
        ("no end of line", format!("{HTTP}\r\n\r\n{HTTP}")),
        ("array", format!("[{HTTP},\n{HTTP}]")),
        ("array of lines", format!("[\n{HTTP},\n{HTTP}\n]\n")),
        ("pretty", format!("{pretty}\n{pretty}\n")),
        (
            "export",
            format!(
                r#"{{"took":1,"hits":{{"total":2,"hits":[{{"_id":"a","_source":{HTTP}}},{{"_source":{HTTP}}}]}}}}"#
            ),
        ),
        ("pages", {
            let page = format!(r#"{{"hits" : {{"hits" : [{{"_id":"a","_source":{HTTP}}}]}}}}"#);
            format!("{page}\n{page}\n")
        }),
        ("dump", format!("{{\"_id\":\"x\",\"_source\":{HTTP}}}\n{{\"_source\":{HTTP}}}\n")),
    ] {
        let (facts, troubles, records) = read(text.as_bytes());
        assert_eq!((facts.len(), records.max(2), troubles), (2, records, Vec::new()), "{name}");
        assert!(looks_like_events(text.as_bytes()), "{name}");
    }
    let (facts, ..) = read(format!("{{\"_id\":\"x\",\"_source\":{HTTP}}}\n").as_bytes());
    assert_eq!(facts[0].conn.told_by.as_ref().unwrap().id.as_deref(), Some("x"));
    assert!(!looks_like_events(b"{\"name\":\"package\",\"version\":1}"));
    assert!(!looks_like_events(&[0xd4, 0xc3, 0xb2, 0xa1]));
}

#[test]
fn lines_that_cannot_be_read_are_named() {
    let cut = &HTTP[..HTTP.len() - 30];
    let (facts, troubles, _) = read(format!("{HTTP}\n{cut}\nnot json\n{{\"a\":1\n{HTTP}\n").as_bytes());
    assert_eq!(facts.len(), 2);
    assert_eq!(troubles.iter().map(|trouble| trouble.line).collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn a_line_that_is_too_long_costs_only_itself() {
    let long = format!("{{\"event_type\":\"{}\"}}", "x".repeat(LONGEST + 100));
    let (facts, troubles, _) = read(format!("{HTTP}\n{long}\n{HTTP}\n").as_bytes());
    assert_eq!((facts.len(), troubles.len()), (2, 1));
}

#[test]
fn the_prefilter_passes_what_may_matter_and_little_else() {
    let prefilter = Prefilter::new(&Catalogue::builtin().unwrap()).unwrap();
    for text in [
        "curl http://2852039166/latest/x",
        "curl http:\\/\\/0xa9fea9fe\\/",
        "url=http%3A%2F%2F2852039166%2F",
        "url=http%253A%252F%252F2852039166",
        "http://[::ffff:a9fe:a9fe]/",
        "http://user@2852039166/",
        "http://%31%36%39.254.169.254/",
        "http://169.254.43518/",
        "http://a9fea9fe.nip.io/",
        "\\u0031\\u0036\\u0039.254.169.254",
        "METADATA.google.INTERNAL",
        "http://metadata/computeMetadata",
        "http://metadata/x",
        "fd00:0ec2:0000:0000:0000:0000:0000:0254",
        "169.254.169.254",
        "saddr=02000050A9FEA9FE0000",
        "0251.0376.0251.0376",
        "http:\\/\\/①⑥⑨.254.169.254",
    ] {
        assert!(prefilter.takes(text.as_bytes()), "{text}");
    }
    for text in [
        "https://www.example.com/a?b=http://other.example:8080/",
        "http:\\/\\/10.0.0.1:8080\\/x",
        "url=http%3A%2F%2Fexample.com%2Fx",
        "169.254.12.7",
        "{\"metadata\":{\"name\":\"x\"}}",
        "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8",
        "YWZkMzQ4YzYtMGVjOS00OTYxLTgwNWUtOGVkMmZjNGMwNDNiLTU4MC0xMzI5MzU0OTExMy40ODIyMTUwMDA=",
    ] {
        assert!(!prefilter.takes(text.as_bytes()), "{text}");
    }
}

/// Wherever a URL stands inside base64, the prefilter sees it.
#[test]
fn urls_in_base64_are_seen_at_any_alignment() {
    use base64::Engine as _;
    let prefilter = Prefilter::new(&Catalogue::builtin().unwrap()).unwrap();
    for before in 0..40 {
        let text = format!("{}http://2852039166/x", "curl -s --max-time 5 -o /dev/null -H a:b ".get(..before).unwrap());
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [text.as_bytes(), &wide] {
            for engine in [&base64::engine::general_purpose::STANDARD, &base64::engine::general_purpose::URL_SAFE] {
                assert!(prefilter.takes(engine.encode(bytes).as_bytes()), "{before}");
            }
        }
        let hex: String = text.bytes().map(|byte| format!("{byte:02X}")).collect();
        assert!(prefilter.takes(hex.as_bytes()), "{before}");
    }
}

/// What stands in `ecs-samples`, if it is there: every event is read, and judged as its label says.
#[test]
fn samples_of_all_sensors() {
    let samples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/ecs-samples");
    let Ok(files) = std::fs::read_dir(&samples) else {
        eprintln!("skipped: {} is not there", samples.display());
        return;
    };
    let catalogue = Arc::new(Catalogue::builtin().unwrap());
    let mut kinds: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for file in files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json" || e == "log"))
    {
        let text = std::fs::read(&file).unwrap();
        assert!(looks_like_events(&text), "{}", file.display());
        let (facts, troubles, _) = read(&text);
        assert!(troubles.is_empty(), "{}: {troubles:?}", file.display());
        let mut judge = Judge::new(Arc::clone(&catalogue), Config::default());
        let told = facts.into_iter().filter_map(|fact| judge.judge(fact)).map(|(_, what)| match what {
            What::Http(_) => "http",
            What::Dns(_) => "dns",
            What::Connection(_) => "connection",
            What::Command(_) => "command",
            _ => "other",
        });
        kinds.insert(file.file_name().unwrap().to_string_lossy().into_owned(), told.collect());
    }
    let of = |name: &str| kinds.get(name).map(Vec::as_slice).unwrap_or_default().to_vec();
    for (name, kind) in &kinds {
        let expected: &[&str] = match name.as_str() {
            name if name.ends_with("-end.json") => &[],
            "packetbeat-dns-gcp.json" => &["dns"],
            name if name.starts_with("packetbeat") || name == "made-suricata-http-aws.json" => &["http"],
            "made-zeek-dns-gcp.json" | "made-sysmon-flat-22-gcp.json" => &["dns"],
            "auditd-raw-connect-gce-daemon.log" | "made-falco-metadata.json" | "made-auditbeat-socket-python.json" => {
                &["connection"]
            }
            name if name.starts_with("made-endpoint-network") => &["connection"],
            name if name.starts_with("made") => &["command"],
            _ => &[],
        };
        assert_eq!(kind, expected, "{name}");
    }
    assert_eq!(of("made-endpoint-process-curl-aws.json"), ["command"]);
}
