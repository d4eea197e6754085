//! What in an exchange may be an issued credential, and where it stands.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::Carried;
use super::content;
use super::request::UserAgents;
use super::tokens::{self, Seen, Spot};
use crate::catalogue::Catalogue;
use crate::proto::http::{Head, Message, Transaction};

/// What both messages carry. The answer of a metadata service is where credentials come from: there only the request counts.
pub(super) fn tokens(catalogue: &Catalogue, tx: &Transaction, metadata: bool, searched: Searched<'_>) -> Carried {
    let (mut in_request, mut in_response) = (Vec::new(), Vec::new());
    if let Some(request) = &tx.request {
        match searched.target {
            Some(known) => in_request.extend_from_slice(known),
            None => in_request = tokens_of_target(&request.head),
        }
        // What a metadata service's own protocol sends it is no credential.
        let is_own = |name: &[u8]| metadata && name.eq_ignore_ascii_case(b"authorization");
        message(catalogue, request, is_own, searched.agents, &mut in_request);
    }
    if let Some(response) = tx.response.as_ref().filter(|_| !metadata) {
        message(catalogue, response, |_| false, None, &mut in_response);
    }
    Carried::Found { request: in_request, response: in_response }
}

/// What was searched before, and need not be again.
#[derive(Clone, Copy, Default)]
pub(super) struct Searched<'d> {
    /// What [`tokens_of_target`] found in the request.
    pub(super) target: Option<&'d [Seen]>,
    /// User-Agents.
    pub(super) agents: Option<&'d UserAgents>,
}

/// What a request's target carries, together with the host: a secret with a slash in it may begin there (`http://SECRET/`).
pub(super) fn tokens_of_target(head: &Head) -> Vec<Seen> {
    let mut found = Vec::new();
    match head.field("host").filter(|host| !host.contains(&b'.') && head.target().starts_with(b"/")) {
        Some(host) => {
            let name = host.split(|byte| *byte == b':').next().unwrap_or_default();
            tokens::tokens_in(&zeroize::Zeroizing::new([name, head.target()].concat()), &mut found);
        }
        None => tokens::tokens_in(head.target(), &mut found),
    }
    found
}

fn message(
    catalogue: &Catalogue,
    message: &Message,
    skip: impl Fn(&[u8]) -> bool,
    agents: Option<&UserAgents>,
    out: &mut Vec<Seen>,
) {
    for (name, value) in message.head.fields() {
        let facts = catalogue.headers().facts(name);
        // a name that the catalogue has is none that somebody made of a secret
        if name.len() >= tokens::MIN_TOKEN && !facts.recorded {
            tokens::tokens_in(name, out);
        }
        if value.len() < tokens::MIN_TOKEN || skip(name) || facts.session {
            continue;
        }
        let agents = agents.filter(|_| name.eq_ignore_ascii_case(b"user-agent"));
        match agents.and_then(|agents| agents.known(value)) {
            Some(known) => out.extend_from_slice(&known.tokens),
            None => tokens::tokens_at(value, spot(name, &message.head), out),
        }
    }
    tokens::tokens_in(message.head.phrase(), out);
    if message.body.captured.len() >= tokens::MIN_TOKEN {
        let encodings = message.head.encodings();
        let mut rest = Vec::new();
        let mut search = |document: &[u8]| tokens::tokens_in(document, out);
        let mut search_rest = |block: &[u8], _| tokens::tokens_in(block, &mut rest);
        let (captured, most) = (&message.body.captured, content::MAX_DECODED);
        content::documents_and_rest(captured, encodings.as_deref(), most, &mut search, &mut search_rest);
        out.append(&mut rest);
    }
    if let Some(later) = &message.body.later {
        tokens::tokens_in(later.unsearched(), out);
    }
}

/// What it means that something stands in this header.
fn spot(name: &[u8], head: &Head) -> Spot {
    let has_signature = |text: &[u8]| memchr::memmem::find(text, b"ignature").is_some();
    let is_signed = || has_signature(head.target()) || head.field("authorization").is_some_and(has_signature);
    match name {
        _ if name.eq_ignore_ascii_case(b"authorization") => Spot::Authorization,
        _ if tokens::is_session_header(name) && is_signed() => Spot::SignedHeader,
        _ => Spot::Open,
    }
}
