//! Options on their way in: checked and converted once.
//!
//! `provider/options.ts` has told the user about wrong types and unknown names by now; what is checked here is what
//! only this side can judge.

#[cfg(feature = "redis")]
use std::sync::Arc;
use std::time::Duration;

use napi_derive::napi;

use super::calls::DefaultWaits;
use super::error::{Result, invalid_option};
#[cfg(feature = "redis")]
use crate::backend::Sink;
#[cfg(feature = "redis")]
use crate::backend::redis::{
    member::Member,
    names::Names,
    scripts::Scripts,
    settings::{RedisOverrides, RedisSettings, Secret, TlsOverrides},
};
use crate::core::table::Ownerless;
#[cfg(feature = "redis")]
use crate::core::{backoff::Backoff, fleet::Config, table::Limits};

/// What `provider/` passes to the constructor.
#[napi(object, object_to_js = false)]
pub struct NativeOptions {
    /// What the keys begin with in Redis; in one process, the name of the table.
    pub namespace: String,
    /// Whether locks without an owner are open to everybody.
    pub ownerless_open: bool,
    /// The lease of `execute`, in milliseconds.
    pub lease_ms: f64,
    /// How long an `execute` waits that does not say so itself, in milliseconds.
    pub wait_ms: f64,
    /// The same of an `acquire`.
    pub acquire_wait_ms: f64,
    /// How long such calls wait in all behind locks that change hands, in milliseconds.
    pub wait_while_moving_ms: f64,
    /// How long the event loop may be stuck before its leases are no longer renewed, in milliseconds.
    pub max_stall_ms: f64,
    /// How long beyond its expiry a lock of `acquire` is kept while the process lives and has not released it, in
    /// milliseconds.
    pub acquire_renew_ms: f64,
    /// Absent: locks within this process.
    pub redis: Option<NativeRedisOptions>,
}

/// Where Redis is and how to treat it. Times are in milliseconds.
#[napi(object, object_to_js = false)]
pub struct NativeRedisOptions {
    pub url: Option<String>,
    pub host: Option<String>,
    pub port: Option<u32>,
    /// A unix socket.
    pub path: Option<String>,
    pub username: Option<String>,
    pub password: Option<String>,
    pub db: Option<u32>,
    pub connect_timeout_ms: Option<f64>,
    pub command_timeout_ms: Option<f64>,
    pub connection_name: Option<String>,
    pub keep_alive_ms: Option<f64>,
    /// 4, 6, or 0 for both.
    pub family: Option<u32>,
    pub tls: Option<NativeTlsOptions>,
    pub retry_ms: f64,
    pub retry_max_ms: f64,
    pub retry_factor: f64,
    /// How often a lease passes between jobs of this process before it goes back.
    pub local_handoffs: u32,
}

/// How to speak TLS. All texts are PEM.
#[napi(object, object_to_js = false)]
pub struct NativeTlsOptions {
    pub ca: Option<Vec<String>>,
    pub cert: Option<String>,
    pub key: Option<String>,
    pub servername: Option<String>,
    pub reject_unauthorized: Option<bool>,
}

#[cfg(feature = "redis")]
impl NativeRedisOptions {
    /// A member that uses the server which these options name.
    pub fn into_member(self, common: &CommonOptions, sink: Arc<dyn Sink>) -> Result<Member> {
        let backoff = Backoff {
            first: milliseconds("defaultRetryInterval", self.retry_ms)?,
            longest: milliseconds("maximumRetryInterval", self.retry_max_ms)?,
            factor: self.retry_factor,
        };
        let names = Names::new(&common.namespace)
            .map_err(|problem| invalid_option(format!("Invalid option \"namespace\": {problem}")))?;
        let local_handoffs = self.local_handoffs;
        let settings = self.into_settings()?;
        let config = Config {
            endpoint: settings.endpoint(),
            backoff,
            command_timeout: settings.command_timeout,
            max_stall: common.max_stall,
            acquire_renew: common.acquire_renew,
            local_handoffs,
            ownerless_open: common.ownerless == Ownerless::Open,
            limits: Limits::default(),
        };
        let scripts = Scripts::new(names, common.ownerless == Ownerless::Open);
        Ok(Member::new(settings, scripts, config, sink))
    }

    fn into_settings(self) -> Result<RedisSettings> {
        let overrides = RedisOverrides {
            host: self.host,
            port: self.port.map(i64::from),
            path: self.path,
            username: self.username,
            password: self.password.map(Secret::from),
            db: self.db.map(i64::from),
            connect_timeout_ms: self.connect_timeout_ms.map(whole),
            command_timeout_ms: self.command_timeout_ms.map(whole),
            connection_name: self.connection_name,
            keep_alive_ms: self.keep_alive_ms.map(whole),
            family: self.family.map(i64::from),
            tls: self.tls.map(|tls| TlsOverrides {
                ca: tls.ca,
                cert: tls.cert,
                key: tls.key.map(Secret::from),
                servername: tls.servername,
                reject_unauthorized: tls.reject_unauthorized,
            }),
        };
        RedisSettings::resolve(self.url.as_deref(), overrides).map_err(|error| {
            invalid_option(format!("Invalid option \"{}\": {}", error.option, error.problem))
        })
    }
}

/// A whole number of milliseconds; what is none, or out of range, is judged with the other settings.
#[cfg(feature = "redis")]
#[expect(clippy::cast_possible_truncation, reason = "saturating")]
fn whole(ms: f64) -> i64 {
    ms.ceil() as i64
}

/// The options that both backends know, converted.
pub struct CommonOptions {
    pub namespace: String,
    pub ownerless: Ownerless,
    pub lease: Duration,
    pub waits: DefaultWaits,
    pub max_stall: Duration,
    pub acquire_renew: Duration,
}

impl CommonOptions {
    /// Converts the common part of `options`.
    pub fn from_options(options: &NativeOptions) -> Result<Self> {
        Ok(CommonOptions {
            namespace: options.namespace.clone(),
            ownerless: if options.ownerless_open {
                Ownerless::Open
            } else {
                Ownerless::Exclusive
            },
            lease: milliseconds("lease", options.lease_ms)?,
            waits: DefaultWaits {
                execute: milliseconds("waitLockingTimeout", options.wait_ms)?,
                acquire: milliseconds("acquireWait", options.acquire_wait_ms)?,
                while_moving: milliseconds("waitWhileMoving", options.wait_while_moving_ms)?,
            },
            max_stall: milliseconds("maxStall", options.max_stall_ms)?,
            acquire_renew: milliseconds("acquireRenew", options.acquire_renew_ms)?,
        })
    }
}

/// A span of whole milliseconds, rounded up: a fraction of a millisecond must not become "at once".
pub fn milliseconds(name: &str, ms: f64) -> Result<Duration> {
    const MAX_MS: f64 = 1e15;
    if !ms.is_finite() || !(0.0..=MAX_MS).contains(&ms) {
        return Err(invalid_option(format!(
            "Invalid option \"{name}\": expected milliseconds of at least 0, got {ms}"
        )));
    }
    Ok(span(ms))
}

/// The same for an argument that `provider/` has checked.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturating, and checked before"
)]
pub fn span(ms: f64) -> Duration {
    Duration::from_millis(ms.ceil() as u64)
}
