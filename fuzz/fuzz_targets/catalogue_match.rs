//! See [`targets::catalogue_match`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::catalogue_match(data));
