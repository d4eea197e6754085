//! What ends a credential: the provider's command, with what is known of this one filled in.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::alert::Credential;
use super::time::{self, Nanos};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    revocation: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    provider: String,
    kind: String,
    what: String,
    #[serde(default)]
    command: String,
    #[serde(default)]
    then: String,
}

/// How one credential is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Revocation {
    /// In words.
    pub(super) what: String,
    /// The command; empty where there is none.
    pub(super) command: String,
    /// What to look at afterwards; empty where there is nothing to say.
    pub(super) then: String,
}

/// How to revoke the credential as of `now`, the time of the last event.
pub(super) fn revocation(credential: &Credential, now: Nanos) -> Revocation {
    let fits = |wanted: &str, value: &str| wanted == "*" || wanted == value;
    let entry = entries().iter().find(|e| fits(&e.provider, &credential.provider) && fits(&e.kind, &credential.kind));
    let fill = |text: &String| filled(text.trim(), credential, now);
    entry.map_or_else(
        || Revocation { what: String::new(), command: String::new(), then: String::new() },
        |entry| Revocation { what: entry.what.clone(), command: fill(&entry.command), then: fill(&entry.then) },
    )
}

fn entries() -> &'static [Entry] {
    static ENTRIES: OnceLock<Vec<Entry>> = OnceLock::new();
    // The file is part of the program, and a test reads it: there is nothing to report to a user.
    ENTRIES.get_or_init(|| {
        toml::from_str::<File>(include_str!("../data/revocation.toml")).map(|file| file.revocation).unwrap_or_default()
    })
}

fn filled(text: &str, credential: &Credential, now: Nanos) -> String {
    // A role may come as a path or an ARN.
    let role = credential.scope.rsplit('/').next().unwrap_or_default();
    let account =
        [&credential.id, &credential.scope].into_iter().find(|one| one.contains('@')).map_or("", String::as_str);
    text.replace("{role}", &safe(role, "ROLE"))
        .replace("{account}", &safe(account, "ACCOUNT"))
        .replace("{id}", &safe(&credential.id, "IDENTITY"))
        .replace("{now}", &time::show_second(now))
}

/// The value where a shell takes it for nothing but itself; else a name for the reader to replace. It was chosen by whoever
/// wrote the packets, and somebody will paste the command.
fn safe(value: &str, name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '/' | ':' | '+' | '=' | ',');
    let fits = !value.is_empty() && value.len() <= 256 && !value.starts_with('-') && value.chars().all(plain);
    if fits { value.to_owned() } else { name.to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn credential(provider: &str, kind: &str, scope: &str) -> Credential {
        let text = str::to_owned;
        Credential {
            provider: text(provider),
            kind: text(kind),
            scope: text(scope),
            id: text("ASIAX"),
            ..Credential::default()
        }
    }

    #[test]
    fn the_file_is_sound() {
        let file: File = toml::from_str(include_str!("../data/revocation.toml")).unwrap();
        assert!(file.revocation.last().is_some_and(|last| last.provider == "*" && last.kind == "*"));
    }

    #[test]
    fn a_role_is_filled_in_and_a_hostile_one_is_not() {
        let now = time::parse("2026-11-24T03:29:04.979Z").unwrap();
        let good = revocation(&credential("aws", "aws-access-key", "arn:aws:iam::123456789012:role/app/web"), now);
        assert!(
            good.command.contains("--role-name web ") && good.command.contains("\"2026-11-24T03:29:04Z\""),
            "{good:?}"
        );
        for hostile in ["x; rm -rf ~", "$(id)", "`id`", "a'b", "-rf", "a\nb", ""] {
            let command = revocation(&credential("aws", "aws-access-key", hostile), now).command;
            assert!(command.contains("--role-name ROLE "), "{command}");
        }
    }

    #[test]
    fn every_kind_has_an_answer() {
        for (provider, kind) in [("nobody", "nothing"), ("oracle", "private-key"), ("azure", "oauth2-token")] {
            assert!(!revocation(&credential(provider, kind, "x"), 0).what.is_empty());
        }
    }
}
