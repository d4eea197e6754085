//! Secrets that were issued lately: programs fetch the same one again every few minutes, and what is remembered of it takes
//! longer to make than to recognise.
//!
//! Which it is, is told by a keyed digest: nothing else of it is kept but its hashes. Bound: [`PLACES`] secrets of
//! [`LONGEST`] bytes.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::cell::RefCell;

use super::{Part, Secret};
use crate::memo::{Memo, PrivateDigest};

/// How many are remembered.
const PLACES: usize = 32;
/// The longest of them, in bytes.
const LONGEST: usize = 4 * 1024;

/// Secrets by what they are.
#[derive(Debug, Default)]
pub struct Lately {
    known: RefCell<Memo<(u128, Secret), PLACES>>,
    digest: PrivateDigest,
}

impl Lately {
    /// The secret of this value, as [`Secret::new`] makes it.
    pub fn secret(&self, value: &[u8], part: Part) -> Option<Secret> {
        self.known(value, part, false)
    }

    /// Those in a text, as [`Secret::in_text`] makes them.
    pub fn in_text(&self, text: &[u8], part: Part) -> Option<Secret> {
        self.known(text, part, true)
    }

    fn known(&self, value: &[u8], part: Part, in_text: bool) -> Option<Secret> {
        let make = || if in_text { Secret::in_text(value, part) } else { Secret::new(value, part) };
        if value.len() > LONGEST {
            return make();
        }
        let digest = self.digest.of(&[&[part as u8, u8::from(in_text)], value]);
        let mut known = self.known.borrow_mut();
        match known.place(digest) {
            Some((same, secret)) if *same == digest => Some(secret.clone()),
            place => Some(place.insert((digest, make()?)).1.clone()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_what_would_be_made() {
        let lately = Lately::default();
        let key = |n: u32| format!("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLE{n:03}");
        for n in (0..200).chain(0..200).chain([7, 7, 7]) {
            let key = key(n);
            let text = format!("the key is {key}");
            assert_eq!(lately.secret(key.as_bytes(), Part::Key), Secret::new(key.as_bytes(), Part::Key));
            assert_eq!(lately.secret(key.as_bytes(), Part::Bearer), Secret::new(key.as_bytes(), Part::Bearer));
            assert_eq!(lately.in_text(text.as_bytes(), Part::Key), Secret::in_text(text.as_bytes(), Part::Key));
            assert_eq!(lately.secret(text.as_bytes(), Part::Key), Secret::new(text.as_bytes(), Part::Key));
        }
        assert_eq!(lately.secret(b"short", Part::Key), None);
        let long = "x1".repeat(LONGEST);
        assert_eq!(lately.secret(long.as_bytes(), Part::Key), Secret::new(long.as_bytes(), Part::Key));
    }

    #[test]
    fn what_comes_again_is_made_once() {
        let (lately, key) = (Lately::default(), b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let first = lately.secret(key, Part::Key).unwrap();
        assert!(std::sync::Arc::ptr_eq(&first.blocks, &lately.secret(key, Part::Key).unwrap().blocks));
    }
}
