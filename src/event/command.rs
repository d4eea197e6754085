//! The event of a process start whose command line names metadata (contract section 7).
//!
//! In: a [`Command`]. Out: a [`Doc`] of category `process` with the process, the URL that it names, and the `imds` object.

use std::borrow::Cow;

use super::doc::{Body, Container, Doc, Envelope, Kubernetes, ProcessDoc, Text, Url};
use super::envelope::add_origin;
use super::{Context, Writer};
use crate::conn::Process;
use crate::detect::Command;
use crate::id::EventId;

/// What is remarked where a process was gone, or its arguments too long, before they were read.
const CUT: &str = "Not all arguments of the process could be read";

/// The document of a process start.
pub(super) fn document<'a>(writer: &'a Writer, id: EventId, command: &'a Command, context: &Context<'a>) -> Doc<'a> {
    let mut event = writer.event(id, "process");
    (event.category, event.types) = (&["process"], &["start"]);
    event.action = Some("exec");
    let mut envelope = Envelope::new("process", writer.stamp(command.time), event);
    envelope.data_stream = writer.data_stream("process");
    add_process(writer, &mut envelope, command.conn.process.as_deref(), &command.line, context);
    command.reached.iter().for_each(|service| envelope.related.add_ip(service.ip));
    command.conn.told_by.iter().flat_map(|origin| &origin.host_ips).for_each(|ip| envelope.related.add_ip(*ip));
    envelope.imds = Some(super::imds::object(&command.imds, context));
    add_origin(&mut envelope, id, &command.conn);
    Doc { envelope, body: Body::Process(named(&command.named, context)) }
}

/// The URL, address or path that a command line names: as it stands there, which need not be a URL; nothing where the
/// arguments could not be read.
pub(super) fn named<'a>(named: &'a str, context: &Context<'a>) -> Url<'a> {
    let original = Some(named).filter(|named| !named.is_empty());
    Url { original: original.map(|named| context.mask.text(Cow::Borrowed(named))), ..Url::default() }
}

/// The process, with its command line, and where it runs.
pub(super) fn add_process<'a>(
    writer: &'a Writer,
    envelope: &mut Envelope<'a>,
    process: Option<&'a Process>,
    line: &'a str,
    context: &Context<'a>,
) {
    let mut shown =
        process.map(|process| ProcessDoc::new(process, |time| writer.stamp(time), &context.mask)).unwrap_or_default();
    let line: Text<'a> = context.mask.text(Cow::Borrowed(line));
    shown.command_line = Some(line).filter(|line| !line.is_empty());
    if process.is_some_and(|process| process.is_cut) {
        envelope.error.push(CUT);
    }
    envelope.container = shown.container.as_ref().map(|container| Container { id: container.id.clone() });
    envelope.kubernetes = process.and_then(Kubernetes::of);
    envelope.process = Some(Box::new(shown));
}
