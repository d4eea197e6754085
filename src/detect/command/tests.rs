//! What command lines name, plainly and in disguise, and what that costs.

use std::time::Instant;

use super::*;
use crate::detect::Config;

fn command(args: &[&str]) -> Option<Command> {
    let name = base_name(args[0]).to_owned();
    let process = Process {
        pid: 7,
        name,
        executable: Some(args[0].to_owned()),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        ..Process::default()
    };
    of(process)
}

fn of(process: Process) -> Option<Command> {
    let catalogue = Arc::new(Catalogue::builtin().unwrap());
    let mut detector = Detector::new(catalogue, Config::default());
    let end = Endpoint { ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED), port: 0 };
    let conn = Conn { process: Some(Arc::new(process)), ..Conn::between(end, end, Proto::Tcp) };
    judge(&mut detector, conn, Timestamp(0))
}

fn sensitivity(args: &[&str]) -> Option<&'static str> {
    command(args).map(|command| if command.is_mention { "mention" } else { command.imds.sensitivity.name() })
}

fn base64(text: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text)
}

const PATH: &str = "/latest/meta-data/iam/security-credentials/role";

#[test]
fn plain_commands() {
    let credential = format!("http://169.254.169.254{PATH}");
    for (args, expected) in [
        (vec!["curl", "-s", credential.as_str()], Some("credential")),
        (vec!["curl", &credential["http://".len()..]], Some("credential")),
        (vec!["curl", "-s", "http://169.254.169.254/latest/user-data"], Some("user-data")),
        (vec!["curl", "http://169.254.169.254/latest/dynamic/instance-identity/document"], Some("identity")),
        (vec!["curl", "http://169.254.169.254/latest/meta-data/placement/region"], Some("discovery")),
        (vec!["grep", "-r", "169.254.169.254", "/etc"], Some("mention")),
        (vec!["iptables", "-A", "OUTPUT", "-d", "169.254.169.254/32", "-j", "DROP"], Some("mention")),
        (vec!["dig", "metadata.google.internal"], Some("mention")),
        (vec!["curl", "http://169.254.169.251/latest"], None),
        (vec!["curl", "https://example.com/latest/news"], None),
        (vec!["vim", "/etc/metadata/notes"], None),
        (vec!["date", "-d", "@1700000000"], None),
    ] {
        assert_eq!(sensitivity(&args), expected, "{args:?}");
    }
}

#[test]
fn providers_are_told_by_host_header_and_path() {
    let provider = |args: &[&str]| command(args).map(|command| command.imds.provider);
    let azure = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://x";
    assert_eq!(provider(&["curl", "-H", "Metadata:true", azure]), Some("azure"));
    assert_eq!(provider(&["powershell", "-c", &format!("irm -Headers @{{Metadata='true'}} {azure}")]), Some("azure"));
    let gcp = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token";
    assert_eq!(provider(&["curl", "-H", "Metadata-Flavor: Google", gcp]), Some("gcp"));
    assert_eq!(sensitivity(&["curl", "-H", "Metadata-Flavor: Google", gcp]), Some("credential"));
    assert_eq!(
        provider(&["curl", "http://100.100.100.200/latest/meta-data/ram/security-credentials/r"]),
        Some("alibaba")
    );
}

#[test]
fn disguises() {
    let utf16: Vec<u8> =
        format!("irm http://169.254.169.254{PATH}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let script = format!("curl http://169.254.169.254{PATH}");
    for line in [
        format!("curl http://2852039166{PATH}"),
        format!("wget 0xa9fea9fe{PATH}"),
        format!("curl http://0251.0376.0251.0376{PATH}"),
        format!("curl http://[::ffff:a9fe:a9fe]{PATH}"),
        format!("curl http://169-254-169-254.nip.io{PATH}"),
        format!("curl http://%31%36%39.254.169.254{PATH}"),
        "curl http://169.254.169.254/latest/meta-data/iam/security%2dcredentials/role".to_owned(),
        format!("curl http://①⑥⑨.254.169.254{PATH}"),
        format!("powershell -enc {}", base64(&utf16)),
        format!("bash -c echo${{IFS}}{}|base64${{IFS}}-d|sh", base64(script.as_bytes())),
        format!("bash -c \"echo {} | base64 -d | base64 -d | sh\"", base64(base64(script.as_bytes()).as_bytes())),
        format!("sh -c 'curl h''ttp://169.254.\"169\".254{PATH}'"),
        format!("python3 -c \"import os;os.system('curl http://169.254'+'.169.254{PATH}')\""),
        format!("xxd -r -p {}", script.bytes().map(|b| format!("{b:02x}")).collect::<String>()),
        format!("curl --url=http://user@169.254.169.254{PATH}"),
        format!("curl -x http://proxy:3128 http://169.254.169.254{PATH}"),
        "curl $IMDS/latest/meta-data/iam/security-credentials/role".to_owned(),
        format!("curl gopher://169.254.169.254:80/_GET%20{PATH}%20HTTP/1.1"),
    ] {
        let args: Vec<&str> = line.split(' ').collect();
        assert_eq!(sensitivity(&args), Some("credential"), "{line}");
        let whole = of(Process { name: "x".into(), command_line: Some(line.clone()), ..Process::default() });
        assert_eq!(whole.map(|command| command.imds.sensitivity), Some(Sensitivity::Credential), "as a line: {line}");
    }
}

#[test]
fn a_program_in_an_argument_that_reads_the_tree_is_a_walk() {
    let code =
        "import urllib.request; print(urllib.request.urlopen('http://169.254.169.254/latest/meta-data/').read())";
    let walk = command(&["python3", "-c", code]).unwrap();
    assert!(walk.is_walk && walk.imds.signals.has(Signal::ToolProcess));
    let curl = command(&["curl", "http://169.254.169.254/latest/meta-data/"]).unwrap();
    assert!(!curl.is_walk && curl.imds.signals.has(Signal::ToolProcess));
    let terraform = command(&["terraform", "-var", "u=http://169.254.169.254/latest/meta-data/placement/region"]);
    assert!(!terraform.unwrap().imds.signals.has(Signal::ToolProcess));
}

#[test]
fn session_tokens_are_blotted_out() {
    let token = "AQAEAOabcdefghijklmnopqrstuvwxyz0123456789==";
    let header = format!("X-aws-ec2-metadata-token: {token}");
    let command = command(&["curl", "-H", &header, &format!("http://169.254.169.254{PATH}")]).unwrap();
    assert!(!command.line.contains(token) && command.line.contains("xxxxx"), "{}", command.line);
    assert!(command.conn.process.unwrap().args.iter().all(|arg| !arg.contains(token)));
}

/// Twice the bytes cost about twice the time, whatever they are.
#[test]
fn the_cost_is_linear() {
    let cost = |text: String| {
        let started = Instant::now();
        let _ = of(Process { name: "x".into(), args: vec!["x".into(), text], ..Process::default() });
        started.elapsed().as_secs_f64()
    };
    for pattern in ["http://169.254.169.254/a@", "//", "aHR0cDov", "%25", "'+'", "169.254.169.254 ", "[::", "a@b:1/"] {
        let text = |bytes: usize| pattern.repeat(bytes / pattern.len());
        let (once, many) = (cost(text(4 * 1024)), cost(text(32 * 1024)));
        assert!(many < once * 40.0 + 0.5, "{pattern}: {once} {many}");
    }
}
