//! `osteon evaluate`: a run's network on studies that it has not seen.

use super::networks::{self, Together};
use super::numbers::{count, seed};
use super::output::Overwrite;
use super::preflight::Preflight;
use super::stress;
use super::table::{self, TableFlags};
use super::terminal::Terminal;
use crate::archive::manifest::{Classes, ColumnNames, Manifest, ReadOptions, Reading, Row};
use crate::archive::split::Split;
use crate::files::Staging;
use crate::metrics::{
    Bootstrap, Ceilings, Each, Epoch, FALSE_MARKS, Localisation, MapScore, Merged, NetworkScores, Panel, Randomised, Scores,
    Stress, of_at_most,
};
use crate::models::Model;
use crate::phantom;
use crate::predict::{self, Answered, Ensemble};
use crate::prepare::loader::LoaderOptions;
use crate::report::{self, Case, Evaluation, PatientRow};
use crate::text::{Shown, counted};
use crate::train::{self, RunFolder, Settings};
use crate::{Error, Result, files, interrupt};
use clap::ValueEnum;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Studies that a page shows with pictures.
const SHOWN: usize = 12;

/// Evaluate a run on its test patients: scores, a table of all studies, pictures, and a page. Several runs, or a folder of `osteon train
/// --folds`, answer together, by the mean of their probabilities.
///
/// Writes scores.json, patients.csv, confusion.png and .svg, roc.png and .svg, report.html, which needs no network, and model_card.md; with --localise
/// also localisation.json, froc.png and .svg, and with --stress stress.json, stress.png and .svg.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  osteon evaluate runs/first\n  osteon evaluate runs/first --manifest elsewhere.csv --split all --output elsewhere\n  osteon evaluate runs/first runs/second --mirror --output both"
)]
pub struct Evaluate {
    /// The folder that `osteon train` wrote; several answer together, on patients that none was trained with.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    #[command(flatten)]
    together: Together,
    /// Another manifest: where the run's studies are now, or (with --split all) other studies.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Which studies.
    #[arg(long, value_enum, default_value_t = Side::Test)]
    split: Side,
    /// Leave out the augmented copies of a dataset's manifest: only scans as they are.
    #[arg(long)]
    unaugmented: bool,
    /// Hold what speaks for a metastasis against the lesions that are known, of phantoms or outlined beside the scans: localisation.json.
    #[arg(long)]
    localise: bool,
    /// Height and width of a pixel in millimetres where a scan's file does not say them, from 0.01 to 100: one number, or
    /// two as HEIGHT,WIDTH.
    #[arg(long, value_name = "MM", value_parser = super::lesions::spacing, requires = "localise")]
    pixel_spacing_mm: Option<[f64; 2]>,
    /// Evaluate again on the same scans made worse, beside the scores as they are: half and a quarter of the counts, one view alone, without
    /// feet or lower legs, another alignment, turned, moved, larger and smaller: stress.json.
    #[arg(long)]
    stress: bool,
    /// The class that counts as positive, where none is called NoMet: sensitivity, specificity and thresholds are of it against the others
    /// [default: that of the training].
    #[arg(long, value_name = "CLASS")]
    positive: Option<String>,
    /// Folder for the results [default: the run's, or that of the folds].
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    #[command(flatten)]
    overwrite: Overwrite,
    #[command(flatten)]
    resampling: Resampling,
    #[command(flatten)]
    table: TableFlags,
    #[command(flatten)]
    preflight: Preflight,
}

/// How intervals are made.
#[derive(clap::Args)]
pub struct Resampling {
    /// Resamples of the patients that the 95 % intervals are made from, from 100 to 1000000.
    #[arg(long, value_name = "N", default_value_t = Bootstrap::default().resamples, value_parser = count(Bootstrap::RESAMPLES))]
    resamples: usize,
    /// Seed of the resamples, from 0 to 2^63 - 1.
    #[arg(long, value_name = "N", default_value_t = Bootstrap::default().seed, value_parser = seed())]
    resample_seed: u64,
}

impl Resampling {
    /// Checked, before the work that its intervals are of.
    pub fn bootstrap(&self) -> Result<Bootstrap> {
        let bootstrap = Bootstrap { resamples: self.resamples, seed: self.resample_seed };
        bootstrap.check()?;
        Ok(bootstrap)
    }
}

/// The side of a run's split.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Side {
    /// Patients that the network has not seen.
    Test,
    /// Patients that it was trained with.
    Train,
    /// Training patients that only chose the epoch.
    Validation,
    /// Every study of the manifest.
    All,
}

impl Evaluate {
    pub fn run(&self, terminal: &Terminal) -> Result<()> {
        let bootstrap = self.resampling.bootstrap()?;
        if self.manifest.is_none() && !self.table.is_empty() {
            let problem = "--column and --class are about the manifest of --manifest, and the run knows its own";
            return Err(Error::setting(problem, "give --manifest, or leave them out"));
        }
        let elsewhere = self.manifest.as_deref().map(|path| (path, &self.table));
        let runs = self.runs.iter().map(|run| networks::runs_of(run)).collect::<Result<Vec<_>>>()?.concat();
        let job = Job::open(&runs, &self.together, elsewhere, self.split, self.unaugmented)?;
        // A folder of folds is the place of their evaluation, as a run's own folder is of its.
        let own = match &self.runs[..] {
            [only] => Some(only.as_path()),
            _ => None,
        };
        let Some(folder) = self.output.as_deref().or(own) else {
            return Err(Error::setting("the results of several runs have no place of their own", "give --output"));
        };
        if self.manifest.is_some() {
            table::tell(terminal, &job.manifest.path, &job.notes);
            // The scans of the run itself were looked at before it was trained.
            self.preflight.check(terminal, &job.manifest, folder)?;
        }
        let written: Vec<PathBuf> = runs.iter().flat_map(|run| RunFolder::OWN.map(|name| run.join(name))).collect();
        let read = job.manifest.rows.iter().flat_map(Row::files).chain([&*job.manifest.path]);
        let read: Vec<&Path> = read.chain(written.iter().map(PathBuf::as_path)).collect();
        let output = match own.is_some_and(|own| files::identity(folder) == files::identity(own)) {
            true => self.overwrite.files_in(folder, &RunFolder::EVALUATION, &read)?,
            false => self.overwrite.folder(folder, &RunFolder::EVALUATION, &read)?,
        };
        let positive = job.positive(self.positive.as_deref())?;
        // First, since it may refuse what an evaluation takes.
        let localisation = self.localise.then(|| job.localise(terminal, self.pixel_spacing_mm)).transpose()?;
        let mut evaluation = Evaluation { bootstrap, positive, localisation, ..job.evaluate(terminal)? };
        if self.stress {
            evaluation.stress = Some(job.stress(terminal, bootstrap, positive)?);
        }
        let (scores, page) = write(&evaluation, output)?;
        print(terminal, &evaluation, &scores)?;
        terminal.line(page.shown())
    }
}

/// Writes an evaluation, all of its files or none. Gives the scores and the page's path.
pub fn write(evaluation: &Evaluation, output: files::Output) -> Result<(Scores, PathBuf)> {
    // Those of an earlier evaluation do not belong to this one.
    let earlier = RunFolder::LOCALISATION.into_iter().chain(RunFolder::STRESS).map(str::to_owned);
    let staging = Staging::new(output)?.without(earlier.collect());
    let (scores, _) = staging.named(report::write_evaluation(evaluation, staging.file("")))?;
    let page = staging.target(RunFolder::REPORT);
    staging.commit(RunFolder::SCORES)?;
    Ok((scores, page))
}

/// A run and the studies to evaluate it on.
pub struct Job {
    folder: RunFolder,
    settings: Settings,
    /// The run's manifest, or another.
    pub manifest: Manifest,
    /// Rows of the manifest.
    pub rows: Vec<usize>,
    /// The run's network, or those of all runs.
    pub networks: Ensemble,
    /// Patients of each of its classes that it was trained with; none where some of the studies may be theirs, or where they are not known.
    training_patients: Option<Vec<usize>>,
    /// What to know of the manifest.
    notes: Vec<String>,
    what: String,
}

impl Job {
    /// The test patients of a run.
    pub fn test(run: &Path) -> Result<Self> {
        Job::open(&[run.to_owned()], &Together::default(), None, Side::Test, false)
    }

    /// The studies of one side of the runs' manifest, or of another, whose columns have the names that its flags say, those of the run's, or
    /// their own; `unaugmented` leaves copies out. What is of another run, or has changed since the run, is refused, and so are runs whose
    /// sides differ.
    pub fn open(
        runs: &[PathBuf],
        together: &Together,
        elsewhere: Option<(&Path, &TableFlags)>,
        side: Side,
        unaugmented: bool,
    ) -> Result<Self> {
        let mut jobs: Vec<Job> = Vec::with_capacity(runs.len());
        for run in runs {
            let job = Job::open_one(run, elsewhere, side, unaugmented)?;
            if let Some(first) = jobs.first() {
                let ids = |job: &Job| -> BTreeSet<(String, String)> {
                    let rows = job.rows.iter().map(|&row| &job.manifest.rows[row]);
                    rows.flat_map(|row| row.files().map(|file| (row.patient.clone(), job.manifest.name_of(file)))).collect()
                };
                if ids(&job) != ids(first) {
                    let problem =
                        format!("has other patients there than {}, and its network may have seen some of them", runs[0].shown());
                    let remedy = "give runs of one split, or patients that none has seen by --manifest and --split all";
                    return Err(Error::file(run, problem, remedy));
                }
            }
            jobs.push(job);
        }
        let (mut models, mut first) = (Vec::with_capacity(jobs.len()), None);
        for Job { networks, folder, settings, manifest, rows, training_patients, notes, what } in jobs {
            models.extend(networks.into_models());
            first.get_or_insert((folder, settings, manifest, rows, training_patients, notes, what));
        }
        let networks = Ensemble::new(models, together.mirror)?;
        let (folder, settings, manifest, rows, training_patients, notes, what) = first.expect("an ensemble has a model");
        Ok(Job { folder, settings, manifest, rows, networks, training_patients, notes, what })
    }

    fn open_one(run: &Path, elsewhere: Option<(&Path, &TableFlags)>, side: Side, unaugmented: bool) -> Result<Self> {
        let folder = RunFolder::open(run)?;
        let model = Model::load(folder.file(RunFolder::MODEL))?;
        let settings = Settings::resolve(Some(&folder.file(RunFolder::CONFIG)), toml::Table::new())?;
        train::check_folder(&folder, &model, &settings, side != Side::All)?;
        let columns = settings.columns.clone();
        let Reading { manifest, notes } = match elsewhere {
            None => Manifest::read_with(&settings.manifest, &ReadOptions { columns, classes: Classes::Known })?,
            Some((path, flags)) => {
                let meant = flags.classes().iter().chain(&model.metadata().classes).cloned().collect();
                let classes = Classes::AskedAbout(meant);
                let read = |columns| Manifest::read_with(path, &ReadOptions { columns, classes: classes.clone() });
                match flags.columns()? {
                    Some(columns) => read(columns)?,
                    // Other studies may lie in a table with the columns' own names.
                    None => read(columns).or_else(|error| read(ColumnNames::default()).map_err(|_| error))?,
                }
            }
        };
        let split = || Split::read(folder.file(RunFolder::SPLIT), &manifest);
        let classes = &model.metadata().classes;
        let training_patients = match side {
            Side::Test | Side::Validation => Some(patients_by_class(&manifest, &split()?.train, classes)),
            Side::All if files::identity(&manifest.path) != files::identity(&settings.manifest) => {
                // The run's own table may be gone since.
                let options = ReadOptions { columns: settings.columns.clone(), classes: Classes::Known };
                Manifest::read_with(&settings.manifest, &options).ok().and_then(|Reading { manifest: own, .. }| {
                    let split = Split::read(folder.file(RunFolder::SPLIT), &own).ok()?;
                    Some(patients_by_class(&own, &split.train, classes))
                })
            }
            Side::All | Side::Train => None,
        };
        let (mut rows, what) = match side {
            Side::Test => (split()?.test, "of patients that it was not trained with"),
            Side::Train => (split()?.train, "that it was trained with"),
            Side::Validation => (split()?.validation, "that chose its epoch"),
            Side::All => ((0..manifest.rows.len()).collect(), "of a whole manifest"),
        };
        if unaugmented {
            rows.retain(|&row| !manifest.rows[row].is_augmented());
            if rows.is_empty() {
                return Err(Error::file(&manifest.path, "has only augmented copies there", "leave out --unaugmented"));
            }
        }
        if elsewhere.is_none() {
            train::check_data(&folder, &manifest, &rows, &mut interrupt::check)?;
        }
        let what = if unaugmented { format!("without copies, {what}") } else { what.to_owned() };
        let networks = Ensemble::one(folder.file(RunFolder::MODEL), model);
        Ok(Job { folder, settings, manifest, rows, networks, training_patients, notes, what })
    }

    /// What its scores could be at most, where that is known.
    fn ceilings(&self) -> Option<Ceilings> {
        let about = self.networks.metadata();
        let of_class = |class: &String| self.rows.iter().filter(|row| self.manifest.rows[**row].label == *class).count();
        phantom::ceilings(&phantom::Trial {
            trained: about.training_studies(),
            evaluated: self.manifest.study_counts(self.rows.iter().copied()),
            input_size: about.input_size,
            classes: &about.classes,
            patients: self.training_patients.as_ref()?,
            tested: &about.classes.iter().map(of_class).collect::<Vec<_>>(),
        })
    }

    /// The class that counts as positive: the one named, or the one that the run was trained with.
    fn positive(&self, named: Option<&str>) -> Result<Option<usize>> {
        let of_run = Some(&*self.settings.positive).filter(|name| !name.is_empty());
        named.or(of_run).map(|name| train::positive_class(name, &self.networks.metadata().classes)).transpose()
    }

    /// Runs the network on every study, and again with explanation on those to show.
    pub fn evaluate(&self, terminal: &Terminal) -> Result<Evaluation> {
        let Job { folder, settings, manifest, rows, networks, what, .. } = self;
        let about = networks.metadata();
        let options =
            LoaderOptions { threads: settings.loader_threads, ..LoaderOptions::evaluation(about.input_size, settings.batch) };
        let loader = manifest.loader(&about.classes, rows.clone(), &about.preprocessing, options)?;
        let progress = terminal.progress("studies", rows.len());
        networks.check_memory(settings.batch, true)?;
        let answered = networks.answers(&loader, &mut |done| {
            progress.set(done, "");
            interrupt::check()
        })?;
        progress.finish(format_args!("{} evaluated", answered.len()));

        let patients: Vec<PatientRow> = answered
            .iter()
            .map(|Answered { study, label, answer, .. }| PatientRow {
                patient: manifest.rows[*study].patient.clone(),
                truth: *label as usize,
                probabilities: answer.probabilities.clone(),
            })
            .collect();
        let shown = report::pick_cases(&patients, SHOWN);
        let progress = terminal.progress("pictures", shown.len());
        let mut cases = Vec::new();
        for patient in shown {
            interrupt::check()?;
            let PatientRow { patient: name, truth, .. } = &patients[patient];
            let row = &manifest.rows[answered[patient].study];
            let case = predict::drawn_case(networks, name, &row.read()?, &row.pending_transform(), true)?;
            cases.push(Case { truth: Some(*truth), ..case });
            progress.set(cases.len(), "");
        }
        progress.finish(format_args!("{} made", cases.len()));

        let evaluated_studies = manifest.study_counts(rows.iter().copied());
        let more = networks.members().len() - 1;
        let others = if more > 0 { format!(" and {}", counted(more, "other run")) } else { String::new() };
        // The curves are of one training.
        let history = if more > 0 { Vec::new() } else { Epoch::read_all(&folder.file(RunFolder::METRICS))? };
        Ok(Evaluation {
            title: format!("Evaluation of {}{others}", super::scan::name(folder.path())),
            model: predict::card(networks),
            evaluated_on: format!("{evaluated_studies} {what}"),
            evaluated_studies,
            patients,
            cases,
            history,
            configuration: configuration(settings),
            scan: None,
            bootstrap: Bootstrap::default(),
            ceilings: self.ceilings(),
            positive: self.positive(None)?,
            networks: members(networks, &answered)?,
            unlike_training: unlike(&answered),
            localisation: None,
            stress: None,
            origin: Some(train::origin(folder, &networks.members()[0], settings)),
        })
    }

    /// How what speaks for a metastasis lies beside the lesions that are known.
    fn localise(&self, terminal: &Terminal, pixel_mm: Option<[f64; 2]>) -> Result<Localisation> {
        let [model] = self.networks.members() else {
            return Err(Error::setting("--localise looks at one network, and several runs are given", "give one run"));
        };
        let progress = terminal.progress("maps", self.rows.len());
        let found = predict::localise(model, &self.manifest, &self.rows, pixel_mm, &mut |done| {
            progress.set(done, "");
            interrupt::check()
        })?;
        progress.finish(format_args!("{} compared with known lesions", counted(found.marked, "map")));
        Ok(found)
    }

    /// How the scores hold up on worse scans.
    fn stress(&self, terminal: &Terminal, bootstrap: Bootstrap, positive: Option<usize>) -> Result<Stress> {
        let progress = terminal.progress("scans made worse", self.rows.len());
        let Job { networks, manifest, rows, settings, .. } = self;
        let found = predict::stress(networks, manifest, rows, settings.batch, positive, bootstrap, &mut |done| {
            progress.set(done, "");
            interrupt::check()
        })?;
        progress.finish(format_args!("{} evaluated under {}", self.rows.len(), counted(found.conditions.len() - 1, "condition")));
        Ok(found)
    }
}

/// The scores of each of several networks by itself; none of one.
fn members(networks: &Ensemble, answered: &[Answered]) -> Result<Vec<NetworkScores>> {
    if networks.members().len() < 2 {
        return Ok(Vec::new());
    }
    let truths: Vec<usize> = answered.iter().map(|answered| answered.label as usize).collect();
    let of = |(at, file): (usize, &PathBuf)| {
        let probabilities: Vec<Vec<f32>> = answered.iter().map(|answered| answered.answer.members[at].clone()).collect();
        let scores = Scores::new(&networks.metadata().classes, &truths, &probabilities)?;
        let run = files::folder_of(file);
        Ok(NetworkScores { run: super::scan::name(run), accuracy: scores.accuracy, auc: scores.mean.auc })
    };
    networks.files().iter().enumerate().map(of).collect()
}

/// How many scans are unlike the training scans; none where the networks do not know.
fn unlike(answered: &[Answered]) -> Option<usize> {
    let trusts = answered.iter().map(|answered| answered.trust.as_ref()).collect::<Option<Vec<_>>>()?;
    Some(trusts.iter().filter(|trust| !trust.reasons.is_empty()).count())
}

/// How many patients of each class are among these rows.
fn patients_by_class(manifest: &Manifest, rows: &[usize], classes: &[String]) -> Vec<usize> {
    let patients: BTreeSet<(&str, &str)> = rows.iter().map(|&row| (&*manifest.rows[row].label, manifest.person(row))).collect();
    classes.iter().map(|class| patients.iter().filter(|(label, _)| label == class).count()).collect()
}

/// A run's settings as a page shows them, which is handed on: of the manifest's path the name alone.
fn configuration(settings: &Settings) -> String {
    let manifest = settings.manifest.file_name().map(PathBuf::from).unwrap_or_default();
    Settings { manifest, ..settings.clone() }.to_toml()
}

/// The scores, as lines.
pub fn print(terminal: &Terminal, evaluation: &Evaluation, scores: &Scores) -> Result<()> {
    terminal.line(format_args!("{}: {}", evaluation.evaluated_on, evaluation.caveat()))?;
    let values = Panel::of(scores);
    let ends = match &scores.statistics {
        Some(statistics) => statistics.intervals.scores.clone(),
        None => values.map(|_| None),
    };
    let ceilings = scores.ceilings;
    let line = |accuracy: [String; 2], values: &Each<Option<f64>>, ends: &Each<Option<[f64; 2]>>, auc: Option<f64>| {
        let names = Each::<f64>::NAMES.into_iter().zip(values.values()).zip(ends.values());
        let each = names.map(|((name, value), ends)| {
            let ceiling = auc.filter(|_| name == "AUC");
            format!("  {name} {}{}{}", figure(*value), of_at_most(ceiling), range(*ends))
        });
        format!("accuracy {}{}", accuracy.concat(), each.collect::<String>())
    };
    let of_classes = ceilings.map(|ceilings| ceilings.classes);
    let ceiling = of_at_most(of_classes.map(|ceiling| ceiling.accuracy));
    let accuracy = [figure(scores.accuracy) + &ceiling, range(ends.accuracy.or(scores.accuracy_interval))];
    let each = line(accuracy, &values.mean, &ends.mean, of_classes.map(|ceiling| ceiling.auc));
    terminal.line(format_args!("{} classes: {each}", scores.classes.len()))?;
    if let (Some(binary), Some(values), Some(ends)) = (&scores.metastatic, &values.metastatic, &ends.metastatic) {
        let Merged { accuracy, scores } = ends;
        let merged = ceilings.and_then(|ceilings| ceilings.metastatic);
        let ceiling = of_at_most(merged.map(|ceiling| ceiling.accuracy));
        let accuracy = [figure(binary.accuracy) + &ceiling, range(accuracy.or(binary.accuracy_interval))];
        let each = line(accuracy, &values.scores, scores, merged.map(|ceiling| ceiling.auc));
        let positive = binary.positive.as_deref().unwrap_or("metastatic");
        terminal.line(format_args!("{positive} or not: {each}"))?;
    }
    if ceilings.is_some() {
        terminal.line(Ceilings::MEANING)?;
    }
    for NetworkScores { run, accuracy, auc } in &scores.networks {
        terminal.line(format_args!("  {run} alone: accuracy {}  AUC {}", figure(*accuracy), figure(*auc)))?;
    }
    if let Some(unlike) = scores.unlike_training {
        let studies = counted(scores.studies, "scan");
        terminal.line(format_args!(
            "unlike what the model was trained on: {unlike} of {studies} (about 1 of 100 training scans is)"
        ))?;
    }
    if let Some(statistics) = &scores.statistics {
        let calibration = &statistics.calibration;
        let error = calibration.top_label.as_ref().map(|error| error.expected);
        terminal.line(format_args!(
            "calibration: expected error {} ({} by chance)  log loss {}",
            figure(error),
            figure(calibration.by_chance),
            figure(calibration.log_loss)
        ))?;
        let intervals = &statistics.intervals;
        let [resamples, patients] = [intervals.bootstrap.resamples, intervals.patients];
        terminal
            .line(format_args!("in brackets 95 % intervals, from {resamples} resamples of {}", counted(patients, "patient")))?;
    }
    scores.notes.iter().try_for_each(|note| terminal.line(note))?;
    let more = evaluation
        .localisation
        .iter()
        .flat_map(localised)
        .chain(evaluation.stress.iter().flat_map(|found| stress::lines(found, evaluation.positive_name())));
    more.into_iter().try_for_each(|line| terminal.line(line))
}

/// Where the evidence lies, as lines.
fn localised(found: &Localisation) -> Vec<String> {
    let share = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    let mut lines = vec![format!(
        "evidence: {} with lesions and called metastatic; {} with {} marked",
        counted(found.pointed, "scan"),
        counted(found.marked, "scan"),
        counted(found.lesions, "lesion")
    )];
    for MapScore { map, pointing, pointing_interval, on_lesions, sensitivity } in &found.maps {
        let mut line = format!("  {map}: points at a lesion {}{}", share(*pointing), range(*pointing_interval));
        line += &format!("  share on lesions {}", share(*on_lesions));
        let marked = FALSE_MARKS.iter().zip(sensitivity).filter_map(|(most, found)| Some((most, (*found)?)));
        let marked: Vec<String> = marked.map(|(most, found)| format!("{found:.2} at {most}")).collect();
        if !marked.is_empty() {
            line += &format!("  lesions marked {} false marks a scan", marked.join(", "));
        }
        lines.push(line);
    }
    for Randomised { from, correlation, pointing, on_lesions } in &found.randomised {
        let [correlation, pointing, on_lesions] = [correlation, pointing, on_lesions].map(|value| share(*value));
        lines.push(format!(
            "  weights drawn anew from {from} on: correlation {correlation}  points at a lesion {pointing}  share on lesions {on_lesions}"
        ));
    }
    lines
}

/// Four decimals; a dash where a score is undefined.
pub fn figure(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.4}"))
}

/// ` [0.701, 0.802]`; nothing where there is none.
fn range(ends: Option<[f64; 2]>) -> String {
    ends.map_or(String::new(), |[low, high]| format!(" [{low:.3}, {high:.3}]"))
}
