//! See [`targets::capture_file`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::capture_file(data));
