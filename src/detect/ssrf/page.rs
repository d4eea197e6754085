//! Where an answer sends its client: by its head, or by a page that makes its reader load something.

use super::search::{Document, Search};
use super::{markup, own_url};
use crate::bytes::lossy;
use crate::catalogue::Catalogue;
use crate::detect::canonical::normalise_path;
use crate::detect::content::{Content, utf8};
use crate::detect::{Candidate, CandidateKind, HostRef, Place};
use crate::proto::http::{Head, Message};

/// Longest relative place that is kept, in bytes.
const URL: usize = 1024;
/// Bytes of a page that are read.
const PAGE: usize = 64 * 1024;
/// Links of a head that are read.
const LINKS: usize = 16;
/// Targets of one page that are followed.
const LEADS: usize = 4;

/// Where a response sends its client (Location of a 3xx, Refresh); `asked` is the host that a relative place belongs to.
pub fn redirect(response: &Message, asked: Option<&HostRef>, catalogue: &Catalogue) -> Option<Candidate> {
    let location = response.head.field("location").filter(|_| matches!(response.head.status(), Some(300..=399)));
    let refresh = || {
        let value = response.head.field("refresh")?;
        let at = memchr::memchr(b'=', value)?;
        value.get(at.checked_add(1)?..)
    };
    let (place, url) = match location {
        Some(url) => ("location", url),
        None => ("refresh", refresh()?),
    };
    let mut search = Search::new(catalogue, url.len());
    search.value(&|| Place::Header(place.to_owned()), url, Document::No);
    let candidate = search.found.into_iter().next();
    candidate.or_else(|| {
        let url = lossy(url.get(..URL).unwrap_or(url)).trim().to_owned();
        let path = normalise_path(url.as_bytes());
        url.starts_with('/').then_some(asked).flatten().map(|host| Candidate {
            kind: CandidateKind::Url,
            place: Place::Header(place.to_owned()),
            host: host.clone(),
            port: None,
            path: (path != "/").then_some(path),
            disguised: false,
            is_metadata: false,
            while_open: false,
            url,
        })
    })
}

/// Metadata services that a page, style sheet, playlist or DTD leads whoever reads it to, with the URL at which it stood.
pub(super) fn leads(
    request: &Message,
    response: &Message,
    catalogue: &Catalogue,
) -> Option<((HostRef, String), Vec<Candidate>)> {
    let captured = response.body.captured.get(..PAGE).unwrap_or(&response.body.captured);
    let head = &response.head;
    if !matches!(head.status(), Some(200..=299)) {
        return None;
    }
    let mut search = Search::new(catalogue, captured.len());
    search.follows = true;
    for link in head.values("link").flat_map(|links| links.split(|b| *b == b',')).take(LINKS) {
        let url = link.trim_ascii().strip_prefix(b"<").and_then(|link| link.split(|b| *b == b'>').next());
        search.whole_url(&|| Place::Header("link".to_owned()), url.unwrap_or_default(), Document::No);
    }
    read_page(&mut search, head, captured);
    let mut found = search.found;
    found.retain(|lead| lead.is_metadata && lead.path.is_some());
    found.truncate(LEADS);
    if found.is_empty() { None } else { Some((own_url(request)?, found)) }
}

/// What a page makes its reader load.
fn read_page(search: &mut Search<'_>, head: &Head, captured: &[u8]) {
    let content_type = head.field("content-type").unwrap_or_default();
    if captured.is_empty() || is_data(content_type) {
        return;
    }
    let content = Content::new(captured, head.encodings().as_deref());
    let text = utf8(content.bytes());
    let text = text.trim_ascii();
    let place = || Place::Body;
    match text.first() {
        Some(b'<') if super::body::is_xml(text) => search.xml(text),
        Some(b'#' | b'[') if markup::is_playlist(text) => search.playlist(&place, text),
        Some(_) if is_style(content_type) => search.style(&place, text),
        Some(_) if is_script(content_type) => search.script(&place, text),
        // a preview, the manifest of an application
        Some(b'{' | b'[') if search.names_literally(text) => search.json(text),
        Some(_) if markup::is_loading(text) => search.page(&place, text),
        _ => {}
    }
}

fn says(content_type: &[u8], what: &[u8]) -> bool {
    memchr::memmem::find(content_type, what).is_some()
}

/// What nobody renders.
fn is_data(content_type: &[u8]) -> bool {
    content_type.starts_with(b"application/octet-stream")
        || content_type.starts_with(b"image/") && !says(content_type, b"svg")
        || content_type.starts_with(b"font/")
}

fn is_style(content_type: &[u8]) -> bool {
    content_type.starts_with(b"text/css")
}

fn is_script(content_type: &[u8]) -> bool {
    says(content_type, b"javascript")
}
