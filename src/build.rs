//! What the program tells about its own making: the commit it was built from and the target it was built for.

use std::env;
use std::path::Path;
use std::process::Command;

/// What the binary is made of. Cargo runs this program again when one of these changes; only these make a commit `dirty`.
const SOURCES: [&str; 6] = ["src", "kernels/src", "kernels/Cargo.toml", "Cargo.toml", "Cargo.lock", ".cargo"];

fn main() {
    for path in SOURCES.iter().filter(|path| Path::new(path).exists()) {
        println!("cargo:rerun-if-changed={path}");
    }
    println!("cargo:rustc-env=OSTEON_COMMIT={}", commit().unwrap_or_default());
    println!("cargo:rustc-env=OSTEON_TARGET={}", env::var("TARGET").unwrap_or_default());
}

/// The commit of this folder, `-dirty` where the sources are not quite its own; `None` where it is not a clone, or there is no git.
fn commit() -> Option<String> {
    let here = Path::new(&env::var_os("CARGO_MANIFEST_DIR")?).canonicalize().ok()?;
    // The sources may lie inside the clone of something else.
    if Path::new(&git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()? != here {
        return None;
    }
    // Git writes a line here whenever HEAD becomes another commit; where it does not, HEAD itself still tells of checkouts.
    for path in ["logs/HEAD", "HEAD"] {
        let path = git(&["rev-parse", "--git-path", path])?;
        if Path::new(&path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let commit = git(&["rev-parse", "HEAD"])?;
    let changes = git(&[&["--no-optional-locks", "status", "--porcelain", "--"], &SOURCES[..]].concat())?;
    Some(if changes.is_empty() { commit } else { format!("{commit}-dirty") })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
