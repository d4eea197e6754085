//! See [`targets::pipeline`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::pipeline(data));
