//! The `osteon` binary: hands the arguments to `osteon::cli`.

#[global_allocator]
static ALLOCATOR: osteon::HugePages = osteon::HugePages;

fn main() -> std::process::ExitCode {
    osteon::cli::main()
}
