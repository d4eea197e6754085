//! The program's edge: the only place that spawns threads, makes channels, reads a clock, handles signals and prints.

// Messages for the user are this module's to print.
#![allow(clippy::print_stderr)]

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use clap::CommandFactory;

use crate::alert::{Rule, Severity};
use crate::capture::{self, Filter};
use crate::cli::{Args, Command, Engine, Flavour};
use crate::config::{Config, ConfigError, Inputs};
use crate::detect::Signal;
use crate::event::{Harmless, harmless_lines};
use crate::output::{self, Destination, OutputError};

mod events;
mod feed;
mod handover;
#[cfg(target_os = "linux")]
mod identify;
mod inbox;
pub mod inline;
#[cfg_attr(not(target_os = "linux"), path = "elsewhere.rs")]
mod live;
mod progress;
mod publisher;
mod receivers;
pub mod replay;
mod report;
mod run;
mod state;
mod stream;
mod threads;
mod worker;
mod writer;

use handover::Handover;
pub use report::Report;

/// Exit statuses (contract section 1).
mod status {
    pub(super) const FAILED: u8 = 1;
    pub(super) const USAGE: u8 = 2;
    pub(super) const ALERTED: u8 = 3;
}

/// Does what was typed; messages go to stderr.
pub fn run(args: Args) -> ExitCode {
    let outcome = match &args.command {
        Some(command) => other(command),
        None => watch(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) if error.downcast_ref::<ConfigError>().is_some() => {
            tell_error(&error);
            ExitCode::from(status::USAGE)
        }
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tell_error(&error);
            ExitCode::from(status::FAILED)
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let broken = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
    error.downcast_ref::<io::Error>().is_some_and(broken)
        || matches!(error.downcast_ref::<OutputError>(), Some(OutputError::Closed))
}

fn watch(args: &Args) -> anyhow::Result<ExitCode> {
    let config = Config::resolve(&args.run)?;
    compile(&config.filter)?;
    let stop = Arc::new(AtomicBool::new(false));
    let report = match &config.inputs {
        Inputs::Files(paths) => {
            let inputs = capture::expand(paths);
            refuse_to_overwrite(&inputs, &config.outputs, config.state.as_deref())?;
            let mut handover = Handover::new(&config, &inputs)?;
            let mut outputs = output::open(&handover.others, &say())?;
            outputs.extend(handover.outputs());
            replay::on_signals(&stop)?;
            let report = replay::replay(&config, inputs, outputs, &stop);
            handover.finish(&report)?;
            if report.inputs == 0 && report.failures == 0 && !stop.load(Ordering::Relaxed) {
                tell_user(format_args!("nothing was read: there are no captures and no events in what was named"));
            }
            report
        }
        Inputs::Live(_) if config.outputs.iter().any(|one| matches!(one.destination, Destination::Report(_))) => {
            let how =
                "a report is written when a replay has ended; live, write NDJSON and run `imdswatch report` over it";
            return Err(ConfigError::Invalid(how.into()).into());
        }
        Inputs::Live(interfaces) => live::watch(&config, interfaces, args.run.config.as_deref(), &stop)?,
    };
    if !config.quiet {
        let _ = report.print(&mut io::stderr().lock());
    }
    if config.suggest_allow {
        let _ = write!(io::stderr(), "{}", report.suggestions());
    }
    Ok(exit_code(&report, config.fail_on))
}

/// Writes one line to stderr: whatever is in file names, arguments and messages of others, it stays one line and text.
fn tell_user(text: impl Display) {
    // Who reads may be gone: that is no reason to stop watching.
    let _ = writeln!(io::stderr(), "imdswatch: {}", Harmless(text));
}

/// The same for what ended a command; what is wrong in a file is shown with its lines.
fn tell_error(error: &anyhow::Error) {
    match error.downcast_ref() {
        Some(ConfigError::Parse { path, text }) => {
            let _ = writeln!(io::stderr(), "imdswatch: {}: {}", Harmless(path.display()), harmless_lines(text));
        }
        _ => tell_user(format_args!("{error:#}")),
    }
}

/// How outputs talk to the user.
fn say() -> output::Say {
    Arc::new(|text| tell_user(text))
}

/// An input that is an output as well would be written to while it is read.
fn refuse_to_overwrite(
    inputs: &[Result<capture::Listed, capture::CaptureError>],
    outputs: &[output::Settings],
    state: Option<&Path>,
) -> Result<(), ConfigError> {
    let inputs: Vec<_> = inputs.iter().flatten().filter_map(|listed| identity(input_path(&listed.input)?)).collect();
    let paths = outputs.iter().filter_map(|output| match &output.destination {
        Destination::Path(path) => Some(path.as_path()),
        _ => None,
    });
    let paths = paths.map(|path| ("-o", path)).chain(state.map(|path| ("--state", path)));
    let mut both = paths.filter(|(_, path)| identity(path).is_some_and(|file| inputs.contains(&file)));
    both.next().map_or(Ok(()), |(flag, path)| {
        let path = path.display();
        Err(ConfigError::Invalid(format!("{flag} {path}: this file is read by the same run; write to another")))
    })
}

fn input_path(input: &capture::Input) -> Option<&Path> {
    match input {
        capture::Input::Path(path) => Some(path),
        capture::Input::Stdin => None,
    }
}

/// What tells one regular file from another.
#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().ok().filter(std::fs::Metadata::is_file).map(|file| (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<std::path::PathBuf> {
    path.canonicalize().ok()
}

/// A filter that cannot be compiled is a usage error; the runs compile it again, each for itself.
fn compile(filter: &[String]) -> Result<Filter, ConfigError> {
    Filter::compile(filter).map_err(|error| ConfigError::Invalid(error.to_string()))
}

/// 3 outranks 1: who asks for alerts must not miss one because of a damaged file. A closed standard output is a quiet end.
fn exit_code(report: &Report, fail_on: Option<Severity>) -> ExitCode {
    let alerted = fail_on.is_some_and(|floor| report.highest().is_some_and(|highest| highest >= floor));
    ExitCode::from(match (alerted, report.failed()) {
        (true, _) => status::ALERTED,
        (false, true) => status::FAILED,
        (false, false) => 0,
    })
}

/// Rule files for another engine.
fn export(engine: Engine) -> anyhow::Result<String> {
    let catalogue = crate::catalogue::Catalogue::builtin()?;
    Ok(match engine {
        Engine::Sigma => crate::export::sigma(&catalogue),
        Engine::Elastic => crate::export::elastic(&catalogue),
        Engine::Suricata => crate::export::suricata(&catalogue),
    })
}

/// What one rule or signal means.
fn explain(name: &str) -> Option<String> {
    let rule = Rule::ALL.iter().find(|rule| rule.id() == name);
    let signal = Signal::ALL.iter().find(|signal| signal.slug() == name);
    rule.map(|rule| crate::rules::page(*rule))
        .or_else(|| signal.map(|signal| format!("{name}: {}\n", crate::rules::signal(*signal))))
}

fn other(command: &Command) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    match command {
        Command::Interfaces => live::interfaces(&mut out)?,
        Command::Helper { root, user } => live::help(root, user.as_deref())?,
        Command::Rules { export: Some(engine), .. } => out.write_all(export(*engine)?.as_bytes())?,
        Command::Rules { rule: None, .. } => out.write_all(crate::rules::list().as_bytes())?,
        Command::Rules { rule: Some(rule), .. } => match explain(rule) {
            Some(text) => out.write_all(text.as_bytes())?,
            None => {
                return Err(ConfigError::Invalid(format!(
                    "no rule or signal is called `{rule}`; `imdswatch rules` lists them"
                ))
                .into());
            }
        },
        Command::CheckConfig { config, file } => {
            let path = config.as_ref().or(file.as_ref());
            let path = path.ok_or_else(|| ConfigError::Invalid("check-config: name the configuration file".into()))?;
            let config = crate::config::check(path)?;
            compile(&config.filter)?;
            writeln!(out, "{}: good\n{}", path.display(), crate::config::summary(&config))?;
        }
        Command::ImportPacketbeat { file } => {
            let text =
                std::fs::read_to_string(file).map_err(|cause| ConfigError::Read { path: file.clone(), cause })?;
            let imported = crate::config::packetbeat::import(&text)
                .map_err(|text| ConfigError::Parse { path: file.clone(), text })?;
            out.write_all(imported.as_bytes())?;
        }
        Command::Habits { state: file } => {
            let habits = state::read(file).with_context(|| format!("cannot read the state file {}", file.display()))?;
            out.write_all(state::table(&habits).as_bytes())?;
        }
        Command::Mapping { flavour, data_stream } => {
            let opensearch = *flavour == Flavour::Opensearch;
            out.write_all(crate::event::fields::mapping(opensearch, *data_stream).as_bytes())?;
        }
        Command::Setup { outputs } => return receivers::set_up(outputs, &mut out),
        Command::Test { what, outputs } => return receivers::test(*what, outputs, &mut out),
        Command::Report { events, output } => {
            let sound = handover::write(events, output)?;
            return Ok(ExitCode::from(if sound { 0 } else { status::FAILED }));
        }
        Command::Man { to: None } => clap_mangen::Man::new(Args::command()).render(&mut out)?,
        Command::Man { to: Some(folder) } => clap_mangen::generate_to(Args::command(), folder)
            .with_context(|| format!("cannot write manual pages into {}", folder.display()))?,
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Args::command(), "imdswatch", &mut out);
        }
    }
    out.flush().context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}
