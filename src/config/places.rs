//! Where outputs lead, compared: two that write one file, and keys that have no use for where an output leads, are errors,
//! since whoever wrote them expected something else.

use std::path::{Path, PathBuf};

use super::{ConfigError, file};
use crate::output::{Destination, Settings};

/// What is wrong with an output that another one leads to as well.
pub(super) const TWICE: &str = "another output writes there as well";

/// The number of the first output that writes where one before it does.
pub(super) fn named_twice(outputs: &[Settings]) -> Option<usize> {
    let places: Vec<_> = outputs.iter().map(|output| place(&output.destination)).collect();
    (1..places.len()).find(|nth| places[*nth].is_some() && places[..*nth].contains(&places[*nth]))
}

/// The file that an output writes; nothing for receivers, which may be sent to from several sides.
fn place(destination: &Destination) -> Option<PathBuf> {
    match destination {
        Destination::Stdout => Some("-".into()),
        Destination::Path(path) if path == Path::new("/dev/null") => None,
        Destination::Path(path) | Destination::Report(path) => Some(whole(path)),
        Destination::Network(_) => None,
    }
}

/// A path from the root on, without `.`, `..` and links, as far as it exists.
fn whole(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let parts = || Some((path.parent()?.canonicalize().ok()?, path.file_name()?));
    path.canonicalize().ok().or_else(|| parts().map(|(folder, name)| folder.join(name))).unwrap_or(path)
}

/// A file of the run's own, such as the state, that is an output as well.
///
/// # Errors
/// [`ConfigError`]
pub(super) fn check_own(
    flag: Option<&str>,
    key: &str,
    path: Option<&Path>,
    outputs: &[Settings],
) -> Result<(), ConfigError> {
    let own = path.map(whole);
    let is_output = own.is_some() && outputs.iter().any(|output| place(&output.destination) == own);
    if is_output { Err(ConfigError::of(flag, key, "is a file that an output writes as well")) } else { Ok(()) }
}

/// Keys of receivers on what is none, and of files on what is none.
///
/// # Errors
/// The key, and what is wrong with it.
pub(super) fn check_use(output: &file::Output, destination: &Destination) -> Result<(), (&'static str, String)> {
    let (of_files, of_receivers) = (of_files(output), of_receivers(output));
    let (without_use, what): (Vec<_>, _) = match destination {
        Destination::Path(_) => (of_receivers, "a file"),
        Destination::Stdout => (of_files[1..].iter().chain(&of_receivers).copied().collect(), "standard output"),
        Destination::Report(_) => (of_files.into_iter().chain(of_receivers).collect(), "a report"),
        Destination::Network(_) => (of_files.into(), "a receiver over the network"),
    };
    match without_use.iter().find(|(_, given)| *given) {
        Some((key, _)) => Err((key, format!("has no use with {what}"))),
        None => Ok(()),
    }
}

type Given = (&'static str, bool);

fn of_files(output: &file::Output) -> [Given; 3] {
    [("format", output.format.is_some()), ("rotate", output.rotate.is_some()), ("keep", output.keep.is_some())]
}

fn of_receivers(output: &file::Output) -> Vec<Given> {
    vec![
        ("username", output.username.is_some()),
        ("password", output.password.is_some() || output.password_file.is_some()),
        ("api_key", output.api_key.is_some() || output.api_key_file.is_some()),
        ("token", output.token.is_some() || output.token_file.is_some()),
        ("headers", !output.headers.is_empty()),
        ("ca", output.ca.is_some()),
        ("certificate", output.certificate.is_some()),
        ("key", output.key.is_some()),
        ("verify", output.verify.is_some()),
        ("compression", output.compression.is_some()),
        ("batch", output.batch.is_some()),
        ("flush", output.flush.is_some()),
        ("timeout", output.timeout.is_some()),
        ("backoff", output.backoff.is_some()),
        ("requests", output.requests.is_some()),
        ("give_up", output.give_up.is_some()),
        ("spool", output.spool.is_some()),
        ("spool_most", output.spool_most.is_some()),
        ("dead_letters", output.dead_letters.is_some()),
        ("pipeline", output.pipeline.is_some()),
        ("body", output.body.is_some()),
        ("template", output.template.is_some()),
        ("per_minute", output.per_minute.is_some()),
        ("redis_type", output.redis_type.is_some()),
        ("sasl", output.sasl.is_some()),
    ]
}
