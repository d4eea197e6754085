//! Falco's events as it writes them (`json_output`): dotted keys below `output_fields`.

use std::sync::Arc;

use super::value::{Event, conn, ip, name_process, nowhere, origin, proto};
use super::{Connection, Fact, Kind, time};
use crate::conn::{Conn, Endpoint, Process, Proto};

/// Whether an event is Falco's.
pub(super) fn is_falco(event: Event<'_>) -> bool {
    event.has("output_fields") && event.has("rule")
}

/// What an event tells: of a rule about a connection the connection, of one about a program its start.
pub(super) fn facts(event: Event<'_>, raw: &[u8]) -> Vec<Fact> {
    let origin = Arc::new(origin(event, "falco", raw));
    let Some(fields) = event.below("output_fields") else { return Vec::new() };
    let at = event.text("time").or_else(|| fields.text("evt.time")).and_then(|text| time::parse(&text));
    let Some(at) = at else { return Vec::new() };
    let process = process(fields);
    let of = |client, server, proto, kind| {
        let process = Some(Arc::new(process.clone()));
        vec![Fact { time: at, conn: Conn { process, ..conn(client, server, proto, &origin) }, kind }]
    };
    let ends = fields.text("fd.name").and_then(|name| ends(&name)).or_else(|| {
        let server = fields.end(&["fd.sip", "fd.rip"], &["fd.sport", "fd.rport"])?;
        let client = fields.end(&["fd.cip", "fd.lip"], &["fd.cport", "fd.lport"]).unwrap_or(nowhere(0));
        Some((client, server))
    });
    let kind = fields.text("evt.type").unwrap_or_default();
    match ends {
        Some((client, server)) => {
            let proto = proto(fields.text("fd.l4proto").as_deref());
            of(client, server, proto, Kind::Connection(Connection::default()))
        }
        // other events repeat the command line of a program that began long ago
        None if kind.is_empty() || kind.starts_with("exec") || matches!(&*kind, "spawned_process") => {
            of(nowhere(0), nowhere(0), Proto::Tcp, Kind::Start)
        }
        None => Vec::new(),
    }
}

fn process(fields: Event<'_>) -> Process {
    let number = |paths: &[&str]| fields.number(paths).and_then(|number| u32::try_from(number).ok());
    let mut process = Process {
        pid: number(&["proc.pid", "proc.vpid"]).unwrap_or(0),
        executable: fields.owned(&["proc.exepath"]),
        command_line: fields.owned(&["proc.cmdline", "proc.args"]),
        parent: number(&["proc.ppid"]),
        parent_name: fields.owned(&["proc.pname"]),
        parent_executable: fields.owned(&["proc.pexepath"]),
        user: number(&["user.uid"]),
        user_name: fields.owned(&["user.name"]),
        container: fields.owned(&["container.id"]).filter(|id| id != "host"),
        pod: fields.owned(&["k8s.pod.uid", "k8s.pod.id"]),
        ..Process::default()
    };
    name_process(&mut process, fields.text("proc.name").as_deref());
    process
}

/// `10.0.0.7:41414->169.254.169.254:80`, also with IPv6 addresses, whose last part is the port.
fn ends(name: &str) -> Option<(Endpoint, Endpoint)> {
    let (client, server) = name.split_once("->")?;
    let end = |text: &str| {
        let (address, port) = text.rsplit_once(':')?;
        Some(Endpoint { ip: ip(address)?, port: port.parse().ok()? })
    };
    Some((end(client)?, end(server)?))
}
