//! Every scan of a manifest looked at before work begins: whether it can be read and is a whole-body bone scan, which view is which, and
//! whether two pseudonyms are one person.
//!
//! People are told by what files say of them (hashes of Patient ID, or of name and birth date) and by their decoded pixels, never by
//! file names.

use super::manifest::{Manifest, Row};
use super::seen::Seen;
use super::side::Side;
use crate::intake::study::Cell;
use crate::{Error, Result, files, interrupt};
use osteon_kernels::par;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What was found of a manifest's scans.
#[derive(Debug, Default)]
pub struct Scans {
    /// What is known of those that can be used.
    pub seen: Seen,
    /// Scans that cannot be used, and people who are on two sides; in the manifest's order, a sentence each.
    pub faults: Vec<Error>,
    /// What a user has to know: people under several pseudonyms, scans under two labels, deviations of files. A sentence each.
    pub notes: Vec<String>,
}

/// One study as it was read.
struct Looked {
    views: String,
    patient: Option<String>,
    person: Option<String>,
    /// SHA-256 of each view's counts.
    pixels: Vec<String>,
    notes: Vec<String>,
}

impl Looked {
    fn at(row: &Row, any_image: bool) -> Result<Self> {
        let study = row.read_checked(any_image)?;
        let hash = |image: &crate::image::Image| {
            let size = [image.rows as u64, image.columns as u64].into_iter().flat_map(u64::to_le_bytes);
            files::sha256(&size.chain(image.pixels.iter().flat_map(|count| count.to_le_bytes())).collect::<Vec<u8>>())
        };
        let views: Vec<String> = study.intake.views().map(|(view, decided)| format!("{view} by {decided}")).collect();
        Ok(Looked {
            views: views.join(", "),
            pixels: study.anterior.iter().chain(&study.posterior).map(hash).collect(),
            patient: study.intake.patient,
            person: study.intake.person,
            notes: study.intake.notes,
        })
    }
}

/// Looks at every scan of a manifest, each file once. `any_image`: whatever the files hold is taken for a whole-body scan. `watch` is
/// called with how many of how many scans are done, and stops the work by an error.
///
/// # Errors
/// Whatever `watch` returns. What is wrong with scans is in [`Scans::faults`].
pub fn look(manifest: &Manifest, any_image: bool, watch: &mut dyn FnMut(usize, usize) -> Result<()>) -> Result<Scans> {
    const AT_ONCE: usize = 32;
    // Copies of a scan name the same files.
    let mut places: HashMap<(Option<&Cell>, Option<&Cell>), usize> = HashMap::new();
    let mut rows: Vec<usize> = Vec::new();
    for (at, row) in manifest.rows.iter().enumerate() {
        places.entry((row.anterior.as_ref(), row.posterior.as_ref())).or_insert_with(|| {
            rows.push(at);
            rows.len() - 1
        });
    }
    let mut looked: Vec<Option<Result<Looked>>> = rows.iter().map(|_| None).collect();
    let mut done = 0;
    for (rows, looked) in rows.chunks(AT_ONCE).zip(looked.chunks_mut(AT_ONCE)) {
        interrupt::check()?;
        watch(done, places.len())?;
        par::chunks_mut(looked, 1, |at, slot| slot[0] = Some(Looked::at(&manifest.rows[rows[at]], any_image)));
        done += rows.len();
    }
    let mut scans = Scans::default();
    let mut known: Vec<(usize, Looked)> = Vec::new();
    for (&at, looked) in rows.iter().zip(looked) {
        match looked {
            Some(Ok(mut looked)) => {
                let names = manifest.rows[at].cells().map(|cell| manifest.name_of_cell(cell)).collect::<Vec<_>>().join(",");
                scans.seen.views.insert(names, std::mem::take(&mut looked.views));
                scans.notes.append(&mut looked.notes);
                known.push((at, looked));
            }
            Some(Err(stop @ Error::Interrupted { .. })) => return Err(stop),
            Some(Err(error)) => scans.faults.push(error),
            None => {}
        }
    }
    scans.compare_people(manifest, &known);
    Ok(scans)
}

/// Why two pseudonyms are one person.
const REASONS: [&str; 3] = ["the same Patient ID", "the same name and birth date", "the same pixels"];

impl Scans {
    /// Finds pseudonyms of one person, and what that means for sides and labels.
    fn compare_people(&mut self, manifest: &Manifest, known: &[(usize, Looked)]) {
        let patients: BTreeSet<&str> = known.iter().map(|(at, _)| manifest.rows[*at].patient.as_str()).collect();
        let mut groups = Groups::default();
        for (number, reason) in REASONS.into_iter().enumerate() {
            let mut holders: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            for (at, looked) in known {
                let values: Vec<&String> = match number {
                    0 => looked.patient.iter().collect(),
                    1 => looked.person.iter().collect(),
                    _ => looked.pixels.iter().collect(),
                };
                for value in values {
                    holders.entry(value).or_default().insert(&manifest.rows[*at].patient);
                }
            }
            for names in holders.into_values().filter(|names| names.len() > 1) {
                // An anonymiser may write one value into every file.
                if number < 2 && names.len() > 2 && 2 * names.len() > patients.len() {
                    let problem = format!(
                        "{} of {} patients have {reason} in their files, which tells nothing of them",
                        names.len(),
                        patients.len()
                    );
                    self.notes.push(format!("{problem}: only their pixels are compared"));
                    continue;
                }
                groups.join(names, reason);
            }
        }
        let mut by_pixels: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, looked) in known {
            looked.pixels.iter().for_each(|hash| by_pixels.entry(hash).or_default().push(*at));
        }
        let twins: BTreeSet<&Vec<usize>> = by_pixels.values().collect();
        for rows in twins {
            let label = |at: usize| &manifest.rows[at].label;
            if let Some(&other) = rows.iter().find(|at| label(**at) != label(rows[0])) {
                let name = |at: usize| manifest.rows[at].files().next().map_or(String::new(), |file| manifest.name_of(file));
                self.notes.push(format!(
                    "the same pixels have two labels: {} is {}, {} is {}",
                    name(rows[0]),
                    label(rows[0]),
                    name(other),
                    label(other)
                ));
            }
        }
        for (names, reasons) in groups.0 {
            let sides = |patient: &str| {
                let of: BTreeSet<&str> = manifest
                    .rows
                    .iter()
                    .filter(|row| row.patient == patient)
                    .filter_map(|row| row.side.map(Side::name))
                    .collect();
                of.into_iter().collect::<Vec<_>>().join(" and ")
            };
            let all: BTreeSet<String> = names.iter().map(|name| sides(name)).collect();
            let listed = |with_side: bool| {
                let one = |name: &&str| if with_side { format!("{name} ({})", sides(name)) } else { (*name).to_owned() };
                names.iter().map(one).collect::<Vec<_>>().join(", ")
            };
            let because = reasons.into_iter().collect::<Vec<_>>().join(" and ");
            if all.len() > 1 {
                let problem = format!("patients {} are one person on two sides: their files have {because}", listed(true));
                let remedy = "make the dataset anew, which puts them on one side, or give them one pseudonym";
                self.faults.push(Error::file(&manifest.path, problem, remedy));
            } else {
                self.notes.push(format!(
                    "patients {} are one person: their files have {because}; a split keeps them on one side",
                    listed(false)
                ));
            }
            self.seen.same_people.push(names.into_iter().map(str::to_owned).collect());
        }
    }
}

/// Sets of names, of which those that share one are one, each with why.
#[derive(Default)]
struct Groups<'a>(Vec<(BTreeSet<&'a str>, BTreeSet<&'static str>)>);

impl<'a> Groups<'a> {
    fn join(&mut self, mut names: BTreeSet<&'a str>, reason: &'static str) {
        let mut reasons = BTreeSet::from([reason]);
        self.0.retain(|(others, why)| {
            let apart = others.is_disjoint(&names);
            if !apart {
                names.extend(others);
                reasons.extend(why);
            }
            apart
        });
        self.0.push((names, reasons));
    }
}
