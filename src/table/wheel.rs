//! Queues of entries by the second at which they are due: adding one and taking out the due ones costs a few steps each.

use super::{Linked, NONE, Slab};
use crate::packet::Timestamp;

/// Buckets of one second of packet time. An entry is in exactly one: that of the second at which it was due when it was
/// put there, or an earlier one if that lies beyond the horizon. Whoever takes entries out adds those again that are not
/// due by now.
#[derive(Debug)]
pub struct Wheel {
    buckets: Box<[Bucket]>,
    /// The second up to which buckets were emptied; `None` before the first tick.
    done: Option<i64>,
}

/// A queue, linked through [`Linked`].
#[derive(Clone, Copy, Debug)]
struct Bucket {
    head: u32,
    tail: u32,
}

const EMPTY: Bucket = Bucket { head: NONE, tail: NONE };

impl Wheel {
    /// An empty wheel that looks ahead for so many seconds, rounded up to a power of two.
    pub fn new(seconds: usize) -> Self {
        Self { buckets: vec![EMPTY; seconds.max(2).next_power_of_two()].into(), done: None }
    }

    /// Bytes that it takes.
    pub fn memory(&self) -> usize {
        self.buckets.len().saturating_mul(size_of::<Bucket>())
    }

    /// Queues the entry at a place, due at the second `due`.
    pub fn add<E: Linked>(&mut self, at: u32, due: i64, entries: &mut Slab<E>) {
        let Some(entry) = entries.get_mut(at) else { return };
        entry.set_next(NONE);
        let slot = self.slot_of(due);
        let Some(bucket) = self.buckets.get_mut(slot) else { return };
        match entries.get_mut(bucket.tail) {
            Some(last) => last.set_next(at),
            None => bucket.head = at,
        }
        bucket.tail = at;
    }

    /// Takes out all entries of the seconds up to `now`: the first of a list of them.
    pub fn take_due<E: Linked>(&mut self, now: Timestamp, entries: &mut Slab<E>) -> u32 {
        let (second, all) = (now.seconds(), self.buckets.len() as i64);
        // Before the first tick entries were queued without a horizon, so every bucket may hold what is due.
        let steps = self.done.map_or(all, |done| second.saturating_sub(done).min(all));
        if steps <= 0 {
            return NONE;
        }
        self.done = Some(second);
        let mut list = EMPTY;
        for step in (0..steps).rev() {
            let slot = self.slot(second.saturating_sub(step));
            let Some(bucket) = self.buckets.get_mut(slot) else { continue };
            let Bucket { head, tail } = std::mem::replace(bucket, EMPTY);
            if head == NONE {
                continue;
            }
            match entries.get_mut(list.tail) {
                Some(last) => last.set_next(head),
                None => list.head = head,
            }
            list.tail = tail;
        }
        list.head
    }

    /// Takes out the entry that comes up next. Also whether it would be queued where it was, if it is due at the second
    /// that `due` says.
    pub fn take_next<E: Linked>(&mut self, entries: &mut Slab<E>, due: impl Fn(&E) -> i64) -> Option<(u32, bool)> {
        let start = self.done.map_or(0, |done| done.saturating_add(1));
        for step in 0..self.buckets.len() as i64 {
            let slot = self.slot(start.wrapping_add(step));
            let Some(bucket) = self.buckets.get_mut(slot) else { continue };
            let at = bucket.head;
            let Some(first) = entries.get_mut(at) else { continue };
            bucket.head = first.next();
            if bucket.head == NONE {
                bucket.tail = NONE;
            }
            first.set_next(NONE);
            return Some((at, self.slot_of(due(first)) == slot));
        }
        None
    }

    /// Where an entry belongs that is due at a second.
    fn slot_of(&self, due: i64) -> usize {
        self.slot(match self.done {
            // Not in a bucket that was just emptied, nor beyond the horizon.
            Some(done) => due.clamp(done.saturating_add(1), done.saturating_add(self.buckets.len() as i64)),
            None => due,
        })
    }

    fn slot(&self, second: i64) -> usize {
        second as usize & self.buckets.len().saturating_sub(1)
    }
}
