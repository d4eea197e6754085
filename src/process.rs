//! The process at the local end of a connection (Linux, live capture).

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
    /// Start time.
    pub start: Option<Timestamp>,
    /// Parent's process id.
    pub parent: Option<u32>,
    /// Stable id over reuse of pids: a hash of boot id, pid and start time.
    pub entity_id: Option<String>,
    /// Owner's user id.
    pub user: Option<u32>,
    /// Container id from the cgroup.
    pub container: Option<String>,
}
