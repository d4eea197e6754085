//! imdswatch
fn main() {}
