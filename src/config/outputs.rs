//! What the outputs of a run are: `-o`, or the `[[output]]` tables of the configuration file.

use std::path::PathBuf;
use std::time::Duration;

use super::file::{self, File};
use super::{ConfigError, parse_rotation, places, receiver};
use crate::alert::Severity;
use crate::cli::{EventSet, Format, Run};
use crate::duration::Span;
use crate::output::delivery::Pace;
use crate::output::file::Rotation;
use crate::output::net::{self, Protocol};
use crate::output::{Destination, Filter, Form, Settings, Wanted, network};

/// What an output table does not say.
struct Defaults<'r> {
    run: &'r Run,
    file: &'r File,
    live: bool,
    memory: u64,
}

/// The outputs, in the order of the configuration.
pub(super) fn outputs(run: &Run, file: &File, live: bool, memory: u64) -> Result<Vec<Settings>, ConfigError> {
    check_rotation(run, file)?;
    let defaults = Defaults { run, file, live, memory };
    let named = |to: &str| file::Output { to: to.to_owned(), ..file::Output::default() };
    let mut outputs = Vec::new();
    if !run.output.is_empty() || file.output.is_empty() {
        let stdout = ["-".to_owned()];
        let all = if run.output.is_empty() { &stdout[..] } else { &run.output };
        for to in all {
            let output = defaults.one(&named(to), outputs.len());
            outputs.push(output.map_err(|(_, text)| ConfigError::Invalid(format!("-o: {text}")))?);
        }
        return match places::named_twice(&outputs) {
            Some(nth) => Err(ConfigError::Invalid(format!("-o {}: {}", all[nth], places::TWICE))),
            None => Ok(outputs),
        };
    }
    for (nth, output) in file.output.iter().enumerate() {
        let wrong = |(key, text): (&str, String)| ConfigError::Value { key: format!("output.{nth}.{key}"), text };
        outputs.push(defaults.one(output, nth).map_err(wrong)?);
    }
    match places::named_twice(&outputs) {
        Some(nth) => Err(ConfigError::Value { key: format!("output.{nth}.to"), text: places::TWICE.into() }),
        None => Ok(outputs),
    }
}

fn is_file(to: &str) -> bool {
    to != "-" && !net::Target::is_url(to) && !to.ends_with(".html")
}

fn check_rotation(run: &Run, file: &File) -> Result<(), ConfigError> {
    let rotate = run.rotate.as_deref().map(parse_rotation).transpose();
    rotate.map_err(|error| ConfigError::Invalid(format!("--rotate: {error}")))?;
    let any_file = run.output.iter().any(|to| is_file(to))
        || run.output.is_empty() && file.output.iter().any(|output| is_file(&output.to));
    if !any_file && (run.rotate.is_some() || run.keep.is_some()) {
        return Err(ConfigError::Invalid("--rotate and --keep are for files: give -o PATH".into()));
    }
    Ok(())
}

/// The set of events that covers what all outputs take.
pub(super) fn widest(outputs: &[Settings]) -> EventSet {
    match outputs.iter().map(|output| output.filter.events).max() {
        Some(Wanted::Alerts) => EventSet::Alerts,
        Some(Wanted::All) => EventSet::All,
        Some(Wanted::Metadata) | None => EventSet::Metadata,
    }
}

/// The same set in the outputs' own words.
pub(super) fn wanted(events: EventSet) -> Wanted {
    match events {
        EventSet::Alerts => Wanted::Alerts,
        EventSet::Metadata => Wanted::Metadata,
        EventSet::All => Wanted::All,
    }
}

type Wrong = (&'static str, String);

impl Defaults<'_> {
    fn one(&self, output: &file::Output, nth: usize) -> Result<Settings, Wrong> {
        let form = self.run.format.or(output.format).map(|format| match format {
            Format::Ndjson => Form::Json,
            Format::Text => Form::Text { colour: true },
        });
        let destination = match output.to.as_str() {
            "" => return Err(("to", "is empty; `-` is standard output".into())),
            "-" => Destination::Stdout,
            url if net::Target::is_url(url) => Destination::Network(Box::new(self.network(output, nth)?)),
            path if path.ends_with(".html") => Destination::Report(path.into()),
            path => Destination::Path(path.into()),
        };
        places::check_use(output, &destination)?;
        let filter = self.filter(output, &destination);
        Ok(Settings { form, rotation: self.rotation(output)?, filter, destination })
    }

    fn filter(&self, output: &file::Output, destination: &Destination) -> Filter {
        let is_webhook = matches!(destination, Destination::Network(network)
            if network.receiver.target.protocol == Protocol::Webhook);
        let events = output.events.or(self.run.events).or(self.file.events.write).unwrap_or_default();
        let of_run = self.run.min_severity.or(self.file.alerts.min_severity).unwrap_or(Severity::Low);
        let least = if is_webhook { of_run.max(Severity::High) } else { of_run };
        Filter {
            events: if is_webhook { Wanted::Alerts } else { wanted(events) },
            min_severity: output.min_severity.unwrap_or(least),
            stats: !is_webhook,
        }
    }

    fn rotation(&self, output: &file::Output) -> Result<Rotation, Wrong> {
        let rotate = self.run.rotate.as_deref().or(output.rotate.as_deref());
        let rotation = rotate.map_or(Ok(Rotation::default()), parse_rotation);
        let mut rotation = rotation.map_err(|error| ("rotate", error.to_string()))?;
        rotation.keep = self.run.keep.or(output.keep).unwrap_or(rotation.keep);
        Ok(rotation)
    }

    fn network(&self, output: &file::Output, nth: usize) -> Result<network::Settings, Wrong> {
        let namespace = self.file.events.namespace.as_deref().unwrap_or("default");
        let receiver = receiver::settings(output, namespace).map_err(|error| (error.key, error.text))?;
        let least = |key, span: Option<Span>, least: Duration, default| match span.map(duration) {
            Some(given) if given < least => Err((key, format!("is at least {least:?}"))),
            given => Ok(given.unwrap_or(default)),
        };
        let second = Duration::from_secs(1);
        let pace = Pace {
            batch: output.batch,
            flush: least("flush", output.flush, Duration::ZERO, second)?,
            backoff: least("backoff", output.backoff, second / 10, Pace::default().backoff)?,
            give_up: (!self.live).then_some(least("give_up", output.give_up, second / 10, 60 * second)?),
        };
        let requests = output.requests.unwrap_or(1);
        if !(1..=64).contains(&requests) {
            return Err(("requests", "is from 1 to 64".into()));
        }
        let spool = if self.live { self.spool(output, nth, &receiver.target) } else { None };
        Ok(network::Settings {
            spool: spool.map(|dir| (dir, self.spool_most(output))),
            dead_letters: output.dead_letters.clone().or_else(|| self.file.dead_letters.clone()),
            chunk: (self.memory / 64).clamp(256 << 10, 5 << 20) as usize,
            receiver,
            pace,
            requests,
        })
    }

    fn spool_most(&self, output: &file::Output) -> u64 {
        output.spool_most.or(self.file.spool_most).map_or(1 << 30, |size| size.0)
    }

    /// Its own, or else the run's; the second and further outputs have folders of their own in that.
    fn spool(&self, output: &file::Output, nth: usize, target: &net::Target) -> Option<PathBuf> {
        if let Some(own) = &output.spool {
            return (!own.as_os_str().is_empty()).then(|| own.clone());
        }
        let dir = self.file.spool.clone().unwrap_or_else(default_spool);
        if dir.as_os_str().is_empty() {
            return None;
        }
        let shares = |other: &file::Output| net::Target::is_url(&other.to) && other.spool.is_none();
        let tables = self.file.output.iter().take(nth).filter(|other| shares(other)).count();
        let words = self.run.output.iter().take(nth).filter(|to| net::Target::is_url(to)).count();
        let is_first = if self.run.output.is_empty() { tables == 0 } else { words == 0 };
        Some(if is_first { dir } else { dir.join(folder_name(target)) })
    }
}

/// Where the service manager keeps what a service must not forget.
fn default_spool() -> PathBuf {
    let state = std::env::var_os("STATE_DIRECTORY").filter(|dir| !dir.is_empty());
    state.map_or_else(|| "/var/lib/imdswatch".into(), PathBuf::from).join("spool")
}

fn folder_name(target: &net::Target) -> String {
    target.to_string().chars().map(|c| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '_' }).collect()
}

fn duration(span: Span) -> Duration {
    Duration::from_nanos(span.0.max(0).unsigned_abs())
}
