//! A Redis or Valkey server of a test's own: on a free loopback port, in a directory of its own, gone when dropped.

#![allow(dead_code, reason = "each test crate uses its own part of this")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

pub mod connection;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use medusa_locking_native::backend::redis::resp::{Parser, Reply, encode_command};

/// How long a server may take to start; far more than it needs.
const START_WITHIN: Duration = Duration::from_secs(20);
/// Starts that may fail because another process took the port in between.
const STARTS_MAX: u32 = 5;
const SERVER_LOG: &str = "server.log";
const STDERR_LOG: &str = "stderr.log";
/// What a server logs when it has its port, before it loads its data.
const LISTENS: &str = "Server initialized";

/// A running server. It has no password, keeps nothing on disk, and listens on `127.0.0.1` alone, unless the arguments
/// say otherwise.
pub struct RedisServer {
    child: Child,
    port: u16,
    args: Vec<String>,
    dir: Dir,
}

impl RedisServer {
    /// Starts a server with its defaults.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more arguments, as on its command line. `{dir}` stands for its directory and `{port}` for
    /// its port: `["--port", "0", "--tls-port", "{port}"]` moves TLS there.
    pub fn start_with(args: &[&str]) -> Self {
        Self::start_in(Dir::new(), args)
    }

    /// The same in a directory that was prepared.
    pub fn start_in(dir: Dir, args: &[&str]) -> Self {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        for _ in 0..STARTS_MAX {
            let port = free_port();
            let mut child = spawn(&dir, port, &args);
            if is_started(&mut child, &dir) {
                return Self {
                    child,
                    port,
                    args,
                    dir,
                };
            }
        }
        panic!(
            "the server ended {STARTS_MAX} times while it started with {args:?}:\n{}",
            dir.logs()
        );
    }

    /// Its port on `127.0.0.1`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Sends one command on a connection of its own and waits for the reply.
    pub fn command(&self, parts: &[&str]) -> Reply {
        Client::connect(self.port).command(parts)
    }

    /// Kills the server: nothing is saved, nobody is told.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Starts it again after [`RedisServer::kill`], on the same port and with the same arguments.
    pub fn restart(&mut self) {
        self.kill();
        let until = Instant::now() + START_WITHIN;
        loop {
            self.child = spawn(&self.dir, self.port, &self.args);
            if is_started(&mut self.child, &self.dir) {
                return;
            }
            assert!(
                Instant::now() < until,
                "the server does not start again on port {}",
                self.port
            );
        }
    }

    /// Stops the process where it is, as if the machine hung, until [`RedisServer::resume`].
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets a paused server go on.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A blocking connection to a server, for what a test has to do beside the code that it tests.
pub struct Client {
    stream: TcpStream,
    parser: Parser,
}

impl Client {
    /// Connects to a port of `127.0.0.1`.
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_read_timeout(Some(START_WITHIN)).unwrap();
        Self {
            stream,
            parser: Parser::new(),
        }
    }

    /// Sends one command and waits for its reply.
    pub fn command(&mut self, parts: &[&str]) -> Reply {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        let mut bytes = Vec::new();
        encode_command(&mut bytes, &parts);
        self.stream.write_all(&bytes).unwrap();
        let mut buffer = [0; 4096];
        loop {
            if let Some(reply) = self.parser.next().unwrap() {
                return reply;
            }
            let count = self.stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the server closed the connection");
            self.parser.feed(&buffer[..count]);
        }
    }
}

/// A directory of a test's own, removed when dropped.
pub struct Dir(PathBuf);

impl Dir {
    /// An empty directory. Its path is short: that of a unix socket may have about 100 bytes.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "mln-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn logs(&self) -> String {
        // A log that the server has not got round to writing says nothing.
        let log = |name| std::fs::read_to_string(self.0.join(name)).unwrap_or_default();
        log(STDERR_LOG) + &log(SERVER_LOG)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // What is left in the temporary directory harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn spawn(dir: &Dir, port: u16, args: &[String]) -> Child {
    let fill_in = |arg: &String| {
        arg.replace("{dir}", &dir.path().to_string_lossy())
            .replace("{port}", &port.to_string())
    };
    let program = program();
    let stderr = File::create(dir.path().join(STDERR_LOG)).unwrap();
    // The server appends to its log: what an earlier one said there would be taken for its own words.
    File::create(dir.path().join(SERVER_LOG)).unwrap();
    Command::new(&program)
        .args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ])
        .args(["--loglevel", "notice", "--logfile", SERVER_LOG])
        .arg("--dir")
        .arg(dir.path())
        .args(args.iter().map(fill_in))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()))
}

/// Waits until the server's own log says that it listens. False: it ended instead.
///
/// Trying to connect would not tell: another test's server may have the port, or, the port being one that the system
/// gives to outgoing connections, the attempt may end up connected to itself.
fn is_started(child: &mut Child, dir: &Dir) -> bool {
    let until = Instant::now() + START_WITHIN;
    while !dir.logs().contains(LISTENS) {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(
            Instant::now() < until,
            "the server does not say that it listens:\n{}",
            dir.logs()
        );
        thread::sleep(Duration::from_millis(5));
    }
    true
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("REDIS_SERVER_BIN") {
        return program.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .flat_map(|dir| ["redis-server", "valkey-server"].map(|name| dir.join(name)))
        .find(|program| program.is_file())
        .unwrap_or_else(|| {
            panic!(
                "these tests need a Redis or Valkey server: install one (apt install redis-server, brew install \
                 redis, apt install valkey-server) or name its program in REDIS_SERVER_BIN"
            )
        })
}
