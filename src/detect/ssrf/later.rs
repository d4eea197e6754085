//! Bodies beyond the part that is captured, looked at piece by piece as they pass.
//!
//! A piece is read as text: its escapes are undone, base64 in it is decoded, and a URL is a value's if it stands behind a
//! quote, an equals sign, a tag or a line end. What names a metadata service is kept, a line for each.

use std::borrow::Cow;
use std::sync::Arc;

use super::search::Search;
use crate::catalogue::Catalogue;
use crate::detect::{CandidateKind, Place};
use crate::proto::http::later::{Effort, Watch};

/// How a line begins that holds a whole value, one that holds what is only mentioned, and those of a host or a path in a
/// field of its own.
pub(super) const VALUE: u8 = b'v';
pub(super) const MENTION: u8 = b'm';
pub(super) const HOST: u8 = b'h';
pub(super) const PATH: u8 = b'p';

/// Most places in a block that are read where it is only looked at for what is written as usual.
const LITERAL_HITS: usize = 8;

/// Looks for targets in the later parts of bodies.
#[derive(Debug)]
pub struct LaterTargets {
    catalogue: Arc<Catalogue>,
}

impl LaterTargets {
    /// Of these services.
    pub fn new(catalogue: Arc<Catalogue>) -> Self {
        Self { catalogue }
    }
}

impl Watch for LaterTargets {
    fn look(&self, block: &[u8], effort: Effort, found: &mut Vec<u8>) {
        look(&self.catalogue, block, effort, found);
    }
}

/// Adds what a piece of a body names to `found`, a line for each.
pub(super) fn look(catalogue: &Catalogue, block: &[u8], effort: Effort, found: &mut Vec<u8>) {
    let block = narrow(block);
    let mut search = Search::new(catalogue, block.len());
    match effort {
        Effort::Whole => search.piece(&block),
        Effort::Literal => search.literally_in(&Place::Body, &block, &mut { LITERAL_HITS }),
    }
    for candidate in search.found.iter().filter(|candidate| candidate.is_metadata) {
        found.push(if candidate.kind == CandidateKind::Attempt { VALUE } else { MENTION });
        found.extend(candidate.url.bytes().filter(|b| *b != b'\n'));
        found.push(b'\n');
    }
    if effort == Effort::Whole {
        Search::new(catalogue, block.len()).fields_of(&block, found);
    }
}

/// Text of wide characters, most of which are ASCII, without its zeros.
pub(super) fn narrow(block: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(0, block).is_none() {
        return Cow::Borrowed(block);
    }
    let zeros = block.iter().filter(|byte| **byte == 0).count();
    let is_wide = (block.len() / 3..=block.len() / 2).contains(&zeros);
    if is_wide { block.iter().copied().filter(|byte| *byte != 0).collect() } else { Cow::Borrowed(block) }
}

impl Search<'_> {
    /// A piece of a body.
    pub(super) fn piece(&mut self, piece: &[u8]) {
        self.is_piece = true;
        self.carries(&|| Place::Body, piece, CandidateKind::Attempt);
        self.is_piece = false;
        if self.budget.is_cut() {
            let mut hits = super::literal::HITS;
            self.literally_in(&Place::Body, piece, &mut hits);
        }
    }
}
