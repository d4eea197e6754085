//! See [`targets::theft`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::theft(data));
