//! See [`targets::canonical`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::canonical(data));
