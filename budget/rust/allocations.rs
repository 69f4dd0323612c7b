//! Counts what the Rust side allocates: see `budget/allocations.mjs`.
//!
//! `budget-allocations <memory|redis url> <execute|acquire-release|hot-key> <width> <keys per call> <operations>`
//! does as many operations twice, prints the blocks and the bytes that the second half allocated, and how many bytes
//! more than before are in use after it, in all.

mod drive;
mod mailbox;

use drive::{Drive, Failed};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() -> Result<(), Failed> {
    let mut args = std::env::args().skip(1);
    let mut drive = Drive::from_args(&mut args)?;
    let count = args.next().ok_or("how many operations?")?.parse()?;
    let _profiler = dhat::Profiler::builder().testing().build();
    // Tables and buffers grow to their size, threads start, the server learns the scripts.
    drive.work(count)?;
    let before = dhat::HeapStats::get();
    drive.work(count)?;
    let after = dhat::HeapStats::get();
    println!(
        "{} {} {}",
        after.total_blocks - before.total_blocks,
        after.total_bytes - before.total_bytes,
        after.curr_bytes.saturating_sub(before.curr_bytes)
    );
    Ok(())
}
