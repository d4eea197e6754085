//! Where in an exchange credential-shaped tokens stand: everywhere but in the headers where credentials belong.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::canonical::canonical_host;
use super::content::Content;
use super::request::UserAgents;
use super::{HostRef, TokenHash, tokens};
use crate::catalogue::Catalogue;
use crate::proto::http::{Head, Message, Transaction};

/// Tokens of both messages, each with whether it stood in the request. The answer of a metadata service is where
/// credentials come from: there only the request counts.
pub(super) fn tokens(
    catalogue: &Catalogue,
    tx: &Transaction,
    metadata: bool,
    searched: Searched<'_>,
) -> Vec<(TokenHash, bool)> {
    let mut found = Vec::new();
    let mut out = Vec::new();
    if let Some(request) = &tx.request {
        match searched.target {
            Some(known) => found.extend_from_slice(known),
            None => found = tokens_of_target(&request.head),
        }
        let own_api = !metadata && is_provider_api(catalogue, &request.head);
        let is_own = |name: &[u8]| name.eq_ignore_ascii_case(b"authorization") && (own_api || metadata);
        message(catalogue, request, is_own, searched.agents, &mut found);
        out.extend(found.drain(..).map(|hash| (hash, true)));
    }
    if let Some(response) = tx.response.as_ref().filter(|_| !metadata) {
        message(catalogue, response, |_| false, None, &mut found);
        out.extend(found.drain(..).map(|hash| (hash, false)));
    }
    out
}

/// What was searched before, and need not be again.
#[derive(Clone, Copy, Default)]
pub(super) struct Searched<'d> {
    /// What [`tokens_of_target`] found in the request.
    pub(super) target: Option<&'d [TokenHash]>,
    /// User-Agents.
    pub(super) agents: Option<&'d UserAgents>,
}

/// Tokens of a request's target, and of it behind the host.
pub(super) fn tokens_of_target(head: &Head) -> Vec<TokenHash> {
    let mut found = Vec::new();
    target(head.target(), &mut found);
    if let Some(host) = head.field("host")
        && let Some(joined) = tokens::across_host(host, head.target())
    {
        target(&joined, &mut found);
    }
    found
}

/// The target without the value of `X-Amz-Security-Token`, the signing header in its query form.
fn target(target: &[u8], out: &mut Vec<TokenHash>) {
    const SIGNED: &[u8] = b"x-amz-security-token=";
    for part in target.split(|b| matches!(b, b'?' | b'&')) {
        let signed = part.get(..SIGNED.len()).is_some_and(|head| head.eq_ignore_ascii_case(SIGNED));
        if !signed {
            tokens::tokens_in(part, out);
        }
    }
}

fn message(
    catalogue: &Catalogue,
    message: &Message,
    skip: impl Fn(&[u8]) -> bool,
    agents: Option<&UserAgents>,
    out: &mut Vec<TokenHash>,
) {
    for (name, value) in message.head.fields().filter(|(_, value)| value.len() >= tokens::MIN_TOKEN) {
        let signing = name.eq_ignore_ascii_case(b"x-amz-security-token") || catalogue.headers().facts(name).session;
        if signing || skip(name) {
            continue;
        }
        let agents = agents.filter(|_| name.eq_ignore_ascii_case(b"user-agent"));
        match agents.and_then(|agents| agents.known(value)) {
            Some(known) => out.extend(known.tokens.iter().take(tokens::MAX_TOKENS.saturating_sub(out.len()))),
            None => tokens::tokens_in(value, out),
        }
    }
    if message.body.captured.len() >= tokens::MIN_TOKEN {
        let content = Content::new(&message.body.captured, message.head.field("content-encoding"));
        tokens::tokens_in(content.bytes(), out);
    }
}

fn is_provider_api(catalogue: &Catalogue, head: &Head) -> bool {
    match head.field("host").and_then(canonical_host) {
        Some(HostRef::Name(name)) => catalogue.is_provider_api(&name),
        _ => false,
    }
}
