//! Where in an exchange credential-shaped tokens stand: everywhere but in the headers where credentials belong.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::body::Content;
use super::canonical::canonical_host;
use super::{HostRef, TokenHash, tokens};
use crate::catalogue::Catalogue;
use crate::proto::http::{Head, Message, Transaction};

/// Tokens of both messages, each with whether it stood in the request. The answer of a metadata service is where
/// credentials come from: there only the request counts.
pub(super) fn tokens(catalogue: &Catalogue, tx: &Transaction, metadata: bool) -> Vec<(TokenHash, bool)> {
    let mut found = Vec::new();
    let mut out = Vec::new();
    if let Some(request) = &tx.request {
        target(request.head.target(), &mut found);
        if let Some(host) = request.head.field("host")
            && let Some(joined) = tokens::across_host(host, request.head.target())
        {
            target(&joined, &mut found);
        }
        let own_api = !metadata && is_provider_api(catalogue, &request.head);
        message(
            catalogue,
            request,
            |name| name.eq_ignore_ascii_case(b"authorization") && (own_api || metadata),
            &mut found,
        );
        out.extend(found.drain(..).map(|hash| (hash, true)));
    }
    if let Some(response) = tx.response.as_ref().filter(|_| !metadata) {
        message(catalogue, response, |_| false, &mut found);
        out.extend(found.drain(..).map(|hash| (hash, false)));
    }
    out
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

fn message(catalogue: &Catalogue, message: &Message, skip: impl Fn(&[u8]) -> bool, out: &mut Vec<TokenHash>) {
    for (name, value) in message.head.fields().filter(|(_, value)| value.len() >= tokens::MIN_TOKEN) {
        let signing = name.eq_ignore_ascii_case(b"x-amz-security-token") || catalogue.header(name).session;
        if !signing && !skip(name) {
            tokens::tokens_in(value, out);
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
