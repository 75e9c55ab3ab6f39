//! A manifest and every scan that it names, looked at before work begins that would find out later.

use super::table;
use super::terminal::Terminal;
use crate::archive::manifest::{Manifest, ReadOptions, Survey};
use crate::archive::scans::{self, Scans};
use crate::files::Output;
use crate::text::{Shown, counted};
use crate::{Error, Result, files};
use std::path::{Path, PathBuf};

/// How scans are looked at.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Preflight {
    /// Begin without looking at every scan first: what is wrong with one is found when its turn comes.
    #[arg(long, help_heading = "Manifest")]
    pub trust_scans: bool,
    /// Take the images for whole-body bone scans whatever their headers and pixels look like.
    #[arg(long, help_heading = "Manifest")]
    pub any_image: bool,
}

/// Problems that fit a screen.
const SHOWN: usize = 20;
/// Notes about scans that fit beside them.
const SHOWN_NOTES: usize = 10;

impl Preflight {
    /// Reads a manifest and looks at every scan. All that is wrong is listed; what does not fit a screen is in a file beside `output`.
    ///
    /// # Errors
    /// The one thing that is wrong, or how many there are.
    pub fn read(&self, terminal: &Terminal, path: &Path, options: &ReadOptions, output: &Path) -> Result<Manifest> {
        if self.trust_scans {
            return table::read(terminal, path, options);
        }
        let Survey { manifest, mut problems, more, notes } = Manifest::survey(path, options)?;
        table::tell(terminal, path, &notes);
        let Scans { seen, faults, notes } =
            manifest.as_ref().map_or(Ok(Scans::default()), |manifest| self.look(terminal, manifest))?;
        tell(terminal, path, &notes);
        problems.extend(faults);
        match manifest.filter(|_| problems.is_empty() && more == 0) {
            Some(manifest) => Ok(manifest.with_seen(&seen)),
            None => Err(refusal(terminal, path, problems, more, output)?),
        }
    }

    /// Looks at every scan of a manifest that was read before. As in [`read`](Self::read), all that is wrong is listed.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn check(&self, terminal: &Terminal, manifest: &Manifest, output: &Path) -> Result<()> {
        if self.trust_scans {
            return Ok(());
        }
        let Scans { faults, notes, .. } = self.look(terminal, manifest)?;
        tell(terminal, &manifest.path, &notes);
        if faults.is_empty() { Ok(()) } else { Err(refusal(terminal, &manifest.path, faults, 0, output)?) }
    }

    /// Looks at every scan under a progress bar.
    pub fn look(&self, terminal: &Terminal, manifest: &Manifest) -> Result<Scans> {
        let progress = terminal.progress("scans", manifest.rows.len());
        let scans = scans::look(manifest, self.any_image, &mut |done, _| {
            progress.set(done, "looked at");
            Ok(())
        });
        drop(progress);
        scans
    }
}

/// A line for each note about scans, as many as are read.
pub fn tell(terminal: &Terminal, path: &Path, notes: &[String]) {
    table::tell(terminal, path, &notes[..notes.len().min(SHOWN_NOTES)]);
    if notes.len() > SHOWN_NOTES {
        let more = counted(notes.len() - SHOWN_NOTES, "more note");
        terminal.note(format_args!("{}: {more} of this kind; `osteon dataset check` lists all", path.shown()));
    }
}

/// Lists what is wrong with a manifest at `path` and gives the error that sums it up: the one problem, if there is one.
fn refusal(terminal: &Terminal, path: &Path, mut problems: Vec<Error>, more: usize, output: &Path) -> Result<Error> {
    if problems.len() + more == 1 {
        return Ok(problems.remove(0));
    }
    problems.iter().take(SHOWN).for_each(|problem| terminal.error(problem));
    let place = match problems.len() > SHOWN {
        false => "as listed above".to_owned(),
        true => {
            let file = write_all(&problems, output)?;
            format!("of which the first {SHOWN} are above and all are in {}", file.shown())
        }
    };
    let problem = format!("has {}, {place}", counted(problems.len() + more, "problem"));
    Ok(Error::file(path, problem, "mend these scans, or take their lines out"))
}

/// Writes every problem into a new file beside the output, a line each.
fn write_all(problems: &[Error], output: &Path) -> Result<PathBuf> {
    let name = |number: usize| {
        let mut name = output.file_name().unwrap_or_default().to_owned();
        name.push(if number == 1 { "-problems.txt".to_owned() } else { format!("-problems-{number}.txt") });
        output.with_file_name(name)
    };
    let file = (1..).map(name).find(|file| file.symlink_metadata().is_err()).unwrap_or_else(|| name(1));
    files::create_folder(files::folder_of(output))?;
    let lines: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    Output::file(&file, false, &[])?.write(lines.as_bytes())?;
    Ok(file)
}
