//! The headers that the event of an exchange is made of, found in one pass over the head.

use super::super::settings::HttpSettings;
use crate::proto::http::Message;

/// Headers that an event needs whatever the settings; of a repeated one the last counts, as in Packetbeat.
#[derive(Default)]
pub(super) struct Known<'a> {
    pub(super) host: &'a [u8],
    pub(super) user_agent: &'a [u8],
    pub(super) referer: &'a [u8],
    pub(super) content_type: &'a [u8],
    pub(super) content_encoding: &'a [u8],
    pub(super) real_ip: &'a [u8],
    pub(super) authorization: Option<&'a [u8]>,
    /// Content-Length.
    pub(super) announced: Option<u64>,
    pub(super) is_chunked: bool,
}

impl<'a> Known<'a> {
    pub(super) fn of(message: &'a Message, settings: &HttpSettings) -> Self {
        let mut known = Self::default();
        for (name, value) in message.head.fields() {
            match name.len() {
                4 if name.eq_ignore_ascii_case(b"host") => known.host = value,
                10 if name.eq_ignore_ascii_case(b":authority") && known.host.is_empty() => known.host = value,
                10 if name.eq_ignore_ascii_case(b"user-agent") => known.user_agent = value,
                7 if name.eq_ignore_ascii_case(b"referer") => known.referer = value,
                12 if name.eq_ignore_ascii_case(b"content-type") => known.content_type = value,
                16 if name.eq_ignore_ascii_case(b"content-encoding") => known.content_encoding = value,
                14 if name.eq_ignore_ascii_case(b"content-length") => known.announced = Some(leading_number(value)),
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => known.is_chunked = is_chunked(value),
                13 if name.eq_ignore_ascii_case(b"authorization") => known.authorization = Some(value),
                _ => {}
            }
            let real = settings.real_ip_header.as_bytes();
            if !real.is_empty() && name.eq_ignore_ascii_case(real) {
                known.real_ip = value.split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
            }
        }
        known
    }

    /// Whether the body is a form whose fields Packetbeat counts as parameters.
    pub(super) fn has_form(&self) -> bool {
        self.announced.is_some_and(|length| length > 0)
            && memchr::memmem::find(self.content_type, b"urlencoded").is_some()
    }

    /// `content-length` among the headers: what was announced, else what was counted.
    pub(super) fn content_length(&self, message: &Message) -> u64 {
        self.announced.filter(|_| !self.is_chunked).unwrap_or(message.body.len)
    }
}

/// Packetbeat reads the digits that a Content-Length begins with.
fn leading_number(value: &[u8]) -> u64 {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |sum: u64, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

fn is_chunked(value: &[u8]) -> bool {
    value.rsplit(|byte| *byte == b',').next().is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked"))
}
