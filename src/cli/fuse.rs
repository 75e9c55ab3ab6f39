//! `osteon fuse`: view aggregation, to look at.

use super::output::Overwrite;
use super::scan::{self, ScanOptions};
use super::terminal::Terminal;
use crate::files::Staging;
use crate::intake::picture;
use crate::prepare::views;
use crate::text::Shown;
use crate::{Error, Result, draw, files};
use std::path::{Path, PathBuf};

/// Fuse the two views of a scan: flip the posterior view, align it by the critical points, add.
///
/// Writes the fused picture (16-bit PNG) and, beside it, a figure of both views with the critical points drawn.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  osteon fuse scan.dcm --output fused.png\n  osteon fuse front.png,back.png --views anterior,posterior \\
      --output fused.png"
)]
pub struct Fuse {
    /// The study: a two-frame DICOM file, a folder or ZIP archive, or two files as A,B.
    scan: PathBuf,
    /// The picture to write; the figure's name is this with -figure.
    #[arg(long, value_name = "FILE.png")]
    output: PathBuf,
    #[command(flatten)]
    overwrite: Overwrite,
    #[command(flatten)]
    options: ScanOptions,
    #[command(flatten)]
    preprocessing: super::settings::PreprocessingFlags,
}

impl Fuse {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        if self.output.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("png")) {
            return Err(Error::setting(format!("--output {} is no PNG", self.output.shown()), "give a name that ends in .png"));
        }
        let figure = figure_path(&self.output);
        let names = [&self.output, &figure].map(|path| path.file_name().unwrap_or_default().to_owned());
        let scans = scan::paths(&self.scan)?;
        let scans: Vec<&Path> = scans.iter().map(PathBuf::as_path).collect();
        let output = self.overwrite.files_in(files::folder_of(&self.output), &names, &scans)?;
        let study = self.options.read(&self.scan)?;
        scan::notes(&study.intake).iter().for_each(|note| terminal.note(note));
        let fused = views::fuse(&study, &self.preprocessing.resolve()?)?;
        let counts: Vec<u16> = fused.image.pixels.iter().map(|count| count.round().clamp(0.0, 65535.0) as u16).collect();
        let staging = Staging::new(output)?;
        let picture = staging.file(&names[0]);
        staging.named(picture::write_gray16(picture, fused.image.rows, fused.image.columns, &counts))?;
        staging.write(&names[1], &draw::aggregation(&fused).png())?;
        staging.commit(&names[0])?;
        terminal.line(self.output.shown())?;
        terminal.line(figure.shown())
    }
}

/// `a/b.png` becomes `a/b-figure.png`.
fn figure_path(picture: &Path) -> PathBuf {
    let mut name = picture.file_stem().unwrap_or_default().to_owned();
    name.push("-figure.png");
    picture.with_file_name(name)
}
