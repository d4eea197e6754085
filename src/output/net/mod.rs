//! Outputs over the network, one file per protocol. Each is a [`Receiver`]: a batch of events in, what became of each out.
//!
//! In: a URL and the keys of its `[[output]]` table. All share one way of connecting ([`connect`]) and one TLS ([`tls`]);
//! those over HTTP share one client ([`http`]). Whatever a receiver answers is bounded in bytes and in time.

use super::receiver::Receiver;

pub mod secret;
pub mod settings;
pub mod url;

pub use settings::{Settings, SettingsError};
pub use url::{HostPort, Protocol, Target};

/// Opens one connection's worth of an output: reads certificates, connects to nothing yet. Outputs that send several
/// requests at once open several.
///
/// # Errors
/// [`SettingsError`]: a file that cannot be used.
pub fn open(settings: &Settings) -> Result<Box<dyn Receiver>, SettingsError> {
    Err(SettingsError { key: "to", text: format!("{} is not built yet", settings.target) })
}
