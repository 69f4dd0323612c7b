//! TLS options that cannot be used. What TLS does with a server is in `tests/redis_transport.rs`.

use super::*;
use crate::backend::redis::settings::{RedisOverrides, RedisSettings};

fn refuse_options(overrides: RedisOverrides) -> String {
    RedisSettings::resolve(None, overrides).unwrap_err().to_string()
}

#[test]
fn tls_options_that_cannot_be_used_are_refused() {
    let with = |change: fn(&mut TlsOverrides)| {
        let mut tls = TlsOverrides::default();
        change(&mut tls);
        refuse_options(RedisOverrides {
            tls: Some(tls),
            ..RedisOverrides::default()
        })
    };
    let path = || "/etc/ssl/redis.pem".to_owned();
    let broken = || "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    fn key(kind: &str) -> Option<Secret> {
        Some(Secret::from(format!(
            "-----BEGIN {kind}-----\nc2VjcmV0\n-----END {kind}-----\n"
        )))
    }
    assert!(
        with(|t| t.servername = Some("a b".into())).contains("tls.servername: a certificate cannot bear")
    );
    assert!(with(|t| t.cert = Some(String::new())).contains("tls.key: is needed"));
    assert!(with(|t| t.key = key("PRIVATE KEY")).contains("tls.cert: is needed"));
    for (options, says) in [
        (
            TlsOverrides {
                ca: Some(vec![path()]),
                ..Default::default()
            },
            "tls.ca: holds no certificate in PEM form",
        ),
        (
            TlsOverrides {
                ca: Some(vec![broken()]),
                ..Default::default()
            },
            "tls.ca: ",
        ),
        (
            TlsOverrides {
                cert: Some(path()),
                key: Some(Secret::from(path())),
                ..Default::default()
            },
            "tls.key: holds no",
        ),
        (
            TlsOverrides {
                cert: Some(path()),
                key: key("PRIVATE KEY"),
                ..Default::default()
            },
            "tls.cert: holds no",
        ),
        (
            TlsOverrides {
                cert: Some(broken()),
                key: key("PRIVATE KEY"),
                ..Default::default()
            },
            "tls.key: does not go",
        ),
        (
            TlsOverrides {
                cert: Some(broken()),
                key: key("ENCRYPTED PRIVATE KEY"),
                ..Default::default()
            },
            "tls.key: is encrypted",
        ),
    ] {
        let error = refuse_options(RedisOverrides {
            tls: Some(options),
            ..RedisOverrides::default()
        });
        assert!(error.contains(says), "{error}");
        assert!(
            !error.contains("c2VjcmV0") && !error.contains("secret"),
            "{error}"
        );
    }
}
