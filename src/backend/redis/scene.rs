//! A member for tests of what stands around it: with default settings, a server that is nowhere, and news that is kept.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::member::Shared;
use super::names::Names;
use super::scripts::Scripts;
use super::settings::{RedisOverrides, RedisSettings};
use crate::backend::Sink;
use crate::core::backoff::Backoff;
use crate::core::fleet::Config;
use crate::core::moment::Moment;
use crate::core::outcome::Completion;
use crate::core::table::Limits;

/// Keeps what callers are told.
#[derive(Default)]
pub struct News(pub Mutex<Vec<Completion>>);

impl Sink for News {
    fn push(&self, completion: Completion) -> bool {
        self.0.lock().push(completion);
        false
    }
    fn wake(&self) {}
    fn probe(&self, _: Moment) {}
    fn stalled(&self, _: Moment) -> Duration {
        Duration::ZERO
    }
}

/// What a member shares with its I/O task.
pub fn shared(news: Arc<News>) -> Arc<Shared> {
    let settings = RedisSettings::resolve(Some("redis://h"), RedisOverrides::default()).unwrap();
    let config = Config {
        endpoint: settings.endpoint(),
        backoff: Backoff {
            first: Duration::from_millis(20),
            longest: Duration::from_secs(1),
            factor: 2.0,
        },
        command_timeout: settings.command_timeout,
        max_stall: Duration::from_secs(60),
        acquire_renew: Duration::ZERO,
        local_handoffs: 16,
        ownerless_open: false,
        limits: Limits::default(),
    };
    let scripts = Scripts::new(Names::new("medusa_lock:").unwrap(), false);
    Arc::new(Shared::new(settings, scripts, config, news))
}
