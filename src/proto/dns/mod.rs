//! DNS messages and transactions.

pub mod message;

pub use message::{Message, Name, Note, Opt, Question, RData, Record, Transaction};
