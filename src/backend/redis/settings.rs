//! How to reach the server: the options and the URL, checked once and merged.
//!
//! URLs and options are understood as ioredis 5 does in `new Redis(url, options)`, because a store that changes its
//! locking provider brings both along. In particular **what the URL says wins over the options**, and options fill in
//! what it leaves out.
//!
//! No message of this module quotes a URL: a password that is not percent-encoded ends up in any part of it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

mod tls;
mod url;
mod verifier;

pub use tls::{TlsOverrides, TlsSettings};

/// Where ioredis connects to when nothing is said.
const DEFAULT_HOST: &str = "localhost";
const DEFAULT_PORT: u16 = 6379;
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest of all times: a day. `connectTimeout: 0`, which is ioredis' word for no limit, means this.
pub const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything that is needed to connect. Made by [`RedisSettings::resolve`].
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// The server's address.
    pub address: Address,
    /// The ACL user. `None`: the user `default`.
    pub username: Option<String>,
    /// The password. `None` together with no user: no `AUTH` is sent.
    pub password: Option<Secret>,
    /// The database's number. Default 0.
    pub db: u32,
    /// `None`: no TLS.
    pub tls: Option<TlsSettings>,
    /// For resolving, connecting and the TLS handshake together. Default 10 s.
    pub connect_timeout: Duration,
    /// For each command's reply, the handshake's included. Default 5 s.
    pub command_timeout: Duration,
    /// What `CLIENT LIST` shows. Default: nothing.
    pub connection_name: Option<String>,
    /// TCP keep-alive: `None` off, zero on with the system's times, else on after so much silence. Default zero.
    pub keep_alive: Option<Duration>,
    /// Which addresses of a host name are tried. Default any.
    pub family: Family,
    /// Names of the URL's query parameters that mean nothing to us, for a warning.
    pub ignored_parameters: Vec<String>,
}

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A host name or IP address (IPv6 without brackets), and a port.
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// The path of a unix socket.
    Unix {
        /// The path.
        path: PathBuf,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { path } => write!(f, "{}", path.display()),
        }
    }
}

/// Which addresses of a host name are tried. A literal IP address is always taken as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// Both kinds, in the resolver's order.
    #[default]
    Any,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

/// A text that `Debug` and `Display` show as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, to be sent and not to be shown.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The options beside the URL, as JavaScript gives them: nothing is checked yet. See [`RedisSettings`] for their
/// meanings and defaults.
#[derive(Debug, Clone, Default)]
pub struct RedisOverrides {
    /// Host name or IP address.
    pub host: Option<String>,
    /// 1 to 65535.
    pub port: Option<i64>,
    /// Path of a unix socket; wins over host and port, wherever they come from.
    pub path: Option<String>,
    /// ACL user.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Database number.
    pub db: Option<i64>,
    /// Milliseconds; 0 is no limit but [`TIME_MAX`].
    pub connect_timeout_ms: Option<i64>,
    /// Milliseconds, at least 1.
    pub command_timeout_ms: Option<i64>,
    /// Shown by `CLIENT LIST`.
    pub connection_name: Option<String>,
    /// Milliseconds; the system counts whole seconds.
    pub keep_alive_ms: Option<i64>,
    /// 0, 4 or 6.
    pub family: Option<i64>,
    /// `Some`: TLS, whatever the URL's scheme is.
    pub tls: Option<TlsOverrides>,
}

/// A setting that cannot be used. Never quotes a URL, a password or a key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{option}: {problem}")]
pub struct SettingsError {
    /// The option's name as users write it, such as `redisUrl` or `redisOptions.port`.
    pub option: String,
    /// What is wrong with it.
    pub problem: String,
}

impl SettingsError {
    fn new(option: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            option: option.into(),
            problem: problem.into(),
        }
    }
}

impl RedisSettings {
    /// Checks the URL and the options and merges them. Reads `NODE_EXTRA_CA_CERTS` and `NODE_TLS_REJECT_UNAUTHORIZED`
    /// where TLS is asked for, so call it on the thread of JavaScript, which writes the environment.
    ///
    /// # Errors
    ///
    /// Names the first option that cannot be used.
    pub fn resolve(url: Option<&str>, overrides: RedisOverrides) -> Result<Self, SettingsError> {
        overrides.check("redisOptions")?;
        let (from_url, ignored_parameters) = match url {
            Some(url) => url::parse(url)?,
            None => Default::default(),
        };
        from_url.check("redisUrl")?;
        let merged = from_url.or(overrides);
        let address = merged.address();
        let tls = merged
            .tls
            .as_ref()
            .map(|tls| TlsSettings::resolve(tls, &address))
            .transpose()?;
        Ok(Self {
            address,
            tls,
            username: merged.username.filter(|username| !username.is_empty()),
            password: merged.password.filter(|password| !password.expose().is_empty()),
            db: in_range(merged.db).unwrap_or(0),
            connect_timeout: match milliseconds(merged.connect_timeout_ms) {
                Some(Duration::ZERO) => TIME_MAX,
                given => given.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
            },
            command_timeout: milliseconds(merged.command_timeout_ms).unwrap_or(DEFAULT_COMMAND_TIMEOUT),
            connection_name: merged.connection_name.filter(|name| !name.is_empty()),
            keep_alive: Some(milliseconds(merged.keep_alive_ms).unwrap_or(Duration::ZERO)),
            family: match merged.family {
                Some(4) => Family::V4,
                Some(6) => Family::V6,
                _ => Family::Any,
            },
            ignored_parameters,
        })
    }

    /// `host:port`, or the socket's path: how messages name the server.
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// Whether whoever answers is taken for the server: TLS that looks at no certificate.
    pub fn trusts_any_server(&self) -> bool {
        self.tls.as_ref().is_some_and(TlsSettings::trusts_any)
    }
}

impl RedisOverrides {
    fn check(&self, source: &str) -> Result<(), SettingsError> {
        let time_max = TIME_MAX.as_millis() as i64;
        for (name, given, min, max) in [
            ("port", self.port, 1, i64::from(u16::MAX)),
            ("db", self.db, 0, i64::from(i32::MAX)),
            ("connectTimeout", self.connect_timeout_ms, 0, time_max),
            ("commandTimeout", self.command_timeout_ms, 1, time_max),
            ("keepAlive", self.keep_alive_ms, 0, time_max),
        ] {
            if let Some(given) = given.filter(|given| !(min..=max).contains(given)) {
                let problem = format!("must be a whole number from {min} to {max}, got {given}");
                return Err(SettingsError::new(format!("{source}.{name}"), problem));
            }
        }
        // A URL in the wrong place: messages that name the server would show its password.
        if self.host.as_deref().is_some_and(|host| host.contains(['@', '/'])) {
            let problem = "must be a host's name or address, without @ and /";
            return Err(SettingsError::new(format!("{source}.host"), problem));
        }
        if self.path.as_deref().is_some_and(|path| path.contains("://")) {
            let problem = "must be the path of a unix socket, and no URL";
            return Err(SettingsError::new(format!("{source}.path"), problem));
        }
        match self.family {
            None | Some(0 | 4 | 6) => Ok(()),
            Some(other) => Err(SettingsError::new(
                format!("{source}.family"),
                format!("must be 0, 4 or 6, got {other}"),
            )),
        }
    }

    /// These, and from `rest` what these leave out.
    fn or(self, rest: Self) -> Self {
        let password = self.password.filter(|password| !password.expose().is_empty());
        Self {
            host: self.host.or(rest.host),
            port: self.port.or(rest.port),
            path: self.path.or(rest.path),
            username: self.username.or(rest.username),
            password: password.or(rest.password),
            db: self.db.or(rest.db),
            connect_timeout_ms: self.connect_timeout_ms.or(rest.connect_timeout_ms),
            command_timeout_ms: self.command_timeout_ms.or(rest.command_timeout_ms),
            connection_name: self.connection_name.or(rest.connection_name),
            keep_alive_ms: self.keep_alive_ms.or(rest.keep_alive_ms),
            family: self.family.or(rest.family),
            // The other way round: a URL can only say that there is TLS, and must not undo how.
            tls: rest.tls.or(self.tls),
        }
    }

    fn address(&self) -> Address {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        match given(&self.path) {
            Some(path) => Address::Unix { path: path.into() },
            None => Address::Tcp {
                host: given(&self.host).unwrap_or_else(|| DEFAULT_HOST.to_owned()),
                port: in_range(self.port).unwrap_or(DEFAULT_PORT),
            },
        }
    }
}

/// A number whose range [`RedisOverrides::check`] has checked.
fn in_range<T: TryFrom<i64>>(number: Option<i64>) -> Option<T> {
    number.and_then(|number| T::try_from(number).ok())
}

fn milliseconds(number: Option<i64>) -> Option<Duration> {
    in_range(number).map(Duration::from_millis)
}

#[cfg(test)]
#[path = "settings/settings_tests.rs"]
mod tests;
