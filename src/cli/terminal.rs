//! Results on standard output, progress and errors on standard error: bars on a terminal, plain lines in a log.
//!
//! Names of files are [quoted](crate::text::quoted) where a line is made. What still comes here with a character that would speak to
//! the terminal, an escape for example, is printed without it.

use crate::text::{self, without_hidden};
use crate::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Text in which no character speaks to the terminal, but for line feeds and tabs.
fn harmless(text: impl Display) -> String {
    without_hidden(&text.to_string(), &['\n', '\t'])
}

/// Where a command prints.
pub struct Terminal {
    /// Standard error is a terminal: bars can be drawn.
    interactive: bool,
    /// Progress is not shown: it is a part of something that has its own.
    silent: bool,
}

impl Terminal {
    /// The process's standard output and standard error.
    pub fn new() -> Self {
        Terminal { interactive: io::stderr().is_terminal(), silent: false }
    }

    /// One whose progress nobody sees.
    pub fn silent() -> Self {
        Terminal { interactive: false, silent: true }
    }

    /// A line of the result.
    ///
    /// # Errors
    /// Standard output cannot be written (a full disk behind it). A closed pipe is no error: its reader has seen enough.
    pub fn line(&self, text: impl Display) -> Result<()> {
        self.print(&format!("{}\n", harmless(text)))
    }

    /// A line of JSON, or several.
    ///
    /// # Errors
    /// As [`line`](Self::line).
    pub fn json(&self, json: &str) -> Result<()> {
        self.print(&format!("{}\n", text::json(json)))
    }

    /// A piece of JSON that ends no line.
    ///
    /// # Errors
    /// As [`line`](Self::line).
    pub fn json_part(&self, json: &str) -> Result<()> {
        self.print(&text::json(json))
    }

    fn print(&self, text: &str) -> Result<()> {
        let mut output = io::stdout().lock();
        match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("standard output", "written", &error)),
            _ => Ok(()),
        }
    }

    /// A line about what is going on, which is no part of the result.
    pub fn note(&self, text: impl Display) {
        // If standard error is closed, there is nowhere to report it.
        let _ = writeln!(io::stderr().lock(), "{}", harmless(text));
    }

    /// What ended the command, or one item of it.
    pub fn error(&self, error: &Error) {
        self.note(format_args!("osteon: {error}"));
    }

    /// Progress of `total` items called `what`.
    pub fn progress(&self, what: &str, total: usize) -> Progress {
        self.weighed_progress(what, total, total as f64)
    }

    /// Progress of `total` items that take `work`, of which [`Progress::set_weighed`] says how much is done: where items, or what comes between
    /// them, differ in how long they take.
    pub fn weighed_progress(&self, what: &str, total: usize, work: f64) -> Progress {
        let bar = self.interactive.then(|| {
            let style = ProgressStyle::with_template("{prefix} [{bar:20}] {percent:>3}% {elapsed} (left {eta}) {wide_msg}");
            let bar = ProgressBar::new((GRAIN * work).round() as u64).with_prefix(what.to_owned());
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        let now = Instant::now();
        Progress { what: what.to_owned(), total, bar, silent: self.silent, start: now, last: Mutex::new(now) }
    }
}

/// Steps of the bar a unit of work.
const GRAIN: f64 = 16.0;

/// Progress of one piece of work: a bar on a terminal, else a line every [`Progress::INTERVAL`] and one at the end.
pub struct Progress {
    what: String,
    total: usize,
    bar: Option<ProgressBar>,
    silent: bool,
    start: Instant,
    last: Mutex<Instant>,
}

impl Progress {
    const INTERVAL: Duration = Duration::from_secs(10);

    /// `done` items are done; `message` says more about them. From any thread.
    pub fn set(&self, done: usize, message: impl Display) {
        self.set_weighed(done, done as f64, message);
    }

    /// The same where `work` of all the work is done.
    pub fn set_weighed(&self, done: usize, work: f64, message: impl Display) {
        if let Some(bar) = &self.bar {
            let position = (GRAIN * work).round() as u64;
            // What an earlier process did says nothing of how fast this one is.
            if bar.position() == 0 && position > bar.length().unwrap_or_default() / 100 {
                bar.set_position(position);
                bar.reset_eta();
            }
            bar.set_position(position);
            bar.set_message(harmless(message));
            return;
        }
        let Ok(mut last) = self.last.lock() else { return };
        if last.elapsed() >= Self::INTERVAL {
            *last = Instant::now();
            self.print(format_args!("{} {done}/{} {message}", self.what, self.total));
        }
    }

    /// Says more about the items done so far, where that can be overwritten.
    pub fn message(&self, message: impl Display) {
        if let Some(bar) = &self.bar {
            bar.set_message(harmless(message));
        }
    }

    /// Prints something while the bar is out of the way.
    pub fn hidden<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// A line that stays, above the bar.
    pub fn note(&self, text: impl Display) {
        self.hidden(|| self.print(text));
    }

    /// The work is over: removes the bar and leaves one line.
    pub fn finish(self, message: impl Display) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.print(format_args!("{} {} ({:.1} s)", self.what, message, self.start.elapsed().as_secs_f64()));
    }

    fn print(&self, text: impl Display) {
        if self.silent {
            return;
        }
        let _ = writeln!(io::stderr().lock(), "{}", harmless(text).trim_end());
    }
}

impl Drop for Progress {
    /// After an error the bar must not stay above the message.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
