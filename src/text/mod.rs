//! Small tools for text from configurations and from the wire.

pub mod glob;
pub mod hex;
pub mod percent;
