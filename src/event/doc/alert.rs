//! What only alerts say: rule, technique, and the DNS transaction that they are about.

use serde::Serialize;
use serde_with::skip_serializing_none;

use super::{Ip, Text};

/// What an alert says of the DNS transaction that it is about.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize)]
pub struct DnsSubject<'a> {
    /// `answer` or `query`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Question.
    pub question: DnsQuestion<'a>,
    /// RCODE name.
    pub response_code: Option<&'a str>,
    /// Addresses answered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resolved_ip: Vec<Ip>,
}

/// `dns.question` of an alert.
#[derive(Clone, Debug, Serialize)]
pub struct DnsQuestion<'a> {
    /// Name.
    pub name: Text<'a>,
    /// Type.
    #[serde(rename = "type", skip_serializing_if = "str::is_empty")]
    pub kind: &'a str,
}

/// ECS `rule`.
#[derive(Clone, Debug, Serialize)]
pub struct RuleDoc {
    /// Slug.
    pub id: &'static str,
    /// Title.
    pub name: &'static str,
    /// What it means.
    pub description: &'static str,
    /// Where to read on.
    pub reference: &'static str,
    /// `imdswatch`.
    pub ruleset: &'static str,
    /// Version of the rule set.
    pub version: &'static str,
}

/// ECS `threat`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Threat {
    /// `MITRE ATT&CK`.
    pub framework: &'static str,
    /// Tactics.
    pub tactic: Catalogued,
    /// Techniques and their sub-techniques.
    pub technique: Technique,
}

/// Entries of a knowledge base as parallel arrays, as ECS wants them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Catalogued {
    /// Ids.
    pub id: &'static [&'static str],
    /// Names.
    pub name: &'static [&'static str],
    /// Pages.
    pub reference: &'static [&'static str],
}

/// `threat.technique`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Technique {
    /// Ids.
    pub id: &'static [&'static str],
    /// Names.
    pub name: &'static [&'static str],
    /// Pages.
    pub reference: &'static [&'static str],
    /// Their sub-techniques.
    pub subtechnique: Catalogued,
}
