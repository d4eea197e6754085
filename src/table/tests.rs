//! The slab and the wheel against what they must do, and against a plain map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::packet::Timestamp;

/// An entry, and the second at which it is due.
struct Item {
    name: usize,
    due: i64,
    next: u32,
}

impl Linked for Item {
    fn next(&self) -> u32 {
        self.next
    }

    fn set_next(&mut self, next: u32) {
        self.next = next;
    }
}

fn item(name: usize, due: i64) -> Item {
    Item { name, due, next: NONE }
}

#[test]
fn a_released_place_is_filled_before_a_new_one() {
    let mut slab = Slab::default();
    let [a, b] = [slab.insert(item(0, 0)), slab.insert(item(1, 0))];
    slab.release(a);
    slab.release(b);
    assert_eq!((slab.insert(item(2, 0)), slab.insert(item(3, 0)), slab.insert(item(4, 0))), (b, a, 2));
    assert_eq!(slab.places(), 3);
    assert_eq!(slab.drain().map(|item| item.name).collect::<Vec<_>>(), [3, 2, 4]);
}

#[test]
fn of_those_that_come_up_the_first_is_taken_and_whether_it_still_is_due_then() {
    let (mut slab, mut wheel) = (Slab::default(), Wheel::new(8));
    for (name, due) in [(0, 3), (1, 2), (2, 2)] {
        let at = slab.insert(item(name, due));
        wheel.add(at, due, &mut slab);
    }
    slab[2].due = 5;
    let mut next = || wheel.take_next(&mut slab, |item| item.due);
    assert_eq!([next(), next(), next(), next()], [Some((1, true)), Some((2, false)), Some((0, true)), None]);
}

proptest! {
    /// Against a plain map: what a tick takes out, with what is put back because it is not due, is what is due.
    #[test]
    fn each_is_taken_out_at_the_first_tick_at_which_it_is_due(
        steps in proptest::collection::vec((proptest::collection::vec(0i64..40, 0..4), 0i64..12), 1..40),
        horizon in 1usize..20,
    ) {
        let (mut slab, mut wheel, mut model) = (Slab::default(), Wheel::new(horizon), BTreeMap::new());
        let (mut second, mut name) = (1_000i64, 0usize);
        for (delays, pause) in steps {
            for delay in delays {
                let at = slab.insert(item(name, second + delay));
                wheel.add(at, second + delay, &mut slab);
                model.insert(name, second + delay);
                name += 1;
            }
            second += pause;
            let mut at = wheel.take_due(Timestamp(second * Timestamp::SECOND), &mut slab);
            let mut taken = Vec::new();
            while at != NONE {
                let (here, due) = (at, slab[at].due);
                at = slab[at].next;
                if due > second {
                    wheel.add(here, due, &mut slab);
                } else {
                    taken.push(slab[here].name);
                    slab.release(here);
                }
            }
            taken.sort_unstable();
            // what is added at the second of the last tick comes with the next one
            let expected: Vec<_> = model.iter().filter(|(_, due)| **due <= second).map(|(name, _)| *name).collect();
            if pause > 0 {
                prop_assert_eq!(&taken, &expected);
            }
            for name in taken {
                model.remove(&name);
            }
        }
    }
}
