//! The closing report: what was read, what could not be, what was found. Printed on every exit path.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::progress::human;
use crate::alert::{Rule, Severity};
use crate::decode;
use crate::metrics::Snapshot;
use crate::pipeline;
use crate::publish;

/// Everything that a run adds up to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Packets read from the inputs, after the filter.
    pub packets: u64,
    /// Packets that the filter left out.
    pub filtered: u64,
    /// Bytes captured of those packets.
    pub bytes: u64,
    /// Inputs read to their end or as far as they go.
    pub inputs: u64,
    /// Files in folders that are no captures.
    pub skipped: u64,
    /// What went wrong with inputs, outputs or threads: already told on standard error.
    pub failures: u64,
    /// Decoding.
    pub decode: decode::Counters,
    /// Pipelines, added up.
    pub pipeline: pipeline::Counters,
    /// Publisher.
    pub published: publish::Counters,
    /// Events lost by outputs.
    pub lost: u64,
    /// Standard output was closed by its reader.
    pub closed: bool,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Live capture: received, dropped by the kernel, dropped by the interface, dropped here.
    pub live: Option<Drops>,
    /// Live capture: at least one interface is open.
    pub ready: bool,
    pub(super) suggestions: String,
}

/// Packet counts of live capture, as tcpdump users know them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Received by the filter.
    pub received: u64,
    /// Dropped by the kernel.
    pub kernel: u64,
    /// Dropped by the interface.
    pub interface: u64,
    /// Dropped here because the workers could not keep up.
    pub own: u64,
}

impl Report {
    /// Whether something failed, so that the exit status is 1.
    pub fn failed(&self) -> bool {
        !self.closed && (self.failures > 0 || self.lost > 0 || self.decode.stopped(decode::meta::Stop::LinkType) > 0)
    }

    /// Highest severity of an alert.
    pub fn highest(&self) -> Option<Severity> {
        self.published.highest
    }

    /// Allow-list entries for what was seen, as TOML.
    pub fn suggestions(&self) -> &str {
        &self.suggestions
    }

    /// Writes the summary for people.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let rate = |n: f64| n / self.seconds.max(1e-9);
        write!(out, "{} packets, {}", self.packets, human(self.bytes as f64))?;
        if self.filtered > 0 {
            write!(out, " ({} left out by the filter)", self.filtered)?;
        }
        write!(out, " in {:.3} s", self.seconds)?;
        if self.live.is_none() {
            write!(out, " ({:.0} packets/s, {}/s)", rate(self.packets as f64), human(rate(self.bytes as f64)))?;
        }
        writeln!(out)?;
        let undecoded = self.undecoded();
        if !undecoded.is_empty() {
            writeln!(out, "not decoded: {}", list(undecoded.iter().map(|(reason, n)| (reason.as_str(), *n))))?;
        }
        if self.skipped > 0 {
            writeln!(out, "{} files in folders are no captures", self.skipped)?;
        }
        let found = [
            ("flows", self.pipeline.flows),
            ("HTTP transactions", self.pipeline.http),
            ("DNS transactions", self.pipeline.dns),
            ("ICMP transactions", self.pipeline.icmp),
        ];
        writeln!(out, "{}", list(found.iter().copied()))?;
        let alerts: Vec<_> = Rule::ALL.iter().zip(self.published.alerts).filter(|(_, n)| *n > 0).collect();
        let total: u64 = alerts.iter().map(|(_, n)| n).sum();
        match total {
            0 => writeln!(out, "no alerts")?,
            _ => writeln!(out, "{total} alerts: {}", list(alerts.iter().map(|(rule, n)| (rule.id(), *n))))?,
        }
        let bounds = self.bounds();
        if !bounds.is_empty() {
            writeln!(out, "bounds reached: {}", list(bounds.iter().copied()))?;
        }
        if self.lost > 0 {
            writeln!(out, "{} events could not be written", self.lost)?;
        }
        if let Some(drops) = self.live {
            writeln!(out, "{} packets captured", self.packets)?;
            writeln!(out, "{} packets received by filter", drops.received)?;
            writeln!(out, "{} packets dropped by kernel", drops.kernel)?;
            writeln!(out, "{} packets dropped by interface", drops.interface)?;
            writeln!(out, "{} packets dropped by imdswatch", drops.own)?;
        }
        Ok(())
    }

    /// What a live run serves to Prometheus.
    pub(super) fn snapshot(&self) -> Snapshot {
        let alerts = Rule::ALL.iter().zip(self.published.alerts).map(|(rule, n)| (rule.id(), n)).collect();
        Snapshot { counters: self.counters(), alerts, seconds: self.seconds, ready: self.ready }
    }

    /// What a live run counted, by name, for stats events and metrics.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let drops = self.live.unwrap_or_default();
        let pipeline = &self.pipeline;
        let mut counters = vec![
            ("packets", self.packets),
            ("bytes", self.bytes),
            ("received", drops.received),
            ("dropped_kernel", drops.kernel),
            ("dropped_interface", drops.interface),
            ("dropped_own", drops.own),
            ("undecoded", self.undecoded().values().sum()),
            ("flows", pipeline.flows),
            ("http", pipeline.http),
            ("dns", pipeline.dns),
            ("icmp", pipeline.icmp),
        ];
        counters.extend(self.published_counters());
        counters.push(("events_lost", self.lost));
        counters.push(("bounds_reached", self.bounds().iter().map(|(_, n)| n).sum()));
        counters
    }

    /// Of these, what the publisher counted: it depends on packets alone.
    pub(super) fn published_counters(&self) -> Vec<(&'static str, u64)> {
        vec![("events", self.published.events), ("alerts", self.published.alerts.iter().sum())]
    }

    /// Packets that decoding gave up on, by reason in words.
    fn undecoded(&self) -> BTreeMap<String, u64> {
        let errors = self.decode.stops().filter(|(stop, _)| stop.is_error());
        errors.map(|(stop, n)| (stop.to_string(), n)).collect()
    }

    /// Bounds that were reached.
    fn bounds(&self) -> Vec<(&'static str, u64)> {
        let pipeline = &self.pipeline;
        [
            ("sessions evicted", pipeline.sessions.evicted),
            ("flows evicted", pipeline.flow_table.evicted),
            ("HTTP requests evicted", pipeline.http_parsers.requests_evicted),
            ("DNS queries evicted", pipeline.dns_messages.evicted),
            ("DNS copies forgotten", pipeline.dns_messages.copies_forgotten),
            ("fragmented datagrams evicted", self.decode.evicted),
            ("correlator entries evicted", self.published.correlator.evicted),
            ("searches cut", self.published.correlator.searches_cut),
            ("conversations not marked", self.published.marks_refused),
        ]
        .into_iter()
        .filter(|(_, n)| *n > 0)
        .collect()
    }
}

fn list<'a>(items: impl Iterator<Item = (&'a str, u64)>) -> String {
    items.map(|(name, n)| format!("{n} {name}")).collect::<Vec<_>>().join(", ")
}
