//! Mail: the outbox and the loop that empties it, over SMTP or into a folder.
//!
//! Invariants: a mail is written in the transaction of what it tells; it is claimed before it is sent; nothing that people chose becomes a
//! header except through `lettre`'s types. Deliberately elsewhere: what the mails are about (`emails`, `invitations`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use slipway_model::{InvitationId, MailId, Timestamp};
use slipway_store::mails::{self, Mail};
use slipway_store::{StoreError, WriteTx, invitations};
use url::{Host, Url};

use crate::{App, Error, Refusal, RefusalKind};

const SEALED: &str = "mails.message";
/// RFC 5321 §4.5.3.1.3: 256 with the angle brackets.
pub(crate) const MAX_ADDRESS: usize = 254;
const SMTP_TIMEOUT: Duration = Duration::from_secs(60);
/// Longer than any try takes: a mail that was claimed by a process that died comes back then.
const CLAIM: Duration = Duration::from_secs(300);
const FIRST_DELAY: Duration = Duration::from_secs(60);
const LONGEST_DELAY: Duration = Duration::from_secs(6 * 3600);
const GIVE_UP: Duration = Duration::from_secs(3 * 24 * 3600);

/// How mail leaves.
#[derive(Clone, Debug)]
pub struct MailConfig {
    /// Where to.
    pub transport: MailTransport,
    /// From whom.
    pub from: Sender,
}

/// The sender of every mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender(Mailbox);

impl std::str::FromStr for Sender {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "expected an address like `slipway@example.com` or `Slipway <slipway@example.com>`";
        let mailbox: Mailbox = text.parse().map_err(|_| expected)?;
        let plain = text.len() <= 320
            && !text.chars().any(char::is_control)
            && mailbox.email.user().is_ascii()
            && mailbox.email.domain().is_ascii();
        if plain { Ok(Self(mailbox)) } else { Err(expected) }
    }
}

/// Where mail goes to.
#[derive(Clone, Debug)]
pub enum MailTransport {
    /// Files in a folder, for whoever wants to try it out or sends them on.
    Folder(PathBuf),
    /// A mail server.
    Smtp(SmtpServer),
}

/// A mail server.
#[derive(Clone, Debug)]
pub struct SmtpServer {
    host: String,
    port: u16,
    security: SmtpSecurity,
    credentials: Option<(String, SecretString)>,
}

/// How the connection is protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SmtpSecurity {
    /// TLS from the first byte.
    Tls,
    /// TLS after the greeting, or nothing is sent.
    StartTls,
    /// Nothing.
    Plain,
}

impl MailTransport {
    /// Reads `smtp://`, `smtps://` or `file:///`. The text may hold a password, so no error repeats it.
    ///
    /// # Errors
    /// What is wrong, for the administrator.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || "expected `smtp://HOST:PORT`, `smtps://HOST:PORT` or `file:///FOLDER`".to_owned();
        if let Some(path) = text.strip_prefix("file://") {
            let usable = path.starts_with('/') && !path.contains(['?', '#', '\0']);
            return if usable { Ok(Self::Folder(path.into())) } else { Err("expected `file://` and an absolute path".to_owned()) };
        }
        let url = Url::parse(text).map_err(|_| expected())?;
        // `Url` knows the hosts of `http` better than those of other words: it checks them the same way.
        let host = url.host_str().filter(|host| !host.is_empty()).map(str::to_owned).ok_or_else(expected)?;
        let loopback = is_loopback(&host);
        let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let security = match (url.scheme(), query.as_slice()) {
            ("smtps", []) => SmtpSecurity::Tls,
            ("smtp", []) if loopback => SmtpSecurity::Plain,
            ("smtp", []) => SmtpSecurity::StartTls,
            ("smtp", [(name, value)]) if name == "tls" && value == "required" => SmtpSecurity::StartTls,
            ("smtp", [(name, value)]) if name == "tls" && value == "none" => SmtpSecurity::Plain,
            ("smtp" | "smtps", _) => return Err("expected nothing behind `?` but `tls=required` or `tls=none` of `smtp://`".to_owned()),
            _ => return Err(expected()),
        };
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err("expected nothing behind the port".to_owned());
        }
        let credentials = credentials(&url)?;
        if credentials.is_some() && security == SmtpSecurity::Plain && !loopback {
            return Err("expected no password with `tls=none`: it would travel unprotected".to_owned());
        }
        let port = url.port().unwrap_or(if security == SmtpSecurity::Tls { 465 } else { 587 });
        Ok(Self::Smtp(SmtpServer { host, port, security, credentials }))
    }
}

impl MailTransport {
    /// Whether mail travels over a network without TLS.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Smtp(server) if server.security == SmtpSecurity::Plain && !is_loopback(&server.host))
    }
}

/// Name and password in an address, percent signs undone.
fn credentials(url: &Url) -> Result<Option<(String, SecretString)>, String> {
    let decode = |text: &str| {
        let text =
            percent_encoding::percent_decode_str(text).decode_utf8().map_err(|_| "expected name and password in UTF-8".to_owned())?;
        if text.chars().any(char::is_control) {
            Err("expected no control characters in name and password".to_owned())
        } else {
            Ok(text.into_owned())
        }
    };
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        (name, Some(password)) if !name.is_empty() => Ok(Some((decode(name)?, decode(password)?.into()))),
        _ => Err("expected a name and a password before the host, or none of both".to_owned()),
    }
}

fn is_loopback(host: &str) -> bool {
    match Host::parse(host) {
        Ok(Host::Ipv4(address)) => address.is_loopback(),
        Ok(Host::Ipv6(address)) => address.is_loopback(),
        Ok(Host::Domain(name)) => name == "localhost",
        Err(_) => false,
    }
}

/// What is to be sent.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Letter {
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    /// From when on it is not worth sending.
    pub(crate) until: Option<Timestamp>,
    /// The invitation that it carries: once that is used or revoked, the letter is not worth sending.
    #[serde(default)]
    pub(crate) invitation: Option<InvitationId>,
}

/// Why a try did not work.
struct Failed {
    problem: String,
    /// Another try would get the same answer.
    for_good: bool,
}

impl Failed {
    fn later(problem: impl std::fmt::Display) -> Self {
        Self { problem: problem.to_string(), for_good: false }
    }

    fn never(problem: impl std::fmt::Display) -> Self {
        Self { problem: problem.to_string(), for_good: true }
    }
}

/// An address that mail can be sent to.
pub(crate) fn address(text: &str) -> Result<Address, Error> {
    let text = text.trim();
    let refused = |detail: String| Error::invalid("email", "email", detail);
    if text.len() > MAX_ADDRESS {
        return Err(refused(format!("the e-mail address has {} bytes, at most {MAX_ADDRESS} are accepted", text.len())));
    }
    let plain = text.is_ascii() && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    text.parse().ok().filter(|_| plain).ok_or_else(|| refused("this is no e-mail address, expected one like `ann@example.com`".to_owned()))
}

fn delay(tries: u32) -> Duration {
    FIRST_DELAY.saturating_mul(1_u32.checked_shl(tries.min(20)).unwrap_or(u32::MAX)).min(LONGEST_DELAY)
}

impl App {
    /// Whether this installation sends mail.
    #[must_use]
    pub fn sends_mail(&self) -> bool {
        self.config.mail.is_some()
    }

    /// Refuses what cannot be done without mail.
    pub(crate) fn demand_mail(&self) -> Result<(), Error> {
        if self.sends_mail() {
            return Ok(());
        }
        Err(Refusal::new(RefusalKind::Conflict, "no_mail", "this installation sends no mail, so no e-mail address can be confirmed")
            .hint("an administrator sets `mail.url` and `mail.from` in the configuration")
            .into())
    }

    /// Puts a mail into the outbox, in the transaction of what it tells. Call [`App::mail_waits`] after the commit.
    pub(crate) async fn post(&self, tx: &mut WriteTx, letter: &Letter) -> Result<(), StoreError> {
        let id = MailId::new();
        let text = serde_json::to_vec(letter).expect("texts and a time have a JSON form");
        mails::insert(tx, id, &self.keys.seal(&[SEALED, &id.to_string()], &text), self.clock.now()).await
    }

    /// Tells the loop that there is something to send.
    pub(crate) fn mail_waits(&self) {
        self.wake.mail.notify_one();
    }

    /// Sends what is due; gives how many mails were tried.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn send_mails_once(&self) -> Result<usize, Error> {
        let Some(config) = &self.config.mail else { return Ok(0) };
        let mut tried = 0;
        while let Some(mail) = self.claim_mail().await? {
            let letter = self.open_letter(&mail);
            if let Ok(Letter { invitation: Some(invitation), .. }) = &letter
                && self.withdrawn(*invitation).await?
            {
                self.drop_mail(&mail).await?;
                continue;
            }
            tried += 1;
            let outcome = match letter {
                Ok(letter) if self.too_late(&mail, &letter) => {
                    Err(Failed::never(mail.error.as_deref().unwrap_or("it was not sent in time")))
                }
                Ok(letter) => self.send(config, &mail, &letter).await,
                Err(error) => Err(Failed::never(error)),
            };
            self.note_mail(&mail, outcome).await?;
        }
        Ok(tried)
    }

    async fn claim_mail(&self) -> Result<Option<Mail>, Error> {
        let now = self.clock.now();
        let mut tx = self.write().await?;
        let mail = mails::claim(&mut tx, now, now.plus(CLAIM)).await?;
        tx.commit().await?;
        Ok(mail)
    }

    fn open_letter(&self, mail: &Mail) -> Result<Letter, Error> {
        let text = self.keys.open(&[SEALED, &mail.id.to_string()], &mail.message_sealed)?;
        serde_json::from_slice(&text).map_err(|_| Error::Internal("a mail in the outbox cannot be read"))
    }

    /// Whether an invitation stands no more.
    async fn withdrawn(&self, invitation: InvitationId) -> Result<bool, Error> {
        let mut tx = self.read().await?;
        Ok(invitations::get(&mut tx, invitation, self.clock.now()).await?.is_none())
    }

    async fn drop_mail(&self, mail: &Mail) -> Result<(), Error> {
        let mut tx = self.write().await?;
        mails::delete(&mut tx, mail.id).await?;
        tx.commit().await?;
        metrics::counter!("slipway_mails_total", "outcome" => "withdrawn").increment(1);
        tracing::info!(mail = %mail.id, "the invitation of a mail stands no more, so the mail is not sent");
        Ok(())
    }

    fn too_late(&self, mail: &Mail, letter: &Letter) -> bool {
        let now = self.clock.now();
        now >= mail.created_at.plus(GIVE_UP) || letter.until.is_some_and(|until| now >= until)
    }

    async fn note_mail(&self, mail: &Mail, outcome: Result<(), Failed>) -> Result<(), Error> {
        let count = |outcome: &'static str| metrics::counter!("slipway_mails_total", "outcome" => outcome).increment(1);
        let mut tx = self.write().await?;
        match outcome {
            Ok(()) => {
                mails::delete(&mut tx, mail.id).await?;
                count("sent");
            }
            // To whom it was is nobody's business in a log.
            Err(Failed { problem, for_good: true }) => {
                mails::delete(&mut tx, mail.id).await?;
                tracing::error!(mail = %mail.id, tries = mail.tries, problem, "a mail was given up");
                count("given_up");
            }
            Err(Failed { problem, for_good: false }) => {
                let problem: String = problem.chars().take(500).collect();
                mails::set_failed(&mut tx, mail.id, &problem, self.clock.now().plus(delay(mail.tries))).await?;
                tracing::warn!(mail = %mail.id, tries = mail.tries, problem, "a mail could not be sent; it is tried again");
                count("failed");
            }
        }
        Ok(tx.commit().await?)
    }

    async fn send(&self, config: &MailConfig, mail: &Mail, letter: &Letter) -> Result<(), Failed> {
        let message = self.message(config, mail, letter)?;
        match &config.transport {
            MailTransport::Folder(folder) => write_file(folder, mail.id, &message.formatted()).await.map_err(Failed::later),
            MailTransport::Smtp(server) => {
                let transport = self.smtp(server)?;
                match tokio::time::timeout(SMTP_TIMEOUT, transport.send(message)).await {
                    Err(_) => Err(Failed::later(format!("the mail server did not end the talk within {} s", SMTP_TIMEOUT.as_secs()))),
                    Ok(Ok(_)) => Ok(()),
                    // 55x is about this mail or its receiver; every other refusal (a wrong password, a full disk) can be mended.
                    Ok(Err(error)) if error.status().is_some_and(|code| code.to_string().starts_with("55")) => {
                        Err(Failed::never(chain(&error)))
                    }
                    Ok(Err(error)) => Err(Failed::later(chain(&error))),
                }
            }
        }
    }

    fn message(&self, config: &MailConfig, mail: &Mail, letter: &Letter) -> Result<Message, Failed> {
        let to: Address = letter.to.parse().map_err(Failed::never)?;
        let written = u64::try_from(mail.created_at.as_millis()).unwrap_or(0);
        // Programs that answer mail by themselves (holiday notes) leave alone what says this: RFC 3834 §5.
        let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
        Message::builder()
            .from(config.from.0.clone())
            .to(Mailbox::new(None, to))
            .subject(letter.subject.clone())
            .date(std::time::UNIX_EPOCH + Duration::from_millis(written))
            // The same for every try, so that a receiver who got it twice can tell.
            .message_id(Some(format!("<{}@{}>", mail.id, config.from.0.email.domain())))
            .raw_header(automatic)
            .singlepart(SinglePart::builder().header(ContentType::TEXT_PLAIN).body(letter.text.clone()))
            .map_err(Failed::never)
    }

    fn smtp(&self, server: &SmtpServer) -> Result<AsyncSmtpTransport<Tokio1Executor>, Failed> {
        let parameters = || TlsParameters::new(server.host.clone()).map_err(Failed::later);
        let tls = match server.security {
            SmtpSecurity::Tls => Tls::Wrapper(parameters()?),
            SmtpSecurity::StartTls => Tls::Required(parameters()?),
            SmtpSecurity::Plain => Tls::None,
        };
        let name = self.config.public_url.host_str().unwrap_or("localhost").to_owned();
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server.host.as_str())
            .port(server.port)
            .tls(tls)
            .hello_name(ClientId::Domain(name))
            .timeout(Some(SMTP_TIMEOUT));
        Ok(match &server.credentials {
            Some((name, password)) => builder.credentials(Credentials::new(name.clone(), password.expose_secret().to_owned())).build(),
            None => builder.build(),
        })
    }
}

/// A whole file or none: whoever watches the folder must not read half a mail. Only the owner may read it, it carries one-time addresses.
async fn write_file(folder: &Path, id: MailId, message: &[u8]) -> Result<(), String> {
    use tokio::io::AsyncWriteExt as _;
    let (partial, whole) = (folder.join(format!(".{id}.part")), folder.join(format!("{id}.eml")));
    let write = async {
        tokio::fs::create_dir_all(folder).await?;
        let mut file = tokio::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial).await?;
        file.write_all(message).await?;
        file.sync_all().await?;
        tokio::fs::rename(&partial, &whole).await
    };
    write.await.map_err(|error: std::io::Error| format!("the folder of mails cannot be written: {error}"))
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smtp(text: &str) -> SmtpServer {
        match MailTransport::parse(text) {
            Ok(MailTransport::Smtp(server)) => server,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_of_mail_servers() {
        let server = smtp("smtp://slip%40way:p%3Ass@mail.example.com");
        assert_eq!((server.host.as_str(), server.port, server.security), ("mail.example.com", 587, SmtpSecurity::StartTls));
        let (name, password) = server.credentials.as_ref().unwrap();
        assert_eq!((name.as_str(), password.expose_secret()), ("slip@way", "p:ss"));
        assert!(!format!("{server:?}").contains("p:ss"));
        assert_eq!(smtp("smtps://mail.example.com").port, 465);
        assert_eq!(smtp("smtps://mail.example.com:4650").security, SmtpSecurity::Tls);
        assert_eq!(smtp("smtp://127.0.0.1:25").security, SmtpSecurity::Plain);
        assert_eq!(smtp("smtp://[::1]:25").security, SmtpSecurity::Plain);
        assert_eq!(smtp("smtp://localhost:25?tls=required").security, SmtpSecurity::StartTls);
        assert_eq!(smtp("smtp://mail.internal:25?tls=none").security, SmtpSecurity::Plain);
        assert!(
            matches!(MailTransport::parse("file:///var/mail/out"), Ok(MailTransport::Folder(path)) if path == Path::new("/var/mail/out"))
        );
        for bad in [
            "",
            "mail.example.com",
            "http://mail.example.com",
            "smtp://",
            "smtp://mail.example.com/inbox",
            "smtp://mail.example.com?tls=maybe",
            "smtp://mail.example.com?x=1",
            "smtps://mail.example.com?tls=none",
            "smtp://name@mail.example.com",
            "smtp://:secret@mail.example.com",
            "smtp://name:secret@mail.example.com?tls=none",
            "smtp://na%0Ame:secret@mail.example.com",
            "file://relative",
            "file://",
        ] {
            let problem = MailTransport::parse(bad).unwrap_err();
            assert!(!problem.contains("secret"), "{bad}: {problem}");
        }
    }

    #[test]
    fn senders_and_receivers() {
        assert!("slipway@example.com".parse::<Sender>().is_ok());
        assert!("Slipway Builds <slipway@example.com>".parse::<Sender>().is_ok());
        for bad in ["", "slipway", "a@b@c", "Slipway\r\nBcc: x@example.com <slipway@example.com>"] {
            assert!(bad.parse::<Sender>().is_err(), "{bad}");
        }
        assert_eq!(address(" ann@example.com ").unwrap().to_string(), "ann@example.com");
        let long = format!("{}@{}.example.com", "a".repeat(64), "b".repeat(200));
        for bad in [
            "",
            "ann",
            "ann@",
            "@example.com",
            "a b@example.com",
            "ann@example.com\r\nBcc: x@y",
            "\"a b\"@example.com",
            "änn@example.com",
            &long,
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_delay_grows_to_six_hours() {
        assert_eq!(delay(0), Duration::from_secs(60));
        assert_eq!(delay(1), Duration::from_secs(120));
        assert_eq!(delay(8), Duration::from_secs(60 * 256));
        assert_eq!(delay(9), LONGEST_DELAY);
        assert_eq!(delay(u32::MAX), LONGEST_DELAY);
    }
}
