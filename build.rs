//! Says what to install where libpcap is missing: the linker, which would notice long after, only says "cannot find -lpcap".

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for name in ["LIBPCAP_LIBDIR", "LIBPCAP_VER", "PKG_CONFIG_PATH", "LIBRARY_PATH", "RUSTFLAGS"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let target = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    // Windows loads Npcap when it is asked for; documentation is not linked.
    if target == "windows" || env::var_os("DOCS_RS").is_some() {
        return;
    }
    let problem = match env::var_os("LIBPCAP_LIBDIR") {
        Some(folder) if library_lies_in(Path::new(&folder)) => return,
        Some(folder) => format!("LIBPCAP_LIBDIR is {}, where no libpcap lies.", Path::new(&folder).display()),
        None if found() => return,
        None => {
            "libpcap, the library that packets are captured with, is not installed with what building needs.".into()
        }
    };
    println!("cargo::error={problem}");
    println!("cargo::error={}", advice(&target, &distribution()));
    println!("cargo::error=If it lies elsewhere, set LIBPCAP_LIBDIR to the folder that has libpcap.so or libpcap.a.");
}

/// What the linker would take from a folder.
fn library_lies_in(folder: &Path) -> bool {
    ["libpcap.so", "libpcap.a", "libpcap.dylib", "libpcap.tbd"].iter().any(|name| folder.join(name).exists())
}

/// Whether the linker will find it. Cross-compilers have search paths of their own, which only they know: with no linker
/// named, they are believed.
fn found() -> bool {
    let linker = env::var_os("RUSTC_LINKER");
    if linker.is_none() && env::var("HOST") != env::var("TARGET") {
        return true;
    }
    pkg_config() || links(&linker.unwrap_or_else(|| "cc".into()))
}

fn pkg_config() -> bool {
    let program = env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let quiet =
        Command::new(program).args(["--exists", "libpcap"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// Tries a program without a line of libpcap: neither headers nor a version are asked for, as the build asks for none.
fn links(linker: &std::ffi::OsStr) -> bool {
    let Some(folder) = env::var_os("OUT_DIR") else { return true };
    let (source, program) = (Path::new(&folder).join("probe.c"), Path::new(&folder).join("probe"));
    if std::fs::write(&source, "int main(void) { return 0; }\n").is_err() {
        return true;
    }
    let mut command = Command::new(linker);
    command.arg(&source).arg("-lpcap").arg("-o").arg(&program);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// `ID` and `ID_LIKE` of os-release, nearest first.
fn distribution() -> Vec<String> {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.trim_matches('"').split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    [value("ID="), value("ID_LIKE=")].concat()
}

/// The command that installs it.
fn advice(target: &str, distribution: &[String]) -> String {
    if target == "macos" {
        return "Install Apple's command line tools, which have it: xcode-select --install".into();
    }
    const COMMANDS: [(&[&str], &str); 5] = [
        (&["debian", "ubuntu"], "sudo apt-get install libpcap-dev pkg-config"),
        (&["fedora", "rhel", "centos", "amzn"], "sudo dnf install libpcap-devel pkgconf"),
        (&["alpine"], "sudo apk add libpcap-dev pkgconf musl-dev"),
        (&["arch"], "sudo pacman -S libpcap pkgconf"),
        (&["suse", "opensuse", "sles"], "sudo zypper install libpcap-devel pkg-config"),
    ];
    let here = |(names, _): &&(&[&str], &str)| distribution.iter().any(|id| names.contains(&id.as_str()));
    if let Some((_, command)) = COMMANDS.iter().find(here) {
        return format!("Install it: {command}");
    }
    let all: Vec<_> = COMMANDS.iter().map(|(names, command)| format!("{}: {command}", names[0])).collect();
    format!("Install it ({})", all.join("; "))
}
