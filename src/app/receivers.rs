//! `imdswatch setup` and `imdswatch test`: the outputs of a configuration, asked one by one.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cli::{Destinations, TestWhat};
use crate::config::{ConfigError, file, receiver};
use crate::event::fields;
use crate::event::time::{Precision, Stamps};
use crate::output::net::elasticsearch::Flavour;
use crate::output::net::{self, Protocol, Settings, Target, setup};
use crate::output::receiver::{Event, Kind, Outcome, Trouble};
use crate::packet::Timestamp;

use super::status;

/// Puts index templates into every output that has an index.
pub(super) fn set_up(destinations: &Destinations, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    each(destinations, out, |output, namespace, said| {
        if !Target::is_url(&output.to) {
            said.push("a file: nothing to set up".to_owned());
            return Ok(());
        }
        let settings = receiver::settings(output, namespace).map_err(|error| format!("{}: {error}", error.key))?;
        if settings.target.protocol != Protocol::Elasticsearch {
            said.push("has no index: nothing to set up".to_owned());
            return Ok(());
        }
        put_template(&settings, said).map_err(|trouble| trouble.text)
    })
}

fn put_template(settings: &Settings, said: &mut Vec<String>) -> Result<(), Trouble> {
    let index = settings.target.name();
    let name = index.as_ref().map_or_else(|| "imdswatch".to_owned(), |index| format!("imdswatch-{index}"));
    let body = |flavour| fields::template(flavour == Flavour::Opensearch, index.is_none(), index.as_deref());
    setup::put(settings, &setup::Template { body: &body, name: &name, version: env!("CARGO_PKG_VERSION") }, said)
}

/// `imdswatch test config` and `imdswatch test output`.
pub(super) fn test(what: TestWhat, destinations: &Destinations, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match what {
        TestWhat::Config => {
            if let Some(path) = &destinations.config {
                crate::config::check(path)?;
            }
            each(destinations, out, |output, namespace, said| {
                if Target::is_url(&output.to) {
                    let settings =
                        receiver::settings(output, namespace).map_err(|error| format!("{}: {error}", error.key))?;
                    net::open(&settings).map_err(|error| format!("{}: {error}", error.key))?;
                }
                said.push("good".to_owned());
                Ok(())
            })
        }
        TestWhat::Output => each(destinations, out, test_output),
    }
}

fn test_output(output: &file::Output, namespace: &str, said: &mut Vec<String>) -> Result<(), String> {
    if output.to == "-" {
        said.push("standard output".to_owned());
        return Ok(());
    }
    if !Target::is_url(&output.to) {
        return test_file(Path::new(&output.to), said);
    }
    let settings = receiver::settings(output, namespace).map_err(|error| format!("{}: {error}", error.key))?;
    let mut receiver = net::open(&settings).map_err(|error| format!("{}: {error}", error.key))?;
    receiver.check(said).map_err(|trouble| trouble.text)?;
    let event = test_event();
    let kind = if receiver.alerts_only() { Kind::Alert } else { Kind::Event };
    let reply = receiver.send(&[Event { kind, ..Event::read(event.as_bytes()) }]);
    match (reply.outcomes.first(), reply.trouble) {
        (Some(Outcome::Taken | Outcome::Duplicate), _) => {
            said.push("test event taken".to_owned());
            Ok(())
        }
        (Some(Outcome::Rejected(reason)), _) => Err(format!("test event rejected: {reason}")),
        (_, Some(trouble)) => Err(trouble.text),
        (_, None) => Err("the test event was neither taken nor refused".to_owned()),
    }
}

fn test_file(path: &Path, said: &mut Vec<String>) -> Result<(), String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.exists() {
        std::fs::OpenOptions::new().append(true).open(path).map_err(|error| error.to_string())?;
        said.push("can be appended to".to_owned());
    } else if folder.is_dir() {
        said.push("its folder is there".to_owned());
    } else {
        return Err(format!("there is no folder {}", folder.display()));
    }
    Ok(())
}

/// An event that says what it is, with an id of its own for each test.
fn test_event() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanoseconds = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
    let time = Stamps::new(Precision::Millisecond).of(Timestamp(nanoseconds)).to_string();
    serde_json::json!({
        "@timestamp": time,
        "type": "test",
        "message": "Test event of imdswatch: the output works",
        "event": {"id": format!("imdswatch-test-{}", now.as_nanos()), "kind": "event", "dataset": "test"},
        "tags": ["imdswatch-test"],
    })
    .to_string()
}

/// Does one thing with each output, a line each; exit status 1 if it failed for one.
fn each(
    destinations: &Destinations,
    out: &mut impl Write,
    act: impl Fn(&file::Output, &str, &mut Vec<String>) -> Result<(), String>,
) -> anyhow::Result<ExitCode> {
    let (outputs, namespace) = outputs(destinations)?;
    let mut failed = false;
    for output in &outputs {
        let mut said = Vec::new();
        if let Err(error) = act(output, &namespace, &mut said) {
            failed = true;
            said.push(format!("FAILED: {error}"));
        }
        writeln!(out, "{}: {}", shown(&output.to), said.join("; "))?;
    }
    Ok(ExitCode::from(if failed { status::FAILED } else { 0 }))
}

/// A destination without what may be secret in it.
fn shown(to: &str) -> String {
    match (Target::is_url(to), Target::parse(to)) {
        (true, Ok(target)) => target.to_string(),
        (true, Err(_)) => to.split_once("://").map_or_else(String::new, |(scheme, _)| format!("{scheme}://…")),
        (false, _) => to.to_owned(),
    }
}

fn outputs(destinations: &Destinations) -> Result<(Vec<file::Output>, String), ConfigError> {
    let file = destinations.config.as_deref().map(crate::config::read).transpose()?.unwrap_or_default();
    let namespace = file.events.namespace.unwrap_or_else(|| "default".to_owned());
    let outputs: Vec<_> = if destinations.output.is_empty() {
        file.output
    } else {
        destinations.output.iter().map(|to| file::Output { to: to.clone(), ..file::Output::default() }).collect()
    };
    if outputs.is_empty() {
        return Err(ConfigError::Invalid("no output: give -o DEST, or -c FILE with [[output]]".into()));
    }
    Ok((outputs, namespace))
}
