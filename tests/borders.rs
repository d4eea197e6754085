//! The borders inside the crate: who may use whom, and where clocks, threads and prints are allowed.
//!
//! Read from the source text: a module's `use crate::…` and `crate::…` paths against the table below.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Module, and the modules that it may use; a module may always use itself. In the order that packets flow.
const MAY_USE: &[(&str, &[&str])] = &[
    ("bytes", &[]),
    ("text", &[]),
    ("net", &[]),
    ("civil", &["packet"]),
    ("packet", &[]),
    ("clock", &["packet"]),
    ("coding", &[]),
    ("memo", &[]),
    ("duration", &[]),
    ("capture", &["packet"]),
    ("decode", &["packet", "bytes"]),
    ("conn", &["packet", "decode"]),
    ("route", &["bytes", "clock", "conn", "decode", "observe", "packet"]),
    ("sensors", &["bytes", "catalogue", "conn", "detect", "observe", "packet", "proto", "text"]),
    (
        "pipeline",
        &[
            "conn", "decode", "detect", "flow", "judge", "observe", "packet", "process", "proto", "route", "session",
            "stream",
        ],
    ),
    ("judge", &["conn", "detect", "flow", "observe", "packet", "proto"]),
    ("process", &["conn", "packet"]),
    ("observe", &["conn", "detect", "flow", "packet", "proto"]),
    ("id", &["conn", "text"]),
    ("pair", &[]),
    ("table", &["packet"]),
    ("flow", &["conn", "decode", "packet", "pair", "table"]),
    ("stream", &["packet", "decode"]),
    ("session", &["conn", "packet", "pair", "table"]),
    ("proto", &["packet", "bytes", "coding", "conn", "decode", "stream"]),
    ("catalogue", &["text"]),
    ("detect", &["bytes", "catalogue", "coding", "conn", "memo", "packet", "proto", "civil", "text"]),
    ("rules", &["alert", "detect"]),
    ("export", &["catalogue", "correlate", "rules"]),
    ("alert", &["conn", "detect", "id", "packet"]),
    (
        "correlate",
        &["alert", "catalogue", "conn", "detect", "id", "memo", "observe", "packet", "proto", "civil", "net", "text"],
    ),
    (
        "event",
        &[
            "alert",
            "bytes",
            "catalogue",
            "conn",
            "decode",
            "detect",
            "flow",
            "id",
            "memo",
            "observe",
            "packet",
            "proto",
            "rules",
            "civil",
            "net",
            "text",
        ],
    ),
    (
        "publish",
        &[
            "alert",
            "catalogue",
            "conn",
            "correlate",
            "detect",
            "event",
            "flow",
            "id",
            "observe",
            "output",
            "packet",
            "net",
        ],
    ),
    ("output", &["alert", "id"]),
    ("metrics", &[]),
    ("live", &["catalogue", "conn", "packet", "process"]),
];

/// Modules that may read a clock.
const CLOCK: &[&str] = &["app", "output", "live", "metrics"];
/// Modules that may start threads.
const THREADS: &[&str] = &["app", "live", "metrics", "output"];
/// Modules that may print.
const PRINTS: &[&str] = &["app", "main", "testing"];

fn sources() -> Vec<PathBuf> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        let mut entries: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }
    let mut out = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut out);
    out
}

/// First part of the path below `src`, without `.rs`.
fn module(path: &Path) -> String {
    let below = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The source without its tests: everything before the first `#[cfg(test)]`, and nothing of files that are only tests.
fn code(path: &Path) -> String {
    if path.ends_with("tests.rs") || path.components().any(|c| c.as_os_str() == "tests") {
        return String::new();
    }
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Modules that a source file uses.
fn used(text: &str) -> BTreeSet<&str> {
    let paths = text.match_indices("crate::").flat_map(|(at, found)| {
        let rest = &text[at + found.len()..];
        match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default().split(',').collect::<Vec<_>>(),
            None => vec![rest],
        }
    });
    let names = paths.map(|rest| {
        let rest = rest.trim_start();
        &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]
    });
    names.filter(|used| used.starts_with(char::is_lowercase)).collect()
}

#[test]
fn modules_use_only_what_they_may() {
    let mut broken = Vec::new();
    for path in sources() {
        let name = module(&path);
        let Some((_, allowed)) = MAY_USE.iter().find(|(m, _)| *m == name) else { continue };
        for used in used(&code(&path)) {
            if used != name && !allowed.contains(&used) {
                broken.push(format!("{}: `{name}` may not use `{used}`", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What nobody needs is not allowed: otherwise the table says nothing of how the modules stand to each other.
#[test]
fn every_permission_is_used() {
    let mut used_by: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in sources() {
        let all = code(&path);
        used_by.entry(module(&path)).or_default().extend(used(&all).into_iter().map(str::to_owned));
    }
    let mut unused = Vec::new();
    for (name, allowed) in MAY_USE {
        let Some(used) = used_by.get(*name) else {
            unused.push(format!("there is no `{name}`"));
            continue;
        };
        unused.extend(allowed.iter().filter(|a| !used.contains(**a)).map(|a| format!("`{name}` does not use `{a}`")));
    }
    assert!(unused.is_empty(), "{}", unused.join("\n"));
}

#[test]
fn clocks_threads_and_prints_stay_at_the_edge() {
    let rules: &[(&[&str], &[&str])] = &[
        (&["Instant::now", "SystemTime::now", ".elapsed()"], CLOCK),
        (&["thread::spawn", "thread::scope", "thread::Builder"], THREADS),
        (&["println!", "eprintln!", "print!(", "stdout()", "stderr()"], PRINTS),
    ];
    let mut broken = Vec::new();
    for path in sources() {
        let text = code(&path);
        let place = path.to_string_lossy().into_owned();
        for (needles, allowed) in rules {
            let excused =
                allowed.iter().any(|a| place.contains(&format!("/{a}.rs")) || place.contains(&format!("/{a}/")))
                    || (needles.contains(&"println!") && place.contains("/output/"));
            for needle in needles.iter().filter(|_| !excused) {
                if text.contains(needle) {
                    broken.push(format!("{place}: {needle}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{} does not begin with what it is", path.display());
    }
}
