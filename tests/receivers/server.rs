//! The real receivers, started on loopback by the test that wants them and stopped with it. They are what
//! `scripts/servers.sh` has put into `target/servers`, or what the system has; what cannot be had is said and skipped.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running server, with a folder of its own.
pub struct Server {
    child: Child,
    pub folder: TempDir,
    pub port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// What it said so far.
    pub fn output(&self) -> String {
        let mut text = String::new();
        let _ = std::fs::File::open(self.folder.path().join("log")).and_then(|mut file| file.read_to_string(&mut text));
        text
    }

    fn start(mut command: Command, folder: TempDir, port: u16) -> Option<Self> {
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).current_dir(folder.path());
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return skipped(&format!("{:?} cannot be started: {error}", command.get_program())),
        };
        let mut server = Self { child, folder, port };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = server.child.try_wait().unwrap().is_some();
            assert!(!ended && start.elapsed() < Duration::from_secs(180), "no server: {}", server.output());
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(server)
    }
}

/// Says why a test does not run.
pub fn skipped<T>(why: &str) -> Option<T> {
    eprintln!("skipped: {why}");
    None
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn installed(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers").join(name);
    if path.exists() { Some(path) } else { skipped(&format!("{name} is not in target/servers: scripts/servers.sh")) }
}

fn jars(folder: &Path) -> String {
    format!("{}/*:{}", folder.display(), folder.display())
}

/// OpenSearch, with settings `KEY=VALUE`.
pub fn opensearch(settings: &[&str]) -> Option<Server> {
    let jars = jars(&installed("opensearch")?);
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    std::fs::create_dir(folder.path().join("config")).unwrap();
    let mut command = Command::new("java");
    command.args(["-Xmx512m", "-cp", &jars, "Search"]).arg(folder.path());
    command.args([port.to_string(), free_port().to_string()]).args(settings);
    Server::start(command, folder, port)
}

/// Kafka: `port` in the clear; the second is TLS with SASL, user `sensor` with the password `p4ssword`.
pub fn kafka(certificates: Option<&crate::Certificates>, ports: (u16, u16)) -> Option<Server> {
    let jars = jars(&installed("kafka")?);
    let folder = tempfile::tempdir().unwrap();
    let controller = free_port();
    let (port, tls) = ports;
    let mut properties = format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\nlog.dirs={}/data\noffsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=1\ntransaction.state.log.replication.factor=1\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL\n",
        folder.path().display()
    );
    let mut listeners = format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}");
    let mut advertised = format!("PLAINTEXT://127.0.0.1:{port}");
    if let Some(certificates) = certificates {
        let key = std::fs::read_to_string(certificates.path("server.key")).unwrap();
        let chain = std::fs::read_to_string(certificates.path("server.pem")).unwrap();
        std::fs::write(folder.path().join("keystore.pem"), key + &chain).unwrap();
        listeners += &format!(",SASL_SSL://127.0.0.1:{tls}");
        advertised += &format!(",SASL_SSL://127.0.0.1:{tls}");
        properties += &format!(
            "ssl.keystore.type=PEM\nssl.keystore.location={}/keystore.pem\n\
             sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
             listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_sensor=\"p4ssword\";\n\
             listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
             listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n",
            folder.path().display()
        );
    }
    properties += &format!("listeners={listeners}\nadvertised.listeners={advertised}\n");
    let file = folder.path().join("server.properties");
    std::fs::write(&file, properties).unwrap();
    let mut format = Command::new("java");
    format.args(["-cp", &jars, "kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c"]).arg(&file);
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        format.args(["--add-scram", &format!("{mechanism}=[name=sensor,password=p4ssword]")]);
    }
    let formatted = format.output().ok()?;
    assert!(formatted.status.success(), "{formatted:?}");
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-cp", &jars, "kafka.Kafka"]).arg(&file);
    Server::start(command, folder, port)
}

/// Elastic's own Beats receiver.
pub fn lumberjack() -> Option<Server> {
    let program = installed("bin/tst-lj")?;
    let port = free_port();
    let mut command = Command::new(program);
    command.args(["-v2", "-bind", &format!("127.0.0.1:{port}")]);
    Server::start(command, tempfile::tempdir().unwrap(), port)
}

/// OpenTelemetry's collector, which prints what it takes.
pub fn otelcol() -> Option<Server> {
    let program = installed("otelcol/otelcol")?;
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let configuration = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"127.0.0.1:{port}\"}}}}}}}}\n\
         exporters: {{debug: {{verbosity: detailed, use_internal_logger: false}}}}\n\
         service:\n  telemetry: {{metrics: {{level: none}}}}\n  \
         pipelines: {{logs: {{receivers: [otlp], exporters: [debug]}}}}\n"
    );
    let file = folder.path().join("otelcol.yaml");
    std::fs::write(&file, configuration).unwrap();
    let mut command = Command::new(program);
    command.arg("--config").arg(format!("file:{}", file.display()));
    Server::start(command, folder, port)
}

/// Redis with the password `p4ssword`; the second port is TLS.
pub fn redis(certificates: Option<&crate::Certificates>, tls: u16) -> Option<Server> {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--requirepass", "p4ssword", "--save", ""]);
    command.args(["--user", "sensor", "on", ">p4ssword", "~*", "&*", "+@all"]);
    if let Some(certificates) = certificates {
        command.args(["--tls-port", &tls.to_string(), "--tls-auth-clients", "no"]);
        for (flag, name) in
            [("--tls-cert-file", "server.pem"), ("--tls-key-file", "server.key"), ("--tls-ca-cert-file", "ca.pem")]
        {
            command.arg(flag).arg(certificates.path(name));
        }
    }
    Server::start(command, folder, port)
}

/// rsyslog: the port over UDP and TCP, the second over TLS where it can; each message a line of the file `out`.
pub fn rsyslog(certificates: Option<&crate::Certificates>, tls: u16) -> Option<Server> {
    let program = ["/usr/sbin/rsyslogd", "/sbin/rsyslogd"].into_iter().find(|path| Path::new(path).exists());
    let Some(program) = program else { return skipped("there is no rsyslogd") };
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let at = folder.path().display();
    let mut configuration = format!(
        "global(workDirectory=\"{at}\" maxMessageSize=\"64k\")\nmodule(load=\"imudp\")\nmodule(load=\"imtcp\")\n\
         template(name=\"raw\" type=\"string\" string=\"%app-name% %msgid% %syslogseverity-text% %msg%\\n\")\n\
         ruleset(name=\"all\") {{ action(type=\"omfile\" file=\"{at}/out\" template=\"raw\") }}\n\
         input(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\" ruleset=\"all\" rcvbufSize=\"4m\")\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\" ruleset=\"all\")\n"
    );
    if let Some(certificates) =
        certificates.filter(|_| Path::new("/usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_gtls.so").exists())
    {
        let path = |name: &str| certificates.path(name).display().to_string();
        configuration += &format!(
            "input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{tls}\" ruleset=\"all\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" \
             streamDriver.authMode=\"anon\" streamDriver.CAFile=\"{}\" streamDriver.CertFile=\"{}\" streamDriver.KeyFile=\"{}\")\n",
            path("ca.pem"),
            path("server.pem"),
            path("server.key"),
        );
    }
    let file = folder.path().join("rsyslog.conf");
    std::fs::write(&file, configuration).unwrap();
    let mut command = Command::new(program);
    command.arg("-n").arg("-f").arg(&file).arg("-i").arg(folder.path().join("pid"));
    Server::start(command, folder, port)
}
