//! One connection to the server, over TCP, TLS or a unix socket, and the reasons why there is none.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{CertificateError, Error as TlsError};

use super::settings::{Address, Family, RedisSettings, TlsSettings};

/// Addresses of one host name that are tried, in the resolver's order.
const ADDRESSES_MAX: usize = 16;
/// How long an address may stay silent before the next one is tried beside it.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
const NO_TLS_HINT: &str = " (does the server speak TLS on this port?)";

/// Why there is no connection. `Display` names the endpoint and says what failed; it never shows a password or a key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("Redis at {endpoint}: {problem}")]
pub struct ConnectError {
    /// What failed.
    pub kind: ConnectErrorKind,
    /// `host:port`, or the socket's path.
    pub endpoint: String,
    /// The reason; for [`ConnectErrorKind::Refused`] the server's own words.
    pub problem: String,
}

impl ConnectError {
    pub(crate) fn new(kind: ConnectErrorKind, settings: &RedisSettings, problem: impl fmt::Display) -> Self {
        Self {
            kind,
            endpoint: settings.endpoint(),
            problem: problem.to_string(),
        }
    }
}

/// What kept us from connecting. Trying again may help with every kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectErrorKind {
    /// The host name has no address of the wanted family.
    Resolve,
    /// No address, or no such socket, took the connection.
    Connect,
    /// The TLS handshake failed, or the certificate will not do.
    Tls,
    /// The connect timeout, or the command timeout during the handshake, has passed.
    Timeout,
    /// The server wants a password, or another one.
    Auth,
    /// The server is loading its data.
    Loading,
    /// The server said no: too many clients, no such database, protected mode, ...
    Refused,
    /// What answered does not speak the Redis protocol.
    Protocol,
    /// The connection broke during the handshake.
    Io,
}

/// A connection, ready for the handshake. Flush after writing: TLS holds back what it could not send.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
    /// A unix socket.
    #[cfg(unix)]
    Unix(UnixStream),
}

/// Connects, within [`RedisSettings::connect_timeout`].
///
/// # Errors
///
/// Of the kinds `Resolve`, `Connect`, `Tls` and `Timeout`.
///
/// # Cancellation
///
/// Dropping the future closes what it has opened. A name being resolved occupies one of the runtime's blocking threads
/// until the system gives up, so end the runtime with `shutdown_background`.
pub async fn connect(settings: &RedisSettings) -> Result<Stream, ConnectError> {
    let mut stage = Stage::Connecting;
    match timeout(settings.connect_timeout, open(settings, &mut stage)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let within_ms = settings.connect_timeout.as_millis();
            let problem = match stage {
                Stage::Connecting => format!("no connection within {within_ms} ms"),
                // A Redis without TLS takes the greeting for half a command, and waits for the rest.
                Stage::Tls => format!("no TLS handshake within {within_ms} ms{NO_TLS_HINT}"),
            };
            Err(ConnectError::new(ConnectErrorKind::Timeout, settings, problem))
        }
    }
}

/// How far connecting has come.
enum Stage {
    Connecting,
    Tls,
}

async fn open(settings: &RedisSettings, stage: &mut Stage) -> Result<Stream, ConnectError> {
    let (host, port) = match &settings.address {
        Address::Tcp { host, port } => (host, *port),
        Address::Unix { path } => return open_unix(settings, path).await,
    };
    let addresses = resolve(settings, host, port).await?;
    let failed = |error| ConnectError::new(ConnectErrorKind::Connect, settings, error);
    let tcp = connect_any(addresses).await.map_err(failed)?;
    configure(&tcp, settings.keep_alive).map_err(failed)?;
    match &settings.tls {
        None => Ok(Stream::Tcp(tcp)),
        Some(tls) => {
            *stage = Stage::Tls;
            open_tls(settings, tls, host, tcp).await
        }
    }
}

#[cfg(unix)]
async fn open_unix(settings: &RedisSettings, path: &std::path::Path) -> Result<Stream, ConnectError> {
    let connected = UnixStream::connect(path).await;
    connected
        .map(Stream::Unix)
        .map_err(|error| ConnectError::new(ConnectErrorKind::Connect, settings, error))
}

#[cfg(not(unix))]
async fn open_unix(settings: &RedisSettings, _path: &std::path::Path) -> Result<Stream, ConnectError> {
    let problem = "unix sockets are not supported on this system";
    Err(ConnectError::new(ConnectErrorKind::Connect, settings, problem))
}

async fn resolve(settings: &RedisSettings, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let failed = |problem: String| ConnectError::new(ConnectErrorKind::Resolve, settings, problem);
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|error| failed(format!("cannot resolve the host name: {error}")))?;
    let is_wanted = |address: &SocketAddr| match settings.family {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    };
    let addresses: Vec<_> = found.filter(is_wanted).take(ADDRESSES_MAX).collect();
    if addresses.is_empty() {
        return Err(failed(format!(
            "the host name has no address of family {:?}",
            settings.family
        )));
    }
    Ok(addresses)
}

/// The first connection that any of the addresses takes. Each begins when the one before it has failed or has been
/// silent for a while, so that a host whose IPv6 leads nowhere costs a moment and not the whole timeout.
async fn connect_any(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut untried = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = untried.next() {
            attempts.spawn(connect_one(address));
        }
        let outcome = if untried.len() == 0 {
            attempts.join_next().await
        } else {
            match timeout(NEXT_ADDRESS_AFTER, attempts.join_next()).await {
                Ok(outcome) => outcome,
                Err(_) => continue,
            }
        };
        match outcome {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => failure = error,
            Some(Err(error)) => failure = error.into(),
            None if untried.len() == 0 => return Err(failure),
            None => {}
        }
    }
}

async fn connect_one(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // Where nobody listens on a local port, the system may give us that very port and connect us to ourselves: we would
    // read our own commands, and the server could not start.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

fn configure(stream: &TcpStream, keep_alive: Option<Duration>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    match keep_alive {
        None => Ok(()),
        // Systems count whole seconds, and refuse none.
        Some(silence) if silence.as_secs() == 0 => socket.set_keepalive(true),
        Some(silence) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(silence)),
    }
}

async fn open_tls(
    settings: &RedisSettings,
    tls: &TlsSettings,
    host: &str,
    tcp: TcpStream,
) -> Result<Stream, ConnectError> {
    let failed = |problem: String| ConnectError::new(ConnectErrorKind::Tls, settings, problem);
    let name = tls.server_name(host).map_err(|error| failed(error.to_string()))?;
    let connected = TlsConnector::from(tls.config.clone()).connect(name, tcp).await;
    let stream = connected.map_err(|error| failed(format!("TLS: {error}{}", hint(&error))))?;
    Ok(Stream::Tls(Box::new(stream)))
}

/// What to do about the commonest failures of TLS.
fn hint(error: &io::Error) -> &'static str {
    match tls_error(error) {
        Some(TlsError::InvalidMessage(_)) => NO_TLS_HINT,
        Some(TlsError::InvalidCertificate(reason)) => match reason {
            CertificateError::UnknownIssuer => " (give its CA's certificate as redisOptions.tls.ca)",
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                " (give a name that its certificate bears as redisOptions.tls.servername)"
            }
            _ => "",
        },
        _ => "",
    }
}

fn tls_error(error: &io::Error) -> Option<&TlsError> {
    error.get_ref()?.downcast_ref()
}

/// Whether TLS, and not the connection beneath it, has failed.
pub(crate) fn is_tls_error(error: &io::Error) -> bool {
    tls_error(error).is_some()
}

/// Calls the method of whichever connection it is.
macro_rules! delegate {
    ($stream:expr, $method:ident $(, $argument:expr)*) => {
        match $stream {
            Stream::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Tls(stream) => Pin::new(stream).$method($($argument),*),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(&mut *self, poll_read, cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(&mut *self, poll_write, cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(&mut *self, poll_flush, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(&mut *self, poll_shutdown, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(&mut *self, poll_write_vectored, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            #[cfg(unix)]
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
