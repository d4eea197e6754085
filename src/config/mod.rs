//! What a run means: flags and configuration file joined, checked, and turned into the plain settings of each stage.
//! Flags win over the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::alert::Severity;
use crate::catalogue::Catalogue;
use crate::cli::{EventSet, Profile, Run};
use crate::correlate;
use crate::decode;
use crate::detect::{self, ssrf::LaterTargets};
use crate::duration::Span;
use crate::event::settings::{self as events, Settings};
use crate::flow;
use crate::judge;
use crate::output;
use crate::output::file::Rotation;
use crate::packet::Timestamp;
use crate::pipeline;
use crate::proto::pending::Limits;
use crate::proto::{dns, http};
use crate::publish;
use crate::session;

pub mod file;
pub mod memory;
mod outputs;
pub mod packetbeat;
mod places;
pub mod receiver;
mod values;

use file::File;
use memory::{Shares, bytes_per};

/// Why a configuration cannot be used; always exit status 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration {path}: {cause}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The file is not what it should be; the text names line, column and key.
    #[error("{path}: {text}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        text: String,
    },
    /// A flag or setting makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// A value in the file makes no sense.
    #[error("{key}: {text}")]
    Value {
        /// Which one, as `table.key`; entries of lists by number from 0.
        key: String,
        /// What is wrong.
        text: String,
    },
}

impl ConfigError {
    /// A value makes no sense that may come from a flag or else from the file.
    fn of(flag: Option<&str>, key: &str, text: &str) -> Self {
        match flag {
            Some(flag) => Self::Invalid(format!("{flag} {text}")),
            None => Self::Value { key: key.to_owned(), text: text.to_owned() },
        }
    }

    /// The same error, if it is about a value, with the name of the file that holds `text` and the value's line.
    fn placed(self, path: &Path, text: &str) -> Self {
        let Self::Value { key, text: wrong } = self else { return self };
        let line = line_of(text, &key).map_or_else(String::new, |line| format!("line {line}: "));
        Self::Parse { path: path.to_owned(), text: format!("{line}{key}: {wrong}") }
    }
}

/// Line of the value that `key` names, from 1.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let table = toml::de::DeTable::parse(text).ok()?;
    let (mut table, mut list, mut at) = (Some(table.get_ref()), None::<&toml::de::DeArray<'_>>, None);
    for part in key.split('.') {
        let value: &toml::Spanned<toml::de::DeValue<'_>> = match (table, list) {
            (Some(table), _) => table.get(part)?,
            (None, Some(list)) => list.get(part.parse::<usize>().ok()?)?,
            (None, None) => return None,
        };
        at = Some(value.span().start);
        (table, list) = (value.get_ref().as_table(), value.get_ref().as_array());
    }
    Some(text.get(..at?)?.matches('\n').count() + 1)
}

/// Where packets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// Captured files; `-` is standard input, folders are walked.
    Files(Vec<PathBuf>),
    /// Interfaces.
    Live(Vec<String>),
}

/// Settings of live capture.
#[derive(Clone, Debug)]
pub struct Live {
    /// Bytes captured of each packet.
    pub snaplen: u32,
    /// Kernel ring in bytes, where one was asked for.
    pub buffer: Option<u64>,
    /// Promiscuous mode.
    pub promiscuous: bool,
    /// User to switch to.
    pub user: Option<String>,
    /// Root of the host's file system.
    pub hostfs: PathBuf,
    /// Confine the process.
    pub sandbox: bool,
    /// Watch process starts.
    pub processes: bool,
    /// Metrics endpoint.
    pub metrics: Option<std::net::SocketAddr>,
}

/// One run, ready to begin.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where packets come from.
    pub inputs: Inputs,
    /// BPF words.
    pub filter: Vec<String>,
    /// What is written.
    pub events: EventSet,
    /// Where to.
    pub outputs: Vec<output::Settings>,
    /// Alerts below are left out.
    pub min_severity: Severity,
    /// Exit status 3 from here on.
    pub fail_on: Option<Severity>,
    /// Worker threads.
    pub threads: usize,
    /// Bound over all tables, in bytes.
    pub memory: u64,
    /// Packets per batch at most; tests set it to show that it does not matter.
    pub batch_packets: usize,
    /// Interval of stats events.
    pub stats: Option<Span>,
    /// No progress, no summary.
    pub quiet: bool,
    /// `-v`, counted.
    pub verbose: u8,
    /// Print allow-list entries at the end.
    pub suggest_allow: bool,
    /// Where what was learned is kept.
    pub state: Option<PathBuf>,
    /// Whether flows are tracked and written.
    pub flows: bool,
    /// Packet time after which DNS queries count as unanswered, in nanoseconds.
    pub dns_timeout: i64,
    /// The same for ICMP.
    pub icmp_timeout: i64,
    /// Catalogue with the user's additions.
    pub catalogue: Arc<Catalogue>,
    /// Decoding.
    pub decode: decode::Config,
    /// Matching.
    pub detect: detect::Config,
    /// Correlation.
    pub correlate: correlate::Config,
    /// Events.
    pub event: Settings,
    /// Live capture.
    pub live: Live,
}

impl Config {
    /// Settings of one worker; its bounds are its part of the memory, see [`memory`].
    pub fn pipeline(&self) -> pipeline::Config {
        let shares = Shares::of(self.memory).of_worker(self.threads);
        let count = |bytes: u64, each: u64| (bytes / each) as usize;
        let flows = flow::Config {
            max_flows: count(shares.flows, bytes_per::FLOW),
            timeout: i64::from(self.event.flows.timeout) * Timestamp::SECOND,
            period: i64::from(self.event.flows.period) * Timestamp::SECOND,
            delta: self.event.flows.delta,
        };
        let waiting = |timeout, bytes| Limits { timeout, bytes: bytes as usize, ..Limits::default() };
        pipeline::Config {
            flows: (self.flows && self.events >= EventSet::Metadata).then_some(flows),
            judge: judge::Config {
                everything: self.events == EventSet::All,
                writes_bodies: self.event.http.writes_bodies(),
                alone: self.threads == 1,
            },
            sessions: session::Config {
                entries: count(shares.connections, bytes_per::CONNECTION),
                bytes: shares.streams as usize,
            },
            http: self.http_limits(),
            dns: dns::Config {
                pending: waiting(self.dns_timeout, shares.dns),
                copies: count(shares.copies, bytes_per::COPY),
            },
            icmp: waiting(self.icmp_timeout, shares.icmp),
            idle: SESSION_IDLE,
            ..pipeline::Config::default()
        }
    }

    /// Bodies that are to be written are kept up to `max_message_size`, as far as memory allows, whoever reads them.
    fn http_limits(&self) -> http::Limits {
        let later = || &*Box::leak(Box::new(LaterTargets::new(Arc::clone(&self.catalogue))));
        let watch = self.detect.ssrf.then(|| later() as &'static dyn http::later::Watch);
        let default = http::Limits { watch, ..http::Limits::default() };
        if !self.event.http.writes_bodies() {
            return default;
        }
        let body = self.event.http.max_message_size.min(self.memory as usize / 32).max(default.body);
        http::Limits { body, memory: default.memory.max(2 * body), ..default }
    }

    /// Settings of the publisher, for outputs that want JSON or text.
    pub fn publisher(&self, json: bool, text: Option<bool>) -> publish::Config {
        let wanted = outputs::wanted(self.events);
        publish::Config {
            min_severity: self.min_severity,
            marks: (Shares::of(self.memory).marks / bytes_per::MARK) as usize,
            correlate: self.correlate.clone(),
            event: self.event.clone(),
            json,
            text,
            told_apart: self.outputs.iter().any(|output| output.filter.events < wanted),
            wanted,
            suggest: self.suggest_allow,
        }
    }

    /// Joins flags and the configuration file that they name.
    ///
    /// # Errors
    /// [`ConfigError`], with file, line and key where there are any.
    pub fn resolve(run: &Run) -> Result<Self, ConfigError> {
        let Some(path) = &run.config else { return Self::join(run, File::default(), "") };
        let (file, text) = read_with_text(path)?;
        Self::join(run, file, &text).map_err(|error| error.placed(path, &text))
    }

    /// `text` is what `file` was read from.
    fn join(run: &Run, mut file: File, text: &str) -> Result<Self, ConfigError> {
        values::check(run, &file)?;
        let inputs = inputs(run, &file)?;
        let live = matches!(inputs, Inputs::Live(_));
        let memory = run.memory.or(file.memory.map(|s| s.0)).unwrap_or(512 << 20);
        if memory < MEMORY_MIN {
            let wrong = format!("{memory} is too little; at least {}M", MEMORY_MIN >> 20);
            return Err(ConfigError::of(run.memory.map(|_| "--memory"), "memory", &wrong));
        }
        let threads = run.threads.or(file.threads).unwrap_or_else(default_threads);
        if !(1..=256).contains(&threads) {
            let wrong = format!("{threads} is outside 1 to 256");
            return Err(ConfigError::of(run.threads.map(|_| "--threads"), "threads", &wrong));
        }
        let ssrf = !run.no_ssrf && file.http.ssrf.unwrap_or(true);
        let catalogue = Catalogue::with_additions(file.catalogue.clone()).map_err(|e| {
            let line = e.line(text).map_or_else(String::new, |line| format!("line {line}: "));
            let path = run.config.clone().unwrap_or_default();
            ConfigError::Parse { path, text: format!("{line}{e}") }
        })?;
        let filter = if run.filter.is_empty() {
            file.capture.filter.iter().flat_map(|f| f.split_whitespace()).map(str::to_owned).collect()
        } else {
            run.filter.clone()
        };
        let outputs = outputs::outputs(run, &file, live, memory)?;
        file.output.iter_mut().for_each(file::Output::wipe);
        let state = run.state.as_deref().or(file.alerts.state.as_deref());
        places::check_own(run.state.as_ref().map(|_| "--state"), "alerts.state", state, &outputs)?;
        places::check_own(None, "dead_letters", file.dead_letters.as_deref(), &outputs)?;
        values::clients(&file, &catalogue)?;
        let events = outputs::widest(&outputs);
        let min_severity = outputs.iter().map(|output| output.filter.min_severity).min().unwrap_or(Severity::Low);
        let seconds = |span: Option<Span>, default: i64| span.map_or(Span::seconds(default).0, |s| s.0);
        Ok(Self {
            filter,
            events,
            outputs,
            min_severity,
            fail_on: run.fail_on.or(file.alerts.fail_on),
            threads,
            memory,
            batch_packets: usize::MAX,
            stats: run.stats.map(|s| Span::seconds(s.try_into().unwrap_or(i64::MAX))).or(file.events.stats),
            quiet: run.quiet,
            verbose: run.verbose,
            suggest_allow: run.suggest_allow,
            state: run.state.clone().or_else(|| file.alerts.state.clone()),
            flows: file.flows.enabled.unwrap_or(true),
            dns_timeout: seconds(file.dns.transaction_timeout, 10),
            icmp_timeout: seconds(file.icmp.transaction_timeout, 10),
            decode: decode_config(&file, memory),
            detect: detect::Config { ssrf, ..detect_config(&file) },
            correlate: correlate::Config {
                limit: ((Shares::of(memory).correlation / bytes_per::CLIENT) as usize)
                    .min(correlate::Config::default().limit),
                ..correlate_config(&file)
            },
            event: Settings { headers: Arc::clone(catalogue.headers()), ..event_settings(run, &file, live)? },
            live: live_settings(run, &file),
            catalogue: Arc::new(catalogue),
            inputs,
        })
    }
}

/// Reads and checks a configuration file.
///
/// # Errors
/// [`ConfigError::Read`] or [`ConfigError::Parse`].
pub fn read(path: &Path) -> Result<File, ConfigError> {
    Ok(read_with_text(path)?.0)
}

fn read_with_text(path: &Path) -> Result<(File, String), ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
    let file = toml::from_str(&text)
        .map_err(|e| ConfigError::Parse { path: path.to_owned(), text: e.to_string().trim_end().to_owned() })?;
    Ok((file, text))
}

/// The allow list that a configuration file gives.
///
/// # Errors
/// As [`read`].
pub fn allow_list(path: &Path) -> Result<Vec<correlate::AllowEntry>, ConfigError> {
    Ok(correlate_config(&read(path)?).allow)
}

/// What a run with this configuration file would do, whatever its inputs.
///
/// # Errors
/// As [`Config::resolve`].
pub fn check(path: &Path) -> Result<Config, ConfigError> {
    Config::resolve(&Run { read: vec!["-".into()], config: Some(path.to_owned()), ..Run::default() })
}

/// The meaning of a configuration in a line.
pub fn summary(config: &Config) -> String {
    let to = config.outputs.iter().map(|output| output.destination.to_string());
    format!(
        "writes {} to {}; threads: {}, memory: {} MiB, allow-list entries: {}, catalogue paths: {}",
        match config.events {
            EventSet::Alerts => "alerts",
            EventSet::Metadata => "metadata events and alerts",
            EventSet::All => "all events and alerts",
        },
        to.collect::<Vec<_>>().join(", "),
        config.threads,
        config.memory >> 20,
        config.correlate.allow.len(),
        config.catalogue.paths().len(),
    )
}

fn inputs(run: &Run, file: &File) -> Result<Inputs, ConfigError> {
    if !run.read.is_empty() {
        return Ok(Inputs::Files(run.read.clone()));
    }
    let interfaces = if run.interface.is_empty() { &file.capture.interfaces } else { &run.interface };
    if interfaces.is_empty() {
        return Err(ConfigError::Invalid("nothing to read: give -r FILE or -i INTERFACE".into()));
    }
    Ok(Inputs::Live(interfaces.clone()))
}

/// A size (`100M`) or an age (`1h`): which of both is told by the unit; `M` is a size, `m` are minutes.
fn parse_rotation(text: &str) -> Result<Rotation, ConfigError> {
    let wrong = || ConfigError::Invalid(format!("rotation `{text}` is neither a size (100M) nor a time (1h)"));
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    if matches!(unit, "s" | "m" | "h" | "d") {
        let span = Span::parse(text).ok().filter(|span| span.0 > 0).ok_or_else(wrong)?;
        return Ok(Rotation { age: Some(Duration::from_nanos(span.0.unsigned_abs())), ..Rotation::default() });
    }
    let size = crate::cli::parse_size(text).map_err(|_| wrong())?;
    if size == 0 {
        return Err(wrong());
    }
    Ok(Rotation { size: Some(size), ..Rotation::default() })
}

fn decode_config(file: &File, memory: u64) -> decode::Config {
    let mut config = decode::Config { memory: Shares::of(memory).fragments as usize, ..decode::Config::default() };
    if let Some(ports) = &file.decode.vxlan_ports {
        config.vxlan_ports.clone_from(ports);
    }
    config
}

fn detect_config(file: &File) -> detect::Config {
    let mut config = detect::Config::default();
    if let Some(key) = &file.fingerprint_key {
        config.fingerprint_key = key.clone().into_bytes();
    }
    config
}

fn correlate_config(file: &File) -> correlate::Config {
    let mut config = correlate::Config::default();
    if let Some(skew) = file.alerts.clock_skew {
        config.skew = skew.0;
    }
    if let Some(window) = file.alerts.window {
        config.window = window.0;
    }
    if let Some(most) = file.alerts.window_most {
        config.window_most = most.0;
    }
    if file.alerts.default_allow == Some(false) {
        config.allow.clear();
    }
    config.allow.extend(file.alerts.allow.iter().cloned());
    config
}

fn event_settings(run: &Run, file: &File, live: bool) -> Result<Settings, ConfigError> {
    let default = Settings::default();
    Ok(Settings {
        profile: match run.profile.or(file.profile).unwrap_or_default() {
            Profile::Packetbeat => events::Profile::Packetbeat,
            Profile::NetworkTraffic => events::Profile::NetworkTraffic,
        },
        name: file.name.clone().unwrap_or(default.name),
        namespace: file.events.namespace.clone().unwrap_or(default.namespace),
        tags: file.tags.clone(),
        fields: file.fields.clone(),
        fields_under_root: file.fields_under_root,
        metadata: file.events.metadata.unwrap_or(default.metadata),
        timestamp_precision: file.timestamp.precision.unwrap_or(default.timestamp_precision),
        internal_networks: file.internal_networks.clone().unwrap_or(default.internal_networks),
        ignore_outgoing: file.ignore_outgoing,
        unknown_process: file.events.unknown_process.clone().unwrap_or(default.unknown_process),
        http: http_settings(&file.http),
        dns: events::DnsSettings {
            include_authorities: file.dns.include_authorities,
            include_additionals: file.dns.include_additionals,
            send_request: file.dns.send_request,
            send_response: file.dns.send_response,
        },
        flows: flow_settings(&file.flows, live)?,
        local_addresses: events::LocalAddresses::default(),
        sensor: None,
        headers: default.headers,
    })
}

fn http_settings(http: &file::Http) -> events::HttpSettings {
    let default = events::HttpSettings::default();
    events::HttpSettings {
        send_headers: http.send_headers.clone(),
        send_all_headers: http.send_all_headers,
        split_cookie: http.split_cookie,
        redact_authorization: http.redact_authorization.unwrap_or(default.redact_authorization),
        redact_headers: http.redact_headers.clone(),
        hide_keywords: http.hide_keywords.clone(),
        real_ip_header: http.real_ip_header.clone().unwrap_or_default(),
        include_body_for: http.include_body_for.clone(),
        include_request_body_for: http.include_request_body_for.clone(),
        include_response_body_for: http.include_response_body_for.clone(),
        decode_body: http.decode_body.unwrap_or(default.decode_body),
        max_message_size: http.max_message_size.map_or(default.max_message_size, |s| s.0 as usize),
        send_request: http.send_request,
        send_response: http.send_response,
    }
}

/// Flows are reported at their end only in replay, every ten seconds live, as the contract says.
fn flow_settings(flows: &file::Flows, live: bool) -> Result<events::FlowSettings, ConfigError> {
    let whole = |span: Span| u32::try_from((span.0 / Timestamp::SECOND).max(0)).unwrap_or(u32::MAX);
    let is_short = |span: &Span| span.0 < Timestamp::SECOND;
    if flows.timeout.as_ref().is_some_and(is_short) {
        return Err(ConfigError::of(None, "flows.timeout", "it is at least one second"));
    }
    if flows.period.as_ref().is_some_and(|period| period.0 >= 0 && is_short(period)) {
        let wrong = "it is at least one second; -1s reports flows at their end";
        return Err(ConfigError::of(None, "flows.period", wrong));
    }
    Ok(events::FlowSettings {
        timeout: flows.timeout.map_or(30, whole),
        period: flows.period.map_or(if live { 10 } else { 0 }, whole),
        delta: flows.enable_delta_flow_reports,
    })
}

fn live_settings(run: &Run, file: &File) -> Live {
    Live {
        snaplen: run.snaplen.or(file.capture.snaplen).filter(|s| *s > 0).unwrap_or(262_144),
        buffer: run.buffer.or(file.capture.buffer.map(|s| s.0)),
        promiscuous: !run.no_promisc && file.capture.promiscuous.unwrap_or(true),
        user: run.user.clone().or_else(|| file.process.user.clone()),
        hostfs: run.hostfs.clone().or_else(|| file.process.hostfs.clone()).unwrap_or_else(|| "/".into()),
        sandbox: !run.no_sandbox && file.process.sandbox.unwrap_or(true),
        processes: !run.no_processes && file.process.watch_starts.unwrap_or(true),
        metrics: run.metrics.or(file.metrics.listen),
    }
}

/// One worker on up to three cores, where decoding and publishing take the others; at most four, which are faster than
/// the one thread that decodes for all of them.
fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(2).clamp(1, 4))
}

/// Silence after which a connection is forgotten, in nanoseconds of packet time: requests wait that long for answers.
const SESSION_IDLE: i64 = 600 * Timestamp::SECOND;

const MEMORY_MIN: u64 = 16 << 20;
