//! Who can name the process at the local end of a connection, and what is counted of processes (Linux, live capture).

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

/// What became of connections to metadata services, and of process starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections whose process was named.
    pub named: u64,
    /// Connections whose process was not: in another network namespace, or not ours to look at.
    pub unnamed: u64,
    /// Records of either that there was no room for.
    pub lost: u64,
    /// Programs that were started.
    pub started: u64,
    /// Those of them whose arguments could not be read whole, neither from the stack nor from `/proc`.
    pub cut: u64,
    /// Those of them, in turn, that connected to a metadata service.
    pub cut_connected: u64,
}

#[cfg(target_os = "linux")]
impl Counts {
    /// Counts a connection.
    pub(crate) fn attribute(&mut self, is_named: bool) {
        if is_named {
            self.named += 1;
        } else {
            self.unnamed += 1;
        }
    }
}
