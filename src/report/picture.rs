//! Where things stand in the pictures: positions only; the template draws them. Pictures are 360 units wide, so that on a
//! telephone one unit is one pixel, and grow downwards.

use std::collections::BTreeMap;

use serde::Serialize;

use super::alert::Step;
use super::incident::Incident;
use super::tables::{Hours, host};
use super::time::{self, HOUR, Nanos};
use super::visible::short;

/// Points of one timeline.
const MOST_POINTS: usize = 14;
/// Height of one label of a timeline.
const LABEL: i64 = 36;
/// Bars of the strip.
const MOST_BARS: usize = 120;
/// Empty buckets beyond which the strip's axis is broken.
const GAP: Nanos = 6;
/// Machines of one role.
const MOST_PLACES: usize = 6;

/// An incident in time, from top to bottom, distances as they were.
#[derive(Debug, Serialize)]
pub(super) struct Timeline {
    pub(super) height: i64,
    pub(super) span: String,
    pub(super) points: Vec<Point>,
    pub(super) left_out: usize,
    /// The picture in words.
    pub(super) words: String,
}

/// One moment of a timeline.
#[derive(Debug, Serialize)]
pub(super) struct Point {
    /// Where it happened on the axis, and where its label stands.
    pub(super) at: i64,
    pub(super) label_at: i64,
    pub(super) offset: String,
    pub(super) what: String,
    pub(super) ends: String,
    /// What the marker looks like: told apart by form, not by colour.
    pub(super) form: &'static str,
}

/// The moments of an incident: the steps of its chains, in order, each once; where there is none, its alerts.
pub(super) fn timeline(incident: &Incident) -> Option<Timeline> {
    let mut moments: BTreeMap<(Nanos, &str, &str, &str), ()> = BTreeMap::new();
    for step in steps(incident) {
        if let Some(time) = step.time {
            moments.insert((time, &step.what, &step.source, &step.destination), ());
        }
    }
    let left_out = moments.len().saturating_sub(MOST_POINTS);
    let moments: Vec<_> = moments.into_keys().take(MOST_POINTS).collect();
    let ((first, ..), (last, ..)) = (moments.first()?, moments.last()?);
    let (first, span) = (*first, *last - *first);
    let height = LABEL * moments.len() as i64;
    let axis = i128::from(height - LABEL);
    let mut below = 0;
    let points = moments.iter().map(|(time, what, source, destination)| {
        let at = if span == 0 { 0 } else { (axis * (time - first) / span) as i64 } + 18;
        Point {
            at,
            label_at: at,
            offset: offset(time - first),
            what: word(what),
            ends: ends(source, destination),
            form: form(what),
        }
    });
    let mut points: Vec<_> = points.collect();
    for point in &mut points {
        point.label_at = point.at.max(below);
        below = point.label_at + LABEL;
    }
    // Labels that were pushed below the picture are pushed up again.
    let mut above = height - 18;
    for point in points.iter_mut().rev() {
        point.label_at = point.label_at.min(above);
        above = point.label_at - LABEL;
    }
    let words = points.iter().map(|p| format!("{} {} {}", p.offset, p.what, p.ends)).collect::<Vec<_>>().join("; ");
    Some(Timeline { height, span: time::span(span), points, left_out, words })
}

fn steps(incident: &Incident) -> impl Iterator<Item = &Step> {
    let alone: &[Step] = if incident.chains.is_empty() { &incident.moments } else { &[] };
    incident.chains.iter().flat_map(|chain| &chain.steps).chain(alone)
}

fn offset(since: Nanos) -> String {
    if since == 0 { "0".to_owned() } else { format!("+{}", time::span(since)) }
}

fn ends(source: &str, destination: &str) -> String {
    short(&format!("{source} → {destination}"), 46)
}

/// What a step of a chain is, in words a reader knows.
pub(super) fn word(what: &str) -> String {
    match what {
        "request" => "request that caused it",
        "response" => "answered to the client",
        "dns" => "name looked up",
        "redirect" => "redirected",
        "fetch" => "metadata service asked",
        "issued" | "imds-credential-issued" => "credential issued",
        "relayed" | "credential-relayed" => "credential left",
        "process" | "imds-command" => "command started",
        other => other,
    }
    .to_owned()
}

fn form(what: &str) -> &'static str {
    match what {
        "issued" | "imds-credential-issued" => "diamond",
        "relayed" | "credential-relayed" => "cross",
        "fetch" | "imds-credential-request" => "square",
        _ => "dot",
    }
}

/// Who spoke with whom: the roles from top to bottom, machines side by side, lines between those that spoke.
#[derive(Debug, Serialize)]
pub(super) struct Graph {
    pub(super) height: i64,
    pub(super) places: Vec<Place>,
    pub(super) lines: Vec<Line>,
    pub(super) words: String,
}

/// A machine in a role.
#[derive(Debug, Serialize)]
pub(super) struct Place {
    pub(super) x: i64,
    pub(super) y: i64,
    pub(super) width: i64,
    pub(super) role: &'static str,
    pub(super) name: String,
}

/// Who spoke with whom.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    pub(super) from: (i64, i64),
    pub(super) to: (i64, i64),
    pub(super) what: &'static str,
    pub(super) dashed: bool,
}

/// Height of a machine's box, and of the space below it.
const BOX: i64 = 38;
const SPACE: i64 = 40;

/// Who spoke with whom in an incident.
pub(super) fn graph(incident: &Incident) -> Option<Graph> {
    let mut roles: [Vec<String>; 4] = Default::default();
    let mut links: BTreeMap<(usize, String, usize, String, &'static str), ()> = BTreeMap::new();
    let (mut link, mut steps) = (
        |a: usize, from: &str, b: usize, to: &str, what| {
            for (role, name) in [(a, from), (b, to)] {
                if let Some(names) = roles.get_mut(role).filter(|names| !names.iter().any(|one| one == name)) {
                    names.push(name.to_owned());
                }
            }
            links.insert((a, from.to_owned(), b, to.to_owned(), what), ());
        },
        Vec::new(),
    );
    for step in self::steps(incident) {
        steps.push((step.what.as_str(), host(&step.source), host(&step.destination)));
    }
    let holders: Vec<_> = steps.iter().filter(|(what, ..)| is_metadata(what)).map(|(_, source, _)| *source).collect();
    for (what, source, destination) in &steps {
        match *what {
            what if is_metadata(what) => link(1, source, 2, destination, "asks"),
            "request" | "ssrf-attempt" | "ssrf-confirmed" => link(0, source, 1, destination, "asks"),
            "relayed" | "credential-relayed" => {
                // The connection may have been opened by either side: the credential went to the one that is no holder.
                let (from, to) =
                    if holders.contains(destination) { (destination, source) } else { (source, destination) };
                link(1, from, 3, to, "credential");
            }
            _ => {}
        }
    }
    drop(steps);
    draw(roles, links.into_keys().collect())
}

fn is_metadata(what: &str) -> bool {
    matches!(what, "fetch" | "issued") || what.starts_with("imds-") && !matches!(what, "imds-lookup" | "imds-command")
}

fn draw(roles: [Vec<String>; 4], links: Vec<(usize, String, usize, String, &'static str)>) -> Option<Graph> {
    let titles = ["client", "server", "metadata service", "credential went to"];
    let (mut places, mut y) = (Vec::new(), 0);
    let mut at: BTreeMap<(usize, String), (i64, i64, i64)> = BTreeMap::new();
    for (role, (names, title)) in roles.into_iter().zip(titles).enumerate() {
        let columns = if names.iter().any(|name| name.len() > 18) || names.len() == 1 { 1 } else { 2 };
        for (number, name) in names.iter().take(MOST_PLACES).enumerate() {
            let (column, row) = ((number % columns) as i64, (number / columns) as i64);
            let width = if columns == 1 { 336 } else { 164 };
            let place = (4 + column * 172, y + 4 + row * (BOX + 8));
            at.insert((role, name.clone()), (place.0, place.1, width));
            places.push(Place {
                x: place.0,
                y: place.1,
                width,
                role: title,
                name: short(name, if columns == 1 { 44 } else { 20 }),
            });
        }
        let rows = names.len().min(MOST_PLACES).div_ceil(columns) as i64;
        y += if rows > 0 { rows * (BOX + 8) - 8 + SPACE } else { 0 };
    }
    let words: Vec<_> = links
        .iter()
        .map(|(_, from, _, to, what)| match *what {
            "credential" => format!("a credential went from {from} to {to}"),
            _ => format!("{from} asked {to}"),
        })
        .take(24)
        .collect();
    let lines = links.iter().filter_map(|(a, from, b, to, what)| {
        let (from, to) = (at.get(&(*a, from.clone()))?, at.get(&(*b, to.clone()))?);
        // A credential goes round the side: it did not come by way of the service once more.
        let dashed = *what == "credential";
        let ends = if dashed {
            ((from.0 + from.2, from.1 + BOX / 2), (to.0 + to.2, to.1 + BOX / 2))
        } else {
            ((from.0 + from.2 / 2, from.1 + BOX), (to.0 + to.2 / 2, to.1))
        };
        Some(Line { from: ends.0, to: ends.1, what, dashed })
    });
    let lines: Vec<_> = lines.collect();
    (!lines.is_empty()).then(|| Graph { height: y - SPACE + 12, places, lines, words: words.join("; ") })
}

/// The whole capture by hour.
#[derive(Debug, Serialize)]
pub(super) struct Strip {
    pub(super) bars: Vec<Bar>,
    pub(super) width: i64,
    pub(super) unit: String,
    pub(super) first: String,
    pub(super) last: String,
    pub(super) words: String,
}

/// One bar, or a break of the axis.
#[derive(Debug, Serialize)]
pub(super) struct Bar {
    pub(super) x: i64,
    pub(super) height: i64,
    /// Something grave happened: `high`, `critical`, or nothing.
    pub(super) mark: &'static str,
    pub(super) title: String,
    /// Hours without an event were left out here.
    pub(super) gap: bool,
}

/// Height of the tallest bar.
const TALLEST: i64 = 44;

/// Draws the hours; coarser where there are too many.
pub(super) fn strip(hours: &mut Hours) -> Option<Strip> {
    let mut columns = columns(hours);
    while columns.len() > MOST_BARS {
        hours.widen();
        columns = self::columns(hours);
    }
    let tallest = columns.iter().flatten().map(|(_, counts)| counts[0]).max()?;
    let width = 6;
    let bars = columns.iter().enumerate().map(|(number, column)| {
        let x = number as i64 * width;
        let Some((at, counts)) = column else {
            return Bar { x, height: 0, mark: "", title: "hours without events are left out".to_owned(), gap: true };
        };
        let [events, high, critical] = *counts;
        let mark = if critical > 0 {
            "critical"
        } else if high > 0 {
            "high"
        } else {
            ""
        };
        let height =
            if events == 0 { 0 } else { (events as i128 * i128::from(TALLEST) / tallest as i128).max(2) as i64 };
        let title =
            format!("{} UTC: {events} events, {high} high, {critical} critical", time::show_minute(at * hours.width));
        Bar { x, height, mark, title, gap: false }
    });
    let bars: Vec<_> = bars.collect();
    let (first, last) = (*hours.buckets.first_key_value()?.0, *hours.buckets.last_key_value()?.0);
    let grave = bars.iter().filter(|bar| !bar.mark.is_empty());
    let words = grave.take(24).map(|bar| bar.title.clone()).collect::<Vec<_>>().join("; ");
    Some(Strip {
        width: width * bars.len() as i64,
        unit: if hours.width == HOUR { "hour".to_owned() } else { time::span(hours.width) },
        first: time::show_minute(first * hours.width),
        last: time::show_minute((last + 1) * hours.width),
        words,
        bars,
    })
}

type Column = Option<(Nanos, [u64; 3])>;

/// Buckets in order, with the short pauses between them; a long one is a break.
fn columns(hours: &Hours) -> Vec<Column> {
    let mut columns = Vec::new();
    let mut next = None;
    for (at, counts) in &hours.buckets {
        match next.map(|next: Nanos| *at - next) {
            Some(pause) if pause > GAP => columns.push(None),
            Some(pause) => (0..pause).for_each(|back| columns.push(Some((*at - pause + back, [0; 3])))),
            None => {}
        }
        columns.push(Some((*at, *counts)));
        next = Some(*at + 1);
    }
    columns
}
