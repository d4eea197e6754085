//! What is wrong with an input but does not end it: collected while it is read, bounded, drained by the caller.

use std::fmt;

use super::Input;

/// Something about an input that its user should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Which input.
    pub input: Input,
    /// Where, in bytes of the uncompressed stream.
    pub offset: u64,
    /// What, in words.
    pub text: String,
    /// Whether packets may be missing because of it: the run then ends with exit status 1.
    pub damage: bool,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: at byte {}: {}", self.input, self.offset, self.text)
    }
}

/// The warnings of one input: the first [`Report::MAX`] in full, repetitions and the rest as a count.
#[derive(Debug)]
pub(super) struct Report {
    input: Input,
    pending: Vec<Warning>,
    given: usize,
    /// Text of the last warning given.
    latest: String,
    untold: u64,
    untold_damage: bool,
    /// A length on the wire that cannot be was told of.
    overlong: bool,
}

impl Report {
    /// Warnings of one input that are given in full, so that a file of nothing but damage does not flood its reader.
    const MAX: usize = 16;

    pub(super) fn new(input: Input) -> Self {
        Self {
            input,
            pending: Vec::new(),
            given: 0,
            latest: String::new(),
            untold: 0,
            untold_damage: false,
            overlong: false,
        }
    }

    pub(super) fn input(&self) -> &Input {
        &self.input
    }

    /// Something odd that loses no packet.
    pub(super) fn note(&mut self, offset: u64, text: impl FnOnce() -> String) {
        self.add(offset, text, false);
    }

    /// Something that may lose packets.
    pub(super) fn damage(&mut self, offset: u64, text: impl FnOnce() -> String) {
        self.add(offset, text, true);
    }

    /// A packet claims a length on the wire that none can have; told once.
    #[cold]
    pub(super) fn overlong(&mut self, offset: u64, told: u32) {
        if !std::mem::replace(&mut self.overlong, true) {
            let text = || {
                format!("a packet claims to have been {told} bytes long; what was captured of such packets is counted")
            };
            self.note(offset, text);
        }
    }

    /// The end of the input at `offset`: what was only counted is said once.
    pub(super) fn finish(&mut self, offset: u64) {
        if self.untold > 0 {
            let text = format!("{} more places like these", self.untold);
            self.pending.push(Warning { input: self.input.clone(), offset, text, damage: self.untold_damage });
            self.untold = 0;
        }
    }

    pub(super) fn drain(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.pending)
    }

    fn add(&mut self, offset: u64, text: impl FnOnce() -> String, damage: bool) {
        if self.given < Self::MAX {
            let text = text();
            if text != self.latest {
                self.given = self.given.saturating_add(1);
                self.latest.clone_from(&text);
                self.pending.push(Warning { input: self.input.clone(), offset, text, damage });
                return;
            }
        }
        self.untold = self.untold.saturating_add(1);
        self.untold_damage |= damage;
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_first_places_are_told_in_full_and_the_rest_counted() {
        let mut report = Report::new(Input::Stdin);
        for offset in 0..100 {
            report.note(offset, || format!("odd {}", offset / 2));
        }
        report.damage(100, || "bad".into());
        assert_eq!(report.drain().len(), Report::MAX);
        report.finish(500);
        let last = report.drain();
        assert_eq!(last.len(), 1);
        assert_eq!(last[0].to_string(), "standard input: at byte 500: 85 more places like these");
        assert!(last[0].damage, "one of those that were only counted lost packets");
    }
}
