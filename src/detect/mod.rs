//! The matcher: what one observation means, judged by the catalogue alone (no state over time but what a service last
//! answered to the same client). The correlator joins verdicts over time.

mod asked;
pub mod body;
pub mod canonical;
pub mod client;
pub mod command;
pub mod content;
mod detector;
mod expiry;
mod names;
pub mod path;
mod proof;
mod provider;
mod recorded;
mod relay;
mod request;
pub mod secret;
pub mod ssrf;
pub mod tokens;
pub mod verdict;
pub mod views;

pub use client::{Client, Shape, Standing};
pub use detector::{Config, DEFAULT_FINGERPRINT_KEY, Detector};
pub use expiry::rfc3339;
pub use path::{Normalised, normalise_path};
pub use recorded::Recorded;
pub use secret::{IssuedSecrets, Part, Secret};
pub use tokens::{Seen, Spot, token_hash};

pub use verdict::{
    Candidate, CandidateKind, Carried, Command, Connection, Credential, DnsVerdict, HostRef, Imds, NoRequest, Place,
    RecognisedBy, Sensitivity, Signal, Signals, TokenHash, Tokens, Verdict,
};
