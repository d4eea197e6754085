//! Header fields by name: which tell metadata clients apart, which come from proxies and browsers, and of which the value
//! may be written.

use std::sync::{Arc, LazyLock};

use super::file::{self, Endpoint};
use super::pattern::HeaderRule;
use super::{Catalogue, Path};
use crate::text::glob::Glob;

/// What is known of header fields.
#[derive(Debug, Default)]
pub struct Headers {
    /// Names with what is known of each, by the length of the name: that alone refuses most others.
    known: Vec<Vec<(&'static str, HeaderFacts)>>,
    /// Names of secrets of services that the catalogue does not know.
    secret_like: &'static [Glob],
    /// Headers with the value that documentation prescribes.
    constants: Vec<&'static HeaderRule>,
}

/// What is known of a header field by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderFacts {
    /// Tells metadata clients apart: written to `imds.headers`.
    pub recorded: bool,
    /// Its value is a secret of a metadata service.
    secret: bool,
    /// Its value may be a secret: not written of exchanges with a metadata service.
    private: bool,
    /// Carries a session token and nothing else.
    pub session: bool,
    /// Only proxies add it.
    pub forwarding: bool,
    /// Only browsers and page renderers send it.
    pub browser: bool,
    /// Only clients of some metadata service send it, perhaps with a certain value.
    pub client: bool,
}

impl Headers {
    /// Of the compiled-in catalogue.
    pub fn builtin() -> Arc<Self> {
        static BUILTIN: LazyLock<Arc<Headers>> =
            LazyLock::new(|| Catalogue::builtin().map(|catalogue| Arc::clone(catalogue.headers())).unwrap_or_default());
        Arc::clone(&BUILTIN)
    }

    /// What the lists and the entries of a catalogue say.
    pub(super) fn new(lists: &'static file::Headers, endpoints: &[&'static Endpoint], paths: &'static [Path]) -> Self {
        let mut new = Self { secret_like: &lists.secret_like, ..Self::default() };
        new.mark_all(&lists.recorded, |_| {});
        new.mark_all(&lists.forwarding, |facts| facts.forwarding = true);
        new.mark_all(&lists.browser, |facts| facts.browser = true);
        new.mark_all(&lists.secret, |facts| facts.secret = true);
        new.mark_all(&lists.private, |facts| facts.private = true);
        endpoints.iter().for_each(|endpoint| new.add_endpoint(endpoint));
        for path in paths {
            path.entry
                .required_headers
                .iter()
                .flat_map(|choice| &choice.0)
                .for_each(|rule| new.mark(&rule.name, |_| {}));
            new.mark_all(&path.entry.optional_headers, |_| {});
        }
        new
    }

    fn add_endpoint(&mut self, endpoint: &'static Endpoint) {
        endpoint.client_headers.iter().for_each(|rule| self.mark(&rule.name, |facts| facts.client = true));
        self.constants.extend(endpoint.client_headers.iter().filter(|rule| rule.value.is_some()));
        endpoint.session_ttl_header.iter().for_each(|name| self.mark(name, |_| {}));
        match &endpoint.session_header {
            // With a scheme before it, as `Authorization: Bearer`, the header belongs to others as well.
            Some(rule) if rule.value.is_some() => self.mark(&rule.name, |facts| facts.private = true),
            Some(rule) => self.mark(&rule.name, |facts| (facts.secret, facts.session) = (true, true)),
            None => {}
        }
    }

    fn mark_all(&mut self, names: &'static [String], set: fn(&mut HeaderFacts)) {
        names.iter().for_each(|name| self.mark(name, set));
    }

    fn mark(&mut self, name: &'static str, set: fn(&mut HeaderFacts)) {
        if self.known.len() <= name.len() {
            self.known.resize_with(name.len() + 1, Vec::new);
        }
        let Some(as_long) = self.known.get_mut(name.len()) else { return };
        let at = as_long.iter().position(|(known, _)| known.eq_ignore_ascii_case(name)).unwrap_or(as_long.len());
        if at == as_long.len() {
            as_long.push((name, HeaderFacts { recorded: true, ..HeaderFacts::default() }));
        }
        as_long.get_mut(at).into_iter().for_each(|(_, facts)| set(facts));
    }

    /// What is known of a header field by its name, in any case.
    pub fn facts(&self, name: &[u8]) -> HeaderFacts {
        let mut as_long = self.known.get(name.len()).into_iter().flatten();
        let found = as_long.find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
        found.map(|(_, facts)| *facts).unwrap_or_default()
    }

    /// Whether the value of a header may be written, as far as metadata services are concerned; `is_metadata`: of an
    /// exchange with one. Whatever writes header values asks this.
    pub fn may_write(&self, name: &[u8], value: &[u8], is_metadata: bool) -> bool {
        self.may_write_known(self.facts(name), name, value, is_metadata)
    }

    /// The same for a header that was looked up.
    pub fn may_write_known(&self, facts: HeaderFacts, name: &[u8], value: &[u8], is_metadata: bool) -> bool {
        let is_secret = facts.secret
            || is_metadata && facts.private
            || !facts.recorded && self.secret_like.iter().any(|glob| glob.fits(name));
        !is_secret || self.is_constant(name, value)
    }

    /// Whether a value is one that documentation prescribes, and so no secret.
    fn is_constant(&self, name: &[u8], value: &[u8]) -> bool {
        let is_whole = |rule: &&&HeaderRule| rule.value.as_ref().is_some_and(|whole| whole.len() == value.len());
        self.constants.iter().filter(is_whole).any(|rule| rule.fits(name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secrets_are_never_written() {
        let headers = Headers::builtin();
        let may =
            |name: &str, value: &str, is_metadata| headers.may_write(name.as_bytes(), value.as_bytes(), is_metadata);
        for name in [
            "X-aws-ec2-metadata-token",
            "x-AWS-ec2-metadata-TOKEN",
            "x-ms-azure-host-authorization",
            "X-IDENTITY-HEADER",
            "Secret",
            "x-amz-security-token",
            "Metadata-Token",
            "X-Unheard-Of-Metadata-Token",
            "x-acs-security-token",
        ] {
            assert!(!may(name, "s3cret", false) && !may(name, "s3cret", true), "{name}");
        }
        for name in ["Authorization", "proxy-authorization", "Cookie", "Set-Cookie"] {
            assert!(may(name, "s3cret", false) && !may(name, "s3cret", true), "{name}");
        }
        assert!(may("Metadata-Token", "vultr", true) && may("Authorization", "Bearer Oracle", true));
        assert!(!may("Metadata-Token", "vultr2", true) && !may("Authorization", "Bearer oracle.x", true));
        for name in ["Host", "User-Agent", "Metadata-Flavor", "X-aws-ec2-metadata-token-ttl-seconds", "X-Other"] {
            assert!(may(name, "v", true) && may(name, "v", false), "{name}");
        }
    }
}
