//! The `tourbillon` binary.

use std::process::ExitCode;

/// The system's allocator keeps what large requests took for ever.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tourbillon_cli::main()
}
