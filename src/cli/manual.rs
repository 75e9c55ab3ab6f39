//! `osteon tasks`, `osteon completions` and `osteon man`: the commands explained to a reader, a shell and `man`.

use super::Arguments;
use super::terminal::Terminal;
use crate::text::Shown;
use crate::{Error, Result, files};
use clap::CommandFactory;
use std::path::PathBuf;

/// The commands by task, and what they read and leave behind.
const TASKS: &str = include_str!("COMMANDS.md");

/// Show which command does what: the commands by task, the files they read, and what they leave behind.
#[derive(clap::Args)]
#[command(long_about = TASKS, after_help = "Example:\n  osteon tasks")]
pub struct Tasks {}

impl Tasks {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        terminal.line(TASKS.trim_end())
    }
}

/// Print a script that lets a shell complete commands, flags and their values.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  osteon completions bash > ~/.local/share/bash-completion/completions/osteon
  osteon completions zsh > ~/.zfunc/_osteon
  osteon completions fish > ~/.config/fish/completions/osteon.fish")]
pub struct Completions {
    /// The shell.
    shell: clap_complete::Shell,
}

impl Completions {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "osteon", &mut script);
        terminal.line(String::from_utf8_lossy(&script).trim_end())
    }
}

/// Print the manual page of a command, or write those of all commands into a folder.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  osteon man train | man -l -
  osteon man --output ~/.local/share/man/man1")]
pub struct Man {
    /// The command, such as `train` or `dataset import zenodo`; without one, osteon itself.
    command: Vec<String>,
    /// Write a page for each command into this folder: osteon.1, osteon-train.1 and so on.
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    output: Option<PathBuf>,
}

impl Man {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        let mut osteon = Arguments::command();
        osteon.build();
        if let Some(folder) = &self.output {
            files::create_folder(folder)?;
            let pages = pages(&osteon)?;
            pages.iter().try_for_each(|(name, page)| files::write(folder.join(name), page))?;
            return terminal.line(format_args!("{} manual pages in {}", pages.len(), folder.shown()));
        }
        let mut command = &osteon;
        for name in &self.command {
            command = command.find_subcommand(name).ok_or_else(|| {
                let problem = format!("`{}` has no command `{name}`", command.get_bin_name().unwrap_or("osteon"));
                Error::setting(problem, "`osteon --help` lists the commands")
            })?;
        }
        terminal.line(String::from_utf8_lossy(&page(command)?.1).trim_end())
    }
}

/// The file name and the text of a command's page.
fn page(command: &clap::Command) -> Result<(String, Vec<u8>)> {
    let page = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text).map_err(|error| Error::failed(format!("a manual page cannot be made ({error})"), "report this"))?;
    Ok((page.get_filename(), text))
}

/// The pages of a command and of all that are below it.
fn pages(command: &clap::Command) -> Result<Vec<(String, Vec<u8>)>> {
    let mut all = vec![page(command)?];
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        all.extend(pages(inner)?);
    }
    Ok(all)
}
