//! The command line: the only room that reads arguments or prints.

/// Runs the command line. Exit codes: 0 done, 1 failed, 2 usage.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
