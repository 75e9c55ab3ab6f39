//! The `osteon` binary: passes the arguments to the library.

#[global_allocator]
static ALLOCATOR: osteon::HugePages = osteon::HugePages;

fn main() -> std::process::ExitCode {
    osteon::main()
}
