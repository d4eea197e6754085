//! The matcher: what one observation means, judged by the catalogue alone (no state over time but what a service last
//! answered to the same client). The correlator joins verdicts over time.

pub mod canonical;
pub mod verdict;

pub use verdict::{
    Candidate, CandidateKind, Connection, Credential, DnsVerdict, HostRef, Imds, Leg, NoRequest, Place, Sensitivity,
    Signal, Signals, TokenHash, Tokens, Verdict,
};
