//! What was typed: the command line as `clap` reads it. Opens nothing and decides nothing; [`crate::config`] gives it meaning.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::alert::Severity;

/// Watches packets for theft of cloud credentials through instance metadata services (IMDS).
#[derive(Parser, Debug)]
#[command(name = "imdswatch", version, about, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
#[command(
    after_help = "Exit status: 0 done; 1 something failed (what could be read was read); 2 usage or configuration; \
                        3 --fail-on met.\n\nExamples:\n  imdswatch -r capture.pcap\n  imdswatch -r captures/ -e all -o events.ndjson\n  \
                        imdswatch -i eth0 -e alerts port 80 or port 53"
)]
pub struct Args {
    /// Another thing to do than watching.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Flags of a run.
    #[command(flatten)]
    pub run: Run,
}

/// Flags of a run over files or interfaces.
#[derive(ClapArgs, Debug, Default)]
pub struct Run {
    /// Replay a capture (pcap, pcapng, snoop) or events of other sensors (NDJSON, Zeek's tables, audit records), also
    /// .gz .zst .lz4; `-` is stdin, a folder is read recursively; repeatable
    #[arg(short = 'r', long = "read", value_name = "FILE", conflicts_with = "interface")]
    pub read: Vec<PathBuf>,

    /// Watch a network interface; `any` is all of them (Linux); repeatable
    #[arg(short = 'i', long = "interface", value_name = "IFACE")]
    pub interface: Vec<String>,

    /// What is written: alerts; alerts and metadata traffic; everything as Packetbeat would [default: metadata]
    #[arg(short = 'e', long, value_name = "WHAT")]
    pub events: Option<EventSet>,

    /// Where to write: `-` is stdout, FILE.html a report of a replay, else a path or the URL of a receiver
    /// (elasticsearch+https://, kafka://, logstash://, syslog+tcp://, redis://, webhook+https://, otlp+https:// and others);
    /// repeatable [default: -]
    #[arg(short = 'o', long, value_name = "DEST")]
    pub output: Vec<String>,

    /// Configuration file (TOML); flags win over it
    #[arg(short = 'c', long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// How to write [default: text on a terminal, ndjson elsewhere]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,

    /// Shape of the events [default: packetbeat]
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<Profile>,

    /// Leave out alerts below this severity
    #[arg(long, value_name = "SEVERITY")]
    pub min_severity: Option<Severity>,

    /// Exit with 3 if an alert of this severity or above was raised
    #[arg(long, value_name = "SEVERITY")]
    pub fail_on: Option<Severity>,

    /// Do not look for metadata addresses in other traffic; live, the kernel then hands on metadata services and DNS only
    #[arg(long)]
    pub no_ssrf: bool,

    /// Worker threads [default: by number of cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// One bound over all tables, with a unit: 64M, 1G [default: 512M]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub memory: Option<u64>,

    /// Bytes captured of each packet, live; 0 is the default [default: 262144]
    #[arg(long, value_name = "N")]
    pub snaplen: Option<u32>,

    /// Size of the kernel's capture ring for each interface, live [default: 16M; of all together a quarter of --memory]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub buffer: Option<u64>,

    /// Do not put the interface into promiscuous mode, live
    #[arg(short = 'p', long)]
    pub no_promisc: bool,

    /// No progress and no closing summary
    #[arg(long)]
    pub quiet: bool,

    /// Say more on stderr; twice: more still
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Serve Prometheus metrics, /healthz and /readyz here
    #[arg(long, value_name = "ADDR:PORT")]
    pub metrics: Option<std::net::SocketAddr>,

    /// Write a `type: stats` event every so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub stats: Option<u64>,

    /// Switch to this user after opening the capture
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,

    /// Where the host's file system is mounted, for process names from inside a container
    #[arg(long, value_name = "DIR")]
    pub hostfs: Option<PathBuf>,

    /// Do not watch process starts, live
    #[arg(long)]
    pub no_processes: bool,

    /// Do not confine the process (seccomp, Landlock)
    #[arg(long)]
    pub no_sandbox: bool,

    /// Start a new output file at this size or age: 100M, 1h (with -o PATH)
    #[arg(long, value_name = "SIZE|TIME")]
    pub rotate: Option<String>,

    /// Keep this many rotated files [default: 7]
    #[arg(long, value_name = "N")]
    pub keep: Option<usize>,

    /// What was learned of this network's usual clients, kept over restarts
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,

    /// After a replay, print allow-list entries for what was seen
    #[arg(long)]
    pub suggest_allow: bool,

    /// BPF expression, as with tcpdump
    #[arg(trailing_var_arg = true, value_name = "FILTER")]
    pub filter: Vec<String>,
}

/// Things to do besides watching.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List capture interfaces, their addresses, and whether they can be opened
    Interfaces,
    /// Show who is usual here, by a state file
    Habits {
        /// The file of `--state`
        #[arg(long, value_name = "FILE", default_value = "/var/lib/imdswatch/state.json")]
        state: PathBuf,
    },
    /// List what is detected; with RULE, explain one rule or signal
    Rules {
        /// Rule id or signal slug
        rule: Option<String>,
        /// Print rule files for another engine, made of the catalogue
        #[arg(long, value_name = "ENGINE", conflicts_with = "rule")]
        export: Option<Engine>,
    },
    /// Check a configuration file and print its meaning
    CheckConfig {
        /// Configuration file (TOML)
        #[arg(short = 'c', long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Configuration file (TOML)
        #[arg(value_name = "FILE", conflicts_with = "config")]
        file: Option<PathBuf>,
    },
    /// Print the TOML that equals a packetbeat.yml, and say what has no equal
    ImportPacketbeat {
        /// packetbeat.yml
        file: PathBuf,
    },
    /// Print the index template of our fields
    Mapping {
        /// Which of the two it is for: they name some types differently
        #[arg(long = "for", value_name = "WHAT", default_value = "elasticsearch")]
        flavour: Flavour,
        /// Make data streams of the indices that it is for
        #[arg(long)]
        data_stream: bool,
    },
    /// Put the index template (and the pipeline, if one is named) into each output that has an index
    Setup {
        /// Which outputs
        #[command(flatten)]
        outputs: Destinations,
    },
    /// Check a configuration's outputs, or connect to each and send a test event
    Test {
        /// What
        what: TestWhat,
        /// Which outputs
        #[command(flatten)]
        outputs: Destinations,
    },
    /// Looks at processes of other users for a live run, which starts it by itself
    #[command(hide = true)]
    Helper {
        /// Where the host's file system is
        root: PathBuf,
        /// User to become
        user: Option<String>,
    },
    /// Write one HTML file that can be handed over, from events that were written earlier
    Report {
        /// NDJSON as this program writes it, also .gz .zst; `-` is stdin, a folder is read recursively
        #[arg(required = true, value_name = "EVENTS")]
        events: Vec<PathBuf>,
        /// The report; one that is there is replaced
        #[arg(short = 'o', long, value_name = "FILE.html")]
        output: PathBuf,
    },
    /// Print the manual page, or write one for each command
    Man {
        /// Write `imdswatch.1` and a page for each command (`imdswatch-rules.1` and so on) into this folder
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
    },
    /// Print a completion script
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// `rules --export`
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Sigma rules (YAML)
    Sigma,
    /// Detection rules of Elastic Security (NDJSON, as Kibana imports them)
    Elastic,
    /// Suricata rules
    Suricata,
}

/// Outputs, from a configuration file or one by one.
#[derive(ClapArgs, Debug, Default)]
pub struct Destinations {
    /// Configuration file (TOML)
    #[arg(short = 'c', long, value_name = "FILE", required_unless_present = "output")]
    pub config: Option<PathBuf>,
    /// A URL or path
    #[arg(short = 'o', long, value_name = "DEST")]
    pub output: Vec<String>,
}

/// What `test` tests.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestWhat {
    /// Settings, certificates and secrets; connects to nothing
    Config,
    /// Resolves, connects, authenticates, and sends an event that says it is a test
    Output,
}

/// What a mapping is for.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Elasticsearch 7.10 or later
    Elasticsearch,
    /// OpenSearch 2.15 or later
    Opensearch,
}

/// `--events`
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventSet {
    /// Alerts only
    Alerts,
    /// Alerts, and transactions and flows that touch a metadata service
    #[default]
    Metadata,
    /// All transactions and flows
    All,
}

/// `--format`
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object per line
    Ndjson,
    /// One readable line per alert
    Text,
}

/// `--profile`
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// As Packetbeat writes
    #[default]
    Packetbeat,
    /// As Elastic's network_traffic integration: event.module, data_stream, dotted datasets
    #[value(name = "network_traffic")]
    NetworkTraffic,
}

impl ValueEnum for Severity {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Low, Self::Medium, Self::High, Self::Critical]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.name()))
    }
}

/// A size in bytes: digits and an optional unit K, M or G (powers of 1024), with or without a following B.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| format!("`{text}` is no size; write it like 64M or 1G"))?;
    let shift = match unit.trim_end_matches(['b', 'B']).trim_end_matches('i') {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        _ => return Err(format!("`{unit}` is no unit of size; write K, M or G")),
    };
    number.checked_mul(1 << shift).ok_or_else(|| format!("`{text}` is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn trailing_words_are_a_filter_even_with_dashes() {
        let args = Args::parse_from([
            "imdswatch",
            "-r",
            "a.pcap",
            "tcp",
            "port",
            "80",
            "and",
            "tcp[13]",
            "&",
            "-2",
            "!=",
            "0",
        ]);
        assert_eq!(args.run.filter.join(" "), "tcp port 80 and tcp[13] & -2 != 0");
        assert!(args.command.is_none());
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("64M"), Ok(64 << 20));
        assert_eq!(parse_size("1GiB"), Ok(1 << 30));
        assert_eq!(parse_size("17"), Ok(17));
        assert!(parse_size("1T").is_err() && parse_size("M").is_err() && parse_size("99999999999G").is_err());
    }
}
