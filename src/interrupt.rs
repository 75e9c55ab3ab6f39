//! The wish to stop. Somebody [requests](request) it (the program: a signal), and all long work [checks](check) for it between two
//! pieces that are whole.
//!
//! It is the process's, as signals are, and for good: once requested, every check of every thread fails. Installing a handler is left
//! to the program.

use crate::{Error, Result};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static NOTICED: AtomicBool = AtomicBool::new(false);
static KEEPING: AtomicUsize = AtomicUsize::new(0);

/// What is left behind by work that was stopped, whatever it was, in words.
pub const KEPT: &str = "every file is whole, or as it was before";

/// Asks this process's work to stop.
pub fn request() {
    REQUESTED.store(true, Ordering::SeqCst);
}

/// Whether it was asked to.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// The flag behind [`requested`], for arithmetic that is left unfinished once it is set.
pub(crate) fn flag() -> &'static AtomicBool {
    &REQUESTED
}

/// Whether a [`check`] has said so: then the work is on its way out.
pub fn noticed() -> bool {
    NOTICED.load(Ordering::SeqCst)
}

/// While it lives, something is written that is to outlive the process, a checkpoint or a model: who would end the process waits.
#[derive(Debug)]
pub struct Keeping(());

impl Keeping {
    /// From now on.
    pub fn begin() -> Self {
        KEEPING.fetch_add(1, Ordering::SeqCst);
        Keeping(())
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        KEEPING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether any [`Keeping`] lives.
pub fn is_keeping() -> bool {
    KEEPING.load(Ordering::SeqCst) > 0
}

/// An error from the moment on that the work is asked to stop. Cheap enough for every operation of a network. Not for code that writes
/// a checkpoint or a model: that is what there still is time for.
///
/// # Errors
/// [`Error::Interrupted`].
pub fn check() -> Result<()> {
    if !requested() {
        return Ok(());
    }
    NOTICED.store(true, Ordering::SeqCst);
    Err(Error::Interrupted { kept: KEPT.to_owned() })
}
