//! Names that may be meant as one: columns and classes a letter apart, pseudonyms that differ only in how they are typed.

use super::{PAPER_CLASSES, Row};
use crate::Error;
use crate::text::{shell_word, without_hidden};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Longer names are not compared letter by letter.
const MOST_LETTERS: usize = 40;

/// A table of more classes is none of classes: they are compared with the paper's only.
const MOST_CLASSES: usize = 100;

/// A class is held against another that has at least so many times its rows.
const MORE_FREQUENT: usize = 4;

/// A word with fewer letters than this may be a letter from another and mean something else.
const FEWEST_LETTERS: usize = 4;

/// The same of classes that differ only in how they are typed (`a` and `A` may be two).
const FEWEST_LETTERS_TYPED: usize = 3;

/// Text of a table as a message quotes it: in one line, and not all of what is very long.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(80).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("`{}`", without_hidden(&shown, &[]))
}

/// The letters to change, leave out, add or exchange with the next, so that one name becomes the other (optimal string alignment);
/// `None` where they are more than `most`.
pub(super) fn letters_between(one: &str, other: &str, most: usize) -> Option<usize> {
    let [one, other] = [one, other].map(|text| text.chars().take(MOST_LETTERS + 1).collect::<Vec<char>>());
    if one.len().max(other.len()) > MOST_LETTERS || one.len().abs_diff(other.len()) > most {
        return None;
    }
    // Distances of the first letters of `one`, so many as the row's number, to those of `other`.
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let same = one[i - 1] == other[j - 1];
            let mut least = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + usize::from(!same));
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    Some(rows[one.len()][other.len()]).filter(|letters| *letters <= most)
}

/// The words of a class: parted at blanks, hyphens and underscores within it, and before a capital; in small letters. A sign at its
/// end (`PET-`) or before it (`-1`) is a part of its word.
fn words(class: &str) -> Vec<String> {
    let letters: Vec<char> = class.trim().chars().collect();
    let mut words = vec![String::new()];
    for (at, &letter) in letters.iter().enumerate() {
        let is_inner = at > 0 && at + 1 < letters.len() && letters[at + 1..].iter().any(|next| next.is_alphanumeric());
        let parts = letter.is_whitespace() || is_inner && matches!(letter, '-' | '_');
        let begins = letter.is_uppercase() && at > 0 && letters[at - 1].is_lowercase();
        if (parts || begins) && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| !parts) {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

/// Whether two classes of one table, of which one is rare, are one but for a slip: a letter within one of their words. Neither its first
/// (`typical`, `atypical`), nor a number (`grade1`, `type II`), nor a plural.
fn differ_by_a_slip(rare: &[String], other: &[String]) -> bool {
    if rare.len() != other.len() {
        return false;
    }
    let mut differing = rare.iter().zip(other).filter(|(one, other)| one != other);
    let (Some((one, other)), None) = (differing.next(), differing.next()) else { return false };
    let is_word = |word: &str| word.chars().count() >= FEWEST_LETTERS && word.chars().all(char::is_alphabetic);
    let ends_meaning = |longer: &str, shorter: &str| {
        longer.strip_prefix(shorter).is_some_and(|end| matches!(end, "s" | "i" | "v" | "x" | "e" | "a" | "o"))
    };
    let [first, other_first] = [one, other].map(|word| word.chars().next());
    is_word(one)
        && is_word(other)
        && first == other_first
        && !ends_meaning(one, other)
        && !ends_meaning(other, one)
        && letters_between(one, other, 1).is_some()
}

/// Classes that may be another's: a letter, or case, blanks and hyphens, from one of the paper's or from one of the same table. A
/// sentence each, in the order of the classes' first rows; those in `meant` are not asked about. `line` names a row.
pub(super) fn doubtful_classes(path: &Path, rows: &[Row], meant: &[String], line: impl Fn(usize) -> String) -> Vec<Error> {
    struct Class<'a> {
        name: &'a str,
        words: Vec<String>,
        first: usize,
        count: usize,
    }
    let mut index: HashMap<&str, usize> = HashMap::new();
    let mut classes: Vec<Class> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let known = *index.entry(&row.label).or_insert_with(|| {
            let words = if row.label.len() <= 4 * MOST_LETTERS { words(&row.label) } else { Vec::new() };
            classes.push(Class { name: &row.label, words, first: at, count: 0 });
            classes.len() - 1
        });
        classes[known].count += 1;
    }
    let joined = |words: &[String]| words.concat();
    let papers = PAPER_CLASSES.map(|class| (class, joined(&words(class))));
    let compared = if classes.len() <= MOST_CLASSES { &classes[..] } else { &[] };
    let mut doubts = Vec::new();
    for class in classes.iter().filter(|class| !class.words.is_empty() && !PAPER_CLASSES.contains(&class.name)) {
        if meant.iter().any(|meant| meant == class.name) {
            continue;
        }
        let own = joined(&class.words);
        let spelling = "case, blanks or hyphens";
        let paper = papers.iter().find(|(_, paper)| *paper == own).map(|(paper, _)| (*paper, spelling)).or_else(|| {
            papers.iter().find(|(_, paper)| letters_between(paper, &own, 1).is_some()).map(|(p, _)| (*p, "a letter"))
        });
        let of_table = || {
            let others = compared.iter().filter(|other| other.name != class.name && !other.words.is_empty());
            others
                .clone()
                .find(|other| {
                    let is_rarer = (class.count, other.first) < (other.count, class.first);
                    own.chars().count() >= FEWEST_LETTERS_TYPED && joined(&other.words) == own && is_rarer
                })
                .map(|other| (other.name, spelling))
                .or_else(|| {
                    let is_slip = |other: &Class| {
                        other.count >= MORE_FREQUENT * class.count && differ_by_a_slip(&class.words, &other.words)
                    };
                    others.clone().find(|other| is_slip(other)).map(|other| (other.name, "a letter"))
                })
        };
        let Some((other, by)) = paper.or_else(of_table) else { continue };
        let where_it_is = match class.count - 1 {
            0 => format!("{} has", line(class.first)),
            1 => format!("{} and another have", line(class.first)),
            more => format!("{} and {more} others have", line(class.first)),
        };
        let problem =
            format!("{where_it_is} the class {}, which differs from {} only by {by}", quoted(class.name), quoted(other));
        let remedy = format!("correct it, or say that it is meant with --class {}", shell_word(class.name));
        doubts.push(Error::file(path, problem, remedy));
    }
    doubts
}

/// A pseudonym as it is where nobody minds how it is typed: small letters, no blanks but those between two numbers, no zeros before a
/// number.
fn plain_pseudonym(patient: &str) -> String {
    let letters: Vec<char> = patient.chars().flat_map(char::to_lowercase).collect();
    let mut plain = String::new();
    for run in letters.chunk_by(|one, next| one.is_ascii_digit() == next.is_ascii_digit()) {
        if !run[0].is_ascii_digit() {
            plain.extend(run.iter().filter(|letter| !letter.is_whitespace()));
            continue;
        }
        // Two numbers with nothing but blanks between them are not one.
        if plain.ends_with(|before: char| before.is_ascii_digit()) {
            plain.push(' ');
        }
        let zeros = run[..run.len() - 1].iter().take_while(|digit| **digit == '0').count();
        plain.extend(&run[zeros..]);
    }
    plain
}

/// Patients whose pseudonyms differ only by case, blanks or zeros before a number: the first row of each, group by group, in the order of
/// their first rows.
pub(super) fn similar_patients(rows: &[Row]) -> Vec<Vec<usize>> {
    let mut firsts: HashMap<&str, usize> = HashMap::new();
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        if *firsts.entry(&row.patient).or_insert(at) == at {
            groups.entry(plain_pseudonym(&row.patient)).or_default().push(at);
        }
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().filter(|group| group.len() > 1).collect();
    groups.sort();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted() {
        for (one, other, letters) in [
            ("label", "label", Some(0)),
            ("lable", "label", Some(1)),
            ("lables", "label", Some(2)),
            ("", "ab", Some(2)),
            ("abc", "", None),
            ("Ärzte", "Arzte", Some(1)),
        ] {
            assert_eq!(letters_between(one, other, 2), letters, "{one} {other}");
            assert_eq!(letters_between(other, one, 2), letters, "{one} {other}");
        }
        let long = "a".repeat(1 << 20);
        assert_eq!(letters_between(&long, &long, 2), None);
    }

    /// Classes with their rows, and those that are asked about, each with the class that may be meant.
    fn doubts(classes: &[(&str, usize)], meant: &[&str]) -> Vec<String> {
        let rows = classes.iter().flat_map(|(class, count)| (0..*count).map(|_| Row::new("p", None, None, class)));
        let meant: Vec<String> = meant.iter().map(|class| (*class).to_owned()).collect();
        let doubts = doubtful_classes(Path::new("m.csv"), &rows.collect::<Vec<_>>(), &meant, |row| format!("line {}", row + 2));
        doubts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_class_a_letter_from_another_is_asked_about() {
        for (classes, rare, other) in [
            (&[("NoMet", 5), ("nADmet", 1)][..], "nADmet", "nADMet"),
            (&[("No Met", 3), ("ADMet", 3)], "No Met", "NoMet"),
            (&[("NOMET", 3)], "NOMET", "NoMet"),
            (&[("no-met", 3)], "no-met", "NoMet"),
            (&[("n ADMet", 3)], "n ADMet", "nADMet"),
            (&[("AD-Met", 3)], "AD-Met", "ADMet"),
            (&[("NoMett", 3)], "NoMett", "NoMet"),
            (&[("ADMte", 3)], "ADMte", "ADMet"),
            (&[("nadme", 3)], "nadme", "nADMet"),
            (&[("normal", 8), ("nromal", 1), ("abnormal", 8)], "nromal", "normal"),
            (&[("abnormal", 3), ("Abnormal", 2)], "Abnormal", "abnormal"),
            (&[("bone met", 2), ("bone-met", 2)], "bone-met", "bone met"),
        ] {
            let said = doubts(classes, &[]);
            assert_eq!(said.len(), 1, "{said:?}");
            let word = shell_word(rare);
            assert!(said[0].contains(&format!("class `{rare}`, which differs from `{other}` only by ")), "{said:?}");
            assert!(said[0].ends_with(&format!("; correct it, or say that it is meant with --class {word}")), "{said:?}");
            assert_eq!(doubts(classes, &[rare]), [""; 0]);
        }
        let three = doubts(&[("NoMet", 1), ("NOMET", 3)], &[]);
        assert!(three[0].starts_with("m.csv: line 3 and 2 others have the class `NOMET`"), "{three:?}");
    }

    #[test]
    fn other_classes_are_not() {
        for classes in [
            &[("NoMet", 90), ("ADMet", 9), ("nADMet", 1), ("Met", 1)][..],
            &[("normal", 90), ("abnormal", 1)],
            &[("A", 90), ("B", 1), ("a", 1), ("Alpha", 2), ("zeta", 9)],
            &[("grade1", 90), ("grade2", 1), ("grade 3", 1)],
            &[("type A", 90), ("type B", 1), ("stage I", 90), ("stage II", 1), ("stage IV", 1)],
            &[("typical", 90), ("atypical", 1)],
            &[("PET+", 90), ("PET-", 1)],
            &[("lesion", 90), ("lesions", 1)],
            &[("metA", 90), ("metB", 1), ("MetC", 1)],
            &[("pos", 90), ("neg", 1), ("neu", 90)],
            &[("benign", 3), ("malign", 3), ("met", 2), ("no", 8)],
            &[("-1", 90), ("1", 2), ("0", 90)],
            &[("", 3)],
        ] {
            assert_eq!(doubts(classes, &[]), [""; 0]);
        }
    }

    #[test]
    fn pseudonyms_are_alike_but_for_typing() {
        for (one, other) in [
            ("P1", "p1"),
            ("P1", "P 1"),
            ("P1", "P01"),
            ("7", "007"),
            ("0", "000"),
            ("a0b", "A00 b"),
            ("p 1 02", "P1 2"),
            ("x0", "x00"),
        ] {
            assert_eq!(plain_pseudonym(one), plain_pseudonym(other), "{one} {other}");
        }
        for (one, other) in
            [("P1", "P10"), ("1 11", "11 1"), ("P1", "P2"), ("a0", "a"), ("P100", "P1"), ("P1-1", "P11"), ("0 1", "01")]
        {
            assert_ne!(plain_pseudonym(one), plain_pseudonym(other), "{one} {other}");
        }
        let rows = ["b", "P1", "p01", "B", "P1", "c"].map(|patient| Row::new(patient, None, None, "x"));
        assert_eq!(similar_patients(&rows), [[0, 3], [1, 2]]);
    }
}
