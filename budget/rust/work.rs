//! Does so many operations of one kind, for callgrind to count the instructions: see `budget/instructions.mjs`.
//!
//! `budget-work <memory|redis url> <execute|acquire-release|hot-key> <width> <keys per call> <operations>`

mod drive;
mod mailbox;

use drive::{Drive, Failed};

fn main() -> Result<(), Failed> {
    let mut args = std::env::args().skip(1);
    let mut drive = Drive::from_args(&mut args)?;
    let count = args.next().ok_or("how many operations?")?.parse()?;
    drive.work(count)
}
