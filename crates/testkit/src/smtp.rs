//! A mail server for tests: it takes what is sent and keeps it.
//! Invariant: a message is kept exactly when it was answered with 250. Source: RFC 5321, AUTH PLAIN of RFC 4616.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::Result;
use base64::Engine as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// A message that was taken.
#[derive(Clone, Debug)]
pub struct Received {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's receivers.
    pub to: Vec<String>,
    /// Headers, an empty line and the body, as they came, dots undone.
    pub text: String,
    /// Name and password, when the client said them.
    pub credentials: Option<(String, String)>,
}

impl Received {
    /// A header's value, unfolded; empty when there is none.
    pub fn header(&self, name: &str) -> String {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default().replace("\r\n ", " ").replace("\r\n\t", " ");
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{}:", name.to_ascii_lowercase())));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    }

    /// The text behind the headers, with the soft line ends of quoted-printable taken out.
    pub fn body(&self) -> String {
        let body = self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        body.replace("=\r\n", "").replace("=3D", "=").replace("\r\n", "\n")
    }
}

#[derive(Default)]
struct State {
    received: Vec<Received>,
    refuse: Option<u16>,
    attempts: usize,
}

/// A running mail server; it goes with its last handle.
#[derive(Clone)]
pub struct SmtpSink {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    _server: Arc<Server>,
}

struct Server(tokio::task::JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl SmtpSink {
    /// Starts one on a free loopback port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    if let Err(error) = Session::new(stream, shared).run().await {
                        tracing::debug!(%error, "a mail session broke");
                    }
                });
            }
        });
        Ok(Self { state, address, _server: Arc::new(Server(server)) })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Refuses every message with this code from now on (4xx: later, 5xx: never); `None` ends it.
    pub fn refuse(&self, code: Option<u16>) {
        lock(&self.state).refuse = code;
    }

    /// What was taken, the oldest first.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.state).received.clone()
    }

    /// How often somebody tried to hand over a message.
    pub fn attempts(&self) -> usize {
        lock(&self.state).attempts
    }

    /// Waits for the message of this number, counted from 1.
    pub async fn message(&self, number: usize) -> Result<Received> {
        crate::wait::until("a mail", Duration::from_secs(10), || async { Ok(self.received().get(number.saturating_sub(1)).cloned()) }).await
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

struct Session {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    state: Arc<Mutex<State>>,
    credentials: Option<(String, String)>,
    from: Option<String>,
    to: Vec<String>,
}

/// `<a@b>` with parameters behind it.
fn address(argument: &str) -> String {
    let inner = argument.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or_else(|| argument.trim().to_owned(), |(address, _)| address.to_owned())
}

impl Session {
    fn new(stream: TcpStream, state: Arc<Mutex<State>>) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader: BufReader::new(reader), writer, state, credentials: None, from: None, to: Vec::new() }
    }

    async fn say(&mut self, text: &str) -> Result<()> {
        Ok(self.writer.write_all(format!("{text}\r\n").as_bytes()).await?)
    }

    async fn line(&mut self) -> Result<Option<String>> {
        let mut line = Vec::new();
        if self.reader.read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()))
    }

    async fn run(mut self) -> Result<()> {
        self.say("220 sink.test ESMTP").await?;
        while let Some(line) = self.line().await? {
            let (word, rest) = line.split_once([' ', ':']).unwrap_or((&line, ""));
            match word.to_ascii_uppercase().as_str() {
                "EHLO" => self.say("250-sink.test\r\n250-8BITMIME\r\n250 AUTH PLAIN").await?,
                "HELO" | "NOOP" => self.say("250 sink.test").await?,
                "RSET" => {
                    (self.from, self.to) = (None, Vec::new());
                    self.say("250 forgotten").await?;
                }
                "AUTH" => self.authenticate(rest).await?,
                "MAIL" => {
                    self.from = Some(address(rest));
                    self.say("250 sender noted").await?;
                }
                "RCPT" if self.from.is_some() => {
                    self.to.push(address(rest));
                    self.say("250 receiver noted").await?;
                }
                "DATA" if !self.to.is_empty() => self.data().await?,
                "QUIT" => return self.say("221 bye").await,
                "RCPT" | "DATA" => self.say("503 not in this order").await?,
                _ => self.say("502 unknown command").await?,
            }
        }
        Ok(())
    }

    async fn authenticate(&mut self, argument: &str) -> Result<()> {
        let encoded = argument.split_once(' ').map(|(_, encoded)| encoded.trim().to_owned());
        let encoded = match encoded {
            Some(encoded) => encoded,
            None => {
                self.say("334 ").await?;
                self.line().await?.unwrap_or_default()
            }
        };
        let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap_or_default();
        let parts: Vec<String> = decoded.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
        match parts.as_slice() {
            [_, name, password] => {
                self.credentials = Some((name.clone(), password.clone()));
                self.say("235 welcome").await
            }
            _ => self.say("501 not understood").await,
        }
    }

    async fn data(&mut self) -> Result<()> {
        self.say("354 go ahead, end with a dot").await?;
        let mut text = String::new();
        loop {
            let Some(line) = self.line().await? else { return Ok(()) };
            if line == "." {
                break;
            }
            text.push_str(line.strip_prefix('.').unwrap_or(&line));
            text.push_str("\r\n");
        }
        let message = Received {
            from: self.from.take().unwrap_or_default(),
            to: std::mem::take(&mut self.to),
            text,
            credentials: self.credentials.clone(),
        };
        let refused = {
            let mut state = lock(&self.state);
            state.attempts += 1;
            if state.refuse.is_none() {
                state.received.push(message);
            }
            state.refuse
        };
        match refused {
            None => self.say("250 taken").await,
            Some(code) => self.say(&format!("{code} not now")).await,
        }
    }
}
