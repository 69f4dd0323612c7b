//! URLs and options: what they mean, which wins, and that nothing secret shows.

use super::*;

fn resolve(url: &str) -> RedisSettings {
    RedisSettings::resolve(Some(url), RedisOverrides::default()).unwrap()
}

fn refuse(url: &str) -> String {
    RedisSettings::resolve(Some(url), RedisOverrides::default())
        .unwrap_err()
        .to_string()
}

fn refuse_options(overrides: RedisOverrides) -> String {
    RedisSettings::resolve(None, overrides).unwrap_err().to_string()
}

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp {
        host: host.into(),
        port,
    }
}

fn unix(path: &str) -> Address {
    Address::Unix { path: path.into() }
}

fn password(settings: &RedisSettings) -> Option<&str> {
    settings.password.as_ref().map(Secret::expose)
}

#[test]
fn nothing_said_means_the_defaults() {
    let settings = RedisSettings::resolve(None, RedisOverrides::default()).unwrap();
    assert_eq!(settings.address, tcp("localhost", 6379));
    assert_eq!(
        (settings.username.as_deref(), password(&settings), settings.db),
        (None, None, 0)
    );
    assert!(settings.tls.is_none());
    assert_eq!(settings.connect_timeout, Duration::from_secs(10));
    assert_eq!(settings.command_timeout, Duration::from_secs(5));
    assert_eq!(settings.connection_name, None);
    assert_eq!(settings.keep_alive, Some(Duration::ZERO));
    assert_eq!(settings.family, Family::Any);
}

#[test]
fn addresses_are_read_in_every_form() {
    for (url, address) in [
        ("redis://example.com", tcp("example.com", 6379)),
        ("redis://example.com:7000", tcp("example.com", 7000)),
        ("REDIS://example.com:7000/", tcp("example.com", 7000)),
        ("valkey://10.0.0.1:1/3", tcp("10.0.0.1", 1)),
        ("redis://[::1]:7000", tcp("::1", 7000)),
        ("redis://redis_master", tcp("redis_master", 6379)),
        ("redis://", tcp("localhost", 6379)),
        ("redis:///2", tcp("localhost", 6379)),
        ("//example.com:7000", tcp("example.com", 7000)),
        ("localhost:7000", tcp("localhost", 7000)),
        ("example.com", tcp("example.com", 6379)),
        ("[::1]:7000", tcp("::1", 7000)),
        ("me:secret@example.com", tcp("example.com", 6379)),
        (" redis://example.com\n", tcp("example.com", 6379)),
        ("7000", tcp("localhost", 7000)),
        ("/tmp/redis.sock", unix("/tmp/redis.sock")),
        ("/tmp/100% #1.sock?db=2", unix("/tmp/100% #1.sock")),
        ("unix:///tmp/redis.sock", unix("/tmp/redis.sock")),
        ("redis+unix:///tmp/a%20b.sock", unix("/tmp/a b.sock")),
        ("valkey+unix:///tmp/redis.sock?db=1", unix("/tmp/redis.sock")),
        (
            "redis://example.com?path=/tmp/redis.sock",
            unix("/tmp/redis.sock"),
        ),
    ] {
        assert_eq!(resolve(url).address, address, "{url}");
    }
}

#[test]
fn endpoints_are_written_as_urls_write_them() {
    assert_eq!(
        resolve("redis://me:secret@example.com/4").endpoint(),
        "example.com:6379"
    );
    assert_eq!(resolve("redis://[fe80::1]").endpoint(), "[fe80::1]:6379");
    assert_eq!(resolve("/tmp/redis.sock").endpoint(), "/tmp/redis.sock");
}

#[test]
fn credentials_are_percent_decoded() {
    for (url, user, pass) in [
        ("redis://h", None, None),
        ("redis://:@h", None, None),
        ("redis://me@h", Some("me"), None),
        ("redis://:p%40ss%2Fw%C3%B6rd%25@h", None, Some("p@ss/wörd%")),
        ("redis://m%3Ae:pass@h", Some("m:e"), Some("pass")),
        ("redis://me:p@ss@h", Some("me"), Some("p@ss")),
        (
            "redis+unix:///tmp/redis.sock?user=me&pass=p%26ss",
            Some("me"),
            Some("p&ss"),
        ),
        ("redis://h?username=me&password=pass", Some("me"), Some("pass")),
        ("redis://:first@h?password=second", None, Some("first")),
    ] {
        let settings = resolve(url);
        assert_eq!(
            (settings.username.as_deref(), password(&settings)),
            (user, pass),
            "{url}"
        );
    }
}

#[test]
fn the_database_stands_in_the_path_or_in_the_query() {
    for (url, db) in [
        ("redis://h", 0),
        ("redis://h/3", 3),
        ("redis://h/3/", 3),
        ("redis://h?db=4", 4),
        ("redis://h/3?db=4", 3),
        ("h/5", 5),
        ("unix:///tmp/s?db=6", 6),
    ] {
        assert_eq!(resolve(url).db, db, "{url}");
    }
}

#[test]
fn parameters_of_the_query_are_options() {
    let url = "redis://h?family=6&connectTimeout=1500&commandTimeout=700&keepAlive=30000&connectionName=store\
               &tls=true&lazyConnect=true&keyPrefix=a&%3C%3E=1";
    let settings = resolve(url);
    assert_eq!(settings.family, Family::V6);
    assert_eq!(settings.connect_timeout, Duration::from_millis(1500));
    assert_eq!(settings.command_timeout, Duration::from_millis(700));
    assert_eq!(settings.keep_alive, Some(Duration::from_secs(30)));
    assert_eq!(settings.connection_name.as_deref(), Some("store"));
    assert!(settings.tls.is_some());
    assert_eq!(
        settings.ignored_parameters,
        ["lazyConnect", "keyPrefix", "(not a name)"]
    );
}

#[test]
fn the_url_wins_and_options_fill_in() {
    let overrides = || RedisOverrides {
        host: Some("other".into()),
        port: Some(1),
        username: Some("someone".into()),
        password: Some(Secret("option".to_owned())),
        db: Some(9),
        family: Some(4),
        connect_timeout_ms: Some(0),
        ..RedisOverrides::default()
    };
    let full = RedisSettings::resolve(Some("redis://me:url@h:2/3?family=6"), overrides()).unwrap();
    assert_eq!(
        (&full.address, full.db, full.family),
        (&tcp("h", 2), 3, Family::V6)
    );
    assert_eq!(
        (full.username.as_deref(), password(&full)),
        (Some("me"), Some("url"))
    );
    assert_eq!(full.connect_timeout, TIME_MAX);

    let bare = RedisSettings::resolve(Some("redis://h"), overrides()).unwrap();
    assert_eq!(
        (&bare.address, bare.db, bare.family),
        (&tcp("h", 1), 9, Family::V4)
    );
    assert_eq!(
        (bare.username.as_deref(), password(&bare)),
        (Some("someone"), Some("option"))
    );

    // A password alone in the URL is the default user's; a user alone may get the option's password.
    let settings = RedisSettings::resolve(Some("redis://:url@h"), overrides()).unwrap();
    assert_eq!(
        (settings.username.as_deref(), password(&settings)),
        (None, Some("url"))
    );
    let settings = RedisSettings::resolve(Some("redis://me@h"), overrides()).unwrap();
    assert_eq!(
        (settings.username.as_deref(), password(&settings)),
        (Some("me"), Some("option"))
    );

    // A socket's path, wherever it comes from, wins over a host.
    let path = RedisOverrides {
        path: Some("/tmp/s".into()),
        ..overrides()
    };
    assert_eq!(
        RedisSettings::resolve(Some("redis://h"), path).unwrap().address,
        unix("/tmp/s")
    );
    let options = RedisSettings::resolve(None, overrides()).unwrap();
    assert_eq!((options.address, options.db), (tcp("other", 1), 9));
}

#[test]
fn tls_is_asked_for_by_the_scheme_or_by_the_option() {
    for (url, tls) in [
        ("redis://h", false),
        ("rediss://h", true),
        ("valkeys://h", true),
        ("REDISS://h", true),
        ("redis://h?tls=false", false),
    ] {
        assert_eq!(resolve(url).tls.is_some(), tls, "{url}");
    }
    let asked = RedisOverrides {
        tls: Some(TlsOverrides::default()),
        ..RedisOverrides::default()
    };
    assert!(
        RedisSettings::resolve(Some("redis://h"), asked.clone())
            .unwrap()
            .tls
            .is_some()
    );
    let error = RedisSettings::resolve(Some("/tmp/s"), asked).unwrap_err();
    assert_eq!(
        error.to_string(),
        "redisOptions.tls: TLS over a unix socket is not supported"
    );
}

#[test]
fn urls_that_cannot_be_used_are_refused() {
    for (url, says) in [
        ("", "redisUrl: is empty"),
        ("  ", "redisUrl: is empty"),
        (
            "http://h",
            "must begin with one of the schemes redis, valkey, rediss",
        ),
        ("redis-sentinel://h", "must begin with one of the schemes"),
        ("redis://h:port", "is not a valid URL"),
        ("redis://h:65536", "is not a valid URL"),
        (
            "redis://h:0",
            "redisUrl.port: must be a whole number from 1 to 65535, got 0",
        ),
        (
            "70000",
            "redisUrl.port: must be a whole number from 1 to 65535, got 70000",
        ),
        ("99999999999999999999", "its port is not a whole number"),
        (
            "redis://h/a",
            "its database (after the host's slash) is not a whole number",
        ),
        ("redis://h/-1", "redisUrl.db: must be a whole number from 0"),
        ("redis://h?db=x", "its db is not a whole number"),
        ("redis://h?family=5", "redisUrl.family: must be 0, 4 or 6, got 5"),
        (
            "redis://:50%@h",
            "its password has a % that two hexadecimal digits do not follow",
        ),
        ("redis://:%zz@h", "its password has a %"),
        ("redis://%ff@h", "its user name is not UTF-8"),
        ("unix://tmp/redis.sock", "three slashes"),
        (
            "rediss://a..b",
            "redisOptions.tls.servername: a certificate cannot bear the name \"a..b\"",
        ),
    ] {
        let error = refuse(url);
        assert!(error.contains(says), "{url}: {error}");
    }
}

#[test]
fn options_that_cannot_be_used_are_refused() {
    let with = |change: fn(&mut RedisOverrides)| {
        let mut overrides = RedisOverrides::default();
        change(&mut overrides);
        refuse_options(overrides)
    };
    for (error, says) in [
        (
            with(|o| o.port = Some(0)),
            "redisOptions.port: must be a whole number from 1 to 65535, got 0",
        ),
        (with(|o| o.port = Some(65536)), "redisOptions.port"),
        (
            with(|o| o.db = Some(-1)),
            "redisOptions.db: must be a whole number from 0 to 2147483647, got -1",
        ),
        (
            with(|o| o.connect_timeout_ms = Some(-1)),
            "redisOptions.connectTimeout: must be a whole number from 0",
        ),
        (
            with(|o| o.command_timeout_ms = Some(0)),
            "redisOptions.commandTimeout: must be a whole number from 1",
        ),
        (
            with(|o| o.command_timeout_ms = Some(i64::MAX)),
            "from 1 to 86400000, got",
        ),
        (with(|o| o.keep_alive_ms = Some(-5)), "redisOptions.keepAlive"),
        (
            with(|o| o.family = Some(5)),
            "redisOptions.family: must be 0, 4 or 6, got 5",
        ),
    ] {
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_url_in_the_place_of_a_host_or_a_path_is_refused_and_not_shown() {
    for host in ["redis://me:s3cret@h", "me:s3cret@h", "h/s3cret"] {
        let host = Some(host.to_owned());
        let message = refuse_options(RedisOverrides {
            host,
            ..RedisOverrides::default()
        });
        assert!(
            message.starts_with("redisOptions.host: ") && !message.contains("s3cret"),
            "{message}"
        );
    }
    let path = Some("redis://me:s3cret@h".to_owned());
    let message = refuse_options(RedisOverrides {
        path,
        ..RedisOverrides::default()
    });
    assert!(
        message.starts_with("redisOptions.path: ") && !message.contains("s3cret"),
        "{message}"
    );
    let message = refuse("redis:///0?host=me:s3cret@h");
    assert!(
        message.starts_with("redisUrl.host: ") && !message.contains("s3cret"),
        "{message}"
    );
}

#[test]
fn nothing_secret_shows() {
    let secret = Secret::from("hunter2".to_owned());
    assert_eq!(format!("{secret} {secret:?}"), "*** ***");
    let overrides = RedisOverrides {
        password: Some(secret.clone()),
        tls: Some(TlsOverrides {
            key: Some(secret),
            ..TlsOverrides::default()
        }),
        ..RedisOverrides::default()
    };
    assert!(!format!("{overrides:?}").contains("hunter2"));
    let settings = resolve("rediss://me:hunter2@h");
    assert!(!format!("{settings:?} {}", settings.endpoint()).contains("hunter2"));
    // Wherever an unencoded password makes the URL break.
    for url in [
        "redis://me:hunter2#@h",
        "redis://me:12/hunter2@h",
        "redis://me:1?db=hunter2@h",
        "redis://me:/hunter2@h:port",
        "redis://me:hunter2%@h",
        "redis://me:hunter2@h:port",
        "redis://me:hunter2@h/hunter2",
        "http://me:hunter2@h",
    ] {
        let error = refuse(url);
        assert!(!error.contains("hunter2"), "{url}: {error}");
    }
    assert!(!format!("{:?}", resolve("redis://me:1?hunter2@h")).contains("hunter2"));
}
