//! Outputs of the real program that meet files of others, pipes without readers, and receivers that are not there.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::panic)]

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const THEFT: &str = "pcaps/aws/theft-through-curl/input.pcap";

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imdswatch"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).arg("--quiet");
    command
}

fn run(args: &[&str]) -> (i32, String) {
    result(&program().args(args).output().unwrap())
}

fn result(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_is_read_is_never_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let (input, link) = (dir.path().join("input.pcap"), dir.path().join("link"));
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(THEFT), &input).unwrap();
    std::os::unix::fs::symlink(&input, &link).unwrap();
    let before = fs::read(&input).unwrap();
    for output in [&input, &link] {
        let (status, said) = run(&["-r", text(&input), "-o", text(output)]);
        assert_eq!(status, 2, "{said}");
        assert!(said.contains("read by the same run"), "{said}");
        assert_eq!(fs::read(&input).unwrap(), before);
    }
}

#[test]
fn files_of_others_are_left_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("precious");
    for bytes in [&b"\0\x01\x02 binary\n tail without an end"[..], b"a,b\n1,2\n", b"{\"a\": 1}"] {
        fs::write(&path, bytes).unwrap();
        let (status, said) = run(&["-r", THEFT, "-o", text(&path)]);
        assert_eq!(status, 1, "{said}");
        assert!(said.contains("does not end as an output of ours does"), "{said}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    let (status, said) = run(&["-r", THEFT, "-o", "/dev/zero"]);
    assert_eq!(status, 1, "{said}");
}

#[test]
fn a_torn_line_of_our_own_is_cut_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.ndjson");
    assert_eq!(run(&["-r", THEFT, "-o", text(&path)]).0, 0);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 10]).unwrap();
    let (status, said) = run(&["-r", THEFT, "-o", text(&path), "-e", "alerts"]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("a torn last line of"), "{said}");
    let after = fs::read_to_string(&path).unwrap();
    assert!(after.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}

#[test]
fn a_pipe_without_a_reader_does_not_hang() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let file = dir.path().join("events.ndjson");
    let began = Instant::now();
    let (status, said) = run(&["-r", THEFT, "-o", text(&pipe), "-o", text(&file)]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("nobody reads this pipe"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    assert!(fs::read_to_string(&file).unwrap().lines().count() > 2, "the other output has everything");
}

#[test]
fn a_reader_that_comes_a_little_later_gets_everything() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let child = program().args(["-r", THEFT, "-o", text(&pipe)]).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let mut read = String::new();
    fs::File::open(&pipe).unwrap().read_to_string(&mut read).unwrap();
    let (status, said) = result(&child.wait_with_output().unwrap());
    assert_eq!(status, 0, "{said}");
    let expected = program().args(["-r", THEFT]).output().unwrap().stdout;
    assert_eq!(read.as_bytes(), expected);
}

#[test]
fn a_closed_standard_output_ends_that_output_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.ndjson");
    let inputs = (0..20).flat_map(|_| ["-r", "pcaps/aws"]);
    let mut child = program()
        .args(["-e", "all", "-o", "-", "-o", text(&file)])
        .args(inputs)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let (status, said) = result(&child.wait_with_output().unwrap());
    assert_eq!(status, 0, "{said}");
    let alone = dir.path().join("alone.ndjson");
    let inputs = (0..20).flat_map(|_| ["-r", "pcaps/aws"]);
    assert!(program().args(["-e", "all", "-o", text(&alone)]).args(inputs).status().unwrap().success());
    assert_eq!(fs::metadata(&file).unwrap().len(), fs::metadata(&alone).unwrap().len());
}

#[test]
fn outputs_take_what_they_are_configured_for() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("imdswatch.toml");
    let at = |name: &str| dir.path().join(name);
    let toml = format!(
        "[[output]]\nto = {:?}\nevents = \"all\"\n[[output]]\nto = {:?}\nevents = \"metadata\"\n\
         [[output]]\nto = {:?}\nevents = \"alerts\"\nmin_severity = \"critical\"\n",
        at("all"),
        at("metadata"),
        at("worst")
    );
    fs::write(&config, toml).unwrap();
    let (status, said) = run(&["-r", "pcaps", "-c", text(&config)]);
    assert!(status <= 1, "{said}");
    for (name, events) in [("all", "all"), ("metadata", "metadata")] {
        let expected = program().args(["-r", "pcaps", "-e", events]).output().unwrap().stdout;
        let lines = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines(&fs::read(at(name)).unwrap()), lines(&expected), "as if it were the only output: {name}");
    }
    let worst = fs::read_to_string(at("worst")).unwrap();
    assert!(worst.lines().count() > 10);
    assert!(worst.lines().all(|line| line.contains("\"kind\":\"alert\"") && line.contains("\"severity\":99")));
}

/// Two captures (pcap, little-endian) in one: the second begins so many seconds after the first.
fn joined(first: &str, second: &str, gap: u32) -> Vec<u8> {
    let read = |path: &str| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let (first, second) = (read(first), read(second));
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (begin, later) = (word(&first, 24), word(&second, 24));
    let (mut all, mut rest) = (first, &second[24..]);
    while let Some((head, body)) = rest.split_at_checked(16) {
        let (packet, others) = body.split_at(word(head, 8) as usize);
        all.extend((word(head, 0) - later + begin + gap).to_le_bytes());
        all.extend(&head[4..]);
        all.extend(packet);
        rest = others;
    }
    all
}

/// A leap of the clock is not believed before the second packet behind it: the first is not lost all the same.
#[test]
fn what_begins_behind_a_long_gap_is_whole_whatever_else_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let toml = format!(
        "[[output]]\nto = {:?}\nevents = \"all\"\n[[output]]\nto = {:?}\nevents = \"metadata\"\n",
        at("all"),
        at("metadata")
    );
    fs::write(at("imdswatch.toml"), toml).unwrap();
    for second in
        ["pcaps/ssrf/forged-host/input.pcap", "pcaps/ssrf/refused/input.pcap", "pcaps/dns/over-tcp/input.pcap"]
    {
        fs::write(at("gap.pcap"), joined(THEFT, second, 3 * 3600)).unwrap();
        ["all", "metadata"].iter().for_each(|name| drop(fs::remove_file(at(name))));
        let (status, said) = run(&["-r", text(&at("gap.pcap")), "-c", text(&at("imdswatch.toml"))]);
        assert_eq!(status, 0, "{said}");
        let alone = program().args(["-r", text(&at("gap.pcap")), "-e", "metadata"]).output().unwrap().stdout;
        assert!(fs::read(at("metadata")).unwrap() == alone, "as if it were the only output: {second}");
    }
}

#[test]
fn a_receiver_that_is_not_there_is_given_up_and_what_it_did_not_take_is_said() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("imdswatch.toml");
    let file = dir.path().join("events.ndjson");
    let toml = format!(
        "[[output]]\nto = \"elasticsearch+http://u:s3cr3t@{closed}/x\"\ngive_up = \"1s\"\nbackoff = \"200ms\"\n\
         [[output]]\nto = {file:?}\n"
    );
    fs::write(&config, toml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_imdswatch"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["-r", THEFT, "-c", text(&config)]);
    let began = Instant::now();
    let (status, said) = result(&command.output().unwrap());
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("gave up") && said.contains("alerts lost by") && !said.contains("s3cr3t"), "{said}");
    assert!(fs::read_to_string(&file).unwrap().lines().count() > 2, "the other output has everything");
}

#[test]
fn a_replay_begins_a_new_file_where_an_event_passes_the_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.ndjson");
    let (status, said) = run(&["-r", "pcaps/aws", "-e", "all", "-o", text(&path), "--rotate", "20K", "--keep", "1000"]);
    assert_eq!(status, 0, "{said}");
    let mut files = 0;
    for nth in 1.. {
        let Ok(packed) = fs::File::open(dir.path().join(format!("events.ndjson.{nth}.gz"))) else { break };
        let mut lines = String::new();
        flate2::read::GzDecoder::new(packed).read_to_string(&mut lines).unwrap();
        let last = lines.lines().last().unwrap().len() + 1;
        assert!(lines.len() >= 20 << 10 && lines.len() - last < 20 << 10, "file {nth} has {} bytes", lines.len());
        files += 1;
    }
    assert!(files > 3, "{files}");
}
