//! What the search of one message may cost.

/// Steps that every message has, however short.
const LEAST: usize = 8 * 1024;
/// Steps for each byte of a message.
const PER_BYTE: usize = 14;

/// Work left for one message, in steps: a byte looked at once is one step, and what costs more by itself (a host put
/// into canonical form, a lookup) counts as the bytes that could be looked at in its time. A step takes two to
/// four nanoseconds, so that no bytes whatever cost more than some 50 ns each.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
    spent: usize,
    cut: bool,
}

impl Budget {
    /// For a message of `bytes` bytes.
    pub(super) fn of(bytes: usize) -> Self {
        Self { left: bytes.saturating_mul(PER_BYTE).saturating_add(LEAST), spent: 0, cut: false }
    }

    /// Takes `steps`; `false` when too few are left, and from then on always.
    #[must_use]
    pub(super) fn spend(&mut self, steps: usize) -> bool {
        match self.left.checked_sub(steps) {
            Some(left) if !self.cut => {
                self.left = left;
                self.spent = self.spent.saturating_add(steps);
                true
            }
            _ => {
                self.cut = true;
                false
            }
        }
    }

    /// Notes that something was passed over for another reason than work.
    pub(super) fn pass_over(&mut self) {
        self.cut = true;
    }

    /// Whether anything was passed over.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Steps taken so far.
    #[cfg(test)]
    pub(super) fn spent(&self) -> usize {
        self.spent
    }
}
