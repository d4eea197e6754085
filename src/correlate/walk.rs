//! Walks of the tree (contract section 4, `imds-enumeration`): what one actor asked for in the last minute. An SDK follows
//! one directory down; whoever follows several, or misses several paths, looks around.
//!
//! Bound: [`MOST`] steps of each actor.

use std::sync::Arc;

use super::actor::Request;
use crate::alert::{ChainLink, HttpSubject};
use crate::conn::Endpoint;
use crate::detect::{Sensitivity, Signal};
use crate::id::EventId;
use crate::packet::Timestamp;

/// How long a step counts, in nanoseconds.
const MINUTE: i64 = 60 * Timestamp::SECOND;
/// Most steps that count.
const MOST: usize = 32;
/// Most links of a walk that its alert lists.
const LINKS: usize = 16;
/// Directories read and followed down that no SDK does in one go.
const DIRECTORIES: usize = 3;
/// Directories followed down and paths missed together.
const STEPS: usize = 4;

/// What an actor asked for in the last minute, each path once.
#[derive(Debug, Default)]
pub struct Walk {
    steps: Vec<Step>,
}

/// A request of a walk: what its link in a chain is made of, should it ever be asked for.
#[derive(Debug)]
pub struct Step {
    id: EventId,
    start: Timestamp,
    http: Arc<HttpSubject>,
    source: Endpoint,
    destination: Endpoint,
    path: u64,
    parent: u64,
    /// The first to follow its directory down.
    follows: bool,
    missing: bool,
    /// A credential, asked for by nobody who does so as a matter of course.
    credential: bool,
    impossible: bool,
}

/// A walk that was noticed.
#[derive(Clone, Copy, Debug)]
pub struct Walked {
    /// How many steps there are so far.
    pub steps: usize,
    /// This step asks for what only word lists have.
    pub impossible: bool,
    /// A credential is among what was asked for.
    pub credential: bool,
}

impl Step {
    /// A step, `path` and `parent` by their hashes.
    pub fn new(request: Request<'_>, (path, parent): (u64, u64), strange: bool) -> Self {
        let Request { tx, imds, start, http, event_id, .. } = request;
        let missing = imds.signals.has(Signal::NotFound);
        Self {
            id: event_id,
            start,
            http: Arc::clone(http),
            source: tx.conn.client,
            destination: tx.conn.server,
            path,
            parent: if imds.path == "/" { path.wrapping_add(1) } else { parent },
            follows: false,
            missing,
            credential: strange && !missing && imds.sensitivity == Sensitivity::Credential,
            impossible: imds.signals.has(Signal::ImpossiblePath),
        }
    }

    fn link(&self) -> ChainLink {
        ChainLink {
            id: self.id,
            time: self.start,
            what: "request",
            source: self.source,
            destination: self.destination,
            url: self.http.url(&self.destination).into(),
        }
    }
}

impl Walk {
    /// Takes a step; the walk where the steps are those of one. Each further step is one more.
    pub fn take(&mut self, mut step: Step) -> Option<Walked> {
        let impossible = step.impossible;
        self.steps.retain(|old| step.start.since(old.start) <= MINUTE);
        let mut repeated = false;
        let (mut read, mut followed) = (false, false);
        for old in &self.steps {
            repeated |= old.path == step.path;
            read |= old.path == step.parent;
            followed |= old.follows && old.parent == step.parent;
        }
        if repeated && !impossible {
            return None;
        }
        step.follows = read && !followed;
        if self.steps.len() >= MOST {
            self.steps.remove(0);
        }
        self.steps.push(step);
        let count = |of: fn(&Step) -> bool| self.steps.iter().filter(|step| of(step)).count();
        let (directories, missing) = (count(|step| step.follows), count(|step| step.missing));
        let walks = directories >= DIRECTORIES || directories + missing >= STEPS;
        (impossible || walks).then(|| Walked {
            steps: self.steps.len(),
            impossible,
            credential: count(|step| step.credential) > 0,
        })
    }

    /// The first steps of the last minute.
    pub fn chain(&self) -> Vec<ChainLink> {
        self.steps.iter().take(LINKS).map(Step::link).collect()
    }
}
