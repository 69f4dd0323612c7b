//! What is said on a new connection before any command of ours: who we are, which database, and that the connection
//! before it is over. Then, that messages to our inbox are to come here.
//!
//! Each of the two is one write and one read. The inbox comes second because only a connection that speaks RESP3 can
//! have one and still be used for commands, and whether it does is among the answers to the first. Only what the locks'
//! correctness rests on can fail the handshake: the user, the database, and a server that serves. A name, the server's
//! view of us, the fence and the inbox are taken where the server's ACL and version allow.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::inbox::{self, Notice};
use super::resp::{CommandWriter, Parser, Reply};
use super::settings::RedisSettings;
use super::stream::{ConnectError, ConnectErrorKind, Stream, is_tls_error};
use crate::core::fleet::Push;

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
    /// Replies come in RESP3. False: the server (before 6), or something in between, speaks RESP2 alone.
    pub is_resp3: bool,
    /// Messages to the inbox come on this connection. False: none was wanted, the connection speaks RESP2, or the
    /// server's ACL denies the channel.
    pub has_inbox: bool,
    /// The messages that came while the rest was still being said, in order.
    pub early: Vec<Push>,
}

/// What a command of the handshake is for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Purpose {
    Authenticate,
    /// `HELLO 3`, which no ACL can deny.
    SpeakResp3,
    /// Close the previous connection.
    Fence,
    SelectDatabase,
    /// Answers nothing that we need.
    Describe,
    LearnOwnId,
    /// `SUBSCRIBE`. Done, it is answered by a push, which is no reply.
    Subscribe,
    /// `PING`, which unlike all of the above a server refuses while it is loading.
    CheckService,
}

/// Introduces us on a new connection, within [`RedisSettings::command_timeout`].
///
/// `previous` is the last connection if it broke with commands unanswered. The server may not have read them yet, and
/// would run them whenever it does, even after what this connection sends: it is told to close that connection first.
///
/// `inbox` is the channel whose messages are to come on this connection. What comes after the last reply stays in the
/// parser.
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
    inbox: Option<&str>,
) -> Result<Established, ConnectError> {
    let talk = Talk {
        stream,
        parser,
        settings,
        inbox,
        established: Established::new(previous.is_none()),
    };
    match timeout(settings.command_timeout, talk.through(previous)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let problem = format!("no answer within {} ms", settings.command_timeout.as_millis());
            Err(ConnectError::new(ConnectErrorKind::Timeout, settings, problem))
        }
    }
}

/// A handshake under way.
struct Talk<'t> {
    stream: &'t mut Stream,
    parser: &'t mut Parser,
    settings: &'t RedisSettings,
    inbox: Option<&'t str>,
    established: Established,
}

impl Talk<'_> {
    async fn through(mut self, previous: Option<&ServerSideId>) -> Result<Established, ConnectError> {
        self.say(Introduction::write(self.settings, previous)).await?;
        if let (true, Some(channel)) = (self.established.is_resp3, self.inbox) {
            self.say(Introduction::subscribe(channel)).await?;
        }
        Ok(self.established)
    }

    async fn say(&mut self, said: Introduction) -> Result<(), ConnectError> {
        // A server that turns us away says so and closes, so its words may be there to read though writing has failed.
        let written = self.send(&said.bytes).await;
        for purpose in said.purposes {
            match self.receive(purpose).await {
                Ok(Some(reply)) => self.established.hear(purpose, reply, self.settings)?,
                Ok(None) => {}
                Err(error) if error.kind == ConnectErrorKind::Io => {
                    return Err(written.err().map_or(error, |error| broken(self.settings, &error)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// The reply to what was said for `purpose`. None: a push was the answer.
    async fn receive(&mut self, purpose: Purpose) -> Result<Option<Reply>, ConnectError> {
        let mut buffer = [0; 2048];
        loop {
            match self.parser.next() {
                Ok(Some(Reply::Push(parts))) => {
                    if self.subscribed_by(&parts) && purpose == Purpose::Subscribe {
                        return Ok(None);
                    }
                    continue;
                }
                Ok(Some(reply)) => return Ok(Some(reply)),
                Ok(None) => {}
                Err(error) => {
                    return Err(ConnectError::new(
                        ConnectErrorKind::Protocol,
                        self.settings,
                        error,
                    ));
                }
            }
            match self.stream.read(&mut buffer).await {
                Ok(0) => return Err(broken(self.settings, &io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => self.parser.feed(&buffer[..count]),
                Err(error) => return Err(broken(self.settings, &error)),
            }
        }
    }

    /// Notes what a push says. True: that we are subscribed.
    fn subscribed_by(&mut self, parts: &[Reply]) -> bool {
        match self.inbox.map(|channel| inbox::read(parts, channel)) {
            Some(Notice::Subscribed) => {
                self.established.has_inbox = true;
                return true;
            }
            Some(Notice::Message(push)) => self.established.early.push(push),
            Some(Notice::Other) | None => {}
        }
        false
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

/// The commands of one step of a handshake, and what each is for.
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
        said.say(Purpose::SpeakResp3, &["HELLO", "3"]);
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

    fn subscribe(channel: &str) -> Self {
        let mut said = Self {
            bytes: Vec::with_capacity(256),
            purposes: Vec::with_capacity(2),
        };
        said.say(Purpose::Subscribe, &["SUBSCRIBE", channel]);
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
    fn new(fenced_previous: bool) -> Self {
        Established {
            own: None,
            fenced_previous,
            password_unneeded: false,
            is_resp3: false,
            has_inbox: false,
            early: Vec::new(),
        }
    }

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
            (Purpose::SpeakResp3, Reply::Map(properties)) => self.is_resp3 = says_resp3(&properties),
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
        // What is said next is told so too, in words that do not speak of HELLO.
        "NOAUTH" if purpose == Purpose::SpeakResp3 => return None,
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
        // An ACL or a proxy without the command says nothing of the service. BUSY, MASTERDOWN and the like do.
        Purpose::CheckService | Purpose::Subscribe if code != "NOPERM" && code != "ERR" => {
            Some(ConnectErrorKind::Refused)
        }
        _ => None,
    }
}

/// Whether the answer to `HELLO 3` is what it asked for, and not only in its form.
fn says_resp3(properties: &[(Reply, Reply)]) -> bool {
    let is_proto = |name: &Reply| match name {
        Reply::Bulk(name) => name == b"proto",
        Reply::Simple(name) => name == "proto",
        _ => false,
    };
    properties
        .iter()
        .any(|(name, value)| is_proto(name) && *value == Reply::Int(3))
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
