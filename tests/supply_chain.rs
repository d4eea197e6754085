//! What the program is made of: licences, banned crates, versions that come twice, sources, compiler; by `deny.toml`.
//!
//! cargo-deny checks the same and more (advisories) where it is installed and has the network. This needs neither.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use serde::Deserialize;

#[derive(Deserialize)]
struct Deny {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Named>,
    skip: Vec<Named>,
}

/// `NAME` or `NAME@VERSION`.
#[derive(Deserialize)]
struct Named {
    #[serde(rename = "crate")]
    name: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    rust_version: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    req: String,
}

static ROOT: LazyLock<&Path> = LazyLock::new(|| Path::new(env!("CARGO_MANIFEST_DIR")));
static DENY: LazyLock<Deny> = LazyLock::new(|| toml::from_str(&read("deny.toml")).expect("deny.toml"));
static PACKAGES: LazyLock<Vec<Package>> = LazyLock::new(packages);

fn read(name: &str) -> String {
    std::fs::read_to_string(ROOT.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// All crates that are compiled for one of the targets, tests' own among them.
fn packages() -> Vec<Package> {
    let platforms = DENY.graph.targets.iter().flat_map(|target| ["--filter-platform", target.as_str()]);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--all-features"])
        .args(platforms)
        .current_dir(*ROOT)
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all: Metadata = serde_json::from_slice(&output.stdout).expect("cargo metadata");
    let compiled: BTreeSet<_> = all.resolve.nodes.into_iter().map(|node| node.id).collect();
    all.packages.into_iter().filter(|package| compiled.contains(&package.id)).collect()
}

/// The licences of an SPDX expression that are relied on: all of an `AND`, the first allowed of an `OR`; `None` where one is missing.
/// `/` is the old way to write `OR`.
fn relied_on<'a>(expression: &'a str, allowed: &BTreeSet<String>) -> Option<BTreeSet<&'a str>> {
    let split = |operators: &[&str]| top_level(expression, operators);
    let expression = expression.trim();
    if let Some((left, right)) = split(&[" OR ", "/"]) {
        return relied_on(left, allowed).or_else(|| relied_on(right, allowed));
    }
    if let Some((left, right)) = split(&[" AND "]) {
        return Some(relied_on(left, allowed)?.union(&relied_on(right, allowed)?).copied().collect());
    }
    if let Some(inner) = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        return relied_on(inner, allowed);
    }
    allowed.contains(expression).then(|| BTreeSet::from([expression]))
}

/// Both sides of the first of the operators that stands in no brackets.
fn top_level<'a>(expression: &'a str, operators: &[&str]) -> Option<(&'a str, &'a str)> {
    let mut depth = 0_i32;
    for (at, character) in expression.char_indices() {
        depth += i32::from(character == '(') - i32::from(character == ')');
        let rest = expression.get(at..)?;
        if let Some(operator) = operators.iter().find(|operator| depth == 0 && rest.starts_with(**operator)) {
            return Some((expression.get(..at)?, rest.get(operator.len()..)?));
        }
    }
    None
}

/// Major and minor number.
fn release(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|number| number.parse().expect("a number"));
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}

#[test]
fn expressions_of_licences_are_read() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "ISC".to_owned()]);
    for (expression, found) in [
        ("MIT", Some("MIT")),
        ("GPL-3.0-only", None),
        ("GPL-3.0-only OR MIT", Some("MIT")),
        ("GPL-3.0-only/MIT", Some("MIT")),
        ("MIT AND ISC", Some("ISC MIT")),
        ("MIT AND GPL-3.0-only", None),
        ("(GPL-3.0-only OR ISC) AND MIT", Some("ISC MIT")),
        ("(GPL-3.0-only AND ISC) OR (MIT)", Some("MIT")),
        ("MIT WITH LLVM-exception", None),
    ] {
        let relied = relied_on(expression, &allowed).map(|some| some.into_iter().collect::<Vec<_>>().join(" "));
        assert_eq!(relied.as_deref(), found, "{expression}");
    }
}

#[test]
fn every_licence_is_allowed_and_every_allowed_one_is_needed() {
    let mut needed = BTreeSet::new();
    for package in PACKAGES.iter() {
        let expression = package.license.as_deref().unwrap_or_else(|| panic!("{} has no licence", package.name));
        let relied = relied_on(expression, &DENY.licenses.allow);
        needed.extend(relied.unwrap_or_else(|| panic!("{} {}: {expression}", package.name, package.version)));
    }
    let allowed: BTreeSet<_> = DENY.licenses.allow.iter().map(String::as_str).collect();
    assert_eq!(needed, allowed, "deny.toml allows a licence that nothing needs");
}

#[test]
fn no_crate_is_one_that_is_banned() {
    let banned: BTreeSet<_> = DENY.bans.deny.iter().map(|ban| ban.name.as_str()).collect();
    let found: Vec<_> = PACKAGES.iter().filter(|package| banned.contains(package.name.as_str())).collect();
    assert!(found.is_empty(), "{:?}", found.iter().map(|package| &package.id).collect::<Vec<_>>());
}

#[test]
fn no_crate_comes_in_two_versions_but_those_that_are_listed() {
    let mut versions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for package in PACKAGES.iter() {
        let whole = format!("{}@{}", package.name, package.version);
        versions.entry(&package.name).or_default().insert(whole);
    }
    let mut skipped: BTreeSet<_> = DENY.bans.skip.iter().map(|skip| skip.name.clone()).collect();
    for (name, several) in versions.into_iter().filter(|(_, several)| several.len() > 1) {
        let left: Vec<_> = several.iter().filter(|one| !skipped.remove(*one)).collect();
        assert_eq!(left.len(), 1, "{name}: {left:?}");
    }
    assert!(skipped.is_empty(), "deny.toml skips what does not come twice: {skipped:?}");
}

#[test]
fn every_crate_is_of_the_registry_and_of_a_version_that_is_bounded() {
    for package in PACKAGES.iter() {
        let own = package.name == env!("CARGO_PKG_NAME");
        let source = package.source.as_deref();
        let registry =
            source.is_some_and(|source| source.starts_with("registry+") && source.ends_with("/crates.io-index"));
        assert!(own || registry, "{}: {source:?}", package.name);
        let open = package.dependencies.iter().find(|dependency| dependency.req == "*" && own);
        assert!(open.is_none(), "any version of {} would do", open.map_or("", |dependency| &dependency.name));
    }
}

#[test]
fn cargo_lock_has_a_checksum_of_every_crate() {
    let lock: toml::Table = read("Cargo.lock").parse().expect("Cargo.lock");
    let locked = lock["package"].as_array().expect("packages");
    let without: Vec<_> = locked.iter().filter(|package| package.get("checksum").is_none()).collect();
    assert!(locked.len() > 100 && without.len() == 1, "{without:?}");
}

#[test]
fn the_compiler_that_is_promised_is_enough_and_is_named_everywhere() {
    let promised = env!("CARGO_PKG_RUST_VERSION");
    let wanting = PACKAGES.iter().filter_map(|package| Some((&package.name, package.rust_version.as_deref()?)));
    for (name, version) in wanting {
        assert!(release(version) <= release(promised), "{name} wants Rust {version}");
    }
    for (file, line) in [
        ("scripts/setup.sh", format!("need_rust={promised}\n")),
        ("packaging/Dockerfile", format!("FROM rust:{promised}-slim-")),
        (".github/workflows/release.yml", format!("rustup toolchain install {promised} ")),
    ] {
        // A package from the registry has no folders of packaging.
        if ROOT.join(file).exists() {
            assert!(read(file).contains(&line), "{file} lacks {line}");
        }
    }
}
