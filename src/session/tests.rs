//! The session table against its rules and against a plain map.

#![allow(clippy::arithmetic_side_effects, reason = "small numbers of our own")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;

const SECOND: i64 = Timestamp::SECOND;

#[derive(Debug, Default, Clone, PartialEq)]
struct Value {
    name: u32,
    most: bool,
    bytes: usize,
}

impl Evict for Value {
    fn keep(&self) -> Keep {
        if self.most { Keep::Most } else { Keep::Least }
    }

    fn memory(&self) -> usize {
        self.bytes
    }
}

fn end(n: u32) -> Endpoint {
    Endpoint { ip: IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | n)), port: 80 }
}

fn server() -> Endpoint {
    Endpoint { ip: "169.254.169.254".parse().unwrap(), port: 80 }
}

fn touch(table: &mut Table<Value>, name: u32, time: i64, idle: i64) -> Vec<u32> {
    let mut evicted = Vec::new();
    let (entry, _) =
        table.touch(end(name), server(), Timestamp(time), idle, &mut |value: Value| evicted.push(value.name));
    entry.value.name = name;
    evicted
}

fn expire(table: &mut Table<Value>, time: i64) -> Vec<u32> {
    let mut names = Vec::new();
    table.expire(Timestamp(time), &mut |value| names.push(value.name));
    names
}

#[test]
fn both_directions_meet_and_know_which_was_first() {
    let mut table = Table::<Value>::new(Config::default());
    let v6 = Endpoint { ip: "fd00:ec2::254".parse().unwrap(), port: 80 };
    for (a, b) in [(end(1), server()), (server(), end(2)), (v6, Endpoint { port: 9, ..v6 })] {
        let never = &mut |_| panic!("evicted");
        let (entry, forward) = table.touch(a, b, Timestamp(0), SECOND, never);
        assert!(forward);
        assert_eq!(entry.ends(), (a, b));
        let (entry, forward) = table.touch(b, a, Timestamp(0), SECOND, never);
        assert!(!forward);
        entry.set_forward(forward);
        assert_eq!(entry.ends(), (b, a));
        assert!(table.find(a, b).is_some() && table.find(b, a).is_some());
    }
    assert_eq!((table.len(), table.counters().created), (3, 3));
    assert!(table.find(end(1), end(2)).is_none());
}

#[test]
fn an_entry_of_no_interest_is_small() {
    assert!(size_of::<Entry<Option<Box<u64>>>>() <= 72);
}

#[test]
fn idle_entries_leave_on_the_tick_after_their_time() {
    let mut table = Table::new(Config::default());
    touch(&mut table, 1, 0, 10 * SECOND);
    touch(&mut table, 2, 0, 2_000 * SECOND);
    touch(&mut table, 3, 5 * SECOND, 10 * SECOND);
    assert_eq!(expire(&mut table, 10 * SECOND), [0u32; 0]);
    assert_eq!(expire(&mut table, 11 * SECOND), [1]);
    touch(&mut table, 3, 14 * SECOND, 10 * SECOND);
    assert_eq!(expire(&mut table, 20 * SECOND), [0u32; 0]);
    assert_eq!(expire(&mut table, 19 * SECOND), [0u32; 0]);
    assert_eq!(expire(&mut table, 1_999 * SECOND), [3]);
    assert_eq!(expire(&mut table, 9_000 * SECOND), [2]);
    assert!(table.is_empty());
    assert_eq!(table.counters(), Counters { created: 3, expired: 3, evicted: 0 });
}

#[test]
fn a_full_table_gives_up_what_is_least_useful_and_idle_for_longest() {
    let mut table = Table::new(Config { entries: 3, ..Config::default() });
    touch(&mut table, 1, 0, SECOND);
    table.find(end(1), server()).unwrap().most = true;
    touch(&mut table, 2, 2, SECOND);
    touch(&mut table, 3, 1, SECOND);
    assert_eq!(touch(&mut table, 4, 3, SECOND), [3]);
    assert_eq!(touch(&mut table, 5, 4, SECOND), [2]);
    assert_eq!((table.len(), table.counters().evicted), (3, 2));
    assert_eq!(expire(&mut table, 9 * SECOND).len(), 3);
}

#[test]
fn values_that_hold_too_much_make_room_but_not_for_themselves() {
    let mut table = Table::new(Config { bytes: 1000, ..Config::default() });
    for name in 0..3 {
        touch(&mut table, name, i64::from(name), SECOND);
        table.find(end(name), server()).unwrap().bytes = 400;
    }
    assert_eq!(touch(&mut table, 2, 5, SECOND), [0]);
    table.find(end(2), server()).unwrap().bytes = 5000;
    assert_eq!(touch(&mut table, 2, 6, SECOND), [1]);
    assert_eq!(touch(&mut table, 3, 7, SECOND), [2]);
    assert_eq!(table.len(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_seed: proptest::test_runner::RngSeed::Fixed(11), failure_persistence: None, ..ProptestConfig::default()
    })]

    /// Against a plain map: the same entries leave on the same ticks, twice in the same order.
    #[test]
    fn expiry_is_that_of_a_plain_map(
        steps in proptest::collection::vec((0u32..20, 0i64..40, 1i64..900, any::<bool>()), 1..200),
    ) {
        let run = |table: &mut Table<Value>| {
            let mut model: BTreeMap<u32, i64> = BTreeMap::new();
            let mut now = 0;
            let mut left = Vec::new();
            for (name, step, idle, tick) in &steps {
                now += step * SECOND / 2;
                if *tick {
                    let mut gone = expire(table, now);
                    left.extend(gone.iter().copied());
                    gone.sort_unstable();
                    let over = |deadline: i64| now / SECOND > deadline / SECOND;
                    let want: Vec<u32> = model.iter().filter(|(_, d)| over(**d)).map(|(name, _)| *name).collect();
                    model.retain(|_, deadline| !over(*deadline));
                    assert_eq!(gone, want);
                }
                // A deadline never moves back here: an entry is looked at no earlier than it was first due.
                let deadline = (now + idle * SECOND).max(model.get(name).copied().unwrap_or(0));
                assert!(touch(table, *name, now, deadline - now).is_empty());
                model.insert(*name, deadline);
                assert_eq!(table.len(), model.len());
            }
            table.drain(&mut |value| left.push(value.name));
            left
        };
        let first = run(&mut Table::new(Config::default()));
        prop_assert_eq!(first, run(&mut Table::new(Config::default())));
    }

    /// A full table never exceeds its bound, loses nothing uncounted, and always gives back what leaves.
    #[test]
    fn eviction_accounts_for_everything(
        names in proptest::collection::vec((0u32..400, any::<bool>()), 1..600), entries in 1usize..40,
    ) {
        let run = || {
            let mut table = Table::new(Config { entries, ..Config::default() });
            let mut gone = Vec::new();
            for (nth, (name, most)) in names.iter().enumerate() {
                gone.extend(touch(&mut table, *name, nth as i64 * SECOND / 4, 50 * SECOND));
                table.find(end(*name), server()).unwrap().most = *most;
                if nth % 16 == 0 {
                    gone.extend(expire(&mut table, nth as i64 * SECOND / 4));
                }
                assert!(table.len() <= entries);
            }
            let left = table.len();
            let counters = table.counters();
            assert_eq!(counters.created, counters.evicted + counters.expired + left as u64);
            assert_eq!(gone.len() as u64, counters.evicted + counters.expired);
            gone
        };
        prop_assert_eq!(run(), run());
    }
}
