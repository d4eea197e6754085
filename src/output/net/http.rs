//! The HTTP client of the outputs that speak it: ureq over this program's own connections.
//!
//! One request at a time, no redirects, no proxies from the environment, no cookies. An answer's body is bounded.

use std::time::Duration;

use ureq::http::{Request, Uri};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};

use super::connect::{Dialer, Stream, io_trouble};
use super::secret::Secret;
use super::settings::Settings;
use super::text::{base64, plain};
use super::url::HostPort;
use crate::output::receiver::{Fault, Trouble};

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// `Retry-After` in seconds, where it was given so.
    pub after: Option<Duration>,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The beginning of the body, as it can be shown.
    pub fn text(&self) -> String {
        plain(&String::from_utf8_lossy(self.body.get(..2000).unwrap_or(&self.body)), 200)
    }
}

/// A client of one output.
pub struct Client {
    agent: ureq::Agent,
    tls: bool,
    /// Sent with each request.
    headers: Vec<(String, Secret)>,
    most: u64,
}

impl Client {
    /// A client that gives each request the output's time, and reads at most `most` bytes of an answer.
    pub fn new(settings: &Settings, dialer: Dialer, most: u64) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(settings.timeout))
            .user_agent(concat!("imdswatch/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("")
            .max_idle_connections(4)
            .build();
        let agent = ureq::Agent::with_parts(config, Door { dialer }, Nowhere);
        Self { agent, tls: settings.target.tls, headers: headers(settings), most }
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// [`Trouble`] where there is no whole answer. A status of failure is an answer.
    pub fn send(
        &self,
        method: &str,
        host: &HostPort,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, Trouble> {
        let scheme = if self.tls { "https" } else { "http" };
        let mut request = Request::builder().method(method).uri(format!("{scheme}://{host}{path}"));
        for (name, value) in &self.headers {
            request = request.header(name, value.expose());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let built = if body.is_empty() {
            request.body(()).map_err(|_| ()).map(|request| self.agent.run(request))
        } else {
            request.body(body).map_err(|_| ()).map(|request| self.agent.run(request))
        };
        let result = built.map_err(|()| Trouble::refused(format!("{host}: the URL or a header cannot be sent")))?;
        let mut response = result.map_err(|error| trouble(host, error))?;
        let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = response.body_mut().with_config().limit(self.most).read_to_vec();
        Ok(Answer {
            status: response.status().as_u16(),
            after: after.map(|seconds: u64| Duration::from_secs(seconds.min(3600))),
            body: body.map_err(|error| trouble(host, error))?,
        })
    }
}

/// Headers of every request: the user's own, and who we are.
fn headers(settings: &Settings) -> Vec<(String, Secret)> {
    let mut headers = settings.headers.clone();
    let authorization = if let Some(token) = &settings.token {
        Some(format!("Bearer {}", token.expose()))
    } else if let (Some(user), Some(password)) = (&settings.username, &settings.password) {
        Some(format!("Basic {}", base64(format!("{user}:{}", password.expose()).as_bytes())))
    } else {
        None
    };
    headers.extend(authorization.map(|value| ("authorization".to_owned(), Secret::new(value))));
    headers
}

fn trouble(host: &HostPort, error: ureq::Error) -> Trouble {
    let text = match error {
        ureq::Error::Other(inner) => match inner.downcast::<Trouble>() {
            Ok(trouble) => return *trouble,
            Err(other) => other.to_string(),
        },
        ureq::Error::Io(error) => return io_trouble(host, "no answer", &error),
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::BodyExceedsLimit(most) => format!("an answer of more than {most} bytes"),
        error => plain(&error.to_string(), 200),
    };
    Trouble::new(Fault::Away, format!("{host}: {text}"))
}

/// Connects by the [`Dialer`] of all outputs instead of ureq's own chain.
#[derive(Debug)]
struct Door {
    dialer: Dialer,
}

impl Connector for Door {
    type Out = Link;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Link>, ureq::Error> {
        let uri = details.uri;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if self.dialer.tls.is_some() { 443 } else { 80 });
        let timeout = self.dialer.timeout.min(*details.timeout.after);
        let dialer = Dialer { timeout, ..self.dialer.clone() };
        let stream = dialer.dial(&HostPort { host, port }).map_err(|trouble| ureq::Error::Other(Box::new(trouble)))?;
        Ok(Some(Link { stream, buffers: LazyBuffers::new(BUFFER, BUFFER) }))
    }
}

const BUFFER: usize = 128 * 1024;

/// A connection as ureq uses it.
#[derive(Debug)]
struct Link {
    stream: Stream,
    buffers: LazyBuffers,
}

impl Transport for Link {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        use std::io::Write as _;
        self.stream.arm(*timeout.for_write().after);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        self.stream.write_all(output).and_then(|()| self.stream.flush()).map_err(ureq::Error::Io)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        use std::io::Read as _;
        self.stream.arm(*timeout.for_read().after);
        let read = self.stream.read(self.buffers.input_append_buf()).map_err(ureq::Error::Io)?;
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.is_open()
    }

    fn is_tls(&self) -> bool {
        self.stream.is_tls()
    }
}

/// Leaves resolution to [`Door`].
#[derive(Debug)]
struct Nowhere;

impl Resolver for Nowhere {
    fn resolve(&self, _: &Uri, _: &ureq::config::Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}
