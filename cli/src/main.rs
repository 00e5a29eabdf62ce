//! The `tourbillon` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    tourbillon_cli::main()
}
