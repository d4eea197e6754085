//! The examples of `docs/outputs.md`, taken from the document itself: each is accepted, and where a test starts a receiver,
//! events reach it by the example that a user would copy.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::PoisonError;

use crate::fake::{self, Certificates};
use crate::server;

/// What the examples replay.
const CAPTURE: &str = "pcaps/aws/theft-through-curl";

/// A part of the document under one heading.
pub struct Section(String);

impl Section {
    pub fn of(name: &str) -> Self {
        let text = text();
        let heading = |line: &str| line.trim_start_matches('#').trim() == name && line.starts_with("##");
        let lines = text.lines().skip_while(|line| !heading(line)).skip(1);
        let body: Vec<_> = lines.take_while(|line| !line.starts_with("## ")).collect();
        assert!(!body.is_empty(), "the document has no part `{name}`");
        Self(body.join("\n"))
    }

    /// What stands before the first of these words.
    pub fn until(&self, word: &str) -> Self {
        Self(self.0.split(word).next().unwrap().to_owned())
    }

    fn commands(&self) -> Vec<&str> {
        self.0.lines().filter_map(|line| line.strip_prefix("    imdswatch ")).collect()
    }

    /// The blocks of one language.
    fn blocks(&self, language: &str) -> Vec<String> {
        let fence = format!("```{language}\n");
        self.0.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
    }

    /// Does what its commands and configurations say with a small capture. `changes` put this test's server and files in the
    /// place of those that the document names; each has to be there.
    pub fn run(&self, changes: &[(&str, &str)], environment: &[(&str, &str)]) {
        let folder = tempfile::tempdir().unwrap();
        let mut used = BTreeSet::new();
        let mut changed = |text: &str| {
            let change = |text: String, (from, to): &(&str, &str)| {
                used.extend(text.contains(from).then(|| (*from).to_owned()));
                text.replace(from, to)
            };
            changes.iter().fold(text.replace("captures/", CAPTURE), change)
        };
        let mut runs: Vec<_> = self.commands().into_iter().map(&mut changed).collect();
        for (nth, block) in self.blocks("toml").iter().enumerate() {
            let file = folder.path().join(format!("{nth}.toml"));
            std::fs::write(&file, changed(block)).unwrap();
            runs.push(format!("-r {CAPTURE} -c {}", file.display()));
        }
        let unused: Vec<_> = changes.iter().filter(|(from, _)| !used.contains(*from)).collect();
        assert!(!runs.is_empty() && unused.is_empty(), "not in the document: {unused:?}");
        for words in runs {
            let output = program(words.split(' '), environment);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && !said.contains("lost"), "{words}: {said}");
        }
    }
}

/// How many events of [`CAPTURE`] an output gets that is not told otherwise, and how many of them are alerts.
pub fn expected() -> (usize, usize) {
    let output = program(["-r", CAPTURE, "--format", "ndjson"], &[]).stdout;
    let text = String::from_utf8(output).unwrap();
    (text.lines().count(), text.lines().filter(|line| line.contains("\"kind\":\"alert\"")).count())
}

fn text() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/outputs.md")).unwrap()
}

fn program<'w>(words: impl IntoIterator<Item = &'w str>, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imdswatch"));
    command.args(words).envs(environment.iter().copied()).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.output().unwrap()
}

/// The files that the examples name, in a folder that stands for `/etc/imdswatch`.
fn files(certificates: &Certificates, folder: &Path) {
    for (from, to) in [("ca.pem", "ca.pem"), ("client.pem", "sensor.pem"), ("client.key", "sensor.key")] {
        std::fs::copy(certificates.path(from), folder.join(to)).unwrap();
    }
    for name in ["api-key", "redis-password", "soar-token"] {
        std::fs::write(folder.join(name), "s3cret\n").unwrap();
    }
}

#[test]
fn every_example_is_accepted() {
    let Some(certificates) = Certificates::make() else { return };
    let folder = tempfile::tempdir().unwrap();
    files(&certificates, folder.path());
    let whole = Section(text());
    let of_environment = whole.0.split("${").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name);
    let environment: Vec<_> = of_environment.filter(|name| !name.contains(':')).map(|name| (name, "s3cret")).collect();
    let tables = whole.blocks("toml");
    assert!(tables.len() >= 8, "{tables:?}");
    for table in tables {
        let file = folder.path().join("imdswatch.toml");
        let here = table.replace("/etc/imdswatch", folder.path().to_str().unwrap());
        assert!(!here.contains("/etc/"), "a file that this test does not have: {table}");
        std::fs::write(&file, here).unwrap();
        let output = program(["test", "config", "-c", file.to_str().unwrap()], &environment);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let outputs = table.matches("[[output]]").count();
        assert!(output.status.success() && said.matches(": good").count() == outputs, "{table}{said}");
    }
    let urls: Vec<_> = whole.commands().iter().filter_map(|line| line.split_once("-o ").map(|(_, url)| url)).collect();
    assert!(urls.len() >= 6, "{urls:?}");
    for url in urls {
        let output = program(["test", "config", "-o", url], &environment);
        assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stdout));
    }
    for line in whole.0.split('`').filter_map(|word| word.strip_prefix("imdswatch mapping ")) {
        assert!(program(["mapping"].into_iter().chain(line.split(' ')), &[]).status.success(), "{line}");
    }
    for block in whole.blocks("json") {
        serde_json::from_str::<serde_json::Value>(&block).unwrap_or_else(|error| panic!("{error}: {block}"));
    }
    for block in whole.blocks("yaml") {
        yaml_rust2::YamlLoader::load_from_str(&block).unwrap_or_else(|error| panic!("{error}: {block}"));
    }
}

#[test]
fn redis_gets_events_by_the_document() {
    let Some(certificates) = Certificates::make() else { return };
    let tls = server::free_port();
    let Some(server) = server::redis(Some(&certificates), tls) else { return };
    let password = server.folder.path().join("password");
    std::fs::write(&password, "p4ssword\n").unwrap();
    Section::of("Redis").run(
        &[
            ("redis://127.0.0.1:6379/", &format!("redis://sensor:p4ssword@127.0.0.1:{}/", server.port)),
            ("redis.example:6380", &format!("127.0.0.1:{tls}")),
            ("/etc/imdswatch/redis-password", password.to_str().unwrap()),
            ("/etc/imdswatch/ca.pem", certificates.path("ca.pem").to_str().unwrap()),
        ],
        &[],
    );
    let events = format!(":{}", expected().0);
    assert_eq!(crate::redis_says(server.port, "LLEN imdswatch"), events);
    let of_second = "EVAL \"redis.call('select',1) return redis.call('llen','imdswatch')\" 0";
    assert_eq!(crate::redis_says(server.port, of_second), events);
}

#[test]
fn syslog_gets_alerts_by_the_document() {
    let Some(certificates) = Certificates::make() else { return };
    let tls = server::free_port();
    let Some(server) = server::rsyslog(Some(&certificates), tls) else { return };
    if std::net::TcpStream::connect(("127.0.0.1", tls)).is_err() {
        server::skipped::<()>("rsyslog has no TLS (rsyslog-gnutls)");
        return;
    }
    Section::of("Syslog").run(
        &[
            ("127.0.0.1:514", &format!("127.0.0.1:{}", server.port)),
            ("collector.example:6514", &format!("127.0.0.1:{tls}")),
            ("/etc/imdswatch/ca.pem", certificates.path("ca.pem").to_str().unwrap()),
        ],
        &[],
    );
    let lines = crate::written(&server, 2 * expected().1);
    assert_eq!(lines.len(), 2 * expected().1);
    assert!(lines.iter().all(|line| line.contains("CEF:0|imdswatch|imdswatch|")), "{}", lines[0]);
    let rsyslog = Section::of("Syslog").blocks("").into_iter().find(|block| block.contains("imtcp")).unwrap();
    let file = server.folder.path().join("document.conf");
    std::fs::write(&file, rsyslog).unwrap();
    let checked = Command::new("/usr/sbin/rsyslogd").args(["-N1", "-f"]).arg(&file).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn the_beats_receiver_gets_events_by_the_document() {
    let Some(server) = server::lumberjack() else { return };
    Section::of("Logstash").until("```toml").run(&[("127.0.0.1:5044", &format!("127.0.0.1:{}", server.port))], &[]);
}

/// What was sent to a server that takes everything: the first line of each request, and its headers.
fn sent(section: &str, changes: &[(&str, &str)], environment: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    let (port, seen) = fake::http(|_, _| fake::answer(200, "content-type: application/json\r\n", "{}"));
    let here = format!("127.0.0.1:{port}");
    let changes: Vec<_> = changes.iter().map(|(from, to)| (*from, to.replace("HERE", &here))).collect();
    let changes: Vec<_> = changes.iter().map(|(from, to)| (*from, to.as_str())).collect();
    Section::of(section).run(&changes, environment);
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    seen.into_iter().map(|request| (request.head, request.body)).collect()
}

#[test]
fn web_receivers_get_requests_by_the_document() {
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "t0ken").unwrap();
    let webhooks = sent(
        "Webhooks",
        &[
            ("https://hooks.slack.com/", "http://HERE/slack/"),
            ("https://events.pagerduty.com", "http://HERE"),
            ("http://alertmanager.example:9093", "http://HERE"),
            ("https://soar.example/", "http://HERE/"),
            ("/etc/imdswatch/soar-token", token.path().to_str().unwrap()),
        ],
        &[("SLACK_PATH", "T0/B0"), ("PAGERDUTY_ROUTING_KEY", "r0uting")],
    );
    for (path, rest) in [
        ("post /slack/services/t0/b0 ", ""),
        ("post /v2/enqueue ", "r0uting"),
        ("post /api/v2/alerts ", ""),
        ("post /hooks/imds ", "authorization: bearer t0ken"),
    ] {
        let has = |(head, body): &(String, Vec<u8>)| {
            head.starts_with(path) && format!("{head}{}", String::from_utf8_lossy(body)).contains(rest)
        };
        assert!(webhooks.iter().any(has), "{path}: {:?}", webhooks.iter().map(|(head, _)| head).collect::<Vec<_>>());
    }
    let splunk = sent("Splunk", &[("https://splunk.example:8088", "http://HERE")], &[("HEC_TOKEN", "h3c")]);
    assert!(splunk.iter().all(|(head, _)| head.contains("authorization: splunk h3c")) && !splunk.is_empty());
    let collector = sent("OpenTelemetry", &[("127.0.0.1:4318", "HERE")], &[]);
    assert!(collector.iter().all(|(head, _)| head.starts_with("post /v1/logs ")) && !collector.is_empty());
    let loki = sent("Grafana Loki", &[("https://loki.example:443", "http://HERE")], &[("LOKI_PASSWORD", "p")]);
    assert!(loki.iter().all(|(head, _)| head.starts_with("post /otlp/v1/logs ")) && !loki.is_empty());
}
