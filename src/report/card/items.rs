//! What an item of a reporting guideline is, and the table of many.

use super::facts::Facts;
use super::markdown::cell;

/// An item: its number, what it asks for, and what can be said.
pub(super) struct Item(pub &'static str, pub &'static str, pub fn(&Facts) -> Answer);

/// What is recorded, and what a person has to add; either may be empty.
pub(super) struct Answer {
    record: String,
    person: &'static str,
}

/// All that is asked for is recorded.
pub(super) fn recorded(record: impl Into<String>) -> Answer {
    Answer { record: record.into(), person: "" }
}

/// Nothing of it is recorded.
pub(super) fn person(person: &'static str) -> Answer {
    Answer { record: String::new(), person }
}

/// A part is recorded.
pub(super) fn and(record: impl Into<String>, person: &'static str) -> Answer {
    Answer { record: record.into(), person }
}

/// Of patients a person has to say it; where all scans are simulated there is nothing to say.
pub(super) fn of_patients(facts: &Facts, what: &'static str) -> Answer {
    if facts.all_simulated() { recorded("All scans are of phantoms, so that this does not apply.") } else { person(what) }
}

/// A table, an item a row.
pub(super) fn table(items: &[Item], facts: &Facts) -> String {
    let mut text = "| Item | What it asks for | What is recorded, and what is not |\n|---|---|---|\n".to_owned();
    for Item(number, about, answer) in items {
        let Answer { record, person } = answer(facts);
        let needs_end = !person.is_empty() && !record.is_empty() && !record.ends_with('.');
        let record = if needs_end { record + "." } else { record };
        let person = if person.is_empty() { String::new() } else { format!("**To be filled in by a person:** {person}.") };
        let said: Vec<String> = [cell(&record), person].into_iter().filter(|part| !part.is_empty()).collect();
        text += &format!("| {number} | {about} | {} |\n", said.join(" "));
    }
    text
}
