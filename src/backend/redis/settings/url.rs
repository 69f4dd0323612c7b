//! Reads a Redis URL in the forms that ioredis takes, and those of Valkey and of unix sockets.

use super::{RedisOverrides, Secret, SettingsError, TlsOverrides};

/// How users write the option.
const OPTION: &str = "redisUrl";
/// Schemes and what they mean.
const SCHEMES: [(&str, Transport); 7] = [
    ("redis", Transport::Plain),
    ("valkey", Transport::Plain),
    ("rediss", Transport::Tls),
    ("valkeys", Transport::Tls),
    ("unix", Transport::Unix),
    ("redis+unix", Transport::Unix),
    ("valkey+unix", Transport::Unix),
];

/// How much of a scheme that we do not know is shown, in characters.
const SCHEME_SHOWN: usize = 20;

#[derive(Clone, Copy, PartialEq)]
enum Transport {
    Plain,
    Tls,
    Unix,
}

/// What the URL says, and the names of the query parameters that say nothing to us.
pub(super) fn parse(text: &str) -> Result<(RedisOverrides, Vec<String>), SettingsError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(invalid("is empty"));
    }
    let mut settings = RedisOverrides::default();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        settings.port = Some(whole_number(text, "port")?);
        return Ok((settings, Vec::new()));
    }
    let (transport, text) = with_scheme(text)?;
    let Some(url) = redis::parse_redis_url(&text) else {
        return Err(invalid(
            "is not a valid URL; special characters in its user name and password must be percent-encoded",
        ));
    };
    if !url.username().is_empty() || url.password().is_some_and(|password| !password.is_empty()) {
        settings.username = Some(percent_decoded(url.username(), "user name")?);
        settings.password = Some(Secret(percent_decoded(
            url.password().unwrap_or_default(),
            "password",
        )?));
    }
    let host = url.host_str().unwrap_or_default();
    match transport {
        Transport::Unix if !host.is_empty() => {
            return Err(invalid(
                "must give a unix socket's whole path: three slashes after the scheme",
            ));
        }
        Transport::Unix => settings.path = Some(percent_decoded(url.path(), "path")?),
        Transport::Plain | Transport::Tls => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            settings.host = Some(host.to_owned()).filter(|host| !host.is_empty());
            settings.port = url.port().map(i64::from);
            let db = url.path().trim_matches('/');
            if !db.is_empty() {
                settings.db = Some(whole_number(db, "database (after the host's slash)")?);
            }
        }
    }
    if transport == Transport::Tls {
        settings.tls = Some(TlsOverrides::default());
    }
    let mut ignored = Vec::new();
    for (name, value) in url.query_pairs() {
        if !settings.fill_in(&name, &value)? {
            ignored.push(shown(&name));
        }
    }
    Ok((settings, ignored))
}

/// The text as a full URL: ioredis also takes `host:port`, `//host` and the bare path of a unix socket.
fn with_scheme(text: &str) -> Result<(Transport, String), SettingsError> {
    if text.starts_with("//") {
        return Ok((Transport::Plain, format!("redis:{text}")));
    }
    // Also `unix:` with nothing but a path behind it.
    let text = text
        .strip_prefix("unix:")
        .filter(|rest| !rest.starts_with("//"))
        .unwrap_or(text);
    if text.starts_with('/') {
        // A path is no URL: what would be an escape or a fragment in one is a part of its name.
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let path = path.replace('%', "%25").replace('#', "%23");
        return Ok((Transport::Unix, format!("unix://{path}?{query}")));
    }
    let is_scheme = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let Some((scheme, _)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
        return Ok((Transport::Plain, format!("redis://{text}")));
    };
    let known = SCHEMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(scheme));
    let Some((_, transport)) = known else {
        let names = SCHEMES.map(|(name, _)| name).join(", ");
        let seen: String = scheme.chars().take(SCHEME_SHOWN).collect();
        return Err(invalid(&format!(
            "must begin with one of the schemes {names}, not with \"{seen}\""
        )));
    };
    Ok((*transport, text.to_owned()))
}

impl RedisOverrides {
    /// Takes a query parameter unless the URL has said it before. False: no such parameter.
    fn fill_in(&mut self, name: &str, value: &str) -> Result<bool, SettingsError> {
        let text = || Some(value.to_owned());
        let number = || whole_number(value, name).map(Some);
        match name {
            "host" => self.host = self.host.take().or_else(text),
            "port" => self.port = self.port.or(number()?),
            "path" => self.path = self.path.take().or_else(text),
            "username" | "user" => self.username = self.username.take().or_else(text),
            "password" | "pass" => self.password = self.password.take().or_else(|| text().map(Secret)),
            "db" => self.db = self.db.or(number()?),
            "family" => self.family = self.family.or(number()?),
            "connectTimeout" => self.connect_timeout_ms = self.connect_timeout_ms.or(number()?),
            "commandTimeout" => self.command_timeout_ms = self.command_timeout_ms.or(number()?),
            "keepAlive" => self.keep_alive_ms = self.keep_alive_ms.or(number()?),
            "connectionName" => self.connection_name = self.connection_name.take().or_else(text),
            "tls" => {
                let asked = !matches!(value, "" | "false" | "0");
                self.tls = self.tls.take().or_else(|| asked.then(TlsOverrides::default));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn invalid(problem: &str) -> SettingsError {
    SettingsError::new(OPTION, problem)
}

fn whole_number(text: &str, what: &str) -> Result<i64, SettingsError> {
    text.parse()
        .map_err(|_| invalid(&format!("its {what} is not a whole number")))
}

/// The name of a parameter for a warning, unless it looks like a piece of a password that was not encoded.
fn shown(name: &str) -> String {
    let is_plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if is_plain {
        name.to_owned()
    } else {
        "(not a name)".to_owned()
    }
}

fn percent_decoded(text: &str, what: &str) -> Result<String, SettingsError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| (byte as char).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(invalid(&format!(
                "its {what} has a % that two hexadecimal digits do not follow; write a plain % as %25"
            )));
        };
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| invalid(&format!("its {what} is not UTF-8 once percent-decoded")))
}
