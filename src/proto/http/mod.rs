//! HTTP messages and transactions.

pub mod message;

pub use message::{Body, Head, Message, Note, Start, Transaction, Version};
