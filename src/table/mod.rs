//! What the tables of conversations and of flows are made of: places for entries, and queues of those that are due.
//!
//! In: entries, and the second at which each is due. Out: the number of an entry's place, which holds until it is
//! released; and those that are due, oldest first. Bound: as many places as were ever in use at once; a wheel's size is
//! fixed. Queues and the list of unused places run through the entries themselves ([`Linked`]): moving one costs no
//! allocation.

mod slab;
mod wheel;

pub use slab::Slab;
pub use wheel::Wheel;

/// No place: ends a list.
pub const NONE: u32 = u32::MAX;

/// An entry that can stand in one list at a time.
pub trait Linked {
    /// The place of the next one in the list, or [`NONE`].
    fn next(&self) -> u32;

    /// Puts it before another.
    fn set_next(&mut self, next: u32);
}

#[cfg(test)]
mod tests;
