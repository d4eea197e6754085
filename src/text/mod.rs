//! Small tools for text from configurations and from the wire.

pub mod b64;
pub mod glob;
pub mod hex;
pub mod percent;
