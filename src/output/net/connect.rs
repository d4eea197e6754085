//! One connection of an output, plain or over TLS. No wait is longer than what is left until its deadline, whatever the
//! other side does: a name that is not resolved, a handshake that stops, an answer that comes byte by byte.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::url::HostPort;
use crate::output::receiver::{Fault, Trouble};

/// What every connection of one output is made with.
#[derive(Clone)]
pub struct Dialer {
    /// TLS, where it is used.
    pub tls: Option<Arc<ClientConfig>>,
    /// Bound on connecting: resolution, TCP and TLS together.
    pub timeout: Duration,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dialer({:?})", self.timeout)
    }
}

impl Dialer {
    /// Connects, and shakes hands where there is TLS.
    ///
    /// # Errors
    /// [`Fault::Refused`] for a certificate that is not accepted, on either side; [`Fault::Away`] for all else.
    pub fn dial(&self, to: &HostPort) -> Result<Stream, Trouble> {
        let deadline = Instant::now() + self.timeout;
        let socket = connect(to, &resolve(to, self.timeout)?, deadline)?;
        let timed = Timed { socket, deadline };
        let Some(config) = &self.tls else { return Ok(Stream::Plain(timed)) };
        let name = ServerName::try_from(to.host.clone())
            .map_err(|_| Trouble::refused(format!("{to}: a certificate cannot be for such a name")))?;
        let session = ClientConnection::new(config.clone(), name)
            .map_err(|error| Trouble::refused(format!("{to}: TLS: {error}")))?;
        let mut stream = StreamOwned::new(session, timed);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|error| handshake_trouble(to, &error))?;
        }
        Ok(Stream::Tls(Box::new(stream)))
    }
}

/// The addresses of a host. The system's resolver has no time limit, so another thread waits for it; it ends by itself.
///
/// # Errors
/// [`Fault::Away`]: no such name, or no answer in time.
pub fn resolve(to: &HostPort, timeout: Duration) -> Result<Vec<SocketAddr>, Trouble> {
    if let Ok(address) = to.host.parse::<IpAddr>() {
        return Ok(vec![(address, to.port).into()]);
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let (host, port) = (to.host.clone(), to.port);
    let lookup = move || {
        let found = (host.as_str(), port).to_socket_addrs().map(Vec::from_iter);
        // Whoever asked may have stopped waiting.
        let _ = sender.send(found);
    };
    let spawned = std::thread::Builder::new().name("resolve".into()).spawn(lookup);
    spawned.map_err(|error| Trouble::away(format!("{to}: cannot resolve: {error}")))?;
    match receiver.recv_timeout(timeout) {
        Ok(Ok(found)) if !found.is_empty() => Ok(found),
        Ok(Ok(_)) => Err(Trouble::away(format!("{to}: the name has no address"))),
        Ok(Err(error)) => Err(Trouble::away(format!("{to}: cannot resolve: {error}"))),
        Err(_) => Err(Trouble::away(format!("{to}: the name was not resolved in {timeout:?}"))),
    }
}

/// Tries one address after the other; each gets half of the time that is left, the last one all of it.
fn connect(to: &HostPort, addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, Trouble> {
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for (nth, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = if nth + 1 == addresses.len() { left } else { left / 2 };
        if share.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(address, share) {
            Ok(socket) => {
                // Requests are written whole: waiting for more to send with them only costs time.
                let _ = socket.set_nodelay(true);
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(Trouble::away(format!("{to}: cannot connect: {last}")))
}

fn handshake_trouble(to: &HostPort, error: &io::Error) -> Trouble {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)) => {
            Trouble::refused(format!("{to}: TLS: {error}"))
        }
        _ => Trouble::away(format!("{to}: TLS handshake: {}", readable(error))),
    }
}

/// What an I/O error means for the connection to a receiver.
pub fn io_trouble(to: &HostPort, doing: &str, error: &io::Error) -> Trouble {
    // With TLS 1.3 a server refuses the client's certificate after the handshake.
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let fault = if matches!(tls, Some(rustls::Error::AlertReceived(_))) { Fault::Refused } else { Fault::Away };
    Trouble::new(fault, format!("{to}: {doing}: {}", readable(error)))
}

fn readable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        io::ErrorKind::UnexpectedEof => "the connection was closed".to_owned(),
        _ => error.to_string(),
    }
}

/// A connection with a deadline.
pub enum Stream {
    /// TCP.
    Plain(Timed),
    /// TLS over TCP.
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_tls() { "Stream(TLS)" } else { "Stream(TCP)" })
    }
}

impl Stream {
    /// Whether it is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Sets the deadline of all that follows.
    pub fn arm(&mut self, timeout: Duration) {
        // Two hours are as good as for ever, and can always be added.
        self.timed_mut().deadline = Instant::now() + timeout.min(Duration::from_secs(7200));
    }

    /// Whether the other side has closed the connection, or sent what nobody asked for, while it was not used.
    pub fn is_open(&mut self) -> bool {
        let socket = &self.timed_mut().socket;
        if socket.set_nonblocking(true).is_err() {
            return false;
        }
        let peeked = socket.peek(&mut [0]);
        let blocking = socket.set_nonblocking(false);
        // Session tickets of TLS 1.3 come after the handshake and are read with the next answer.
        let unread = matches!(peeked, Ok(n) if n > 0) && self.is_tls();
        blocking.is_ok() && (unread || matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock))
    }

    fn timed_mut(&mut self) -> &mut Timed {
        match self {
            Self::Plain(timed) => timed,
            Self::Tls(stream) => &mut stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(timed) => timed.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A socket each of whose waits ends at the deadline.
pub struct Timed {
    socket: TcpStream,
    deadline: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.left()?))?;
        self.socket.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
