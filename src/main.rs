//! The program: what was typed goes to [`imdswatch::app`], what comes back is the exit status.

use std::process::ExitCode;

use clap::Parser;
use imdswatch::event::Harmless;
use imdswatch::{app, cli};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    app::run(cli::Args::try_parse().unwrap_or_else(|error| refuse(&error)))
}

/// Says what is wrong with what was typed. What is quoted of it cannot steer a terminal, or pass for another line.
fn refuse(error: &clap::Error) -> ! {
    let typed = std::env::args_os().map(|arg| Harmless(arg.to_string_lossy()).to_string());
    match cli::Args::try_parse_from(typed) {
        Err(same) => same.exit(),
        Ok(_) => error.exit(),
    }
}
