//! What a look at the scans of a manifest has told, beside what its table says.

use std::collections::BTreeMap;

/// What is known of a manifest's scans beside what its table says. Empty where nobody looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// By scan, as the manifest names it: which views it has, and what decided that (`anterior by view code`).
    pub views: BTreeMap<String, String>,
    /// Pseudonyms of one person each, in the order of names. A split has them on one side.
    pub same_people: Vec<Vec<String>>,
}

impl Seen {
    /// What a run that goes on is to know, where `self` is what it knew when it began: the same people, so that the same patients train,
    /// and the views as they are `now`, if somebody looked.
    pub fn of_resumed(self, now: Seen) -> Seen {
        Seen { views: if now.views.is_empty() { self.views } else { now.views }, ..self }
    }

    /// The first pseudonym of the person that a patient is.
    pub fn person<'a>(&'a self, patient: &'a str) -> &'a str {
        let group = self.same_people.iter().find(|group| group.iter().any(|other| other == patient));
        group.and_then(|group| group.first()).map_or(patient, String::as_str)
    }
}
