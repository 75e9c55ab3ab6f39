//! The `osteon` binary: hands the arguments to `osteon::cli`.

fn main() -> std::process::ExitCode {
    osteon::cli::main()
}
