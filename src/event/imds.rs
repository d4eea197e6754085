//! The `imds` object: what the matcher says of an exchange with a metadata service, with what the correlator adds.
//!
//! In: [`detect::Imds`]. Out: the object, with nothing of an issued secret in any of its texts.

use std::borrow::Cow;

use super::Context;
use super::doc::{Client, Credential, DisplayString, Imds, NamedTexts, SignalList, Text};
use crate::detect::{self, DnsVerdict, Signal, Verdict};

/// That of an HTTP exchange, with a metadata service or with somebody who answers as one.
pub(super) fn of_http<'a>(verdict: &'a Verdict, context: &Context<'a>) -> Option<Imds<'a>> {
    let mut signals = context.signals;
    match (&verdict.imds, &verdict.shaped) {
        (Some(imds), _) => Some(object(imds, context)),
        (None, Some(credential)) => {
            signals.add(Signal::CredentialShaped);
            let credential = Some(credential_object(credential, context));
            Some(Imds { credential, signals: SignalList(signals), ..Imds::default() })
        }
        (None, None) => {
            signals.has(Signal::SearchCut).then(|| Imds { signals: SignalList(signals), ..Imds::default() })
        }
    }
}

/// That of a DNS transaction that asks for a metadata name or gives a metadata address.
pub(super) fn of_dns<'a>(verdict: &'a DnsVerdict, context: &Context<'a>) -> Option<Imds<'a>> {
    let answer = verdict.metadata_answers.first().map(|(_, provider, service)| (*provider, *service));
    let (provider, service) = verdict.metadata_name.or(answer)?;
    let signals = SignalList(context.signals);
    Some(Imds { provider, service, signals, allowed_by: context.allowed_by, ..Imds::default() })
}

/// That of one leg of an exchange.
pub(super) fn object<'a>(imds: &'a detect::Imds, context: &Context<'a>) -> Imds<'a> {
    Imds {
        provider: imds.provider,
        service: imds.service,
        path: Some(context.mask.text(Cow::Borrowed(&imds.path))).filter(|path| !path.is_empty()),
        path_id: imds.path_id,
        sensitivity: Some(imds.sensitivity.name()),
        version: imds.version,
        credential: imds.credential.as_ref().map(|credential| credential_object(credential, context)),
        client: imds.client.shape.map(|shape| Client { shape: Some(DisplayString(shape)), name: imds.client.name() }),
        headers: NamedTexts(distinct(&imds.headers, context)),
        signals: SignalList(imds.signals.union(context.signals)),
        allowed_by: context.allowed_by,
        ..Imds::default()
    }
}

fn credential_object<'a>(credential: &'a detect::Credential, context: &Context<'a>) -> Credential<'a> {
    Credential {
        issued: credential.issued,
        kind: credential.kind,
        id: credential.id.as_deref().map(|id| context.mask.text(Cow::Borrowed(id))),
        ids: Vec::new(),
        more_ids: None,
        scope: credential.scope.as_deref().map(|scope| context.mask.text(Cow::Borrowed(scope))),
        expires: credential.expires.as_deref(),
        fingerprint: credential.fingerprint.as_deref(),
    }
}

/// The headers, a name once: JSON objects must not repeat a key.
fn distinct<'a>(headers: &'a detect::Recorded, context: &Context<'a>) -> Vec<(&'a str, Text<'a>)> {
    let mut out: Vec<(&str, Text<'_>)> = Vec::with_capacity(headers.len());
    for (name, value) in headers.iter() {
        let value = context.mask.text(Cow::Borrowed(value));
        match out.iter_mut().find(|(other, _)| *other == name) {
            Some((_, sum)) => *sum = format!("{sum}, {value}").into(),
            None => out.push((name, value)),
        }
    }
    out
}
