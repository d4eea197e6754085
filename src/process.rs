//! Who can name the process at the local end of a connection (Linux, live capture).

use std::fmt;
use std::sync::Arc;

use crate::conn::{Endpoint, Process};
use crate::packet::Timestamp;

/// Names the processes that connect to metadata services. Implemented by live capture; a replay has none.
pub trait Processes: Send + Sync {
    /// A connection from `client` begins with a packet seen at `first`: where the system does not tell by itself who that
    /// is, this is when to ask.
    fn connecting(&self, client: Endpoint, server: Endpoint, first: Timestamp);
    /// The process that opened the connection whose first packet was seen at `first`; `None` unless that is certain.
    fn find(&self, client: Endpoint, server: Endpoint, first: Timestamp) -> Option<Arc<Process>>;
}

/// A shared [`Processes`].
#[derive(Clone)]
pub struct Lookup(pub Arc<dyn Processes>);

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookup")
    }
}
