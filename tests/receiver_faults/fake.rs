//! Receivers that misbehave on purpose: threads that accept connections on loopback and do what a test says.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// Calls `handle` with each connection and its number, each in a thread of its own. Returns the port.
pub fn serve(handle: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let handle = Arc::new(handle);
    std::thread::spawn(move || {
        for (nth, stream) in listener.incoming().enumerate() {
            let (stream, handle) = (stream.unwrap(), handle.clone());
            std::thread::spawn(move || handle(stream, nth));
        }
    });
    port
}

/// One HTTP request: its head in lower case, and its body, unpacked.
pub struct Request {
    pub head: String,
    pub body: Vec<u8>,
}

/// Reads a request; `None` at the end of the connection.
pub fn request(stream: &mut BufReader<impl Read>) -> Option<Request> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length = field("content-length:").map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    if field("content-encoding:") == Some("gzip") {
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut unpacked).unwrap();
        body = unpacked;
    }
    Some(Request { head, body })
}

/// An HTTP server that answers each request with what `answer` makes of it; also what it was sent.
pub fn http(answer: impl Fn(&Request, usize) -> String + Send + Sync + 'static) -> (u16, Arc<Mutex<Vec<Request>>>) {
    let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
    let all = seen.clone();
    let port = serve(move |stream, _| {
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        while let Some(request) = request(&mut reader) {
            let answer = answer(&request, all.lock().unwrap().len());
            all.lock().unwrap().push(request);
            if writer.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    (port, seen)
}

/// An answer with a status and a body.
pub fn answer(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

/// Certificates for tests, made by openssl: an authority, a server's for 127.0.0.1, a client's.
pub struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    /// `None`, said, where there is no openssl.
    pub fn make() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let run = |args: &[&str]| {
            let done = Command::new("openssl").args(args).current_dir(folder.path()).output();
            done.is_ok_and(|output| output.status.success())
        };
        std::fs::write(folder.path().join("server.ext"), "subjectAltName=IP:127.0.0.1").unwrap();
        std::fs::write(folder.path().join("client.ext"), "extendedKeyUsage=clientAuth").unwrap();
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let mut made = run(&[
            &["req", "-x509", "-subj", "/CN=test", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem"],
            &key[..],
        ]
        .concat());
        for name in ["server", "client"] {
            let (keyout, request, out, ext) =
                (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"), format!("{name}.ext"));
            made &= run(&[&["req", "-subj", "/CN=test-end", "-keyout", &keyout, "-out", &request], &key[..]].concat());
            made &= run(&[
                "x509",
                "-req",
                "-in",
                &request,
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-days",
                "2",
                "-out",
                &out,
                "-extfile",
                &ext,
            ]);
        }
        if !made {
            eprintln!("skipped: openssl cannot make certificates");
            return None;
        }
        Some(Self { folder })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A TLS server, with `ca` one that wants a certificate of its clients.
pub fn tls(certificates: &Certificates, ca: Option<&Path>, handle: impl Fn(Tls) + Send + Sync + 'static) -> u16 {
    let chain = CertificateDer::pem_file_iter(certificates.path("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(certificates.path("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    serve(move |stream, _| {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        handle(StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream));
    })
}

/// A connection of [`tls`].
pub type Tls = StreamOwned<ServerConnection, TcpStream>;
