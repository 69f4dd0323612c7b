//! What is said on a new connection before any command of ours: who we are, which database, and that the connection
//! before it is over.
//!
//! All of it is one write and one read. Only what the locks' correctness rests on can fail the handshake: the user, the
//! database, and a server that serves. A name, the server's view of us and the fence are taken where the server's ACL
//! and version allow.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::resp::{CommandWriter, Parser, Reply};
use super::settings::RedisSettings;
use super::stream::{ConnectError, ConnectErrorKind, Stream, is_tls_error};

/// How `CLIENT LIST` names this library (Redis 7.2).
const LIBRARY_NAME: &str = env!("CARGO_PKG_NAME");
const LIBRARY_VERSION: &str = env!("CARGO_PKG_VERSION");
/// Characters of the server's own words that an error repeats.
const SERVER_MESSAGE_CHARS_MAX: usize = 300;

/// A connection as its server knows it: enough to have it closed there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSideId {
    /// `CLIENT ID`: unique while the server runs.
    pub id: u64,
    /// Our end as the server sees it, `ip:port`: guards against another connection that bears the id after a restart.
    /// All connections over one unix socket have the same.
    pub addr: String,
}

/// What the handshake came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Established {
    /// This connection. `None`: the server (before 6.2) or its ACL does not tell.
    pub own: Option<ServerSideId>,
    /// No command of the previous connection can run any more: there was none, or the server has closed it, now or
    /// before. False: the server would not close it.
    pub fenced_previous: bool,
    /// A password is set here and none there, which is worth a warning and no more.
    pub password_unneeded: bool,
}

/// What a command of the handshake is for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Purpose {
    Authenticate,
    /// Close the previous connection.
    Fence,
    SelectDatabase,
    /// Answers nothing that we need.
    Describe,
    LearnOwnId,
    /// `PING`, which unlike all of the above a server refuses while it is loading.
    CheckService,
}

/// Introduces us on a new connection, within [`RedisSettings::command_timeout`].
///
/// `previous` is the last connection if it broke with commands unanswered. The server may not have read them yet, and
/// would run them whenever it does, even after what this connection sends: it is told to close that connection first.
///
/// # Errors
///
/// Of the kinds `Auth`, `Loading`, `Refused`, `Protocol`, `Timeout` and `Io`. The stream is of no use then, nor is the
/// parser.
pub async fn handshake(
    stream: &mut Stream,
    parser: &mut Parser,
    settings: &RedisSettings,
    previous: Option<&ServerSideId>,
) -> Result<Established, ConnectError> {
    match timeout(
        settings.command_timeout,
        converse(stream, parser, settings, previous),
    )
    .await
    {
        Ok(outcome) => outcome,
        Err(_) => {
            let problem = format!("no answer within {} ms", settings.command_timeout.as_millis());
            Err(ConnectError::new(ConnectErrorKind::Timeout, settings, problem))
        }
    }
}

async fn converse(
    stream: &mut Stream,
    parser: &mut Parser,
    settings: &RedisSettings,
    previous: Option<&ServerSideId>,
) -> Result<Established, ConnectError> {
    let said = Introduction::write(settings, previous);
    // A server that turns us away says so and closes, so its words may be there to read though writing has failed.
    let written = send(stream, &said.bytes).await;
    let mut established = Established {
        own: None,
        fenced_previous: previous.is_none(),
        password_unneeded: false,
    };
    for purpose in said.purposes {
        let reply = match receive(stream, parser, settings).await {
            Ok(reply) => reply,
            Err(error) if error.kind == ConnectErrorKind::Io => {
                return Err(written.err().map_or(error, |error| broken(settings, &error)));
            }
            Err(error) => return Err(error),
        };
        established.hear(purpose, reply, settings)?;
    }
    Ok(established)
}

async fn send(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

async fn receive(
    stream: &mut Stream,
    parser: &mut Parser,
    settings: &RedisSettings,
) -> Result<Reply, ConnectError> {
    let mut buffer = [0; 2048];
    loop {
        match parser.next() {
            Ok(None) => {}
            Ok(Some(Reply::Push(_))) => continue,
            Ok(Some(reply)) => return Ok(reply),
            Err(error) => return Err(ConnectError::new(ConnectErrorKind::Protocol, settings, error)),
        }
        match stream.read(&mut buffer).await {
            Ok(0) => return Err(broken(settings, &io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => parser.feed(&buffer[..count]),
            Err(error) => return Err(broken(settings, &error)),
        }
    }
}

/// A server that wants a client certificate says so only now: with TLS 1.3, connecting is over before it looks.
fn broken(settings: &RedisSettings, error: &io::Error) -> ConnectError {
    let kind = if is_tls_error(error) {
        ConnectErrorKind::Tls
    } else {
        ConnectErrorKind::Io
    };
    ConnectError::new(
        kind,
        settings,
        format!("the connection broke during the handshake: {error}"),
    )
}

/// The commands of a handshake, and what each is for.
struct Introduction {
    bytes: Vec<u8>,
    purposes: Vec<Purpose>,
}

impl Introduction {
    fn write(settings: &RedisSettings, previous: Option<&ServerSideId>) -> Self {
        let mut said = Self {
            bytes: Vec::with_capacity(512),
            purposes: Vec::with_capacity(8),
        };
        let password = settings.password.as_ref().map(|password| password.expose());
        match (&settings.username, password) {
            (None, None) => {}
            (None, Some(password)) => said.say(Purpose::Authenticate, &["AUTH", password]),
            (Some(username), password) => {
                said.say(
                    Purpose::Authenticate,
                    &["AUTH", username, password.unwrap_or_default()],
                );
            }
        }
        if let Some(ServerSideId { id, addr }) = previous {
            let id = id.to_string();
            said.say(Purpose::Fence, &["CLIENT", "KILL", "ID", &id, "ADDR", addr]);
        }
        if settings.db != 0 {
            said.say(Purpose::SelectDatabase, &["SELECT", &settings.db.to_string()]);
        }
        if let Some(name) = &settings.connection_name {
            said.say(Purpose::Describe, &["CLIENT", "SETNAME", name]);
        }
        said.say(
            Purpose::Describe,
            &["CLIENT", "SETINFO", "LIB-NAME", LIBRARY_NAME],
        );
        said.say(
            Purpose::Describe,
            &["CLIENT", "SETINFO", "LIB-VER", LIBRARY_VERSION],
        );
        said.say(Purpose::LearnOwnId, &["CLIENT", "INFO"]);
        said.say(Purpose::CheckService, &["PING"]);
        said
    }

    fn say(&mut self, purpose: Purpose, parts: &[&str]) {
        let mut command = CommandWriter::begin(&mut self.bytes, parts.len());
        for part in parts {
            command.arg(part.as_bytes());
        }
        self.purposes.push(purpose);
    }
}

impl Established {
    fn hear(&mut self, purpose: Purpose, reply: Reply, settings: &RedisSettings) -> Result<(), ConnectError> {
        match (purpose, reply) {
            (Purpose::Authenticate, Reply::Error(message)) if is_password_unneeded(&message) => {
                self.password_unneeded = true;
            }
            (purpose, Reply::Error(message)) => {
                if let Some(kind) = fatal_kind(purpose, &message) {
                    return Err(ConnectError::new(kind, settings, fit_to_show(&message)));
                }
            }
            // The count of connections closed. None: it was gone already.
            (Purpose::Fence, Reply::Int(_)) => self.fenced_previous = true,
            (Purpose::LearnOwnId, Reply::Bulk(info)) => self.own = parse_info(&info),
            (Purpose::Authenticate | Purpose::SelectDatabase, Reply::Simple(_)) => {}
            (Purpose::Authenticate | Purpose::SelectDatabase, _) => {
                // What came is not shown: of a server that echoes, it is the password.
                let problem = "does not answer as a Redis server does";
                return Err(ConnectError::new(ConnectErrorKind::Protocol, settings, problem));
            }
            _ => {}
        }
        Ok(())
    }
}

/// What an error means for the whole connection; `None`: nothing.
fn fatal_kind(purpose: Purpose, message: &str) -> Option<ConnectErrorKind> {
    let code = message.split(' ').next().unwrap_or_default();
    match code {
        "NOAUTH" | "WRONGPASS" => return Some(ConnectErrorKind::Auth),
        "LOADING" => return Some(ConnectErrorKind::Loading),
        // Protected mode. This and the next answer no command: they are sent on connecting.
        "DENIED" => return Some(ConnectErrorKind::Refused),
        _ if message.starts_with("ERR max number of clients") => return Some(ConnectErrorKind::Refused),
        _ => {}
    }
    match purpose {
        Purpose::Authenticate => Some(ConnectErrorKind::Auth),
        Purpose::SelectDatabase => Some(ConnectErrorKind::Refused),
        // An ACL or a proxy without PING says nothing of the service. BUSY, MASTERDOWN and the like do.
        Purpose::CheckService if code != "NOPERM" && code != "ERR" => Some(ConnectErrorKind::Refused),
        Purpose::CheckService | Purpose::Fence | Purpose::Describe | Purpose::LearnOwnId => None,
    }
}

/// What Redis before 6 and since says to a password where it has none.
fn is_password_unneeded(message: &str) -> bool {
    message.contains("no password is set")
        || message.contains("without any password configured for the default user")
}

/// The server's message without the arguments that it repeats of a command it does not know: with AUTH renamed, they
/// are the user and the password.
fn fit_to_show(message: &str) -> String {
    let without_arguments = message
        .split(" with args beginning with")
        .next()
        .unwrap_or_default();
    without_arguments.chars().take(SERVER_MESSAGE_CHARS_MAX).collect()
}

/// Reads `id=7 addr=127.0.0.1:51234 laddr=... ...`.
fn parse_info(info: &[u8]) -> Option<ServerSideId> {
    let info = std::str::from_utf8(info).ok()?;
    let (id, rest) = info.strip_prefix("id=")?.split_once(" addr=")?;
    // The path of a unix socket may hold spaces.
    let (addr, _) = rest.split_once(" laddr=").or_else(|| rest.split_once(' '))?;
    Some(ServerSideId {
        id: id.parse().ok()?,
        addr: addr.to_owned(),
    })
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
