//! TLS with real servers and certificates made for the occasion: who is trusted, who is not, and who we are.

#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::process::Command;

use medusa_locking_native::backend::redis::handshake::{Established, handshake};
use medusa_locking_native::backend::redis::resp::{Parser, Reply, encode_command};
use medusa_locking_native::backend::redis::settings::{RedisOverrides, RedisSettings, TlsOverrides};
use medusa_locking_native::backend::redis::stream::{ConnectError, ConnectErrorKind, Stream, connect};
use support::{Dir, RedisServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Runs `openssl` in a directory.
fn openssl(dir: &Dir, command: &str) {
    let output = Command::new("openssl")
        .args(command.split(' '))
        .current_dir(dir.path())
        .output();
    let output = output.unwrap_or_else(|error| panic!("these tests need the program openssl: {error}"));
    assert!(
        output.status.success(),
        "openssl {command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A CA, certificates by it for the server (`localhost`, `127.0.0.1`) and for us, and a self-signed one of the server.
fn certificates() -> Dir {
    let dir = Dir::new();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("server.ext", "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
    write("client.ext", "extendedKeyUsage=clientAuth\n");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        &dir,
        &format!("req -x509 {key} -keyout ca.key -out ca.crt -days 2 -subj /CN=test-ca"),
    );
    for name in ["server", "client"] {
        openssl(
            &dir,
            &format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"),
        );
        openssl(
            &dir,
            &format!(
                "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out {name}.crt -days 2 \
                 -extfile {name}.ext"
            ),
        );
    }
    let name = "-subj /CN=localhost -addext subjectAltName=DNS:localhost";
    openssl(
        &dir,
        &format!("req -x509 {key} -keyout self.key -out self.crt -days 2 {name}"),
    );
    dir
}

/// A server that speaks TLS alone, with the certificate of this name.
fn tls_server(certificate: &str, more: &[&str]) -> RedisServer {
    let (cert, key) = (
        format!("{{dir}}/{certificate}.crt"),
        format!("{{dir}}/{certificate}.key"),
    );
    let args = [
        "--port",
        "0",
        "--tls-port",
        "{port}",
        "--tls-ca-cert-file",
        "{dir}/ca.crt",
    ];
    let own = [
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
    ];
    let more = if more.is_empty() { &["no"] } else { more };
    RedisServer::start_in(certificates(), &[&args[..], &own[..], more].concat())
}

/// The PEM text of one of the server's files.
fn pem(server: &RedisServer, name: &str) -> String {
    std::fs::read_to_string(server.dir().join(name)).unwrap()
}

fn trusting(server: &RedisServer, ca: &str) -> TlsOverrides {
    TlsOverrides {
        ca: Some(vec![pem(server, ca)]),
        ..TlsOverrides::default()
    }
}

async fn open(url: &str, tls: TlsOverrides) -> Result<(Stream, Parser, Established), ConnectError> {
    let overrides = RedisOverrides {
        tls: Some(tls),
        ..RedisOverrides::default()
    };
    let settings = RedisSettings::resolve(Some(url), overrides).unwrap();
    let mut stream = connect(&settings).await?;
    let mut parser = Parser::new();
    let established = handshake(&mut stream, &mut parser, &settings, None, None).await?;
    Ok((stream, parser, established))
}

fn url(server: &RedisServer, host: &str) -> String {
    format!("rediss://{host}:{}", server.port())
}

async fn refused(url: &str, tls: TlsOverrides) -> String {
    let error = open(url, tls).await.unwrap_err();
    assert_eq!(error.kind, ConnectErrorKind::Tls, "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_server_whose_ca_is_given_serves() {
    let server = tls_server("server", &[]);
    for host in ["localhost", "127.0.0.1"] {
        let (mut stream, mut parser, established) = open(&url(&server, host), trusting(&server, "ca.crt"))
            .await
            .unwrap();
        assert!(established.own.is_some());
        let value = vec![b'x'; 300_000];
        let mut bytes = Vec::new();
        encode_command(&mut bytes, &[b"ECHO", &value]);
        stream.write_all(&bytes).await.unwrap();
        stream.flush().await.unwrap();
        let mut buffer = vec![0; 16 * 1024];
        let reply = loop {
            if let Some(reply) = parser.next().unwrap() {
                break reply;
            }
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0);
            parser.feed(&buffer[..count]);
        };
        assert_eq!(reply, Reply::Bulk(value));
    }
}

#[tokio::test]
async fn a_server_that_speaks_tls_1_2_alone_serves() {
    let server = tls_server("server", &["no", "--tls-protocols", "TLSv1.2"]);
    assert!(
        open(&url(&server, "localhost"), trusting(&server, "ca.crt"))
            .await
            .is_ok()
    );
    let any = TlsOverrides {
        reject_unauthorized: Some(false),
        ..TlsOverrides::default()
    };
    assert!(open(&url(&server, "localhost"), any).await.is_ok());
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_refused() {
    let server = tls_server("server", &[]);
    let error = refused(&url(&server, "localhost"), TlsOverrides::default()).await;
    assert!(
        error.contains("UnknownIssuer") && error.contains("redisOptions.tls.ca"),
        "{error}"
    );
    // Another CA instead of the public ones.
    let error = refused(&url(&server, "localhost"), trusting(&server, "self.crt")).await;
    assert!(error.contains("UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn any_server_will_do_where_certificates_are_not_checked() {
    for certificate in ["server", "self"] {
        let server = tls_server(certificate, &[]);
        let tls = TlsOverrides {
            reject_unauthorized: Some(false),
            ..TlsOverrides::default()
        };
        assert!(open(&url(&server, "127.0.0.1"), tls).await.is_ok());
    }
}

#[tokio::test]
async fn a_self_signed_certificate_that_is_given_is_trusted_under_its_name() {
    let server = tls_server("self", &[]);
    let tls = || trusting(&server, "self.crt");
    assert!(open(&url(&server, "localhost"), tls()).await.is_ok());
    refused(&url(&server, "127.0.0.1"), tls()).await;
    // Another one, of the same name, is not.
    let other = tls_server("self", &[]);
    refused(&url(&server, "localhost"), trusting(&other, "self.crt")).await;
}

#[tokio::test]
async fn the_certificate_must_bear_the_servers_name() {
    let server = tls_server("server", &[]);
    let named = |name: &str| TlsOverrides {
        servername: Some(name.into()),
        ..trusting(&server, "ca.crt")
    };
    let error = refused(&url(&server, "127.0.0.1"), named("redis.example.com")).await;
    assert!(
        error.contains("redis.example.com") && error.contains("redisOptions.tls.servername"),
        "{error}"
    );
    assert!(open(&url(&server, "127.0.0.1"), named("localhost")).await.is_ok());
    assert!(open(&url(&server, "localhost"), named("")).await.is_ok());
}

#[tokio::test]
async fn we_show_our_certificate_where_the_server_asks_for_one() {
    let server = tls_server("server", &["yes"]);
    let error = refused(&url(&server, "localhost"), trusting(&server, "ca.crt")).await;
    assert!(error.contains("CertificateRequired"), "{error}");
    let tls = TlsOverrides {
        cert: Some(pem(&server, "client.crt")),
        key: Some(pem(&server, "client.key").into()),
        ..trusting(&server, "ca.crt")
    };
    assert!(open(&url(&server, "localhost"), tls).await.is_ok());
}

#[tokio::test]
async fn a_key_that_is_not_the_certificates_is_refused() {
    let dir = certificates();
    let pem = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let tls = TlsOverrides {
        cert: Some(pem("client.crt")),
        key: Some(pem("server.key").into()),
        ..TlsOverrides::default()
    };
    let overrides = RedisOverrides {
        tls: Some(tls),
        ..RedisOverrides::default()
    };
    let error = RedisSettings::resolve(None, overrides).unwrap_err();
    assert_eq!(error.option, "redisOptions.tls.key");
    assert!(error.problem.starts_with("does not go with tls.cert"), "{error}");
}

#[tokio::test]
async fn a_port_without_tls_and_a_port_with_it_are_told_apart() {
    let plain = RedisServer::start();
    let error = open(
        &format!("{}?connectTimeout=200", url(&plain, "127.0.0.1")),
        TlsOverrides::default(),
    )
    .await;
    assert!(
        error
            .unwrap_err()
            .problem
            .contains("does the server speak TLS on this port?")
    );

    let server = tls_server("server", &[]);
    let settings = RedisSettings::resolve(Some(&server.url()), RedisOverrides::default()).unwrap();
    let mut stream = connect(&settings).await.unwrap();
    let error = handshake(&mut stream, &mut Parser::new(), &settings, None, None)
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind, ConnectErrorKind::Protocol | ConnectErrorKind::Io),
        "{error}"
    );
}

/// The environment is Node's to change, so each of these runs this very test in a process of its own.
#[tokio::test]
async fn the_environment_is_heeded_as_node_does() {
    const CHILD: &str = "TRANSPORT_TEST_URL";
    if let Ok(url) = std::env::var(CHILD) {
        open(&url, TlsOverrides::default()).await.unwrap();
        return;
    }
    let server = tls_server("server", &[]);
    let is_accepted = |name: &str, value: &str| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_environment_is_heeded_as_node_does"])
            .env(CHILD, url(&server, "localhost"))
            .env(name, value)
            .output()
            .unwrap();
        output.status.success()
    };
    let ca = server.dir().join("ca.crt");
    assert!(is_accepted("NODE_EXTRA_CA_CERTS", ca.to_str().unwrap()));
    assert!(!is_accepted("NODE_EXTRA_CA_CERTS", "/no/such/file"));
    assert!(is_accepted("NODE_TLS_REJECT_UNAUTHORIZED", "0"));
    assert!(!is_accepted("NODE_TLS_REJECT_UNAUTHORIZED", "1"));
}
