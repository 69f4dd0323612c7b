//! Deliberate faults, so that the tests can show that they would find real ones. docs in `chaos/README.md`.
//!
//! Without the feature `chaos-faults` there are none, and [`script`] is the identity. With it, the environment variable
//! `LOCKING_FAULT` names one when the process starts. A release build with the feature does not compile.

#[cfg(all(feature = "chaos-faults", not(debug_assertions)))]
compile_error!("the feature chaos-faults breaks locks on purpose: it is for debug builds only");

/// The source of a script as it is to be sent.
#[cfg(not(feature = "chaos-faults"))]
pub const fn script(source: &'static str) -> &'static str {
    source
}

/// The source of a script as it is to be sent: with the fault that `LOCKING_FAULT` names, where it is in this script.
///
/// # Panics
/// `LOCKING_FAULT` names no fault.
#[cfg(feature = "chaos-faults")]
pub fn script(source: &'static str) -> &'static str {
    use std::sync::LazyLock;
    static FAULT: LazyLock<Option<(&str, &str)>> = LazyLock::new(|| {
        let name = std::env::var("LOCKING_FAULT").ok()?;
        Some(match name.as_str() {
            // Whoever releases a lock frees it, whoever holds it.
            "release-without-owner-check" => (
                "local is_its = holders[i] == owner or ",
                "local is_its = holders[i] or ",
            ),
            // The server says that it has renewed a lease and has not.
            "no-renewal" => ("redis.call('PEXPIRE', KEYS[i], lease)", ""),
            // Every grant has the same fencing token.
            "token-frozen" => (
                "    redis.call('SET', fence, string.format('%.0f', token + reserve))\n  end\n  return token",
                "  end\n  return '1'",
            ),
            other => panic!("LOCKING_FAULT names no fault: {other}"),
        })
    });
    match *FAULT {
        Some((right, wrong)) if source.contains(right) => {
            Box::leak(source.replace(right, wrong).into_boxed_str())
        }
        _ => source,
    }
}
