//! Connecting where addresses fail, stay silent, or take us. Real servers and TLS are in `tests/redis_transport.rs`.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Instant;

#[cfg(target_os = "linux")]
use socket2::{Domain, Socket, Type};

use super::*;
use crate::backend::redis::settings::RedisOverrides;

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(loopback()).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address that takes nobody: its listener is gone.
fn closed() -> SocketAddr {
    listener().1
}

/// An address that does not answer: its queue of one is full, which makes Linux drop what comes. The sockets keep it so.
#[cfg(target_os = "linux")]
fn silent() -> (Vec<Socket>, SocketAddr) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&loopback().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut sockets = vec![listener];
    for _ in 0..3 {
        let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        filler.set_nonblocking(true).unwrap();
        // Under way, which a socket that does not block reports as an error.
        let _ = filler.connect(&address);
        sockets.push(filler);
    }
    (sockets, address.as_socket().unwrap())
}

fn settings(host: &str, port: u16, change: impl FnOnce(&mut RedisOverrides)) -> RedisSettings {
    let mut overrides = RedisOverrides {
        host: Some(host.into()),
        port: Some(port.into()),
        ..RedisOverrides::default()
    };
    change(&mut overrides);
    RedisSettings::resolve(None, overrides).unwrap()
}

#[tokio::test]
async fn an_address_that_fails_gives_way_at_once() {
    let (_listener, open) = listener();
    let started = Instant::now();
    let stream = connect_any(vec![closed(), closed(), open]).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), open);
    assert!(started.elapsed() < NEXT_ADDRESS_AFTER);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_address_that_is_silent_gives_way_after_a_while() {
    let (_sockets, silent) = silent();
    let (_listener, open) = listener();
    let started = Instant::now();
    let stream = connect_any(vec![silent, open]).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), open);
    assert!(started.elapsed() >= NEXT_ADDRESS_AFTER);
}

#[tokio::test]
async fn the_last_failure_is_told_when_none_takes_us() {
    let error = connect_any(vec![closed(), closed()]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert!(connect_any(Vec::new()).await.is_err());
}

#[tokio::test]
async fn a_refused_connection_names_the_endpoint() {
    let port = closed().port();
    let error = connect(&settings("127.0.0.1", port, |_| {})).await.unwrap_err();
    assert_eq!(error.kind, ConnectErrorKind::Connect);
    assert!(
        error
            .to_string()
            .starts_with(&format!("Redis at 127.0.0.1:{port}: Connection refused")),
        "{error}"
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_silent_server_is_given_up_at_the_connect_timeout() {
    let (_sockets, silent) = silent();
    let settings = settings("127.0.0.1", silent.port(), |options| {
        options.connect_timeout_ms = Some(80)
    });
    let started = Instant::now();
    let error = connect(&settings).await.unwrap_err();
    assert_eq!(error.kind, ConnectErrorKind::Timeout);
    assert!(error.problem.contains("no connection within 80 ms"), "{error}");
    assert!((80..1000).contains(&started.elapsed().as_millis()));
}

#[tokio::test]
async fn a_silent_tls_server_is_given_up_at_the_connect_timeout() {
    let (_listener, open) = listener();
    let settings = settings("127.0.0.1", open.port(), |options| {
        options.connect_timeout_ms = Some(80);
        options.tls = Some(Default::default());
    });
    assert_eq!(
        connect(&settings).await.unwrap_err().kind,
        ConnectErrorKind::Timeout
    );
}

#[tokio::test]
async fn a_name_that_does_not_resolve_says_so() {
    // Longer than a label of a host name may be, so no name server is asked.
    let error = connect(&settings(&"x".repeat(70), 6379, |_| {}))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ConnectErrorKind::Resolve);
    assert!(error.problem.contains("cannot resolve the host name"), "{error}");
}

#[tokio::test]
async fn an_address_is_taken_as_it_is_and_a_name_by_its_family() {
    let (_listener, open) = listener();
    let family = |host: &str, family| {
        let settings = settings(host, open.port(), |options| options.family = Some(family));
        async move { connect(&settings).await }
    };
    assert!(family("127.0.0.1", 6).await.is_ok());
    assert!(family("localhost", 4).await.is_ok());
    assert!(family("localhost", 0).await.is_ok());
    let kind = family("localhost", 6).await.unwrap_err().kind;
    assert!(
        matches!(kind, ConnectErrorKind::Resolve | ConnectErrorKind::Connect),
        "{kind:?}"
    );
}

#[tokio::test]
async fn keep_alive_is_set_as_asked() {
    let (_listener, open) = listener();
    let mut settings = settings("127.0.0.1", open.port(), |_| {});
    for (keep_alive, is_on) in [
        (None, false),
        (Some(Duration::ZERO), true),
        (Some(Duration::from_millis(999)), true),
        (Some(Duration::from_secs(30)), true),
    ] {
        settings.keep_alive = keep_alive;
        let Stream::Tcp(stream) = connect(&settings).await.unwrap() else {
            panic!("not TCP")
        };
        assert!(stream.nodelay().unwrap());
        let socket = SockRef::from(&stream);
        assert_eq!(socket.keepalive().unwrap(), is_on);
        if let Some(silence) = keep_alive.filter(|silence| silence.as_secs() > 0) {
            assert_eq!(socket.tcp_keepalive_time().unwrap(), silence);
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_missing_socket_is_named() {
    let settings = RedisSettings::resolve(Some("/no/such/redis.sock"), RedisOverrides::default()).unwrap();
    let error = connect(&settings).await.unwrap_err();
    assert_eq!(error.kind, ConnectErrorKind::Connect);
    assert!(
        error
            .to_string()
            .starts_with("Redis at /no/such/redis.sock: No such file"),
        "{error}"
    );
}
