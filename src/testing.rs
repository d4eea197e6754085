//! What unit tests of several modules share.

use std::io::Write;
use std::path::{Path, PathBuf};

/// A path in the corpus outside the repository, in the folder that `IMDSWATCH_CORPUS` names (else `../shared`). `None`, and
/// a line on standard error that the test harness does not swallow, where it is absent.
pub(crate) fn corpus(path: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let path = std::env::var_os("IMDSWATCH_CORPUS").map_or_else(beside, PathBuf::from).join(path);
    if path.exists() {
        return Some(path);
    }
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    let _ = writeln!(std::io::stderr(), "{name}: skipped, there is no {} (see IMDSWATCH_CORPUS)", path.display());
    None
}
