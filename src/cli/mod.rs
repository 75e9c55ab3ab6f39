//! The command line: the only room that reads arguments or prints. A file a command; results go to standard output,
//! progress and errors to standard error.

mod annotation;
mod audit;
mod bench;
mod compare;
mod curves;
mod dataset;
mod demo;
mod doctor;
mod evaluate;
mod fuse;
mod interrupt;
mod lesions;
mod manual;
mod model;
mod networks;
mod numbers;
mod output;
mod phantom;
mod predict;
mod preflight;
mod reproduce;
mod scan;
mod settings;
mod stress;
mod table;
mod terminal;
mod train;

use crate::autograd::use_isa;
use crate::train::Settings;
use crate::{Error, Result, memory, text};
use clap::{Parser, Subcommand};
use osteon_kernels::{par::Pool, simd::Isa};
use std::ffi::OsString;
use std::process::ExitCode;
use terminal::Terminal;

/// Reads whole-body bone scans and says whether they show metastasis of lung cancer, and of which kind.
///
/// Research software, not a medical device. Models that were trained on phantoms (simulated patients) say so wherever they are shown.
#[derive(Parser)]
#[command(
    name = "osteon",
    version,
    propagate_version = true,
    args_override_self = true,
    after_help = "To begin:
  osteon demo            show everything in a few minutes
  osteon tasks           the commands by task, the files they read, and what they leave behind
  osteon COMMAND --help  one command, with an example

Results go to standard output, progress to standard error. The exit code is 0, 1 (failed, or stopped by Ctrl-C or a signal), 2 (usage) or 3 (`predict --strict`: a scan is unlike the training scans)."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    machine: Machine,
}

/// The options of every command about the machine.
#[derive(clap::Args)]
struct Machine {
    /// Worker threads, from 1 to 256; 0 takes every core. The results are the same bits for any number.
    #[arg(
        long,
        global = true,
        default_value_t = 0,
        value_name = "N",
        help_heading = "Machine",
        value_parser = numbers::count(0..=Settings::MOST_THREADS)
    )]
    threads: usize,
    /// Instruction set: avx512, avx2+fma or portable; without it the fastest that this machine has.
    #[arg(long, global = true, value_name = "NAME", help_heading = "Machine")]
    isa: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
    Doctor(doctor::Doctor),
    Phantom(phantom::Phantom),
    #[command(subcommand)]
    Dataset(dataset::Dataset),
    Fuse(fuse::Fuse),
    Train(Box<train::Train>),
    Evaluate(evaluate::Evaluate),
    Curves(curves::Curves),
    Reproduce(reproduce::Reproduce),
    Compare(compare::Compare),
    Predict(predict::Predict),
    #[command(subcommand)]
    Annotation(annotation::Annotation),
    Lesions(lesions::Lesions),
    #[command(subcommand)]
    Model(model::Model),
    #[command(subcommand)]
    Audit(audit::Audit),
    Bench(bench::Bench),
    Tasks(manual::Tasks),
    Completions(manual::Completions),
    Man(manual::Man),
}

impl Command {
    /// What a user can do where the command gets no more memory.
    fn to_need_less_memory(&self) -> &'static str {
        match self {
            Command::Train(_) => "lower --batch, --input-size or --cache-mb",
            Command::Demo(_) => "lower --size or --studies",
            Command::Reproduce(_) => "choose a smaller --scale",
            Command::Bench(_) => "lower --batch or --size",
            Command::Audit(_) => "lower --input-size or the batch",
            _ => "give smaller inputs or more memory",
        }
    }

    fn run(&self, terminal: &Terminal) -> Result<()> {
        match self {
            Command::Demo(command) => command.run(terminal),
            Command::Doctor(command) => command.run(terminal),
            Command::Phantom(command) => command.run(terminal),
            Command::Dataset(command) => command.run(terminal),
            Command::Fuse(command) => command.run(terminal),
            Command::Train(command) => command.run(terminal),
            Command::Evaluate(command) => command.run(terminal),
            Command::Curves(command) => command.run(terminal),
            Command::Reproduce(command) => command.run(terminal),
            Command::Compare(command) => command.run(terminal),
            Command::Predict(command) => command.run(terminal),
            Command::Annotation(command) => command.run(terminal),
            Command::Lesions(command) => command.run(terminal),
            Command::Model(command) => command.run(terminal),
            Command::Audit(command) => command.run(terminal),
            Command::Bench(command) => command.run(terminal),
            Command::Tasks(command) => command.run(terminal),
            Command::Completions(command) => command.run(terminal),
            Command::Man(command) => command.run(terminal),
        }
    }
}

/// Runs the command line. Exit codes: 0 done, 1 failed or interrupted, 2 usage, 3 a scan that is unlike the model's training scans.
pub fn main() -> ExitCode {
    let terminal = Terminal::new();
    if let Err(error) = interrupt::watch() {
        terminal.error(&error);
        return ExitCode::FAILURE;
    }
    let arguments = match parse(std::env::args_os().collect()) {
        Ok(arguments) => arguments,
        Err(error) => {
            // The help or the usage error. If the output is closed, there is nowhere to report it.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    interrupt::survive_file_size_limit();
    match run(&arguments, &terminal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal.error(&error);
            ExitCode::from(match error {
                Error::Setting { .. } => 2,
                Error::Unlike { .. } => 3,
                _ => 1,
            })
        }
    }
}

/// The arguments, or the help, or the usage error: with what cannot be seen in an argument written out.
fn parse(given: Vec<OsString>) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(&given).map_err(|error| {
        let shown = given.iter().map(|argument| match argument.to_str() {
            Some(text) if !text.contains(text::is_hidden) => argument.clone(),
            _ => text::escaped(argument).into(),
        });
        // It fails as well: but for these characters it is the same.
        Arguments::try_parse_from(shown).err().unwrap_or(error)
    })
}

fn run(arguments: &Arguments, terminal: &Terminal) -> Result<()> {
    let isa = match &arguments.machine.isa {
        None => Isa::detect(),
        Some(name) => Isa::named(name).ok_or_else(|| {
            let names = Isa::all().iter().map(|isa| isa.name()).collect::<Vec<_>>().join(" or ");
            Error::setting(format!("--isa {name} is not an instruction set of this machine"), format!("give {names}"))
        })?,
    };
    use_isa(isa);
    memory::advise(arguments.command.to_need_less_memory());
    let pool = Pool::new(arguments.machine.threads)
        .map_err(|error| Error::setting(format!("--threads {}: {error}", arguments.machine.threads), "give fewer threads"))?;
    pool.run(|| arguments.command.run(terminal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_command_is_well_formed_and_has_an_example() {
        fn walk(command: &clap::Command, path: &str) {
            for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
                let path = format!("{path} {}", inner.get_name());
                if inner.has_subcommands() {
                    walk(inner, &path);
                    continue;
                }
                let help = inner.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example") && help.contains(&path), "`{path} --help` has no example of itself: {help}");
                assert!(inner.get_about().is_some(), "`{path}` has no description");
            }
        }
        let command = Arguments::command();
        command.clone().debug_assert();
        walk(&command, "osteon");
    }

    /// Such as `from 1 to 256`, `above 0` or `0 or above`.
    #[test]
    fn every_number_has_a_range_in_its_help() {
        fn walk(command: &clap::Command, numbers: &mut usize) {
            command.get_subcommands().for_each(|inner| walk(inner, numbers));
            let names = ["N", "MB", "MINUTES", "RATE", "SHARE", "X", "DEGREES", "PIXELS", "FACTOR", "MM", "CLASS=N,..."];
            for argument in command.get_arguments() {
                let value = argument.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
                if !value.is_some_and(|value| names.contains(&&*value)) {
                    continue;
                }
                *numbers += 1;
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                let is_range = ["from ", "above "]
                    .iter()
                    .any(|word| help.split(word).skip(1).any(|rest| rest.starts_with(|first: char| first.is_ascii_digit())))
                    || help.contains(" or above");
                assert!(is_range, "{} --{}: {help}", command.get_name(), argument.get_id());
            }
        }
        let mut numbers = 0;
        walk(&Arguments::command(), &mut numbers);
        assert!(numbers > 40, "{numbers}");
    }

    #[test]
    fn what_cannot_be_seen_in_an_argument_is_written_out_in_its_usage_error() {
        for given in [["osteon", "--threads", "1\u{1b}[31m\nosteon: done"], ["osteon", "a\u{202e}\u{9b}31m", "b"]] {
            let said = parse(given.map(OsString::from).to_vec()).err().unwrap().to_string();
            assert!(!said.contains(|letter| text::is_hidden(letter) && letter != '\n'), "{said:?}");
            assert!(!said.lines().any(|line| line.starts_with("osteon: ")), "{said}");
            assert!(said.contains("\\033[31m\\nosteon") || said.contains("\\342\\200\\256"), "{said}");
        }
    }

    #[test]
    fn the_text_by_task_has_every_command_and_no_other() {
        fn leaves(command: &clap::Command, path: &str) -> Vec<String> {
            let inner: Vec<_> = command.get_subcommands().filter(|inner| inner.get_name() != "help").collect();
            match inner.is_empty() {
                true => vec![path.to_owned()],
                false => inner.iter().flat_map(|inner| leaves(inner, &format!("{path} {}", inner.get_name()))).collect(),
            }
        }
        let text = include_str!("COMMANDS.md");
        for path in leaves(&Arguments::command(), "osteon") {
            assert!(text.contains(&format!("`{path}")), "`{path}` is missing in COMMANDS.md");
        }
        // Code is every second piece between backticks. Some of it names a command without all that the command needs.
        use clap::error::ErrorKind::{DisplayHelpOnMissingArgumentOrSubcommand, MissingRequiredArgument};
        for code in text.split('`').skip(1).step_by(2).filter(|code| code.starts_with("osteon ") && !code.contains(" ... ")) {
            match Arguments::try_parse_from(code.split_whitespace().take_while(|word| *word != "|")).map_err(|error| error.kind())
            {
                Ok(_) | Err(DisplayHelpOnMissingArgumentOrSubcommand | MissingRequiredArgument) => {}
                Err(kind) => panic!("COMMANDS.md has `{code}`: {kind}"),
            }
        }
    }
}
