//! Ctrl-C: the first press asks the work to stop where everything is whole, the second ends the process at once.

use crate::{Error, Result};
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static PRESSED: AtomicBool = AtomicBool::new(false);
static HANDLER: OnceLock<Result<(), String>> = OnceLock::new();

/// From now on Ctrl-C only sets a flag that [`pressed`] reads.
///
/// # Errors
/// The operating system refuses.
pub fn watch() -> Result<()> {
    let handler = || {
        if PRESSED.swap(true, Ordering::SeqCst) {
            process::exit(1);
        }
        eprintln!("\nosteon: stopping after this step; press Ctrl-C again to stop at once");
    };
    let installed = HANDLER.get_or_init(|| ctrlc::set_handler(handler).map_err(|error| error.to_string()));
    installed.clone().map_err(|error| Error::setting(format!("Ctrl-C cannot be watched ({error})"), "run again"))
}

/// From now on a write beyond the limit on file sizes (`ulimit -f`) is an error like that of a full disk. Left to itself the system
/// would end the process.
pub fn survive_file_size_limit() {
    #[cfg(target_os = "linux")]
    // SAFETY: to ignore a signal runs no code and touches no memory.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// Whether Ctrl-C was pressed since [`watch`].
pub fn pressed() -> bool {
    PRESSED.load(Ordering::SeqCst)
}
