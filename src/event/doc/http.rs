//! What an event says of an HTTP exchange, of its URL and of its client.

use serde::{Serialize, Serializer};

use super::Text;

/// ECS `url`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Url<'a> {
    /// Request target exactly as sent (ours).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original: Option<Text<'a>>,
    /// Whole URL, re-escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<Text<'a>>,
    /// Always `http` on HTTP transactions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<&'static str>,
    /// Host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<Text<'a>>,
    /// Port, if it is not 80.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Decoded path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Text<'a>>,
    /// Parameters, sorted and re-encoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<Text<'a>>,
    /// What follows the last dot of the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extension: Option<Text<'a>>,
}

/// ECS `user_agent`.
#[derive(Clone, Debug, Serialize)]
pub struct UserAgent<'a> {
    /// As sent.
    pub original: Text<'a>,
}

/// ECS `http`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Http<'a> {
    /// Version of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Text<'a>>,
    /// Request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<HttpRequest<'a>>,
    /// Response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<HttpResponse<'a>>,
}

/// ECS `http.request`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct HttpRequest<'a> {
    /// Method in its original case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Text<'a>>,
    /// Referer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referrer: Option<Text<'a>>,
    /// Start line, headers and body with its framing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<HttpBody<'a>>,
    /// Headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Headers<'a>>,
}

/// ECS `http.response`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct HttpResponse<'a> {
    /// Status code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// Reason phrase in lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_phrase: Option<Text<'a>>,
    /// Start line, headers and body with its framing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<HttpBody<'a>>,
    /// Headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Headers<'a>>,
}

/// `http.request.body`, `http.response.body`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct HttpBody<'a> {
    /// Length; never 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Content, only where the settings ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Text<'a>>,
}

/// Header fields: lower-case names, each once.
#[derive(Clone, Debug, Default)]
pub struct Headers<'a>(pub Vec<(Text<'a>, HeaderValue<'a>)>);

/// Value of a header.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderValue<'a> {
    /// `content-length`.
    Number(u64),
    /// Any other.
    Text(Text<'a>),
    /// Cookies split into names and values, each name once.
    Cookies(Vec<(Text<'a>, Text<'a>)>),
}

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Serialize for HeaderValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(n) => serializer.serialize_u64(*n),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Cookies(list) => serializer.collect_map(list.iter().map(|(name, value)| (name, value))),
        }
    }
}
