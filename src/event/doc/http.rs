//! What an event says of an HTTP exchange, of its URL and of its client.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_with::skip_serializing_none;

use super::Text;

/// ECS `url`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Url<'a> {
    /// Request target exactly as sent (ours).
    pub original: Option<Text<'a>>,
    /// Whole URL, re-escaped.
    pub full: Option<Text<'a>>,
    /// Always `http` on HTTP transactions.
    pub scheme: Option<&'static str>,
    /// Host.
    pub domain: Option<Text<'a>>,
    /// Port, if it is not 80.
    pub port: Option<u16>,
    /// Decoded path.
    pub path: Option<Text<'a>>,
    /// Parameters, sorted and re-encoded.
    pub query: Option<Text<'a>>,
    /// What follows the last dot of the path.
    pub extension: Option<Text<'a>>,
}

/// ECS `user_agent`.
#[derive(Clone, Debug, Serialize)]
pub struct UserAgent<'a> {
    /// As sent.
    pub original: Text<'a>,
}

/// ECS `http`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct Http<'a> {
    /// Version of the request.
    pub version: Option<Text<'a>>,
    /// Request.
    pub request: Option<HttpRequest<'a>>,
    /// Response.
    pub response: Option<HttpResponse<'a>>,
}

/// ECS `http.request`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct HttpRequest<'a> {
    /// Method in its original case.
    pub method: Option<Text<'a>>,
    /// Referer.
    pub referrer: Option<Text<'a>>,
    /// Start line, headers and body with its framing.
    pub bytes: Option<u64>,
    /// Body.
    pub body: Option<HttpBody<'a>>,
    /// Headers.
    pub headers: Option<Headers<'a>>,
}

/// ECS `http.response`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct HttpResponse<'a> {
    /// Status code.
    pub status_code: Option<u16>,
    /// Reason phrase in lower case.
    pub status_phrase: Option<Text<'a>>,
    /// Start line, headers and body with its framing.
    pub bytes: Option<u64>,
    /// Body.
    pub body: Option<HttpBody<'a>>,
    /// Headers.
    pub headers: Option<Headers<'a>>,
}

/// `http.request.body`, `http.response.body`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct HttpBody<'a> {
    /// Length; never 0.
    pub bytes: Option<u64>,
    /// Content, only where the settings ask for it.
    pub content: Option<Text<'a>>,
}

/// Header fields: lower-case names, each once.
#[derive(Clone, Debug, Default)]
pub struct Headers<'a> {
    /// `content-length`.
    pub content_length: u64,
    /// `content-type`.
    pub content_type: Option<Text<'a>>,
    /// Those that the settings ask for.
    pub others: Vec<(Text<'a>, HeaderValue<'a>)>,
}

/// Value of a header.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderValue<'a> {
    /// As sent.
    Text(Text<'a>),
    /// Cookies split into names and values, each name once.
    Cookies(Vec<(Text<'a>, Text<'a>)>),
}

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("content-length", &self.content_length)?;
        if let Some(kind) = &self.content_type {
            map.serialize_entry("content-type", kind)?;
        }
        self.others.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    }
}

impl Serialize for HeaderValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Cookies(list) => serializer.collect_map(list.iter().map(|(name, value)| (name, value))),
        }
    }
}
