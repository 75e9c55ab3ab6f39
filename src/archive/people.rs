//! Age and sex of an archive's patients, counted (the paper's figure 5). Ages and sexes leave this module only as counts.

use super::manifest::Manifest;
use crate::dicom::{self, Person, Sex};
use crate::intake::picture;
use crate::text::counted;
use crate::{Result, files};
use std::collections::BTreeMap;
use std::path::Path;

/// Patients by sex.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BySex {
    /// Men.
    pub male: usize,
    /// Women.
    pub female: usize,
    /// Patient's Sex is `O`.
    pub other: usize,
    /// Patient's Sex is empty or missing.
    pub unknown: usize,
}

impl BySex {
    /// All of them.
    pub fn total(&self) -> usize {
        self.male + self.female + self.other + self.unknown
    }

    fn count(&mut self, sex: Option<Sex>) {
        *match sex {
            Some(Sex::Male) => &mut self.male,
            Some(Sex::Female) => &mut self.female,
            Some(Sex::Other) => &mut self.other,
            None => &mut self.unknown,
        } += 1;
    }
}

/// Patients of one decade of age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decade {
    /// The first year: 60 for those of 60 up to 70.
    pub from: u32,
    /// How many.
    pub patients: BySex,
}

/// The patients of an archive by age and sex.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demographics {
    /// Decades without a gap, from that of the youngest to that of the oldest; empty where no age is known.
    pub decades: Vec<Decade>,
    /// Patients whose files say no age, those of pictures among them.
    pub unknown_age: BySex,
    /// Patients of whom there are only pictures: PNG and JPEG say neither age nor sex.
    pub pictures: usize,
}

impl Demographics {
    /// Of patients as they are; `None` for one of whom there are only pictures.
    pub fn count(people: impl IntoIterator<Item = Option<Person>>) -> Self {
        let mut decades: BTreeMap<u32, BySex> = BTreeMap::new();
        let mut demographics = Demographics::default();
        for person in people {
            demographics.pictures += usize::from(person.is_none());
            let Person { age_years, sex } = person.unwrap_or_default();
            match age_years {
                Some(years) => decades.entry(years as u32 / 10 * 10).or_default().count(sex),
                None => demographics.unknown_age.count(sex),
            }
        }
        if let (Some((&first, _)), Some((&last, _))) = (decades.first_key_value(), decades.last_key_value()) {
            let decade = |from| Decade { from, patients: decades.get(&from).copied().unwrap_or_default() };
            demographics.decades = (first..=last).step_by(10).map(decade).collect();
        }
        demographics
    }

    /// All patients.
    pub fn patients(&self) -> usize {
        self.decades.iter().map(|decade| decade.patients.total()).sum::<usize>() + self.unknown_age.total()
    }

    /// `age,male,female,other,unknown`: a row a decade (`60-69`), and one of unknown age where there are such.
    pub fn csv(&self) -> String {
        let row = |age: &str, patients: &BySex| {
            let BySex { male, female, other, unknown } = patients;
            format!("{age},{male},{female},{other},{unknown}\n")
        };
        let mut text = "age,male,female,other,unknown\n".to_owned();
        for Decade { from, patients } in &self.decades {
            text.push_str(&row(&format!("{from}-{}", from + 9), patients));
        }
        if self.unknown_age.total() > 0 {
            text.push_str(&row("unknown", &self.unknown_age));
        }
        text
    }

    /// Writes [`Demographics::csv`].
    ///
    /// # Errors
    /// The operating system's.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        files::write(path, self.csv().as_bytes())
    }

    /// What is not known, in a sentence; empty where everything is.
    pub fn note(&self) -> String {
        let without = self.unknown_age.total() - self.pictures;
        let sexless = self.decades.iter().map(|decade| decade.patients.unknown).sum::<usize>();
        let mut parts = Vec::new();
        if self.pictures > 0 {
            parts.push(format!("of {} there are only pictures, which say neither age nor sex", self.pictures));
        }
        if without > 0 {
            parts.push(format!("the files of {without} say no age"));
        }
        if sexless > 0 {
            parts.push(format!("the files of {sexless} say an age and no sex"));
        }
        if parts.is_empty() {
            String::new()
        } else {
            format!("Of {}: {}.", counted(self.patients(), "patient"), parts.join("; "))
        }
    }
}

/// Counts a manifest's patients, each once, by what their DICOM files say: the first file with an age, the first with a sex, in
/// the manifest's order.
///
/// # Errors
/// A DICOM file that cannot be read.
pub fn demographics(manifest: &Manifest) -> Result<Demographics> {
    let mut people: BTreeMap<&str, Option<Person>> = BTreeMap::new();
    for row in &manifest.rows {
        let known = people.entry(&row.patient).or_default();
        let complete = |person: &Option<Person>| person.is_some_and(|known| known.age_years.is_some() && known.sex.is_some());
        let mut before = None;
        for file in row.files().filter(|file| !picture::is_picture(file)) {
            // Two frames of a file are one file.
            if complete(known) || before.replace(file) == Some(file) {
                continue;
            }
            let said = dicom::read_person(file)?;
            let person = known.get_or_insert_default();
            person.age_years = person.age_years.or(said.age_years);
            person.sex = person.sex.or(said.sex);
        }
    }
    Ok(Demographics::count(people.into_values()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::{NmHeader, write_nm};
    use crate::image::Image;
    use crate::phantom::{PhantomOptions, simulate, write};

    fn person(age_years: f64, sex: Sex) -> Option<Person> {
        Some(Person { age_years: Some(age_years), sex: Some(sex) })
    }

    #[test]
    fn decades_have_no_gap() {
        let unknown = Some(Person { age_years: None, sex: Some(Sex::Female) });
        let sexless = Some(Person { age_years: Some(69.9), sex: None });
        let people = [person(30.0, Sex::Male), person(69.0, Sex::Female), person(61.5, Sex::Male), unknown, sexless, None, None];
        let counted = Demographics::count(people);
        assert_eq!(counted.decades.iter().map(|decade| decade.from).collect::<Vec<_>>(), [30, 40, 50, 60]);
        assert_eq!(counted.patients(), 7);
        assert_eq!(
            counted.csv(),
            "age,male,female,other,unknown\n30-39,1,0,0,0\n40-49,0,0,0,0\n50-59,0,0,0,0\n60-69,1,1,0,1\nunknown,0,1,0,2\n"
        );
        assert_eq!(
            counted.note(),
            "Of 7 patients: of 2 there are only pictures, which say neither age nor sex; the files of 1 say no age; the files of 1 say \
             an age and no sex."
        );
        let none = Demographics::count([]);
        assert_eq!((none.patients(), none.note().as_str(), none.decades.len()), (0, "", 0));
    }

    #[test]
    fn phantoms_say_what_their_truth_says() {
        let folder = tempfile::tempdir().unwrap();
        let options = PhantomOptions { studies: 12, seed: 3, rows: 64, columns: 32, ..PhantomOptions::default() };
        let manifest = Manifest::read(write(&options, folder.path(), &|_| ()).unwrap()).unwrap();
        let truths = (0..12).map(|index| simulate(&options, index).truth);
        let expected = truths.map(|truth| person(truth.age.into(), if truth.sex == 'M' { Sex::Male } else { Sex::Female }));
        let counted = demographics(&manifest).unwrap();
        assert_eq!(counted, Demographics::count(expected));
        assert_eq!((counted.patients(), counted.note().as_str()), (12, ""));
    }

    #[test]
    fn a_patient_counts_once_and_pictures_say_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let view = Image { rows: 2, columns: 1, pixels: vec![1.0, 2.0] };
        for (name, age_years, sex) in [("1.dcm", None, Some(Sex::Male)), ("2.dcm", Some(59), None), ("3.dcm", Some(61), None)] {
            let about = NmHeader { identity: name.into(), age_years, sex, ..NmHeader::default() };
            write_nm(at(name), &view, &view, &about).unwrap();
        }
        std::fs::write(at("a.png"), b"\x89PNG\r\n\x1a\n").unwrap();
        let rows = "p1,1.dcm#1,1.dcm#2,NoMet\np1,2.dcm,,NoMet\np1,3.dcm,,ADMet\np2,a.png,,NoMet\n";
        std::fs::write(at("m.csv"), format!("patient,anterior,posterior,label\n{rows}")).unwrap();
        let counted = demographics(&Manifest::read(at("m.csv")).unwrap()).unwrap();
        assert_eq!(
            (counted.csv().as_str(), counted.pictures),
            ("age,male,female,other,unknown\n50-59,1,0,0,0\nunknown,0,0,0,1\n", 1)
        );
        std::fs::write(at("2.dcm"), "no DICOM").unwrap();
        let error = demographics(&Manifest::read(at("m.csv")).unwrap()).unwrap_err().to_string();
        assert!(error.contains("2.dcm: is not a DICOM file"), "{error}");
    }
}
