//! The members of an event in the order in which they are written, whatever its kind.

use serde::{Serialize, Serializer};
use serde_with::skip_serializing_none;

use super::{
    Body, Container, DataStream, DnsSubject, Doc, End, Event, Flow, Http, Icmp, Imds, Kubernetes, Network, Notes,
    ProcessDoc, Related, RuleDoc, Stats, Threat, Url, UserAgent,
};
use crate::event::dns::Dns;
use crate::event::time::Stamp;

/// All members that events have. The order of the fields is that of the keys.
#[skip_serializing_none]
#[derive(Serialize)]
struct Members<'d> {
    #[serde(rename = "@timestamp")]
    timestamp: Stamp,
    #[serde(rename = "type")]
    kind: &'static str,
    status: Option<&'static str>,
    method: Option<&'d str>,
    query: Option<&'d str>,
    resource: Option<&'d str>,
    path: Option<&'d str>,
    #[serde(skip_serializing_if = "Notes::is_empty")]
    error: &'d Notes<'d>,
    message: Option<&'d str>,
    event: &'d Event<'d>,
    data_stream: Option<DataStream<'d>>,
    network: Option<&'d Network<'d>>,
    source: Option<&'d End<'d>>,
    client: Option<&'d End<'d>>,
    destination: Option<&'d End<'d>>,
    server: Option<&'d End<'d>>,
    process: Option<&'d ProcessDoc<'d>>,
    container: Option<&'d Container<'d>>,
    kubernetes: Option<&'d Kubernetes<'d>>,
    #[serde(skip_serializing_if = "Related::is_empty")]
    related: &'d Related<'d>,
    /// Packetbeat writes this one key dotted.
    #[serde(rename = "user.name")]
    user_name: Option<&'d str>,
    url: Option<&'d Url<'d>>,
    user_agent: Option<&'d UserAgent<'d>>,
    http: Option<&'d Http<'d>>,
    dns: Option<DnsMember<'d>>,
    icmp: Option<&'d Icmp<'d>>,
    flow: Option<&'d Flow<'d>>,
    rule: Option<&'d RuleDoc>,
    threat: Option<&'d Threat>,
    imds: Option<&'d Imds<'d>>,
    request: Option<&'d str>,
    response: Option<&'d str>,
    imdswatch: Option<&'d Stats<'d>>,
}

/// `dns` of a transaction, and of an alert about one.
#[derive(Serialize)]
#[serde(untagged)]
enum DnsMember<'d> {
    Transaction(&'d Dns<'d>),
    Subject(&'d DnsSubject<'d>),
}

impl Serialize for Doc<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Members::of(self).serialize(serializer)
    }
}

impl<'d> Members<'d> {
    fn of(doc: &'d Doc<'_>) -> Self {
        let all = Self::of_envelope(doc);
        match &doc.body {
            Body::Http(body) => Self {
                status: Some(body.status),
                method: body.method.as_deref(),
                query: body.query.as_deref(),
                user_name: body.user_name.as_deref(),
                url: body.url.as_ref(),
                user_agent: body.user_agent.as_ref(),
                http: Some(&body.http),
                request: body.request.as_deref(),
                response: body.response.as_deref(),
                ..all
            },
            Body::Dns(body) => Self {
                status: Some(body.status),
                method: body.method.as_deref(),
                query: body.query.as_deref(),
                resource: body.resource.as_deref(),
                dns: body.dns.as_ref().map(DnsMember::Transaction),
                request: body.request.as_deref(),
                response: body.response.as_deref(),
                ..all
            },
            Body::Icmp(body) => {
                Self { status: Some(body.status), path: Some(&body.path), icmp: Some(&body.icmp), ..all }
            }
            Body::Flow(flow) => Self { flow: Some(flow), ..all },
            Body::Alert(body) => Self {
                message: Some(&body.message),
                url: body.url.as_ref(),
                user_agent: body.user_agent.as_ref(),
                http: body.http.as_ref(),
                dns: body.dns.as_ref().map(DnsMember::Subject),
                rule: Some(&body.rule),
                threat: Some(&body.threat),
                ..all
            },
            Body::Connection => all,
            Body::Process(named) => Self { url: Some(named).filter(|named| named.original.is_some()), ..all },
            Body::Stats(stats) => Self { imdswatch: Some(stats), ..all },
        }
    }

    fn of_envelope(doc: &'d Doc<'_>) -> Self {
        let envelope = &doc.envelope;
        Self {
            timestamp: envelope.timestamp,
            kind: envelope.kind,
            error: &envelope.error,
            event: &envelope.event,
            data_stream: envelope.data_stream,
            network: envelope.network.as_ref(),
            source: envelope.source.as_ref(),
            client: envelope.client.as_ref(),
            destination: envelope.destination.as_ref(),
            server: envelope.server.as_ref(),
            process: envelope.process.as_deref(),
            container: envelope.container.as_ref(),
            kubernetes: envelope.kubernetes.as_ref(),
            related: &envelope.related,
            imds: envelope.imds.as_ref(),
            status: None,
            method: None,
            query: None,
            resource: None,
            path: None,
            message: None,
            user_name: None,
            url: None,
            user_agent: None,
            http: None,
            dns: None,
            icmp: None,
            flow: None,
            rule: None,
            threat: None,
            request: None,
            response: None,
            imdswatch: None,
        }
    }
}
