//! What an exchange with a metadata service was about: what was asked for, what came back, whether a credential did.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::Detector;
use crate::catalogue::{Endpoint, Path, PathEntry, PathMatch, ScopeAt, Session, Version};
use crate::detect::canonical::percent_stable;
use crate::detect::client::Standing;
use crate::detect::proof::{Answer, number};
use crate::detect::provider::{Choice, UNKNOWN};
use crate::detect::request::{Request, fitting};
use crate::detect::secret::{Part, Secret};
use crate::detect::{Credential, Imds, RecognisedBy, Sensitivity, Signal, Signals, TokenHash, tokens};
use crate::proto::http::Transaction;

/// Lifetime of a session token that does not say.
const NO_LIFETIME: u64 = u64::MAX;

impl Detector {
    /// What is known of the exchange; secrets that it issued are added to `issued`.
    pub(super) fn describe(
        &mut self,
        tx: &Transaction,
        request: Option<&Request<'_>>,
        answer: Option<&Answer<'_>>,
        (by, choice): (RecognisedBy, &Choice),
        issued: &mut Vec<Secret>,
    ) -> Imds {
        let found = self.find(request, answer, choice);
        issued.extend(found.secrets);
        let issued_token = issued_token(request, answer, choice, found.sensitivity);
        issued.extend(issued_token.and_then(|(token, _)| Secret::new(token, Part::Access)));
        let session_token = request.and_then(|r| session_token(r, &choice.endpoints));
        let mut imds = Imds {
            provider: found.provider,
            service: found.service,
            path: request.map(|r| r.asked.path.path.clone()).unwrap_or_default(),
            path_id: found.entry.map(|e| e.id()),
            sensitivity: found.sensitivity,
            version: request.and_then(|_| version(choice, session_token.is_some())).map(Version::name),
            credential: found.credential,
            headers: request.map(|r| r.recorded(&self.catalogue)).unwrap_or_default(),
            client: request.map(|r| self.forms.client(&self.catalogue, r.message)).unwrap_or_default(),
            signals: Signals::default(),
            recognised_by: by,
            session_token,
            issued_token: issued_token.map(|(token, lifetime)| (tokens::token_hash(token), lifetime)),
        };
        imds.signals = self.signals(tx, request, answer, choice, &imds);
        match imds.client.standing {
            Standing::Mismatch => imds.signals.add(Signal::ClaimedIdentityMismatch),
            // Java's own client asks for pages first, whatever it is used for
            Standing::Known if imds.client.shape.is_some() => imds.signals.remove(Signal::BrowserLike),
            _ => {}
        }
        imds
    }

    /// What was asked for and what came back: the chosen entry, or a better one that the answer proves.
    fn find(&self, request: Option<&Request<'_>>, answer: Option<&Answer<'_>>, choice: &Choice) -> Finding {
        let fingerprints = &self.fingerprints;
        let mut found = Finding::asked(choice);
        let asked = found.entry.filter(|_| found.credential.is_some());
        let proved = answer.zip(asked).filter(|(answer, entry)| answer.proves(entry));
        if found.entry.is_none() && found.provider == UNKNOWN && request.is_some_and(|r| self.looks_like_credential(r))
        {
            found.sensitivity = Sensitivity::Credential;
            found.credential = Some(Credential::default());
        } else if let Some((answer, entry)) = proved {
            found.credential = Some(answer.credential(entry, fingerprints));
            found.secrets = answer.secrets(entry, &self.lately);
        }
        let issued = found.credential.as_ref().is_some_and(|c| c.issued);
        if !issued
            && found.sensitivity != Sensitivity::Token
            && let Some(answer) = answer
            && let Some(better) = self.proved_by_other(choice, answer)
        {
            found.credential = Some(answer.credential(better, fingerprints));
            found.secrets = answer.secrets(better, &self.lately);
            found.sensitivity = Sensitivity::Credential;
            if found.provider == UNKNOWN {
                (found.provider, found.service) = (&better.provider, &better.service);
            }
            // Without its request nothing tells which of the paths with such documents it was.
            found.entry = request.is_some().then_some(better);
        }
        if found.secrets.is_empty()
            && let Some(answer) = answer
        {
            found.secrets = answer.named_secrets(found.entry, &self.lately);
        }
        if let Some(credential) = &mut found.credential {
            credential.scope = request.and_then(|r| scope(r, choice.entry)).or_else(|| credential.scope.take());
        }
        found
    }

    fn looks_like_credential(&self, request: &Request<'_>) -> bool {
        let query = String::from_utf8_lossy(request.target.query);
        self.catalogue.is_credential_like(&format!("{}?{query}", request.asked.path.path))
            || self.catalogue.is_credential_like(&request.asked.path.path)
    }

    /// Another credential path of the same provider and service whose markers the answer holds; of any provider at the
    /// address where the provider is not known.
    pub(super) fn proved_by_other(&self, choice: &Choice, answer: &Answer<'_>) -> Option<&'static PathEntry> {
        if !answer.is_success() || answer.is_error() {
            return None;
        }
        let same = |path: &&Path| match choice.provider {
            UNKNOWN => path.endpoints.iter().any(|e| choice.endpoints.iter().any(|c| std::ptr::eq(*c, *e))),
            provider => path.entry.provider == provider && path.entry.service == choice.service,
        };
        let candidates = self.catalogue.provable_paths().filter(same).map(|path| path.entry);
        let proved = candidates.filter(|entry| answer.proves(entry));
        // Most markers first; then catalogue order, which max_by_key would turn around.
        proved.min_by_key(|e| std::cmp::Reverse(e.proof.len()))
    }
}

/// What an exchange turned out to be about.
struct Finding {
    provider: &'static str,
    service: &'static str,
    entry: Option<&'static PathEntry>,
    sensitivity: Sensitivity,
    credential: Option<Credential>,
    /// Of the credential, where one was issued; else what an answer has under such names.
    secrets: Vec<Secret>,
}

impl Finding {
    /// What the request alone says.
    fn asked(choice: &Choice) -> Self {
        let entry = choice.entry.map(|m| m.path.entry);
        let sensitivity = entry.map_or(Sensitivity::Discovery, |e| e.sensitivity);
        let asked = entry.filter(|e| e.sensitivity == Sensitivity::Credential);
        let credential = asked.map(|e| Credential { kind: e.kind.as_deref(), ..Credential::default() });
        let (provider, service) = (choice.provider, choice.service);
        Self { provider, service, entry, sensitivity, credential, secrets: Vec::new() }
    }
}

/// Version, where the service has both.
fn version(choice: &Choice, has_token: bool) -> Option<Version> {
    let entry = choice.entry.map(|m| m.path.entry);
    if let Some(version) = entry.and_then(|e| e.version) {
        return Some(version);
    }
    let own = |e: &&&'static Endpoint| {
        e.provider == choice.provider && e.service == choice.service && e.session == Some(Session::Optional)
    };
    choice.endpoints.iter().find(own)?;
    let path = entry.is_some_and(|e| e.sensitivity == Sensitivity::Token);
    Some(if has_token || path { Version::V2 } else { Version::V1 })
}

/// Hash of the session token that a request carries.
fn session_token(request: &Request<'_>, endpoints: &[&'static Endpoint]) -> Option<TokenHash> {
    let rules = endpoints.iter().filter_map(|e| e.session_header.as_ref());
    let value = rules.into_iter().find_map(|rule| {
        let value = fitting(request.head, rule)?;
        let scheme = rule.value.as_deref().map_or(0, str::len);
        value.get(scheme..).map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
    })?;
    Some(tokens::token_hash(value))
}

/// The session token that an answer issues, and its lifetime.
fn issued_token<'a>(
    request: Option<&Request<'_>>,
    answer: Option<&'a Answer<'_>>,
    choice: &Choice,
    sensitivity: Sensitivity,
) -> Option<(&'a [u8], u64)> {
    let (request, answer) = (request?, answer.filter(|_| sensitivity == Sensitivity::Token)?);
    let (token, lifetime) = answer.session_token(choice.entry.map(|m| m.path.entry))?;
    let asked = || {
        let names = choice.endpoints.iter().filter_map(|e| e.session_ttl_header.as_deref());
        names.into_iter().find_map(|name| request.head.field(name)).and_then(number)
    };
    Some((token, lifetime.or_else(asked).unwrap_or(NO_LIFETIME)))
}

/// What a credential is good for, as the request says it: resource, audience or scopes of query or form, else the role or
/// account in the path.
fn scope(request: &Request<'_>, entry: Option<PathMatch>) -> Option<String> {
    let form = request.head.field("content-type").is_some_and(|t| t.starts_with(b"application/x-www-form-urlencoded"));
    let body = if form { request.message.body.captured.as_slice() } else { b"" };
    let pairs = || [request.target.query, body].into_iter().flat_map(|text| text.split(|b| *b == b'&'));
    let parameter = |name: &str| {
        let value =
            |pair: &'_ [u8]| Some(percent_stable(pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?).into_owned());
        pairs().find_map(value).filter(|value| !value.is_empty())
    };
    let asked = ["resource", "audience", "scopes", "scope"].into_iter().find_map(parameter);
    let asked = asked.map(|value| String::from_utf8_lossy(&value).chars().take(512).collect());
    let in_path = || {
        let found = entry.filter(|m| m.path.entry.scope == Some(ScopeAt::Path))?;
        found.fit.wildcard(&request.asked.path.path).map(str::to_owned)
    };
    asked.or_else(in_path)
}
