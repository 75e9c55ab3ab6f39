//! What is said of simulated patients and of the program wherever a score, an answer or a curve stands. Pages, figures, traces and
//! the command line all ask here.

use crate::DISCLAIMER;

/// What stands beside the heading of scores.
pub(crate) const OF_PHANTOMS: &str = "phantoms, not patients";

const TRAINED_ON_PHANTOMS: &str = "model trained on phantoms";

/// "Trained and evaluated on phantoms (simulated patients). Research software, not a medical device." `uses` are what was done, and
/// on what, in words: ("trained", "420 phantom studies").
pub(crate) fn caveat(uses: &[(&str, &str)]) -> String {
    let simulated: Vec<&str> = uses.iter().filter(|(_, on)| is_phantom(on)).map(|(verb, _)| *verb).collect();
    match simulated.as_slice() {
        [] => DISCLAIMER.to_owned(),
        verbs => {
            let verbs = verbs.join(" and ");
            let verbs = verbs[..1].to_uppercase() + &verbs[1..];
            format!("{verbs} on phantoms (simulated patients). {DISCLAIMER}")
        }
    }
}

/// The tag of scores; empty where they are of patients, by a network that was trained on patients.
pub(crate) fn of_scores(trained_on: &str, evaluated_on: &str) -> &'static str {
    if is_phantom(evaluated_on) { OF_PHANTOMS } else { of_network(trained_on) }
}

/// The tag of a network's answers; empty where it was trained on patients.
pub(crate) fn of_network(trained_on: &str) -> &'static str {
    if is_phantom(trained_on) { TRAINED_ON_PHANTOMS } else { "" }
}

/// The warning beside an answer.
pub(crate) fn of_answer(trained_on: &str) -> Option<&'static str> {
    const WARNING: &str = "The network has seen simulated patients only: on a real scan its probabilities mean nothing.";
    is_phantom(trained_on).then_some(WARNING)
}

/// What stands beneath the curves of a run.
pub(crate) fn of_curves(trained_on: &str) -> String {
    format!("Trained on {trained_on}. {DISCLAIMER}")
}

fn is_phantom(on: &str) -> bool {
    on.to_ascii_lowercase().contains("phantom")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caveat_names_what_was_simulated() {
        assert_eq!(caveat(&[("trained", "clinic"), ("evaluated", "clinic")]), DISCLAIMER);
        assert!(caveat(&[("trained", "200 Phantoms"), ("evaluated", "clinic")]).starts_with("Trained on phantoms (simulated"));
        assert!(caveat(&[("trained", "clinic"), ("evaluated", "phantom set")]).starts_with("Evaluated on phantoms"));
    }
}
