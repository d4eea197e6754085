//! The closing report: what was read, what could not be, what was found. Printed on every exit path.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use super::progress::human;
use super::tell_user;
use crate::alert::{Rule, Severity};
use crate::decode;
#[cfg(target_os = "linux")]
use crate::metrics::{Family, Snapshot};
use crate::output::Counts;
use crate::pipeline;
use crate::process;
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
    /// Files in folders that are neither captures nor events of other sensors.
    pub skipped: u64,
    /// Events of other sensors that were read.
    pub events: u64,
    /// What went wrong with inputs, outputs or threads: already told on standard error.
    pub failures: u64,
    /// The first of them that concern inputs, in words: which file, where, why.
    pub troubles: Vec<String>,
    /// Decoding.
    pub decode: decode::Counters,
    /// Pipelines, added up.
    pub pipeline: pipeline::Counters,
    /// Publisher.
    pub published: publish::Counters,
    /// What each output counted.
    pub outputs: Vec<Counts>,
    /// Live capture: how long the oldest packets that are not published yet have been waiting.
    pub lag: Duration,
    /// The longest that it was.
    pub lag_max: Duration,
    /// Live capture: packets handed to the workers of which not all is published.
    pub unpublished: u64,
    /// Standard output was closed by its reader.
    pub closed: bool,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Live capture: received, dropped by the kernel, dropped by the interface, dropped here.
    pub live: Option<Drops>,
    /// Live capture: processes.
    pub processes: process::Counts,
    /// Live capture: at least one interface is open.
    pub ready: bool,
    pub(super) suggestions: String,
}

/// What went wrong with inputs.
#[derive(Debug, Default)]
pub(super) struct Failures {
    pub(super) count: u64,
    /// The first of them, in words.
    pub(super) first: Vec<String>,
}

impl Failures {
    /// How many are kept in words.
    const MOST: usize = 50;

    /// Counts one and says it on standard error.
    pub(super) fn add(&mut self, trouble: &impl fmt::Display) {
        tell_user(trouble);
        self.count += 1;
        if self.first.len() < Self::MOST {
            self.first.push(trouble.to_string());
        }
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.count += other.count;
        let room = Self::MOST.saturating_sub(self.first.len());
        self.first.extend(other.first.into_iter().take(room));
    }
}

/// An output may fail for so long before the run is no longer ready.
#[cfg(target_os = "linux")]
const PATIENCE: Duration = Duration::from_secs(60);

/// Packet counts of live capture, as tcpdump users know them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Received by the filter.
    pub received: u64,
    /// Dropped by the kernel.
    pub kernel: u64,
    /// Dropped by the interface.
    pub interface: u64,
    /// Dropped here.
    pub own: Dropped,
}

/// Packets that the capture thread has thrown away, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// All batches were full and waited for the workers.
    pub no_room: u64,
    /// Detection was too far behind the wire.
    pub late: u64,
    /// The run was over before there was time for them.
    pub at_end: u64,
}

impl Dropped {
    /// All of them.
    pub fn sum(&self) -> u64 {
        self.no_room + self.late + self.at_end
    }
}

impl Report {
    /// Whether something failed, so that the exit status is 1.
    pub fn failed(&self) -> bool {
        let of_inputs = self.failures > 0 || self.decode.stopped(decode::meta::Stop::LinkType) > 0;
        of_inputs && !self.closed || self.lost() > 0 || self.live.is_none() && self.rejected() > 0
    }

    /// Events that receivers will never take.
    fn rejected(&self) -> u64 {
        self.outputs.iter().map(|output| output.dead).sum()
    }

    /// Events that outputs have lost.
    pub fn lost(&self) -> u64 {
        self.outputs.iter().map(Counts::dropped).sum()
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
        if self.events > 0 {
            writeln!(out, "{} events of other sensors", self.events)?;
        }
        let undecoded = self.undecoded();
        if !undecoded.is_empty() {
            writeln!(out, "not decoded: {}", list(undecoded.iter().map(|(reason, n)| (reason.as_str(), *n))))?;
        }
        if self.skipped > 0 {
            writeln!(out, "{} files in folders are neither captures nor events of other sensors", self.skipped)?;
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
        if self.lost() > 0 {
            writeln!(out, "{} events could not be written", self.lost())?;
        }
        self.outputs.iter().try_for_each(|output| print_output(out, output))?;
        if let Some(drops) = self.live {
            writeln!(out, "{} packets captured", self.packets)?;
            writeln!(out, "{} packets received by filter", drops.received)?;
            writeln!(out, "{} packets dropped by kernel", drops.kernel)?;
            writeln!(out, "{} packets dropped by interface", drops.interface)?;
            writeln!(out, "{} packets dropped by imdswatch", drops.own.sum())?;
            let Dropped { no_room, late, at_end } = drops.own;
            for (count, cause) in [(no_room, "full buffers"), (late, "lag"), (at_end, "the end of the run")] {
                if count > 0 {
                    writeln!(out, "{count} packets dropped by {cause}")?;
                }
            }
            print_processes(out, self.processes)?;
            writeln!(out, "{:.1} s behind the wire at most", self.lag_max.as_secs_f64())?;
        }
        Ok(())
    }

    /// What a live run counted, by name, for stats events and metrics.
    pub fn counters(&self) -> Vec<(String, u64)> {
        let mut counters: Vec<_> = self.totals().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        counters.push(("unpublished".into(), self.unpublished));
        counters.push(("lag_ms".into(), self.lag.as_millis() as u64));
        for (nth, output) in (1..).zip(&self.outputs) {
            let each = output_counters(output).map(|(name, _, value)| (format!("output_{nth}_{name}"), value));
            counters.extend(each);
        }
        counters
    }

    /// Of these, what only grows and belongs to no output.
    fn totals(&self) -> Vec<(&'static str, u64)> {
        let drops = self.live.unwrap_or_default();
        let pipeline = &self.pipeline;
        let mut counters = vec![
            ("packets", self.packets),
            ("bytes", self.bytes),
            ("received", drops.received),
            ("dropped_kernel", drops.kernel),
            ("dropped_interface", drops.interface),
            ("dropped_own", drops.own.sum()),
            ("dropped_no_room", drops.own.no_room),
            ("dropped_late", drops.own.late),
            ("dropped_at_end", drops.own.at_end),
            ("connections_named", self.processes.named),
            ("connections_unnamed", self.processes.unnamed),
            ("processes_started", self.processes.started),
            ("processes_cut", self.processes.cut),
            ("processes_cut_connected", self.processes.cut_connected),
            ("process_records_lost", self.processes.lost),
            ("undecoded", self.undecoded().values().sum()),
            ("flows", pipeline.flows),
            ("http", pipeline.http),
            ("dns", pipeline.dns),
            ("icmp", pipeline.icmp),
        ];
        counters.extend(self.published_counters());
        counters.push(("events_lost", self.lost()));
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

    /// What a report for people says of what this run saw and did not.
    pub(super) fn coverage(&self) -> Vec<(String, String, bool)> {
        let fact = |name: &str, value: String, lost| (name.to_owned(), value, lost);
        let mut facts = vec![
            fact("Packets read", format!("{} ({} bytes) in {} inputs", self.packets, self.bytes, self.inputs), false),
            fact("Packets left out by the filter", self.filtered.to_string(), self.filtered > 0),
            fact(
                "Inputs that could not be read whole, and other failures",
                self.failures.to_string(),
                self.failures > 0,
            ),
            fact(
                "Files in folders that are neither captures nor events of other sensors",
                self.skipped.to_string(),
                false,
            ),
        ];
        facts.extend(self.troubles.iter().map(|trouble| fact("Not read whole", trouble.clone(), true)));
        let undecoded = self.undecoded().into_iter();
        facts.extend(undecoded.map(|(reason, n)| fact(&format!("Packets not decoded: {reason}"), n.to_string(), true)));
        facts.extend(
            self.bounds().into_iter().map(|(bound, n)| fact(&format!("Bound reached: {bound}"), n.to_string(), true)),
        );
        facts.retain(|(_, value, lost)| *lost || value != "0");
        facts
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

#[cfg(target_os = "linux")]
impl Report {
    /// What a live run serves to Prometheus.
    pub(super) fn snapshot(&self) -> Snapshot {
        let one = |name: &str, value: f64| Family::one(name, false, value);
        let unready = self.unready();
        let mut families = vec![
            one("uptime_seconds", self.seconds),
            one("ready", f64::from(u8::from(unready.is_none()))),
            one("lag_seconds", self.lag.as_secs_f64()),
            one("lag_seconds_max", self.lag_max.as_secs_f64()),
            one("unpublished_packets", self.unpublished as f64),
        ];
        let counters = self.totals().into_iter().filter(|(name, _)| *name != "alerts");
        families.extend(counters.map(|(name, value)| Family::one(format!("{name}_total"), true, value as f64)));
        let alerts = Rule::ALL.iter().zip(self.published.alerts).map(|(rule, n)| (rule.id().to_owned(), n as f64));
        families.push(Family { name: "alerts_total".into(), is_counter: true, label: "rule", rows: alerts.collect() });
        families.extend(self.output_families());
        Snapshot { families, unready }
    }

    fn output_families(&self) -> Vec<Family> {
        let all: Vec<_> = self.outputs.iter().map(|output| (&output.name, output_counters(output))).collect();
        let family = |(nth, (name, is_counter, _)): (usize, (&str, bool, u64))| {
            let value = |counters: &[(&str, bool, u64)]| counters.get(nth).map_or(0.0, |(_, _, value)| *value as f64);
            let rows = all.iter().map(|(output, counters)| ((*output).clone(), value(counters))).collect();
            let suffix = if is_counter { "_total" } else { "" };
            Family { name: format!("output_{name}{suffix}"), is_counter, label: "output", rows }
        };
        let first = self.outputs.first().map(output_counters);
        first.into_iter().flatten().enumerate().map(family).collect()
    }

    /// Why no packets can come in, or an output has been failing for more than a minute or has lost a thread.
    fn unready(&self) -> Option<String> {
        if !self.ready {
            return Some("no interface is open".into());
        }
        if let Some(ended) = self.outputs.iter().find(|output| output.ended) {
            return Some(format!("output {} has ended, or a thread of it has", ended.name));
        }
        let is_failing = |output: &&Counts| output.failing.is_some_and(|failing| failing > PATIENCE);
        let failing = self.outputs.iter().find(is_failing)?;
        Some(format!("output {} has been failing for more than a minute", failing.name))
    }
}

/// What became of processes, one line for each fact.
fn print_processes(out: &mut impl Write, counts: process::Counts) -> io::Result<()> {
    let facts = [
        (counts.named, "connections to metadata services with their process"),
        (counts.unnamed, "connections to metadata services without their process"),
        (counts.started, "programs started"),
        (counts.cut, "programs started whose arguments could not be read whole"),
        (counts.cut_connected, "of these connected to metadata services"),
        (counts.lost, "records of processes lost"),
    ];
    counted(facts).try_for_each(|(count, what)| writeln!(out, "{count} {what}"))
}

/// What an output has to say at the end, one line for each fact; nothing where all was taken.
fn print_output(out: &mut impl Write, output: &Counts) -> io::Result<()> {
    let name = &output.name;
    let facts = [
        (output.dead, "events rejected by"),
        (output.dropped_alerts, "alerts lost by"),
        (output.dropped_events, "events lost by"),
        (output.damaged, "damaged frames in the spool of"),
        (output.waiting, "events wait for"),
    ];
    counted(facts).try_for_each(|(count, what)| writeln!(out, "{count} {what} {name}"))
}

/// Those that happened.
fn counted<const N: usize>(facts: [(u64, &str); N]) -> impl Iterator<Item = (u64, &str)> {
    facts.into_iter().filter(|(count, _)| *count > 0)
}

/// What an output counted, by name; whether it only grows.
fn output_counters(output: &Counts) -> [(&'static str, bool, u64); 14] {
    let failing = output.failing.map_or(0, |failing| failing.as_secs().max(1));
    [
        ("queued", true, output.queued),
        ("waiting", false, output.waiting),
        ("sent", true, output.sent),
        ("acknowledged", true, output.acknowledged),
        ("duplicates", true, output.duplicates),
        ("retried", true, output.retried),
        ("dead_letters", true, output.dead),
        ("dropped_alerts", true, output.dropped_alerts),
        ("dropped_events", true, output.dropped_events),
        ("bytes", true, output.bytes),
        ("latency_us", false, output.latency_us),
        ("spool_bytes", false, output.spool_bytes),
        ("failing_seconds", false, failing),
        ("ended", false, u64::from(output.ended)),
    ]
}

fn list<'a>(items: impl Iterator<Item = (&'a str, u64)>) -> String {
    items.map(|(name, n)| format!("{n} {name}")).collect::<Vec<_>>().join(", ")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_ready_while_packets_come_in_and_outputs_work() {
        let output = |change: fn(&mut Counts)| {
            let mut counts = Counts { name: "kafka://k/t".into(), ..Counts::default() };
            change(&mut counts);
            Report { ready: true, outputs: vec![Counts::default(), counts], ..Report::default() }.unready()
        };
        assert_eq!(Report::default().unready().as_deref(), Some("no interface is open"));
        assert_eq!(output(|_| {}), None);
        assert_eq!(output(|counts| counts.failing = Some(PATIENCE)), None);
        let failing = output(|counts| counts.failing = Some(PATIENCE + Duration::from_secs(1)));
        assert_eq!(failing.as_deref(), Some("output kafka://k/t has been failing for more than a minute"));
        let ended = output(|counts| counts.ended = true);
        assert_eq!(ended.as_deref(), Some("output kafka://k/t has ended, or a thread of it has"));
    }
}
