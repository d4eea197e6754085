//! What the rules and signals mean, for people: the text of `imdswatch rules`, and `rule.*` of alerts.
//!
//! One entry per [`Rule`] and per [`Signal`]; the tests keep both complete.

use crate::alert::Rule;
use crate::detect::Signal;

/// Name of the rule set, `rule.ruleset`.
pub const RULESET: &str = "imdswatch";

/// Where MITRE describes the technique.
pub const TECHNIQUE: &str = "https://attack.mitre.org/techniques/T1552/005/";

/// One rule, explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleText {
    /// `rule.name`.
    pub name: &'static str,
    /// What it means, in one or two sentences: `rule.description`.
    pub description: &'static str,
    /// What it looks at.
    pub looks_at: &'static str,
    /// What a person should do.
    pub action: &'static str,
    /// What raises it without an attack.
    pub false_positives: &'static str,
    /// Where to read on; the first is `rule.reference`.
    pub references: &'static [&'static str],
}

const EC2: &str = "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html";
const AZURE: &str = "https://learn.microsoft.com/en-us/azure/virtual-machines/instance-metadata-service";
const GCP: &str = "https://cloud.google.com/compute/docs/metadata/overview";
const SSRF: &str = "https://owasp.org/www-community/attacks/Server_Side_Request_Forgery";

/// The text of a rule.
pub fn text(rule: Rule) -> RuleText {
    match rule {
        Rule::ImdsConnection => RuleText {
            name: "Connection to a metadata address without a readable request",
            description: "A host opened, or tried to open, a connection to the address of an instance metadata service, but no HTTP request could be read in it: no answer to the SYN, TLS, or another protocol.",
            looks_at: "TCP connections whose server end is an address of the catalogue, except ports 53, 67, 68 and 123.",
            action: "Find out which program connects. Port scans and blocked metadata access look like this; so does a metadata service behind TLS, whose requests a sensor cannot see.",
            false_positives: "Agents on hosts that are not in a cloud; metadata access blocked on purpose by a firewall or hop limit; capture that begins in the middle of a connection.",
            references: &[TECHNIQUE, EC2],
        },
        Rule::ImdsLookup => RuleText {
            name: "DNS lookup of a metadata name",
            description: "A host asked DNS for the name of an instance metadata service, such as metadata.google.internal. The request itself usually follows.",
            looks_at: "Questions in DNS messages over UDP and TCP, on ports 53 and 5353 and wherever the content is DNS.",
            action: "On a host of that cloud this is normal. Anywhere else, or from a host that serves web requests, look for the request that follows and for the inbound request that caused it.",
            false_positives: "Google Cloud client libraries probe for the name on every machine, in or out of the cloud.",
            references: &[TECHNIQUE, GCP],
        },
        Rule::ImdsDiscovery => RuleText {
            name: "Configuration read from a metadata service",
            description: "A host read a path of an instance metadata service that reveals configuration, such as the instance's id, network or role names, but no credential.",
            looks_at: "HTTP requests on any port that go to a metadata address, name a metadata host, or use a path that only metadata services have with the header that only their clients send.",
            action: "Normal for agents and provisioning. It is the first step of an attack when a credential request, an enumeration or an unusual client follows.",
            false_positives: "cloud-init, monitoring agents, Terraform, Ansible, Packer, Chef and health checks.",
            references: &[TECHNIQUE, EC2, AZURE, GCP],
        },
        Rule::ImdsToken => RuleText {
            name: "Session token requested from a metadata service",
            description: "A host asked for a session token, which version 2 of some metadata services demands before it answers. The token opens the rest of the service, not the cloud.",
            looks_at: "PUT or GET requests for the token paths of the catalogue.",
            action: "Normal for SDKs. Look at what was asked for next, and at the client if it is a general tool or was forwarded for someone else.",
            false_positives: "Every SDK and agent that speaks version 2.",
            references: &[
                TECHNIQUE,
                "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html",
            ],
        },
        Rule::ImdsUserData => RuleText {
            name: "User data or startup script read from a metadata service",
            description: "A host read user data, a startup script or cluster bootstrap data. These often hold passwords, keys and join tokens.",
            looks_at: "Requests for user-data, startup-script, custom-data and kube-env paths of the catalogue.",
            action: "Check whether the client is the machine's own provisioning at boot. If not, treat every secret in the user data as known to someone else and replace it.",
            false_positives: "cloud-init and its kin at boot, and again at each reboot.",
            references: &[TECHNIQUE, EC2, GCP],
        },
        Rule::ImdsIdentity => RuleText {
            name: "Signed identity requested from a metadata service",
            description: "A host asked for a signed identity document or identity token, with which it can prove to others that it is this machine.",
            looks_at: "Requests for the identity paths of the catalogue, with their audience where they name one.",
            action: "Check that the client is an agent or application that logs in with it (Vault, SSM, service meshes). A stolen document can be replayed wherever its audience is not checked.",
            false_positives: "Vault agents, container runtimes, systems management agents.",
            references: &[TECHNIQUE, GCP],
        },
        Rule::ImdsCredentialRequest => RuleText {
            name: "Credential requested from a metadata service",
            description: "A host asked a metadata service for a credential; the capture does not prove that it was given one.",
            looks_at: "Requests for credential paths of the catalogue whose answer is missing, refused, cut, or not a credential.",
            action: "Find the process or inbound request behind it. Where no answer was captured, assume that the credential was issued.",
            false_positives: "SDKs on machines without a role; captures that miss the answer.",
            references: &[TECHNIQUE, EC2, AZURE, GCP],
        },
        Rule::ImdsCommand => RuleText {
            name: "Process started that names a metadata service",
            description: "A process was started whose arguments name the address, a name or a path of an instance metadata service, plainly or in disguise. Its severity is that of what the path gives away.",
            looks_at: "Process starts, live or in the events of other sensors: every argument, with quotes, percent-encoding, base64 and hexadecimal undone, and every spelling of an address.",
            action: "Find out who started the process: the parent, the user and the container stand on the alert. If it asked for a credential and packets or the audit log show that it got one, revoke the credential's sessions.",
            false_positives: "Provisioning tools and scripts that read the instance's region or id (low); firewall rules, searches and configuration that only mention the address (low).",
            references: &[TECHNIQUE, EC2, AZURE, GCP],
        },
        Rule::ImdsCredentialIssued => RuleText {
            name: "Credential issued by a metadata service",
            description: "A metadata service answered with a credential: status and parsed content of the answer prove it. Whoever reads it can act as this machine's role.",
            looks_at: "The answers to credential paths: success status, no error document, and the members that the service's credential documents have.",
            action: "If the client is not the machine's own application, revoke the role's sessions, using the identifier and scope in imds.credential, then close the way by which it was asked for. Search the provider's audit log for that identifier.",
            false_positives: "SDKs renewing their credentials: high the first time, medium the second, low from then on, as long as the same client does as it always did. A client that nobody knows is lowered more slowly, a tool never.",
            references: &[
                TECHNIQUE,
                "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_revoke-sessions.html",
                EC2,
            ],
        },
        Rule::ImdsEnumeration => RuleText {
            name: "Metadata tree walked",
            description: "One client reads its way through the tree of a metadata service: indexes, paths that do not exist, an order that no SDK uses, or a path that only word lists contain.",
            looks_at: "The requests of one client over time: index reads, 404s, distance from the order of known clients, impossible paths.",
            action: "Look at the client as at a compromised host: a person or a script is exploring. Collect what it asked for from imds.chain.",
            false_positives: "Crawling agents that the catalogue does not know. A walk in which nobody unknown asks for a credential is low.",
            references: &[TECHNIQUE, EC2],
        },
        Rule::SsrfAttempt => RuleText {
            name: "Request that names a metadata service",
            description: "A request to some other server carries a URL that leads to a metadata service, plain or in disguise. If that server fetches it, the answer may go to the sender.",
            looks_at: "Query, path, headers, forms, JSON, XML and multipart fields of requests, decoded as often as a server might; hosts in every spelling that resolves to a metadata address.",
            action: "Check whether the server fetches URLs on behalf of its users, and whether ssrf-confirmed follows. Block metadata addresses in that feature.",
            false_positives: "Vulnerability scanners that you run yourself; documentation sites and bug trackers whose users paste such URLs into a URL field.",
            references: &[SSRF, TECHNIQUE, "https://attack.mitre.org/techniques/T1190/"],
        },
        Rule::SsrfConfirmed => RuleText {
            name: "Server made the metadata request that it was sent",
            description: "A request named a metadata service, and the server it was sent to then asked for that very path. The vulnerability is real, whatever the service answered.",
            looks_at: "Inbound requests with a metadata target, joined to metadata requests of the same path while they were open or shortly after, also through redirects and DNS names.",
            action: "Treat the server as compromised through this request. If imds.signals has issued or relayed, revoke the credential at once; imds.chain has every step.",
            false_positives: "A scan that you ordered. Chance is all but excluded, because the paths are equal.",
            references: &[SSRF, TECHNIQUE, "https://attack.mitre.org/techniques/T1190/"],
        },
        Rule::DnsRebinding => RuleText {
            name: "Foreign name resolves to a metadata address",
            description: "A name that is no metadata name resolved to the address of a metadata service. Rebinding and wildcard DNS services are used like this to get past filters on addresses.",
            looks_at: "A and AAAA answers, and the ends of CNAME chains; critical when the name resolved elsewhere before or the fetch followed.",
            action: "Find out who made the host resolve this name, and block answers with link-local addresses in the resolver.",
            false_positives: "A private alias for the metadata service in your own zone; lookups made by security research on such a name.",
            references: &[TECHNIQUE, "https://en.wikipedia.org/wiki/DNS_rebinding"],
        },
        Rule::CredentialRelayed => RuleText {
            name: "Issued credential seen again in clear text",
            description: "A secret part of a credential that a metadata service issued within the capture appears again in clear text, outside the signing headers where it belongs: it is leaving the host.",
            looks_at: "Keyed hashes of credential-shaped tokens in all clear text: HTTP, DNS labels, raw TCP, also encoded or compressed.",
            action: "Revoke the credential now. source and destination say who sent it where; imds.chain says when it was issued and to whom.",
            false_positives: "An internal proxy or vault that hands credentials on in clear text by design; that design deserves a second look.",
            references: &[
                TECHNIQUE,
                "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_revoke-sessions.html",
            ],
        },
    }
}

/// One line about a signal, for `imdswatch rules`.
pub fn signal(signal: Signal) -> &'static str {
    match signal {
        Signal::V1 => "the request used version 1 of the service, without its session token or header",
        Signal::V1AfterV2 => "version 1, by a client that used version 2 before",
        Signal::ForeignHost => {
            "the Host header names neither the address nor a metadata name: rebinding, wildcard DNS or a proxy"
        }
        Signal::Forwarded => {
            "the request carries X-Forwarded-For, Forwarded, Via or the like: it was made for someone else"
        }
        Signal::BrowserLike => "headers that only browsers and page renderers send",
        Signal::ToolProcess => {
            "the process is a general tool such as curl, or runs a program that was given to it as an argument"
        }
        Signal::ToolUserAgent => "the User-Agent is that of a general tool or library, such as curl",
        Signal::NoUserAgent => "no User-Agent at all, as from a raw socket",
        Signal::SearchCut => "the work that a message may cost was used up: the rest was read literally",
        Signal::SdkUserAgent => "the User-Agent is that of a cloud SDK or agent",
        Signal::ClaimedIdentityMismatch => {
            "the User-Agent is that of one client, the form of the request that of another"
        }
        Signal::ImpossiblePath => "a path that no service has and only word lists ask for",
        Signal::Refused => "the service refused: 400, 401, 403, 429, 5xx, or an error document",
        Signal::NotFound => "the service answered 404",
        Signal::Unanswered => "no answer is in the capture",
        Signal::ExtraHop => "the IP TTL shows a router or container bridge between client and sensor",
        Signal::ObfuscatedPath => "the path is written so that plain matching misses it",
        Signal::TcpOverlapConflict => {
            "TCP segments overlap with different content: someone tries to show the sensor something else"
        }
        Signal::StreamGap => "bytes of the exchange are missing in the capture",
        Signal::TruncatedCapture => "packets of the exchange were cut by the capture's snaplen",
        Signal::Tunnelled => "seen inside a tunnel",
        Signal::Proxied => "one leg of a way through a proxy, address translation or an emulator",
        Signal::FirstSeen => "the first request of this kind by this client in this run",
        Signal::RogueResponder => "the answer does not look like the genuine service's",
        Signal::MoreThanUsual => {
            "more credentials in an hour than this client's habit, or one again long before it expires"
        }
        Signal::MultiCloud => "one host speaks the protocols of several clouds",
        Signal::Issued => "a credential was issued",
        Signal::Relayed => "an issued credential was seen leaving",
        Signal::SdkPattern => "form, order, session token and version are those of an SDK, complete and by one client",
        Signal::TokenShared => "the session token was issued to another client",
        Signal::UsedElsewhere => {
            "a bearer or session token is used by another client than the one that it was issued to"
        }
        Signal::CredentialShaped => "the answer has the markers of a credential, whatever was asked of whom",
        Signal::TokenExpired => "the session token was used after its time",
    }
}

/// The page of one rule, as `imdswatch rules RULE` prints it.
pub fn page(rule: Rule) -> String {
    let text = text(rule);
    let mut out = format!("{}  ({})\n{}\n", rule.id(), rule.base_severity().name(), text.name);
    let parts = [
        ("What it means", text.description),
        ("What it looks at", text.looks_at),
        ("What to do", text.action),
        ("Known false positives", text.false_positives),
    ];
    for (title, words) in parts {
        out.push_str(&format!("\n{title}\n"));
        wrap(&mut out, words);
    }
    out.push_str("\nReferences\n");
    for reference in text.references {
        out.push_str(&format!("  {reference}\n"));
    }
    out
}

/// The list that `imdswatch rules` prints: rules with their severity, then signals.
pub fn list() -> String {
    let mut out = String::from("RULES\n");
    for rule in Rule::ALL {
        out.push_str(&format!("  {:<24} {:<9} {}\n", rule.id(), rule.base_severity().name(), text(*rule).name));
    }
    out.push_str("\nSIGNALS (imds.signals)\n");
    for known in Signal::ALL {
        out.push_str(&format!("  {:<26} {}\n", known.slug(), signal(*known)));
    }
    out
}

/// Appends text in lines of at most 80 columns, indented by two.
fn wrap(out: &mut String, words: &str) {
    let mut column = 0;
    for word in words.split(' ') {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > 78 {
            out.push('\n');
            column = 0;
        }
        out.push_str(if column == 0 { "  " } else { " " });
        out.push_str(word);
        column += width + usize::from(column > 0);
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_and_signal_is_explained_in_its_own_words() {
        let mut seen = std::collections::BTreeSet::new();
        for rule in Rule::ALL {
            let text = text(*rule);
            assert!(seen.insert(text.name) && seen.insert(text.description) && seen.insert(text.action), "{rule:?}");
            assert!(text.references.iter().all(|reference| reference.starts_with("https://")));
        }
        for known in Signal::ALL {
            assert!(seen.insert(signal(*known)), "{known:?}");
        }
    }

    #[test]
    fn pages_fit_a_terminal() {
        for rule in Rule::ALL {
            let page = page(*rule);
            assert!(page.starts_with(rule.id()));
            assert!(page.lines().all(|line| line.chars().count() <= 80 || line.starts_with("  https://")), "{page}");
        }
        assert_eq!(list().lines().count(), 3 + Rule::ALL.len() + Signal::ALL.len());
    }
}
