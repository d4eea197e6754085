//! The process at the local end of a connection (Linux, live capture).

use std::fmt;
use std::sync::Arc;

use crate::observe::Endpoint;
use crate::packet::Timestamp;

/// What is known of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Name: the executable's base name where it can be read, else comm.
    pub name: String,
    /// Path of the executable.
    pub executable: Option<String>,
    /// Arguments.
    pub args: Vec<String>,
    /// The arguments as one text, where that is all there is of them.
    pub command_line: Option<String>,
    /// The arguments were not read whole: the process was gone, or they are longer than what is read.
    pub is_cut: bool,
    /// Start time.
    pub start: Option<Timestamp>,
    /// Parent's process id.
    pub parent: Option<u32>,
    /// Parent's name.
    pub parent_name: Option<String>,
    /// Path of the parent's executable.
    pub parent_executable: Option<String>,
    /// Stable id over reuse of pids: a hash of boot id, pid and start time.
    pub entity_id: Option<String>,
    /// Owner's user id.
    pub user: Option<u32>,
    /// Owner's name, as another sensor gives it.
    pub user_name: Option<String>,
    /// Container id from the cgroup.
    pub container: Option<String>,
    /// Kubernetes' id of the pod, from the cgroup.
    pub pod: Option<String>,
}

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
