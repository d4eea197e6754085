//! Connections that carried something about metadata: their flows are written too.
//!
//! In: both ends of a connection, when something of it was about metadata and when one of its flows is reported. Out: whether
//! that flow is written. One connection may be several flows (its directions by other MAC addresses, a mirror that shows it
//! before and after a router), which end one after the other: so a mark stays for a while after the first of them ended.
//! Bounds: so many marks as are allowed; of those with an ended flow the last [`ENDED`].

use std::collections::{HashMap, VecDeque};

use crate::conn::Endpoint;
use crate::packet::Timestamp;

/// Both ends, in the order of addresses.
pub(super) type Ends = (Endpoint, Endpoint);

/// Marks that stay when a flow has ended: the others end within seconds.
const ENDED: usize = 256;

/// See the module.
#[derive(Default)]
pub(super) struct Marks {
    /// When the first flow to end had its last packet.
    of: HashMap<Ends, Option<Timestamp>, foldhash::fast::FixedState>,
    /// The oldest first.
    ended: VecDeque<Ends>,
}

impl Marks {
    /// Marks a connection; `false` where there is no room for another.
    pub(super) fn mark(&mut self, ends: Ends, most: usize) -> bool {
        let has_room = self.of.len() < most || self.of.contains_key(&ends);
        if has_room {
            self.of.insert(ends, None);
        }
        has_room
    }

    /// Whether a flow that is reported belongs to a marked connection. `over`: the time of its last packet, if this is its
    /// last report. What began after that between the same ends is another connection.
    pub(super) fn has(&mut self, ends: Ends, began: Timestamp, over: Option<Timestamp>) -> bool {
        let Some(ended) = self.of.get_mut(&ends) else { return false };
        if ended.is_some_and(|ended| began > ended) {
            return false;
        }
        if ended.is_none() && over.is_some() {
            *ended = over;
            self.ended.push_back(ends);
            self.forget();
        }
        true
    }

    fn forget(&mut self) {
        if self.ended.len() <= ENDED {
            return;
        }
        let oldest = self.ended.pop_front();
        if let Some(ends) = oldest.filter(|ends| matches!(self.of.get(ends), Some(Some(_)))) {
            self.of.remove(&ends);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn ends(port: u16) -> Ends {
        let end = |last, port| Endpoint { ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), port };
        (end(1, port), end(2, 80))
    }

    const AT: fn(i64) -> Timestamp = Timestamp;

    #[test]
    fn both_directions_of_a_connection_are_written_and_the_next_between_its_ends_is_not() {
        let mut marks = Marks::default();
        assert!(marks.mark(ends(1), 10));
        assert!(marks.has(ends(1), AT(0), None), "a report in between");
        assert!(marks.has(ends(1), AT(0), Some(AT(9))));
        assert!(marks.has(ends(1), AT(1), Some(AT(8))), "the way back");
        assert!(!marks.has(ends(1), AT(10), Some(AT(20))), "another connection");
        assert!(marks.mark(ends(1), 10), "which then asks for metadata itself");
        assert!(marks.has(ends(1), AT(10), Some(AT(20))));
        assert!(!marks.has(ends(2), AT(0), None));
    }

    #[test]
    fn there_is_room_for_so_many_and_ended_ones_give_way() {
        let mut marks = Marks::default();
        assert!(marks.mark(ends(1), 1) && !marks.mark(ends(2), 1) && marks.mark(ends(1), 1));
        assert!(!marks.has(ends(2), AT(0), None));
        for port in 1..=ENDED as u16 + 2 {
            marks.mark(ends(port), usize::MAX);
            assert!(marks.has(ends(port), AT(0), Some(AT(1))));
        }
        assert_eq!((marks.of.len(), marks.ended.len()), (ENDED, ENDED));
        assert!(!marks.has(ends(1), AT(0), None), "the oldest");
    }
}
