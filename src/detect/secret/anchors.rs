//! Anchors: places of a text chosen by what stands there, so that what two texts have in common is found by few hashes.
//!
//! Of any [`WINDOW`] hashes in a row the least is an anchor, of equal ones the last. Which are is found for many places at
//! once and without a decision for each: what it takes does not depend on the bytes.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::{GRAM, KEYS, fold};

/// Characters of an anchor.
pub const ANCHOR: usize = 12;
/// Anchors that begin in [`GRAM`] characters: the one with the least hash is chosen.
const WINDOW: usize = GRAM - ANCHOR + 1;
/// Places on each side of one that decide whether it is chosen.
const SIDE: usize = WINDOW - 1;
/// Places that are looked at together.
const TOGETHER: usize = 32;
/// Places that are compared at once.
const LANES: usize = 8;
/// The places that are looked at together, with the sides.
const WITH_SIDES: usize = TOGETHER + 2 * SIDE;

/// Hash of [`ANCHOR`] characters. Multiplied twice: one multiplication alone leaves runs of equal characters alike.
fn anchor(chars: &[u8; ANCHOR]) -> u64 {
    let [first, second] = KEYS[1];
    let low = chars.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
    let high = chars.last_chunk().map_or(0, |word| u64::from_le_bytes(*word));
    fold(fold(low ^ first, high ^ second) ^ second, first)
}

/// Hands out the anchors of a run without gaps: where each begins, and its hash.
pub fn each_anchor(run: &[u8], mut take: impl FnMut(usize, u64)) {
    let mut windows = run.array_windows();
    let mut next = || windows.next().map_or(0, anchor);
    // Nothing is before the first place or behind the last: 0 is less than any hash, so that no window reaches over it.
    let mut hashes = [0; WITH_SIDES];
    let count = run.len().saturating_add(1).saturating_sub(ANCHOR);
    hashes.iter_mut().skip(SIDE).take(SIDE).for_each(|hash| *hash = next());
    for first in (0..count).step_by(TOGETHER) {
        hashes.iter_mut().skip(2 * SIDE).for_each(|hash| *hash = next());
        let here = count.saturating_sub(first).min(TOGETHER) as u32;
        let mut chosen = chosen(&hashes) & u32::MAX >> (TOGETHER as u32).saturating_sub(here);
        while chosen != 0 {
            let nth = chosen.trailing_zeros() as usize;
            chosen &= chosen.wrapping_sub(1);
            if let Some(hash) = hashes.get(nth.saturating_add(SIDE)) {
                take(first.saturating_add(nth), *hash);
            }
        }
        hashes.copy_within(TOGETHER.., 0);
    }
}

/// A bit for each of the places in the middle that is chosen.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "all places are constants of the loops")]
fn chosen(hashes: &[u64; WITH_SIDES]) -> u32 {
    // Half of a hash is enough to compare; signed, as most processors compare several at once.
    let mut order = [0; WITH_SIDES];
    order.iter_mut().zip(hashes).for_each(|(order, hash)| *order = (hash >> 32) as i32 ^ i32::MIN);
    let mut bits = 0;
    for first in (0..TOGETHER).step_by(LANES) {
        let order = &order[first..][..LANES + 2 * SIDE];
        // How far on both sides a window may reach in which a place is chosen, as a negative number; what is true is -1.
        let (mut reach, mut before, mut behind) = ([0; LANES], [-1; LANES], [-1; LANES]);
        for distance in 1..=SIDE {
            for at in 0..LANES {
                let own = order[at + SIDE];
                before[at] &= -i32::from(own <= order[at + SIDE - distance]);
                behind[at] &= -i32::from(own < order[at + SIDE + distance]);
                reach[at] += before[at] + behind[at];
            }
        }
        for (at, reach) in reach.iter().enumerate() {
            bits |= u32::from(*reach <= -(SIDE as i32)) << (first + at);
        }
    }
    bits
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn anchors(run: &[u8]) -> Vec<(usize, u64)> {
        let mut out = Vec::new();
        each_anchor(run, |at, hash| out.push((at, hash)));
        out
    }

    /// What the first lines of this file say, read literally.
    fn expected(run: &[u8]) -> Vec<(usize, u64)> {
        let hashes: Vec<_> = run.array_windows().map(anchor).collect();
        let least = |window: usize| (window..window + WINDOW).rev().min_by_key(|at| hashes[*at] >> 32).unwrap();
        let mut places: Vec<_> = (0..(hashes.len() + 1).saturating_sub(WINDOW)).map(least).collect();
        places.dedup();
        places.into_iter().map(|at| (at, hashes[at])).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn the_least_of_each_window_is_an_anchor(run in "[A-Za-z0-9+/]{0,120}|[ab]{0,120}|a{0,120}") {
            prop_assert_eq!(anchors(run.as_bytes()), expected(run.as_bytes()));
        }

        #[test]
        fn any_sixteen_characters_share_an_anchor(
            secret in "[A-Za-z0-9+/]{16,120}", before in "[a-z/]{0,20}", after in "[A-Z]{0,20}", at in 0usize..120,
        ) {
            let at = at % (secret.len() - GRAM + 1);
            let text = format!("{before}{}{after}", &secret[at..at + GRAM]);
            let known = anchors(secret.as_bytes());
            prop_assert!(anchors(text.as_bytes()).iter().any(|(_, hash)| known.iter().any(|(_, other)| hash == other)));
        }
    }

    #[test]
    fn anchors_are_a_third_of_the_characters() {
        let text: String =
            (0..2000u32).map(|n| char::from(b'A' + (n.wrapping_mul(2_654_435_761) >> 27) as u8 % 26)).collect();
        let count = anchors(text.as_bytes()).len();
        assert!((500..900).contains(&count), "{count}");
    }
}
