//! Live capture on real interfaces: network namespaces and a veth pair made here, a metadata service at its own
//! addresses inside one of them, and real curls.
//!
//! Needs root, `ip` and `curl`; elsewhere every test says that it is skipped. No packet leaves the namespaces.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::panic)]

use std::collections::HashMap;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

mod behind;
mod net;

use net::{Net, Watch, copy, events, has_tracefs, ip, of_type, within};

#[test]
fn short_lived_curls_are_named_and_never_wrongly() {
    let Some(net) = Net::new() else { return };
    let tracefs = has_tracefs();
    let mut watch = net.watch(&[]);
    let mut pids = HashMap::new();
    let mut start = |name: String| {
        let path = format!("/latest/meta-data/{name}");
        let curl = net.curl("curl".as_ref(), &path);
        pids.insert(path, u64::from(curl.id()));
        curl
    };
    for n in 0..200 {
        assert!(start(format!("{n}")).wait().unwrap().success());
    }
    let at_once: Vec<_> = (0..50).map(|n| start(format!("once/{n}"))).collect();
    for mut curl in at_once {
        assert!(curl.wait().unwrap().success());
    }
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(watch.stop(), 0, "{}", watch.messages());

    let events = watch.events();
    let requests = of_type(&events, "http");
    assert_eq!(requests.len(), 250, "{}", watch.messages());
    let mut nameless = 0;
    for request in requests {
        let process = &request["source"]["process"];
        if process.is_null() {
            nameless += 1;
            continue;
        }
        let path = request["url"]["path"].as_str().unwrap();
        assert_eq!(process["pid"].as_u64(), pids.get(path).copied(), "{request}");
        assert_eq!(process["name"], "curl");
        // A process that ends while it is read has no arguments any more.
        if let Some(args) = process["args"].as_array() {
            assert!(args.contains(&request["url"]["full"]), "{request}");
        }
    }
    // The kernel tells who connects, and who that is, before it sends the first packet: however soon a process ends, and
    // however late we come to it, all that is lost by then is its arguments.
    assert!(!tracefs || nameless == 0, "{nameless} of 250 without a name: {}", watch.messages());
}

#[test]
fn processes_that_ended_before_they_could_be_looked_at_are_named() {
    let Some(net) = Net::new() else { return };
    if !has_tracefs() {
        return eprintln!("skipped: no tracefs");
    }
    let mut watch = net.watch(&[]);
    watch.signal(rustix::process::Signal::STOP);
    let mut curl = net.curl("curl".as_ref(), "/latest/meta-data/program");
    let program = u64::from(curl.id());
    assert!(curl.wait().unwrap().success());
    // A copy of the shell, without a program of its own.
    let copy = within(&net.client, || {
        let mut bash = Command::new("bash");
        let script = "(echo $BASHPID; exec 3<>/dev/tcp/169.254.169.254/80; \
                      printf 'GET /latest/meta-data/copy HTTP/1.0\r\n\r\n' >&3; cat <&3 >/dev/null); exit 0";
        bash.args(["-c", script]).output().unwrap()
    });
    let copy: u64 = String::from_utf8(copy.stdout).unwrap().trim().parse().unwrap();
    watch.signal(rustix::process::Signal::CONT);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(watch.stop(), 0, "{}", watch.messages());
    let events = watch.events();
    for (path, name, pid) in [("program", "curl", program), ("copy", "bash", copy)] {
        let path = format!("/latest/meta-data/{path}");
        let request = events.iter().find(|event| event["url"]["path"] == *path).unwrap();
        let process = &request["source"]["process"];
        assert_eq!((process["name"].as_str(), process["pid"].as_u64()), (Some(name), Some(pid)), "{request}");
        assert!(process["args"].is_null(), "it was looked at all the same: {request}");
    }
}

/// A header that does not fit into what the kernel copies of a stack: what comes after it is lost with the process.
const LONG: usize = 20 << 10;

#[test]
fn a_start_whose_arguments_are_lost_is_an_event_once_it_connects() {
    let Some(net) = Net::new() else { return };
    if !has_tracefs() {
        return eprintln!("skipped: no tracefs");
    }
    let mut watch = net.watch(&[]);
    watch.signal(rustix::process::Signal::STOP);
    let curl = |url: &str| {
        within(&net.client, || {
            let mut curl = Command::new("curl");
            curl.args(["-s", "-m", "10", "-o", "/dev/null", "-A", &"a".repeat(LONG), url]);
            let mut curl = curl.spawn().unwrap();
            curl.wait().unwrap();
            u64::from(curl.id())
        })
    };
    let pid = curl("http://169.254.169.254/latest/meta-data/iam/security-credentials/role");
    curl("http://10.9.0.1:9/");
    watch.signal(rustix::process::Signal::CONT);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(watch.stop(), 0, "{}", watch.messages());
    let events = watch.events();
    let starts = of_type(&events, "process");
    assert_eq!(starts.len(), 1, "only of the one that asked the service: {starts:?}");
    let start = starts[0];
    assert_eq!((start["process"]["pid"].as_u64(), start["process"]["name"].as_str()), (Some(pid), Some("curl")));
    assert_eq!(start["error"]["message"], "Not all arguments of the process could be read", "{start}");
    assert!(start["url"].is_null() && start["related"]["ip"][0] == "169.254.169.254", "{start}");
    let alerts = of_type(&events, "alert");
    assert_eq!(alerts.len(), 1, "{}", rules(&alerts));
    assert_eq!(links(alerts[0]).first(), Some(&("command".to_owned(), start["event"]["id"].clone())), "{}", alerts[0]);
    let text = watch.messages();
    for line in
        ["2 programs started whose arguments could not be read whole", "1 of these connected to metadata services"]
    {
        assert!(text.lines().any(|said| said == line), "{text}");
    }
}

fn rules(alerts: &[&Value]) -> String {
    alerts.iter().map(|alert| format!("{} {}\n", alert["rule"]["id"], alert["message"])).collect()
}

/// What an alert joins: a word and an `event.id` each.
fn links(alert: &Value) -> Vec<(String, Value)> {
    let chain = alert["imds"]["chain"].as_array().cloned().unwrap_or_default();
    chain.iter().map(|link| (link["what"].as_str().unwrap().to_owned(), link["id"].clone())).collect()
}

#[test]
fn one_theft_is_one_line_whose_chain_has_its_command() {
    let Some(net) = Net::new() else { return };
    if !has_tracefs() {
        return eprintln!("skipped: no tracefs");
    }
    const THEFTS: usize = 10;
    let mut watch = net.watch(&[]);
    for nth in 0..THEFTS {
        let url = format!("http://169.254.169.254/latest/meta-data/iam/security-credentials/role-{nth}");
        let done = within(&net.client, || {
            // A shell that has the same words among its arguments.
            Command::new("sh").args(["-c", &format!("curl -s -m 10 -o /dev/null {url}; :")]).status().unwrap()
        });
        assert!(done.success());
    }
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(watch.stop(), 0, "{}", watch.messages());
    let events = watch.events();
    let alerts = of_type(&events, "alert");
    let rank = |alert: &Value| (alert["event"]["severity"].as_u64(), alert["event"]["risk_score"].as_f64());
    let most = alerts.iter().map(|alert| rank(alert)).max_by(|a, b| a.partial_cmp(b).unwrap()).unwrap();
    let top: Vec<_> = alerts.iter().filter(|alert| rank(alert) == most).collect();
    assert_eq!(top.len(), THEFTS, "{}", rules(&alerts));
    let starts = of_type(&events, "process");
    for nth in 0..THEFTS {
        let path = format!("/latest/meta-data/iam/security-credentials/role-{nth}");
        let of_this = |event: &&Value| event.to_string().contains(&path);
        let own: Vec<_> = top.iter().filter(|alert| alert["url"]["path"] == *path).collect();
        assert_eq!(own.len(), 1, "{top:#?}");
        assert_eq!(own[0]["rule"]["id"], "imds-credential-issued");
        let commands: Vec<_> =
            starts.iter().filter(|start| of_this(start)).map(|start| &start["event"]["id"]).collect();
        assert_eq!(commands.len(), 2, "the shell and curl: {starts:#?}");
        let joined = links(own[0]);
        let joined: Vec<_> = joined.iter().filter(|(what, _)| what == "command").map(|(_, id)| id).collect();
        assert_eq!(joined, commands, "{}", own[0]);
    }
    let commands: Vec<_> = alerts.iter().filter(|alert| alert["rule"]["id"] == "imds-command").collect();
    assert!(commands.is_empty(), "{}", rules(&alerts));
}

#[test]
fn agents_are_allowed_by_their_process_and_others_alert() {
    let Some(net) = Net::new() else { return };
    if !has_tracefs() {
        return eprintln!("skipped: no tracefs");
    }
    let dir = tempfile::tempdir().unwrap();
    let agent = dir.path().join("cloud-init");
    let curl = Command::new("sh").args(["-c", "command -v curl"]).output().unwrap().stdout;
    copy(Path::new(String::from_utf8(curl).unwrap().trim()), &agent);
    let mut watch = net.watch(&["--fail-on", "high"]);
    let path = "/latest/meta-data/iam/security-credentials/role";
    for _ in 0..5 {
        assert!(net.curl(&agent, path).wait().unwrap().success());
    }
    assert!(net.fetch("/latest/meta-data/iam/security-credentials/role?curl"));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(watch.stop(), 3, "{}", watch.messages());

    let events = watch.events();
    let by = |name: &str| {
        events
            .iter()
            .filter(|e| e["source"]["process"]["name"] == name || e["process"]["name"] == name)
            .collect::<Vec<_>>()
    };
    let agents = by("cloud-init");
    // Each is seen twice: when it is started, as its command line names the service, and when it asks.
    for kind in ["http", "process"] {
        assert_eq!(agents.iter().filter(|event| event["type"] == kind).count(), 5, "{kind}: {events:?}");
    }
    assert!(agents.iter().all(|event| event["type"] != "alert"), "{agents:?}");
    assert!(agents.iter().all(|event| event["imds"]["allowed_by"] == "cloud-init"), "{agents:?}");
    // One that ends while it is looked at is named, but its executable may be gone.
    let executables = agents.iter().filter_map(|event| event["source"]["process"]["executable"].as_str());
    let executables: Vec<_> = executables.map(Path::new).collect();
    assert!(!executables.is_empty() && executables.iter().all(|path| **path == agent), "{agents:?}");
    assert!(by("curl").iter().any(|event| event["type"] == "alert" && event["rule"]["id"] == "imds-credential-issued"));
}

#[test]
fn interfaces_may_go_down_be_renamed_and_be_made_anew() {
    let Some(net) = Net::new() else { return };
    let mut watch = net.watch(&[]);
    let c = net.client.clone();
    assert!(net.fetch("/latest/meta-data/before"));
    ip(&format!("-n {c} link set vc down"));
    watch.hears("vc: is down");
    net.up();
    watch.hears("vc: is up again");
    assert!(net.fetch("/latest/meta-data/flapped"));
    ip(&format!("-n {c} link set vc name vd"));
    watch.hears("now called vd");
    assert!(net.fetch("/latest/meta-data/renamed"));
    ip(&format!("-n {c} link set vd name vc"));
    watch.hears("now called vc");
    ip(&format!("-n {c} link del vc"));
    watch.hears("waiting for it to come back");
    net.join();
    watch.hears("is back and watched again");
    assert!(net.fetch("/latest/meta-data/anew"));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(watch.stop(), 0, "{}", watch.messages());
    let events = watch.events();
    for name in ["before", "flapped", "renamed", "anew"] {
        let path = format!("/latest/meta-data/{name}");
        assert_eq!(of_type(&events, "http").iter().filter(|e| e["url"]["path"] == *path).count(), 1, "{name}");
    }
}

#[test]
fn addresses_of_this_host_may_change() {
    let Some(net) = Net::new() else { return };
    let mut watch = net.watch(&[]);
    ip(&format!("-n {} -6 route replace fd77::/64 dev vs", net.server));
    ip(&format!("-n {} addr add fd77::7/64 dev vc nodad", net.client));
    // The kernel tells of the address at once, but how soon the program has its turn is the machine's business.
    let begun = Instant::now();
    let request = loop {
        let fetched = within(&net.client, || {
            let mut curl = Command::new("curl");
            curl.args(["-s", "-m", "10", "-o", "/dev/null", "--interface", "fd77::7"]);
            curl.arg("http://[fd00:ec2::254]/latest/meta-data/").status().unwrap().success()
        });
        assert!(fetched);
        std::thread::sleep(Duration::from_millis(500));
        let events = watch.events();
        let last = of_type(&events, "http").into_iter().rfind(|event| event["source"]["ip"] == "fd77::7").cloned();
        match last {
            Some(request) if request["network"]["direction"] == "egress" => break request,
            last => assert!(begun.elapsed() < Duration::from_secs(20), "{last:?}"),
        }
    };
    assert_eq!(watch.stop(), 0, "{}", watch.messages());
    assert!(!has_tracefs() || request["source"]["process"]["name"] == "curl", "{request}");
}

#[test]
fn a_folder_that_will_not_be_writable_is_told_at_the_start() {
    let Some(net) = Net::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let file = dir.path().join("events.ndjson");
    // The file itself can be written by anybody.
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let start = |args: &[&str]| {
        within(&net.client, || {
            let mut command = Command::new("timeout");
            command.args(["2", env!("CARGO_BIN_EXE_imdswatch"), "-i", "vc", "-o"]).arg(&file).args(args);
            let output = command.output().unwrap();
            (output.status.code(), String::from_utf8(output.stderr).unwrap())
        })
    };
    let (code, text) = start(&["--user", "65534:65534"]);
    assert_eq!(code, Some(1), "{text}");
    let folder = dir.path().to_str().unwrap();
    assert!(text.contains("user 65534") && text.contains(&format!("chown 65534 {folder}")), "{text}");
    // Root may do what it likes only until it gives that up.
    rustix::fs::chown(dir.path(), Some(rustix::fs::Uid::from_raw(65534)), None).unwrap();
    let (code, text) = start(&["--rotate", "1M"]);
    assert!(code == Some(1) && text.contains("user 0") && text.contains(folder), "{code:?} {text}");
    for fine in [&["--user", "65534:65534", "--rotate", "1M"][..], &[]] {
        let (code, text) = start(fine);
        assert_eq!(code, Some(124), "it runs until it is ended: {text}");
    }
}

#[test]
fn privileges_are_gone_and_signals_are_answered_without_them() {
    let Some(net) = Net::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let (file, config) = (dir.path().join("events.ndjson"), dir.path().join("config.toml"));
    std::fs::write(&config, "").unwrap();
    let args = ["--user", "65534:65534", "--metrics", "127.0.0.1:9478", "--stats", "1", "-o", file.to_str().unwrap()];
    let mut watch = net.watch(&[&args[..], &["-c", config.to_str().unwrap()]].concat());
    let pid = watch.child.id();
    let helper = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let helper = std::fs::read_to_string(format!("/proc/{}/status", helper.trim())).unwrap();
    assert!(helper.contains("CapPrm:\t0000000000080000") && helper.contains("Seccomp:\t2"), "{helper}");

    assert!(net.fetch("/latest/meta-data/iam/security-credentials/role"));
    std::thread::sleep(Duration::from_millis(300));
    // The start of curl is an alert of its own where it can be seen: no address allows it.
    let alerts = |path: &Path| {
        of_type(&events(path), "alert").iter().filter(|alert| alert["rule"]["id"] != "imds-command").count()
    };
    assert_powerless(pid);
    assert_eq!(alerts(&file), 1, "written within 300 ms: {}", watch.messages());

    // An outside log rotation, and a new allow list.
    std::fs::rename(&file, dir.path().join("old")).unwrap();
    std::fs::write(&config, "[[alerts.allow]]\nname = \"lab\"\nclient = \"10.9.0.2\"\n").unwrap();
    watch.signal(rustix::process::Signal::HUP);
    let begun = Instant::now();
    while !file.exists() {
        assert!(begun.elapsed() < Duration::from_secs(5), "{}", watch.messages());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(net.fetch("/latest/meta-data/iam/security-credentials/role"));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(alerts(&file), 0, "{}", std::fs::read_to_string(&file).unwrap());
    assert!(of_type(&events(&file), "http").iter().any(|event| event["imds"]["allowed_by"] == "lab"));

    let metrics = Watch::metrics(&net);
    assert!(metrics.contains("imdswatch_alerts_total{rule=\"imds-credential-issued\"} 1"), "{metrics}");
    assert!(metrics.contains("imdswatch_http_total 2") && metrics.contains("imdswatch_ready 1"), "{metrics}");

    watch.signal(rustix::process::Signal::USR1);
    watch.hears("packets dropped by kernel");
    std::thread::sleep(Duration::from_millis(3500));
    // By now there is a thread that syncs what was written.
    assert_powerless(pid);
    assert_eq!(watch.stop(), 0, "{}", watch.messages());
    assert!(of_type(&events(&file), "stats").iter().any(|event| event["imdswatch"]["stats"]["http"] == 2));
    assert!(watch.dir.path().exists());
}

#[test]
fn habits_come_back_after_a_restart_without_privileges() {
    let Some(net) = Net::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let state = dir.path().join("state.json");
    let run = || {
        let mut watch = net.watch(&["--user", "65534:65534", "--state", state.to_str().unwrap()]);
        assert!(net.fetch("/latest/meta-data/iam/security-credentials/role"));
        std::thread::sleep(Duration::from_millis(300));
        (watch.stop(), watch.messages())
    };
    let times = || {
        let state: Value = serde_json::from_str(&std::fs::read_to_string(&state).unwrap()).unwrap();
        state["habits"].as_array().unwrap().iter().map(|habit| habit["times"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(run().0, 0);
    assert_eq!(times(), [1]);
    let metadata = std::fs::metadata(&state).unwrap();
    let (owner, mode) = (std::os::unix::fs::MetadataExt::uid(&metadata), metadata.permissions());
    assert_eq!((owner, std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777), (65534, 0o600));
    assert_eq!(run().0, 0);
    assert_eq!(times(), [2], "taken up again by the one that runs now");

    // What cannot be read is set aside, it begins again without, and the exit status tells of it.
    std::fs::write(&state, "{").unwrap();
    let (status, messages) = run();
    assert!(status == 1 && messages.contains("set aside"), "{status} {messages}");
    assert_eq!(times(), [1]);
    assert_eq!(std::fs::read_to_string(dir.path().join("state.json.unreadable")).unwrap(), "{");
}

/// Every thread has given up everything.
fn assert_powerless(pid: u32) {
    let mut threads = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        threads += 1;
        for line in [
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            "Uid:\t65534\t65534\t65534\t65534",
        ] {
            assert!(status.contains(line), "{status}");
        }
    }
    assert!(threads >= 5, "{threads}");
}

#[test]
fn without_privilege_it_says_which_one_and_how_to_grant_it() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: needs root to become somebody without privilege");
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = dir.path().join("imdswatch");
    copy(env!("CARGO_BIN_EXE_imdswatch").as_ref(), &program);
    let output = Command::new(program).args(["-i", "lo"]).uid(65534).gid(65534).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("CAP_NET_RAW") && text.contains("setcap"), "{text}");
}

/// Each kind of output connects by system calls of its own: one that the sandbox refuses would lie dead.
#[test]
fn every_kind_of_output_tries_to_connect_in_the_sandbox() {
    let Some(net) = Net::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let outputs = [
        "elasticsearch+http://127.0.0.1:9/index",
        "kafka://127.0.0.1:9/topic",
        "logstash://127.0.0.1:9",
        "syslog+tcp://127.0.0.1:9",
        "redis://127.0.0.1:9/key",
        "webhook+http://127.0.0.1:9",
        "otlp+http://127.0.0.1:9",
    ];
    let mut toml = format!("spool = {:?}\n", dir.path().join("spool"));
    for output in outputs {
        toml += &format!("[[output]]\nto = \"{output}\"\ntimeout = \"4s\"\n");
    }
    let path = dir.path().join("imdswatch.toml");
    std::fs::write(&path, toml).unwrap();
    let mut watch = net.watch(&["-c", path.to_str().unwrap()]);
    assert!(net.fetch("/latest/meta-data/iam/security-credentials/role"));
    for output in outputs {
        watch.hears(&format!("output {output}: "));
    }
    watch.stop_within(Duration::from_secs(12));
    assert!(!watch.messages().contains("panicked"), "{}", watch.messages());
}
