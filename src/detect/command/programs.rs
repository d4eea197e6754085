//! Programs, known by their names: what fetches, what runs a program given as an argument, and what asks nobody for what it
//! names.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::base_name;
use crate::conn::Process;

/// General tools and interpreters, by the beginning of their executable's name: what people and scripts fetch with.
const TOOLS: &[&str] = &[
    "curl",
    "wget",
    "http",
    "https",
    "xh",
    "aria2c",
    "lynx",
    "w3m",
    "links",
    "busybox",
    "nc",
    "ncat",
    "netcat",
    "socat",
    "telnet",
    "openssl",
    "python",
    "perl",
    "ruby",
    "node",
    "php",
    "lua",
    "powershell",
    "pwsh",
    "certutil",
    "bitsadmin",
];
/// Those among them that run a program given as an argument, and the options that it follows.
const INTERPRETERS: &[&str] = &["python", "pypy", "perl", "ruby", "node", "php", "lua", "powershell", "pwsh"];
const INLINE: &[&str] = &["-c", "-e", "-r", "-E", "-ne", "-pe", "--eval", "-command", "-enc", "-encodedcommand", "-ec"];

/// Programs that look for, show, write down, block or resolve what their arguments name, and fetch nothing of it.
const QUIET: &[&str] = &[
    // text
    "grep",
    "egrep",
    "fgrep",
    "zgrep",
    "rg",
    "ag",
    "ack",
    "findstr",
    "sed",
    "echo",
    "printf",
    "logger",
    "test",
    "[",
    "expr",
    "man",
    "touch",
    "mkdir",
    // filters and routes
    "iptables",
    "ip6tables",
    "ebtables",
    "nft",
    "ipset",
    "ufw",
    "firewall-cmd",
    "netsh",
    "ip",
    "route",
    // who is there, and what passes
    "ping",
    "fping",
    "traceroute",
    "tracert",
    "tracepath",
    "mtr",
    "dig",
    "nslookup",
    "host",
    "getent",
    "tcpdump",
    "tshark",
    "ss",
    "netstat",
];
/// The commands of Git that only record or search.
const QUIET_GIT: &[&str] = &["commit", "grep", "log", "tag", "blame", "notes"];
const SHELLS: &[&str] = &["sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "cmd"];

/// Whether a process's name is that of a general tool.
pub fn is_tool(name: &str) -> bool {
    begins_as(TOOLS, name)
}

/// Whether `name` is one of `known`, whatever version or `.exe` follows.
fn begins_as(known: &[&str], name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix(".exe").unwrap_or(&name);
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
    known.contains(&stem) || known.contains(&name)
}

/// Arguments, or the words of a command line.
fn words<'t>(process: &'t Process, line: &'t str) -> Vec<&'t str> {
    match process.args.as_slice() {
        [] => line.split_ascii_whitespace().take(64).collect(),
        args => args.iter().map(String::as_str).collect(),
    }
}

fn name(process: &Process) -> &str {
    process.executable.as_deref().map_or(process.name.as_str(), base_name)
}

/// Whether an interpreter runs a program that was given as an argument.
pub(super) fn is_inline(process: &Process, line: &str) -> bool {
    let is_interpreter = [name(process), &process.name].iter().any(|name| begins_as(INTERPRETERS, name));
    let is_option = |word: &&str| INLINE.iter().any(|option| word.eq_ignore_ascii_case(option));
    is_interpreter && words(process, line).iter().skip(1).take(8).any(is_option)
}

/// Whether a program fetches nothing of what its arguments name: also one alone that a shell was given.
pub(super) fn only_names(process: &Process, line: &str) -> bool {
    let words = words(process, line);
    if !begins_as(SHELLS, name(process)) {
        let skip = usize::from(begins_as(&["busybox"], name(process)));
        let program = if skip == 1 { words.get(1).copied() } else { Some(name(process)) };
        return program.is_some_and(|program| is_quiet(program, words.get(skip.saturating_add(1)).copied()));
    }
    let is_option = |word: &&str| word.eq_ignore_ascii_case("/c") || word.starts_with('-') && word.ends_with('c');
    let Some(option) = words.iter().take(4).position(is_option) else { return false };
    let script = words.get(option.saturating_add(1)..).unwrap_or_default().join(" ");
    let script = script.trim_matches(['"', '\'', ' ']);
    let runs_more = script.contains(['|', ';', '&', '`', '\n', '>', '<']) || script.contains("$(");
    let mut words = script.split_ascii_whitespace();
    !runs_more && words.next().is_some_and(|program| is_quiet(base_name(program), words.next()))
}

fn is_quiet(program: &str, first: Option<&str>) -> bool {
    begins_as(QUIET, program)
        || begins_as(&["git"], program) && first.is_some_and(|command| QUIET_GIT.contains(&command))
}
