//! Where there is no live capture: every wish for it is refused in words. Replay works on every system.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::report::Report;
use crate::config::{Config, ConfigError};

/// Refuses.
///
/// # Errors
/// Always.
pub fn watch(_: &Config, _: &[String], _: Option<&Path>, _: &AtomicBool) -> anyhow::Result<Report> {
    refuse()
}

pub(super) fn interfaces(_: &mut impl Write) -> anyhow::Result<()> {
    refuse()
}

pub(super) fn help(_: &Path, _: Option<&str>) -> anyhow::Result<()> {
    refuse()
}

fn refuse<T>() -> anyhow::Result<T> {
    Err(ConfigError::Invalid("live capture needs Linux; use -r FILE with a capture made by tcpdump".into()).into())
}
