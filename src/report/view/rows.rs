//! Tables of the report: rows in an order of their own, no more of them than a reader can use.

use std::collections::BTreeSet;

use serde::Serialize;

use super::super::tables::{Bounded, Seen, Tables};
use super::super::time;
use super::{CredentialView, severity_word, shown};

/// Rows of a table that are shown.
const MOST_ROWS: usize = 1500;
/// Names in one cell.
const MOST_NAMES: usize = 8;

/// Rows, and how many more there are.
#[derive(Debug, Serialize)]
pub(super) struct Table<T> {
    rows: Vec<T>,
    left_out: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct ClientRow {
    host: String,
    names: String,
    providers: String,
    requests: u64,
    credentials: u64,
    alerts: u64,
    worst: &'static str,
    first: String,
    last: String,
}

#[derive(Debug, Serialize)]
pub(super) struct CredentialRow {
    credential: CredentialView,
    holders: String,
    worst: &'static str,
    left: bool,
    first: String,
    last: String,
}

#[derive(Debug, Serialize)]
pub(super) struct UsualRow {
    client: String,
    provider: String,
    path: String,
    hosts: usize,
    named: String,
    count: u64,
    first: String,
    last: String,
}

#[derive(Debug, Serialize)]
pub(super) struct OtherRow {
    severity: &'static str,
    rule: String,
    source: String,
    what: String,
    count: u64,
    first: String,
    last: String,
    message: String,
}

#[derive(Debug, Serialize)]
pub(super) struct AllowedRow {
    entry: String,
    client: String,
    path: String,
    count: u64,
    first: String,
    last: String,
}

/// Names in one cell.
pub(super) fn list(names: &BTreeSet<String>) -> String {
    let mut text = names.iter().take(MOST_NAMES).cloned().collect::<Vec<_>>().join(", ");
    let left = names.len().saturating_sub(MOST_NAMES);
    if left > 0 {
        text.push_str(&format!(" and {left} more"));
    }
    text
}

/// The rows in an order of their own, capped.
fn table<K: Ord, V, T>(table: &Bounded<K, V>, key: impl Fn(&K, &V) -> u64, row: impl Fn(&K, &V) -> T) -> Table<T> {
    let mut rows: Vec<_> = table.rows.iter().collect();
    rows.sort_by_key(|(k, v)| std::cmp::Reverse(key(k, v)));
    let left = rows.len().saturating_sub(MOST_ROWS) as u64;
    Table { rows: rows.into_iter().take(MOST_ROWS).map(|(k, v)| row(k, v)).collect(), left_out: table.left_out + left }
}

fn times(seen: &Seen) -> (String, String) {
    (time::show(seen.first), time::show(seen.last))
}

pub(super) fn clients(tables: &Tables) -> Table<ClientRow> {
    table(
        &tables.clients,
        |_, client| client.worst,
        |host, client| {
            let (first, last) = times(&client.seen);
            ClientRow {
                host: host.clone(),
                names: list(&client.names),
                providers: list(&client.providers),
                requests: client.seen.count,
                credentials: client.credentials,
                alerts: client.alerts,
                worst: severity_word(client.worst),
                first,
                last,
            }
        },
    )
}

pub(super) fn credentials(tables: &Tables) -> Table<CredentialRow> {
    table(
        &tables.credentials,
        |_, one| one.worst * 2 + one.left.min(1),
        |_, one| {
            let (first, last) = times(&one.seen);
            CredentialRow {
                credential: shown(&one.details),
                holders: list(&one.holders),
                worst: severity_word(one.worst),
                left: one.left > 0,
                first,
                last,
            }
        },
    )
}

pub(super) fn usual(tables: &Tables) -> Table<UsualRow> {
    table(
        &tables.usual,
        |_, row| row.seen.count,
        |(client, provider, path), row| {
            let (first, last) = times(&row.seen);
            UsualRow {
                client: client.clone(),
                provider: provider.clone(),
                path: path.clone(),
                hosts: row.hosts.len(),
                named: list(&row.hosts),
                count: row.seen.count,
                first,
                last,
            }
        },
    )
}

pub(super) fn others(tables: &Tables) -> Table<OtherRow> {
    table(
        &tables.others,
        |(severity, ..), row| severity.0 * 1000 + row.risk,
        |(severity, rule, source, what), row| {
            let (first, last) = times(&row.seen);
            OtherRow {
                severity: severity_word(severity.0),
                rule: rule.clone(),
                source: source.clone(),
                what: what.clone(),
                count: row.seen.count,
                first,
                last,
                message: row.message.clone(),
            }
        },
    )
}

pub(super) fn allowed(tables: &Tables) -> Table<AllowedRow> {
    table(
        &tables.allowed,
        |_, seen| seen.count,
        |(entry, client, path), seen| {
            let (first, last) = times(seen);
            AllowedRow {
                entry: entry.clone(),
                client: client.clone(),
                path: path.clone(),
                count: seen.count,
                first,
                last,
            }
        },
    )
}
