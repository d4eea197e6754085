//! What an event says of the process at the local end.

use std::borrow::Cow;

use serde::Serialize;
use serde_with::skip_serializing_none;

use super::{DisplayString, Text};
use crate::conn::Process;
use crate::event::Masker;
use crate::event::time::Stamp;
use crate::packet::Timestamp;

/// `process.*`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct ProcessDoc<'a> {
    /// Process id.
    pub pid: Option<u32>,
    /// Name, or `unknown` (contract section 2).
    pub name: Option<Text<'a>>,
    /// Path of the executable.
    pub executable: Option<Text<'a>>,
    /// Arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Text<'a>>,
    /// The arguments as one text.
    pub command_line: Option<Text<'a>>,
    /// Start time.
    pub start: Option<Stamp>,
    /// Id that survives reuse of pids.
    pub entity_id: Option<Text<'a>>,
    /// Parent.
    pub parent: Option<Parent<'a>>,
    /// Owner.
    pub user: Option<User<'a>>,
    /// Container.
    pub container: Option<Container<'a>>,
}

/// `process.parent`.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize)]
pub struct Parent<'a> {
    /// Process id.
    pub pid: Option<u32>,
    /// Name.
    pub name: Option<Text<'a>>,
    /// Path of the executable.
    pub executable: Option<Text<'a>>,
}

/// `process.user`.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize)]
pub struct User<'a> {
    /// ECS: a keyword.
    pub id: Option<DisplayString<u32>>,
    /// Name.
    pub name: Option<Text<'a>>,
}

/// `process.container`.
#[derive(Clone, Debug, Serialize)]
pub struct Container<'a> {
    /// Container id.
    pub id: Text<'a>,
}

/// `kubernetes.*`
#[derive(Clone, Debug, Serialize)]
pub struct Kubernetes<'a> {
    /// Pod.
    pub pod: Pod<'a>,
}

/// `kubernetes.pod`.
#[derive(Clone, Debug, Serialize)]
pub struct Pod<'a> {
    /// Its id, as the cgroup is named after it.
    pub uid: Text<'a>,
}

impl<'a> Kubernetes<'a> {
    /// Of a process's pod.
    pub fn of(process: &'a Process) -> Option<Self> {
        process.pod.as_deref().map(|uid| Self { pod: Pod { uid: Cow::Borrowed(uid) } })
    }
}

impl<'a> ProcessDoc<'a> {
    /// What is written of `process`; `stamp` gives its start time the run's precision, `mask` hides issued credentials.
    pub fn new(process: &'a Process, stamp: impl Fn(Timestamp) -> Stamp, mask: &Masker<'_>) -> Self {
        Self {
            pid: Some(process.pid).filter(|pid| *pid != 0),
            name: Some(mask.text(Cow::Borrowed(&process.name))),
            executable: process.executable.as_deref().map(|path| mask.text(Cow::Borrowed(path))),
            args: process.args.iter().map(|arg| mask.text(Cow::Borrowed(arg))).collect(),
            command_line: process.command_line.as_deref().map(|line| mask.text(Cow::Borrowed(line))),
            start: process.start.map(stamp),
            entity_id: process.entity_id.as_deref().map(Cow::Borrowed),
            parent: parent(process),
            user: user(process),
            container: process.container.as_deref().map(|id| Container { id: Cow::Borrowed(id) }),
        }
    }
}

fn parent(process: &Process) -> Option<Parent<'_>> {
    let Process { parent: pid, parent_name, parent_executable, .. } = process;
    let is_known = pid.is_some() || parent_name.is_some() || parent_executable.is_some();
    is_known.then(|| Parent {
        pid: *pid,
        name: parent_name.as_deref().map(Cow::Borrowed),
        executable: parent_executable.as_deref().map(Cow::Borrowed),
    })
}

fn user(process: &Process) -> Option<User<'_>> {
    let is_known = process.user.is_some() || process.user_name.is_some();
    is_known
        .then(|| User { id: process.user.map(DisplayString), name: process.user_name.as_deref().map(Cow::Borrowed) })
}
