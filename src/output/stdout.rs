//! Standard output, through a buffer.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use super::{Batch, Counters, Filter, Form, Output, OutputError};

const BUFFER: usize = 64 * 1024;

/// See the module.
pub struct Stdout {
    out: io::BufWriter<io::Stdout>,
    form: Form,
    filter: Filter,
    counters: Arc<Counters>,
}

impl Stdout {
    /// Standard output, which takes these events in this form.
    pub fn new(form: Form, filter: Filter) -> Self {
        let out = io::BufWriter::with_capacity(BUFFER, io::stdout());
        Self { out, form, filter, counters: Arc::new(Counters::new("standard output")) }
    }
}

impl Output for Stdout {
    fn form(&self) -> Form {
        self.form
    }

    fn filter(&self) -> Filter {
        self.filter
    }

    fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    fn write(&mut self, batch: &Batch) -> Result<(), OutputError> {
        let bytes = batch.in_form(self.form);
        self.out.write_all(bytes).map_err(failed)?;
        self.counters.send(batch.len() as u64);
        self.counters.acknowledge(batch.len() as u64, 0, bytes.len() as u64, Duration::ZERO);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        self.out.flush().map_err(failed)
    }
}

fn failed(error: io::Error) -> OutputError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => OutputError::Closed,
        _ => OutputError::Stdout(error),
    }
}
