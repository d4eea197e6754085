//! What an event says of the process at the local end.

use std::borrow::Cow;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_with::skip_serializing_none;

use super::{Shown, Text};
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
    /// Start time.
    pub start: Option<Stamp>,
    /// Id that survives reuse of pids.
    pub entity_id: Option<Text<'a>>,
    /// Parent.
    pub parent: Option<Parent>,
    /// Owner.
    pub user: Option<User>,
    /// Container.
    pub container: Option<Container<'a>>,
}

/// `process.parent`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Parent {
    /// Process id.
    pub pid: u32,
}

/// `process.user`.
#[derive(Clone, Copy, Debug)]
pub struct User(pub u32);

impl Serialize for User {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("id", &Shown(self.0))?; // ECS: a keyword
        map.end()
    }
}

/// `process.container`.
#[derive(Clone, Debug, Serialize)]
pub struct Container<'a> {
    /// Container id.
    pub id: Text<'a>,
}

impl<'a> ProcessDoc<'a> {
    /// What is written of `process`; `stamp` gives its start time the run's precision, `mask` hides issued credentials.
    pub fn new(process: &'a Process, stamp: impl Fn(Timestamp) -> Stamp, mask: &Masker<'_>) -> Self {
        Self {
            pid: Some(process.pid),
            name: Some(mask.text(Cow::Borrowed(&process.name))),
            executable: process.executable.as_deref().map(|path| mask.text(Cow::Borrowed(path))),
            args: process.args.iter().map(|arg| mask.text(Cow::Borrowed(arg))).collect(),
            start: process.start.map(stamp),
            entity_id: process.entity_id.as_deref().map(Cow::Borrowed),
            parent: process.parent.map(|pid| Parent { pid }),
            user: process.user.map(User),
            container: process.container.as_deref().map(|id| Container { id: Cow::Borrowed(id) }),
        }
    }
}
