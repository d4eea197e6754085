//! Redis: events pushed to a list, or published to a channel.
//!
//! A batch is one `RPUSH` with all events, which Redis does whole or not at all, or one `PUBLISH` for each. Protocol: RESP,
//! redis.io/docs/latest/develop/reference/protocol-spec.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};

use super::connect::{Dialer, Stream, io_trouble};
use super::settings::{RedisType, Settings};
use super::text::plain;
use super::url::{HostPort, Target};
use super::{SettingsError, endpoints, tls};
use crate::output::receiver::{Event, Fault, Limits, Needs, Outcome, Receiver, Reply, Trouble};

/// A connection to Redis.
pub struct Redis {
    settings: Settings,
    dialer: Dialer,
    key: String,
    database: Option<u32>,
    connection: Option<BufReader<Stream>>,
}

impl Redis {
    /// Reads certificates; connects to nothing yet.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let tls = settings.target.tls.then(|| tls::configuration(&settings.tls)).transpose()?;
        Ok(Self {
            dialer: Dialer { tls, timeout: settings.timeout },
            key: settings.target.name().unwrap_or_else(|| "imdswatch".to_owned()),
            database: database(&settings.target)?,
            settings: settings.clone(),
            connection: None,
        })
    }

    fn host(&self) -> Result<&HostPort, Trouble> {
        self.settings.target.hosts.first().ok_or_else(|| Trouble::refused("no host"))
    }

    fn connected(&mut self) -> Result<BufReader<Stream>, Trouble> {
        if let Some(mut connection) = self.connection.take()
            && connection.get_mut().is_open()
        {
            return Ok(connection);
        }
        let host = self.host()?.clone();
        let mut connection = BufReader::new(self.dialer.dial(&host)?);
        connection.get_mut().arm(self.dialer.timeout);
        for command in self.greeting() {
            let parts: Vec<&[u8]> = command.iter().map(|part| part.as_bytes()).collect();
            let said = write(&mut connection, &request(&parts)).and_then(|()| read(&mut connection));
            match said.map_err(|error| io_trouble(&host, "no answer", &error))? {
                Said::Error(text) => return Err(refusal(&host, &text)),
                Said::Number(_) | Said::Text => {}
            }
        }
        Ok(connection)
    }

    /// What is said before the first event.
    fn greeting(&self) -> Vec<Vec<String>> {
        let mut commands = Vec::new();
        if let Some(password) = &self.settings.password {
            let user = self.settings.username.iter().cloned();
            let words = ["AUTH".to_owned()].into_iter().chain(user).chain([password.expose().to_owned()]);
            commands.push(words.collect());
        }
        commands.extend(self.database.map(|number| vec!["SELECT".to_owned(), number.to_string()]));
        commands.push(vec!["PING".to_owned()]);
        commands
    }

    fn requests(&self, batch: &[Event<'_>]) -> Vec<u8> {
        let key = self.key.as_bytes();
        match self.settings.redis_type {
            RedisType::List => {
                let events = batch.iter().map(|event| event.json);
                request(&[b"RPUSH".as_slice(), key].into_iter().chain(events).collect::<Vec<_>>())
            }
            RedisType::Channel => batch.iter().flat_map(|event| request(&[b"PUBLISH", key, event.json])).collect(),
        }
    }

    fn answers(&self, connection: &mut BufReader<Stream>, host: &HostPort, count: usize) -> Reply {
        let requests = if self.settings.redis_type == RedisType::List { 1 } else { count };
        let mut reply = Reply::default();
        for _ in 0..requests {
            match read(connection) {
                Ok(Said::Error(text)) => {
                    reply.outcomes.push(Outcome::Again);
                    reply.trouble = Some(refusal(host, &text));
                }
                Ok(Said::Number(_)) => reply.outcomes.extend(vec![Outcome::Taken; count / requests]),
                Ok(Said::Text) => {
                    reply.trouble = Some(Trouble::away(format!("{host}: an answer to another question")));
                    break;
                }
                Err(error) => {
                    reply.trouble = Some(io_trouble(host, "no answer", &error));
                    break;
                }
            }
        }
        reply
    }
}

impl Receiver for Redis {
    fn send(&mut self, batch: &[Event<'_>]) -> Reply {
        let connected = self.host().cloned().and_then(|host| Ok((host, self.connected()?)));
        let (host, mut connection) = match connected {
            Ok(connected) => connected,
            Err(trouble) => return trouble.into(),
        };
        connection.get_mut().arm(self.dialer.timeout);
        if let Err(error) = write(&mut connection, &self.requests(batch)) {
            return io_trouble(&host, "cannot send", &error).into();
        }
        let reply = self.answers(&mut connection, &host, batch.len());
        // After trouble there may be answers on the way to what was asked before.
        if reply.trouble.is_none() {
            self.connection = Some(connection);
        }
        reply
    }

    fn limits(&self) -> Limits {
        Limits { events: self.settings.batch.unwrap_or(2048), bytes: 4 << 20 }
    }

    fn needs(&self) -> Needs {
        Needs { endpoints: endpoints(&self.settings.target, false), follows: false }
    }

    fn check(&mut self, steps: &mut Vec<String>) -> Result<(), Trouble> {
        let connection = self.connected()?;
        let tls = if connection.get_ref().is_tls() { " over TLS" } else { "" };
        steps.push(format!("{} answers{tls}", self.host()?));
        self.connection = Some(connection);
        Ok(())
    }
}

/// `?db=N`.
fn database(target: &Target) -> Result<Option<u32>, SettingsError> {
    let Some((_, query)) = target.path.expose().split_once('?') else { return Ok(None) };
    let number = query.strip_prefix("db=").and_then(|number| number.parse().ok());
    let text = || "redis:// takes only `?db=NUMBER` after its key".to_owned();
    number.map(Some).ok_or_else(|| SettingsError { key: "to", text: text() })
}

/// A command as an array of bulk strings.
fn request(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn write(connection: &mut BufReader<Stream>, bytes: &[u8]) -> io::Result<()> {
    connection.get_mut().write_all(bytes)?;
    connection.get_mut().flush()
}

/// One answer.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Text,
    Number(i64),
    Error(String),
}

fn read(from: &mut impl io::BufRead) -> io::Result<Said> {
    let mut line = Vec::new();
    from.take(LINE).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "what answers does not speak Redis's protocol");
    let line = line.strip_suffix(b"\r\n").ok_or_else(unreadable)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match line.split_first().ok_or_else(unreadable)? {
        (b'+', _) => Ok(Said::Text),
        (b'-', rest) => Ok(Said::Error(text(rest))),
        (b':', rest) => text(rest).parse().map(Said::Number).map_err(|_| unreadable()),
        _ => Err(unreadable()),
    }
}

/// What an error of Redis means.
fn refusal(host: &HostPort, text: &str) -> Trouble {
    let fault = match text.split(' ').next().unwrap_or_default() {
        "OOM" => Fault::Busy,
        "NOAUTH" | "WRONGPASS" | "NOPERM" | "WRONGTYPE" | "MOVED" | "ERR" => Fault::Refused,
        _ => Fault::Away,
    };
    Trouble::new(fault, format!("{host}: {}", plain(text, 200)))
}

/// Bytes of one answer at most.
const LINE: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_answers_are_resp() {
        assert_eq!(request(&[b"RPUSH", b"k", b"{}\r\n"]), b"*3\r\n$5\r\nRPUSH\r\n$1\r\nk\r\n$4\r\n{}\r\n\r\n");
        let said = |mut bytes: &[u8]| read(&mut bytes);
        assert_eq!(said(b":12\r\n").unwrap(), Said::Number(12));
        assert_eq!(said(b"-OOM command\r\n").unwrap(), Said::Error("OOM command".into()));
        for odd in [&b""[..], b":x\r\n", b"HTTP/1.1 400 Bad Request\r\n", b":1", &[b'+'; 9000]] {
            said(odd).unwrap_err();
        }
    }

    #[test]
    fn a_full_memory_is_waited_for_and_a_wrong_password_is_people_s_to_mend() {
        let host = HostPort { host: "h".into(), port: 1 };
        assert_eq!(refusal(&host, "OOM command not allowed").fault, Fault::Busy);
        assert_eq!(refusal(&host, "WRONGPASS invalid username").fault, Fault::Refused);
        assert_eq!(refusal(&host, "LOADING dataset").fault, Fault::Away);
    }
}
