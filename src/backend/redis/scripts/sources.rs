//! What each script is made of, and which of them the server knows.

use std::sync::LazyLock;

use sha1_smol::Sha1;

use crate::faults;

/// A script and its name on the server.
pub(super) struct Script {
    pub(super) source: LazyLock<&'static str>,
    pub(super) sha1: LazyLock<String>,
    /// Its bit in [`Known`].
    bit: u16,
}

// `script!(NAME, bit, files)`, the files one after the other; between semicolons those that become the function `one` of KEYS
// and ARGV. What nearly every call ends with comes first: Lua makes all functions of a script anew in each call, a tenth of
// what a call for one lock costs.
macro_rules! script {
    ($name:ident, $bit:literal, $($file:literal),+ $(; $($one:literal),+; $($rest:literal),+)?) => {
        pub(super) static $name: Script = Script {
            source: LazyLock::new(|| faults::script(concat!(
                $(include_str!(concat!("../lua/", $file)),)+
                $("local function one(KEYS, ARGV)\n", $(include_str!(concat!("../lua/", $one)),)+ "end\n",
                $(include_str!(concat!("../lua/", $rest)),)+)?
            ))),
            sha1: LazyLock::new(|| Sha1::from(*$name.source).digest().to_string()),
            bit: 1 << $bit,
        };
    };
}

script!(
    ACQUIRE_JOB,
    0,
    "at_once.lua",
    "mint.lua",
    "acquire_job_now.lua",
    "names.lua",
    "parts.lua",
    "list.lua",
    "queue.lua",
    "kept.lua",
    "acquire_job.lua"
);
script!(ACQUIRE_JOBS, 1, "at_once.lua", "mint.lua", "names.lua", "parts.lua", "list.lua", "queue.lua", "kept.lua"; "acquire_job_now.lua", "acquire_job.lua"; "many.lua", "acquire_jobs.lua");
script!(
    ACQUIRE_LOCK,
    2,
    "at_once.lua",
    "mint.lua",
    "acquire_lock_now.lua",
    "names.lua",
    "parts.lua",
    "list.lua",
    "record.lua",
    "queue.lua",
    "kept.lua",
    "acquire_lock.lua"
);
script!(ACQUIRE_LOCKS, 3, "at_once.lua", "mint.lua", "names.lua", "parts.lua", "list.lua", "record.lua", "queue.lua", "kept.lua"; "acquire_lock_now.lua", "acquire_lock.lua"; "many.lua", "acquire_locks.lua");
script!(
    CANCEL_JOB,
    4,
    "at_once.lua",
    "names.lua",
    "parts.lua",
    "list.lua",
    "queue.lua",
    "leave.lua",
    "cancel_job.lua"
);
script!(
    CANCEL_LOCK,
    5,
    "at_once.lua",
    "names.lua",
    "parts.lua",
    "list.lua",
    "record.lua",
    "queue.lua",
    "leave.lua",
    "cancel_lock.lua"
);
script!(
    RELEASE,
    6,
    "at_once.lua",
    "given.lua",
    "release_now.lua",
    "names.lua",
    "parts.lua",
    "list.lua",
    "queue.lua",
    "release.lua"
);
script!(RELEASES, 7, "at_once.lua", "given.lua", "names.lua", "parts.lua", "list.lua", "queue.lua"; "release_now.lua", "release.lua"; "many.lua", "releases.lua");
script!(RENEW, 8, "at_once.lua", "parts.lua", "renew.lua");
script!(KEEP, 12, "keep.lua");
script!(
    SWEEP,
    9,
    "at_once.lua",
    "names.lua",
    "parts.lua",
    "list.lua",
    "queue.lua",
    "sweep.lua"
);
script!(INSPECT, 10, "inspect.lua");
script!(
    RESERVE,
    11,
    "at_once.lua",
    "mint.lua",
    "names.lua",
    "parts.lua",
    "list.lua",
    "queue.lua",
    "reserve.lua"
);

/// Which scripts a connection has sent with their source: the server knows these, unless it was told to forget.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known(u16);

impl Known {
    /// Whether `script` is among them; from now on it is.
    pub(super) fn meet(&mut self, script: &Script) -> bool {
        let was_known = self.0 & script.bit != 0;
        self.0 |= script.bit;
        was_known
    }
}
