//! Signals. The first one (Ctrl-C, SIGTERM, SIGHUP) asks the work to stop where everything is whole; the second, or work that does not
//! hear of the first, ends the process at once.

use crate::interrupt::{self, KEPT};
use crate::{Error, Result, files};
use std::fmt::Display;
use std::io::{self, Write};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

/// How long work may take to notice. The message and the end of the process take a moment more, and all of it no more than two seconds.
const PATIENCE: Duration = Duration::from_millis(1700);

/// How long a message may take: nobody may be reading the other end.
const SAID_BY: Duration = Duration::from_millis(150);

/// From now on signals are heeded as this module says. Those that were ignored when the process began (by `nohup`, or by a shell that
/// starts it in the background) stay ignored.
///
/// # Errors
/// The operating system refuses.
pub fn watch() -> Result<()> {
    let refused = |error: &dyn Display| Error::setting(format!("signals cannot be watched ({error})"), "run again");
    let ignored = ignored();
    ctrlc::set_handler(heed).map_err(|error| refused(&error))?;
    ignore(&ignored);
    Ok(())
}

/// What every signal does, on a thread of its own.
fn heed() {
    if interrupt::requested() {
        end();
    }
    interrupt::request();
    let watchdog = thread::Builder::new().spawn(|| {
        loop {
            thread::sleep(PATIENCE);
            // What is to be kept is written for as long as that takes, and work notices when it is.
            match (interrupt::noticed(), interrupt::is_keeping()) {
                (true, _) => return,
                (false, true) => {}
                (false, false) => end(),
            }
        }
    });
    if watchdog.is_err() {
        end();
    }
    say("\nosteon: stopping; press Ctrl-C again to stop at once".to_owned());
}

/// Ends the process, in whatever it is. Files appear whole or not at all, so there is nothing to wait for.
fn end() -> ! {
    files::abandon_temporaries();
    say(format!("osteon: interrupted; {KEPT}"));
    process::exit(1)
}

/// A line on standard error, if it can be written: a terminal that is gone refuses it, and a full pipe would hold it for ever.
fn say(text: String) {
    let Ok(saying) = thread::Builder::new().spawn(move || drop(writeln!(io::stderr(), "{text}"))) else { return };
    let start = Instant::now();
    while !saying.is_finished() && start.elapsed() < SAID_BY {
        thread::sleep(Duration::from_millis(1));
    }
}

/// The signals that end a process, and the handler is of.
#[cfg(unix)]
const SIGNALS: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Those of them that this process ignores.
#[cfg(unix)]
fn ignored() -> Vec<libc::c_int> {
    let is_ignored = |signal: &libc::c_int| {
        // SAFETY: all zero bits are a value of this plain struct.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: without a new action it only writes the present one, into a struct of its own type.
        let known = unsafe { libc::sigaction(*signal, std::ptr::null(), &mut action) } == 0;
        known && action.sa_sigaction == libc::SIG_IGN
    };
    SIGNALS.into_iter().filter(is_ignored).collect()
}

#[cfg(unix)]
fn ignore(signals: &[libc::c_int]) {
    for &signal in signals {
        // SAFETY: to ignore a signal runs no code and touches no memory.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

#[cfg(not(unix))]
fn ignored() {}

#[cfg(not(unix))]
fn ignore(_: &()) {}

/// From now on a write beyond the limit on file sizes (`ulimit -f`) is an error like that of a full disk. Left to itself the system
/// would end the process.
pub fn survive_file_size_limit() {
    #[cfg(unix)]
    ignore(&[libc::SIGXFSZ]);
}
