//! A connection that has been introduced to its server.

use std::time::Duration;

use medusa_locking_native::backend::redis::handshake::{Established, ServerSideId, handshake};
use medusa_locking_native::backend::redis::resp::{Parser, Reply, encode_command};
use medusa_locking_native::backend::redis::settings::{RedisOverrides, RedisSettings};
use medusa_locking_native::backend::redis::stream::{ConnectError, Stream, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// How long a server may take to answer or to close; far more than it needs.
const REPLY_WITHIN: Duration = Duration::from_secs(10);

/// A connection past its handshake.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub stream: Stream,
    parser: Parser,
    /// What the handshake came to.
    pub established: Established,
}

impl Connection {
    /// Connects.
    pub async fn open(url: &str) -> Result<Self, ConnectError> {
        Self::open_after(url, None).await
    }

    /// The same after another connection that has broken.
    pub async fn open_after(url: &str, previous: Option<&ServerSideId>) -> Result<Self, ConnectError> {
        Self::open_with(url, previous, None).await
    }

    /// The same with an inbox.
    pub async fn open_with(
        url: &str,
        previous: Option<&ServerSideId>,
        inbox: Option<&str>,
    ) -> Result<Self, ConnectError> {
        let settings = RedisSettings::resolve(Some(url), RedisOverrides::default()).unwrap();
        let mut stream = connect(&settings).await?;
        let mut parser = Parser::new();
        let established = handshake(&mut stream, &mut parser, &settings, previous, inbox).await?;
        Ok(Self {
            stream,
            parser,
            established,
        })
    }

    /// Sends one command and waits for its reply.
    pub async fn command(&mut self, parts: &[&str]) -> Reply {
        self.say(&[parts]).await;
        self.reply().await.unwrap()
    }

    /// Sends commands in one write.
    pub async fn say(&mut self, commands: &[&[&str]]) {
        let mut bytes = Vec::new();
        for parts in commands {
            let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
            encode_command(&mut bytes, &parts);
        }
        self.stream.write_all(&bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next reply; `None`: the server has closed the connection.
    pub async fn reply(&mut self) -> Option<Reply> {
        let mut buffer = [0; 512];
        loop {
            if let Some(reply) = self.parser.next().unwrap() {
                return Some(reply);
            }
            match timeout(REPLY_WITHIN, self.stream.read(&mut buffer))
                .await
                .unwrap()
            {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.parser.feed(&buffer[..count]),
            }
        }
    }

    /// What its server calls it.
    pub fn id(&self) -> &ServerSideId {
        self.established.own.as_ref().unwrap()
    }
}
