//! Logstash and everything else that takes the Beats protocol, version 2 (lumberjack).
//!
//! A batch is a window: its length, then the events as one compressed frame, each with its number from 1. The receiver
//! acknowledges numbers as it goes; what it acknowledged is done, even if the connection is lost afterwards. Format:
//! github.com/elastic/go-lumber, protocol/v2.

use std::io::{self, Read, Write};
use std::time::Instant;

use flate2::Compression as Level;
use flate2::write::ZlibEncoder;

use super::connect::{Dialer, Stream, io_trouble};
use super::hosts::Hosts;
use super::settings::{Compression, Settings};
use super::url::{HostPort, Target};
use super::{SettingsError, endpoints, tls};
use crate::output::receiver::{Event, Limits, Needs, Outcome, Receiver, Reply, Trouble};

/// A connection to a Beats receiver.
pub struct Logstash {
    dialer: Dialer,
    hosts: Hosts,
    target: Target,
    connection: Option<(HostPort, Stream)>,
    compressed: bool,
    batch: usize,
}

impl Logstash {
    /// Reads certificates; connects to nothing yet.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let tls = settings.target.tls.then(|| tls::configuration(&settings.tls)).transpose()?;
        Ok(Self {
            dialer: Dialer { tls, timeout: settings.timeout },
            hosts: Hosts::new(&settings.target.hosts),
            target: settings.target.clone(),
            connection: None,
            compressed: settings.compression != Some(Compression::None),
            batch: settings.batch.unwrap_or(2048),
        })
    }

    fn connected(&mut self) -> Result<(HostPort, Stream), Trouble> {
        if let Some((host, mut stream)) = self.connection.take()
            && stream.is_open()
        {
            return Ok((host, stream));
        }
        let host = self.hosts.pick();
        match self.dialer.dial(&host) {
            Ok(stream) => {
                self.hosts.answered(&host);
                Ok((host, stream))
            }
            Err(trouble) => {
                self.hosts.failed(&host);
                Err(trouble)
            }
        }
    }
}

impl Receiver for Logstash {
    fn send(&mut self, batch: &[Event<'_>]) -> Reply {
        let (host, mut stream) = match self.connected() {
            Ok(connection) => connection,
            Err(trouble) => return trouble.into(),
        };
        stream.arm(self.dialer.timeout);
        let sent = stream.write_all(&window(batch, self.compressed)).and_then(|()| stream.flush());
        let mut acknowledged = 0;
        let result = sent.and_then(|()| acknowledgements(&mut stream, batch.len(), &self.dialer, &mut acknowledged));
        let outcomes = vec![Outcome::Taken; acknowledged];
        match result {
            Ok(()) => {
                self.connection = Some((host, stream));
                Reply { outcomes, trouble: None }
            }
            Err(error) => {
                self.hosts.failed(&host);
                let doing = format!("{acknowledged} of {} events acknowledged", batch.len());
                Reply { outcomes, trouble: Some(io_trouble(&host, &doing, &error)) }
            }
        }
    }

    fn limits(&self) -> Limits {
        Limits { events: self.batch, bytes: 8 << 20 }
    }

    fn needs(&self) -> Needs {
        Needs { endpoints: endpoints(&self.target, false), follows: false }
    }

    fn check(&mut self, steps: &mut Vec<String>) -> Result<(), Trouble> {
        let (host, stream) = self.connected()?;
        steps.push(format!("{host} is connected{}", if stream.is_tls() { " over TLS" } else { "" }));
        self.connection = Some((host, stream));
        Ok(())
    }
}

/// The bytes of a window.
fn window(batch: &[Event<'_>], compressed: bool) -> Vec<u8> {
    let mut frames = Vec::new();
    for (event, number) in batch.iter().zip(1_u32..) {
        frames.extend_from_slice(b"2J");
        frames.extend_from_slice(&number.to_be_bytes());
        frames.extend_from_slice(&length(event.json));
        frames.extend_from_slice(event.json);
    }
    let mut out = b"2W".to_vec();
    out.extend_from_slice(&u32::try_from(batch.len()).unwrap_or(u32::MAX).to_be_bytes());
    if !compressed {
        out.append(&mut frames);
        return out;
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Level::new(1));
    // Writing to memory does not fail.
    let _ = encoder.write_all(&frames);
    let packed = encoder.finish().unwrap_or_default();
    out.extend_from_slice(b"2C");
    out.extend_from_slice(&length(&packed));
    out.extend_from_slice(&packed);
    out
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// Reads acknowledgements until the whole window is. Number 0 says that the receiver is still at it; it may say so for ten
/// time-outs, after which the events are better sent to another.
fn acknowledgements(
    stream: &mut impl Armed,
    count: usize,
    dialer: &Dialer,
    acknowledged: &mut usize,
) -> io::Result<()> {
    let last = Instant::now() + dialer.timeout * 10;
    while *acknowledged < count {
        stream.arm(dialer.timeout.min(last.saturating_duration_since(Instant::now())));
        let mut frame = [0; 6];
        stream.read_exact(&mut frame)?;
        let [b'2', b'A', number @ ..] = frame else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "what answers does not speak the Beats protocol"));
        };
        let number = u32::from_be_bytes(number) as usize;
        if number > count {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("event {number} of {count} acknowledged")));
        }
        *acknowledged = number.max(*acknowledged);
    }
    Ok(())
}

/// A stream whose deadline can be moved.
trait Armed: Read {
    fn arm(&mut self, timeout: std::time::Duration);
}

impl Armed for Stream {
    fn arm(&mut self, timeout: std::time::Duration) {
        Self::arm(self, timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    impl Armed for &[u8] {
        fn arm(&mut self, _: Duration) {}
    }

    fn read(mut answer: &[u8], count: usize) -> (usize, io::Result<()>) {
        let mut acknowledged = 0;
        let dialer = Dialer { tls: None, timeout: Duration::from_secs(1) };
        let result = acknowledgements(&mut answer, count, &dialer, &mut acknowledged);
        (acknowledged, result)
    }

    #[test]
    fn a_window_is_its_length_and_numbered_events() {
        let events = [Event { json: b"{}", ..Event::default() }, Event { json: b"[1]", ..Event::default() }];
        assert_eq!(window(&events, false), b"2W\0\0\0\x022J\0\0\0\x01\0\0\0\x02{}2J\0\0\0\x02\0\0\0\x03[1]");
        let packed = window(&events, true);
        assert!(packed.starts_with(b"2W\0\0\0\x022C\0\0\0"));
        let mut inner = Vec::new();
        flate2::read::ZlibDecoder::new(&packed[12..]).read_to_end(&mut inner).unwrap();
        assert_eq!(inner, &window(&events, false)[6..]);
    }

    #[test]
    fn what_was_acknowledged_before_the_end_counts() {
        assert!(matches!(read(b"2A\0\0\0\0\x32A\0\0\0\x03", 3), (3, Ok(()))));
        assert!(matches!(read(b"2A\0\0\0\x02", 3), (2, Err(_))));
        assert!(matches!(read(b"HTTP/1.1 400", 3), (0, Err(_))));
        assert!(matches!(read(b"2A\0\0\0\x04", 3), (0, Err(_))));
    }
}
