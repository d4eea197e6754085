//! The program: what was typed goes to [`imdswatch::app`], what comes back is the exit status.

use std::process::ExitCode;

use clap::Parser;
use imdswatch::{app, cli};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    app::run(cli::Args::parse())
}
