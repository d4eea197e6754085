//! Decoding.

pub mod meta;
