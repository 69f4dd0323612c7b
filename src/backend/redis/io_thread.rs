//! The one thread that does all Redis I/O of the process.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle};

/// Runs `task` on the I/O thread, which starts with the first task and ends with the process.
///
/// # Errors
/// The thread or its runtime could not be made; the error says why.
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Result<(), String> {
    static RUNTIME: OnceLock<Result<Handle, String>> = OnceLock::new();
    let handle = RUNTIME.get_or_init(start).as_ref().map_err(Clone::clone)?;
    handle.spawn(task);
    Ok(())
}

fn start() -> Result<Handle, String> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the I/O runtime could not be made: {error}"))?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("locking-io".into())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))
        .map_err(|error| format!("the I/O thread could not be started: {error}"))?;
    Ok(handle)
}
