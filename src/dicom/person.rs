//! Age and sex of the patient in a DICOM file: for statistics of an archive, and for nothing else.

use super::header::End;
use super::{Refusal, with_data_set};
use crate::{Error, Result, files};
use dicom_dictionary_std::tags;
use std::path::Path;

/// What Patient's Sex says (PS3.3 C.7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sex {
    /// `M`.
    Male,
    /// `F`.
    Female,
    /// `O`.
    Other,
}

/// Who was scanned, as far as a table of ages needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Person {
    /// Age at the examination in years. None where the file does not say it, or says no age.
    pub age_years: Option<f64>,
    /// None where the file does not say it.
    pub sex: Option<Sex>,
}

/// No patient is older.
const OLDEST_YEARS: f64 = 130.0;

/// Reads Patient's Age and Patient's Sex. Neither pixels nor any other element is looked at: what is damaged behind them is no
/// error.
///
/// # Errors
/// A file that cannot be read, has more than [`super::MAX_FILE_BYTES`] or is no DICOM.
pub fn read_person(path: impl AsRef<Path>) -> Result<Person> {
    let path = path.as_ref();
    let bytes = files::read_at_most(path, super::MAX_FILE_BYTES)?;
    person(&bytes).map_err(|refusal| Error::file(path, refusal.problem, refusal.remedy))
}

fn person(bytes: &[u8]) -> Result<Person, Refusal> {
    with_data_set(bytes, End::File, |data, _, _| {
        let mut person = Person::default();
        for element in data.elements() {
            let element = element?;
            match element.tag {
                tags::PATIENT_SEX => person.sex = sex(&element.text()),
                tags::PATIENT_AGE => person.age_years = age_years(&element.text()),
                // Elements stand in the order of their tags.
                tag if tag > tags::PATIENT_AGE => break,
                _ => {}
            }
        }
        Ok(person)
    })?
}

fn sex(text: &str) -> Option<Sex> {
    match text {
        "M" | "m" => Some(Sex::Male),
        "F" | "f" => Some(Sex::Female),
        "O" | "o" => Some(Sex::Other),
        _ => None,
    }
}

/// An age string (PS3.5 6.2: three digits and D, W, M or Y). Fewer digits and small letters are taken too; without its unit a
/// number is no age.
fn age_years(text: &str) -> Option<f64> {
    let mut characters = text.chars();
    let unit = characters.next_back()?;
    let digits = characters.as_str();
    if digits.is_empty() || digits.len() > 3 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: f64 = digits.parse().ok()?;
    let years = match unit.to_ascii_uppercase() {
        'D' => number / 365.25,
        'W' => number * 7.0 / 365.25,
        'M' => number / 12.0,
        'Y' => number,
        _ => return None,
    };
    (years <= OLDEST_YEARS).then_some(years)
}

#[cfg(test)]
mod tests {
    use super::super::{NmHeader, encode_nm};
    use super::*;
    use crate::image::Image;

    #[test]
    fn ages_in_every_unit() {
        for (text, years) in [
            ("063Y", Some(63.0)),
            ("63y", Some(63.0)),
            ("000Y", Some(0.0)),
            ("018M", Some(1.5)),
            ("052W", Some(364.0 / 365.25)),
            ("010D", Some(10.0 / 365.25)),
            ("999D", Some(999.0 / 365.25)),
            ("130Y", Some(130.0)),
            ("131Y", None),
            ("063", None),
            ("Y", None),
            ("", None),
            ("0063Y", None),
            ("-63Y", None),
            ("6 3Y", None),
            ("063X", None),
            ("06３Y", None),
        ] {
            assert_eq!(age_years(text), years, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_and_what_is_not_is_unknown() {
        let view = Image { rows: 2, columns: 1, pixels: vec![1.0, 2.0] };
        let read = |age_years, sex| {
            person(&encode_nm(&view, &view, &NmHeader { age_years, sex, ..NmHeader::default() }).unwrap()).unwrap()
        };
        assert_eq!(read(Some(63), Some(Sex::Female)), Person { age_years: Some(63.0), sex: Some(Sex::Female) });
        assert_eq!(read(Some(7), Some(Sex::Male)).age_years, Some(7.0));
        assert_eq!(read(None, Some(Sex::Other)), Person { age_years: None, sex: Some(Sex::Other) });
        assert_eq!(read(None, None), Person::default());
    }

    #[test]
    fn damage_behind_the_age_does_not_matter_and_before_it_does() {
        let view = Image { rows: 2, columns: 1, pixels: vec![1.0, 2.0] };
        let about = NmHeader { age_years: Some(63), sex: Some(Sex::Male), ..NmHeader::default() };
        let bytes = encode_nm(&view, &view, &about).unwrap();
        assert_eq!(person(&bytes[..bytes.len() - 3]).unwrap().age_years, Some(63.0));
        assert!(person(&bytes[..500]).unwrap_err().problem.contains("cut short"));
        assert!(person(b"no DICOM").unwrap_err().problem.contains("not a DICOM"));
    }
}
