//! Sysmon's own fields, flat as NXLog and Mordor write them or below `winlog.event_data`: event 1 (process), 3 (network)
//! and 22 (DNS); and Windows' security event 4688 (process).

use std::sync::Arc;

use super::value::{Event, conn, ip, name_process, nowhere, origin, proto};
use super::{Connection, Dns, Fact, Kind, time};
use crate::conn::{Conn, Endpoint, Origin, Process, Proto};
use crate::packet::Timestamp;

/// Whether an event has Windows' flat fields.
pub(super) fn is_flat(event: Event<'_>) -> bool {
    event.has("EventID") && (event.has("UtcTime") || event.has("Channel") || event.has("SourceName"))
}

/// What a flat event tells.
pub(super) fn flat(event: Event<'_>, raw: &[u8]) -> Vec<Fact> {
    let origin = Arc::new(origin(event, "sysmon", raw));
    let times = ["UtcTime", "@timestamp", "TimeCreated", "EventTime"];
    let Some(at) = times.iter().find_map(|path| time::parse(&event.text(path)?)) else { return Vec::new() };
    facts(event, event.number(&["EventID"]).unwrap_or(0), at, &origin)
}

/// What the fields of an event of number `id` tell.
pub(super) fn facts(data: Event<'_>, id: u64, at: Timestamp, origin: &Arc<Origin>) -> Vec<Fact> {
    let at = data.text("UtcTime").and_then(|text| time::parse(&text)).unwrap_or(at);
    let here = match origin.host_ips.iter().find(|ip| ip.is_ipv4() && !ip.is_loopback()) {
        Some(ip) => Endpoint { ip: *ip, port: 0 },
        None => nowhere(0),
    };
    let process = Some(Arc::new(process(data)));
    let of = |client, server, proto, kind| {
        let conn = Conn { process: process.clone(), ..conn(client, server, proto, origin) };
        vec![Fact { time: at, conn, kind }]
    };
    match id {
        1 | 4688 => of(here, nowhere(0), Proto::Tcp, Kind::Start),
        3 => {
            let client = data.end(&["SourceIp"], &["SourcePort"]).unwrap_or(here);
            let Some(server) = data.end(&["DestinationIp"], &["DestinationPort"]) else { return Vec::new() };
            let proto = proto(data.text("Protocol").as_deref());
            let is_ours = !data.is("Initiated", "false");
            let (client, server) = if is_ours { (client, server) } else { (server, client) };
            of(client, server, proto, Kind::Connection(Connection::default()))
        }
        22 => {
            let Some(name) = data.owned(&["QueryName"]) else { return Vec::new() };
            // `type: 5 name;::ffff:1.2.3.4;`
            let results = data.text("QueryResults").unwrap_or_default();
            let addresses: Vec<_> = results.split(';').filter_map(ip).collect();
            let code = if data.text("QueryStatus").is_none_or(|status| status == "0") { 0 } else { 3 };
            let is_answered = !results.is_empty() || code != 0;
            of(
                here,
                nowhere(53),
                Proto::Udp,
                Kind::Dns(Box::new(Dns { name, kind: None, addresses, is_answered, code })),
            )
        }
        _ => Vec::new(),
    }
}

fn process(data: Event<'_>) -> Process {
    let number = |paths: &[&str]| data.number(paths).and_then(|number| u32::try_from(number).ok());
    let executable = data.owned(&["Image", "NewProcessName"]);
    let parent = data.owned(&["ParentImage", "ParentProcessName"]);
    let mut process = Process {
        pid: number(&["NewProcessId", "ProcessId"]).unwrap_or(0),
        executable,
        command_line: data.owned(&["CommandLine"]),
        parent: number(&["ParentProcessId"]),
        parent_name: parent.as_deref().map(|path| crate::detect::command::base_name(path).to_owned()),
        parent_executable: parent,
        entity_id: data.owned(&["ProcessGuid"]),
        user_name: data.owned(&["User", "TargetUserName", "SubjectUserName"]),
        ..Process::default()
    };
    name_process(&mut process, None);
    process
}
