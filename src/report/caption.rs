//! What is said of simulated patients and of the program wherever a score, an answer or a curve stands. Pages, figures, traces and
//! the command line all ask here.

use crate::DISCLAIMER;
use crate::models::StudyCounts;

/// "Trained and evaluated on phantoms (simulated patients). Research software, not a medical device." Where only some studies are
/// simulated: "Trained partly on phantoms: 999 of 1000 studies are simulated." `uses` are what was done, and on which studies.
pub(crate) fn caveat(uses: &[(&str, StudyCounts)]) -> String {
    let capital = |verbs: &str| verbs[..1].to_uppercase() + &verbs[1..];
    let all: Vec<&str> = uses.iter().filter(|(_, on)| on.all_simulated()).map(|(verb, _)| *verb).collect();
    let some = uses.iter().filter(|(_, on)| on.any_simulated() && !on.all_simulated());
    let all = (!all.is_empty()).then(|| format!("{} on phantoms (simulated patients).", capital(&all.join(" and "))));
    let some = some.map(|(verb, on)| format!("{} partly on phantoms: {}.", capital(verb), on.sentence()));
    all.into_iter().chain(some).chain([DISCLAIMER.to_owned()]).collect::<Vec<_>>().join(" ")
}

/// The tag of scores; empty where they are of patients, by a network that was trained on patients.
pub(crate) fn of_scores(trained_on: StudyCounts, evaluated_on: StudyCounts) -> String {
    match (evaluated_on.all_simulated(), evaluated_on.any_simulated()) {
        (true, _) => "phantoms, not patients".to_owned(),
        (false, true) => evaluated_on.sentence(),
        (false, false) => of_network(trained_on),
    }
}

/// The tag of a network's answers; empty where it was trained on patients.
pub(crate) fn of_network(trained_on: StudyCounts) -> String {
    match (trained_on.all_simulated(), trained_on.any_simulated()) {
        (true, _) => "model trained on phantoms".to_owned(),
        (false, true) => format!("model trained partly on phantoms: {}", trained_on.sentence()),
        (false, false) => String::new(),
    }
}

/// The warning beside an answer.
pub(crate) fn of_answer(trained_on: StudyCounts) -> Option<String> {
    match (trained_on.all_simulated(), trained_on.any_simulated()) {
        (true, _) => {
            Some("The network has seen simulated patients only: on a real scan its probabilities mean nothing.".to_owned())
        }
        (false, true) => Some(format!(
            "The network has seen simulated patients too ({}): on a real scan its probabilities mean little.",
            trained_on.sentence()
        )),
        (false, false) => None,
    }
}

/// What stands beneath the curves of a run.
pub(crate) fn of_curves(trained_on: &str) -> String {
    format!("Trained on {trained_on}. {DISCLAIMER}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caveat_names_and_counts_what_was_simulated() {
        let of = |simulated_studies, studies| StudyCounts { studies, simulated_studies };
        let clinic = of(0, 1000);
        assert_eq!(caveat(&[("trained", clinic), ("evaluated", clinic)]), DISCLAIMER);
        assert!(caveat(&[("trained", of(200, 200)), ("evaluated", clinic)]).starts_with("Trained on phantoms (simulated"));
        assert!(caveat(&[("trained", clinic), ("evaluated", of(1, 1))]).starts_with("Evaluated on phantoms (simulated"));
        let [most, one] = [of(999, 1000), of(1, 20)];
        assert_eq!(
            caveat(&[("trained", most), ("evaluated", of(7, 7))]),
            format!(
                "Evaluated on phantoms (simulated patients). Trained partly on phantoms: 999 of 1000 studies are simulated. {DISCLAIMER}"
            )
        );
        assert_eq!(of_scores(most, one), "1 of 20 studies is simulated");
        assert_eq!(of_scores(most, clinic), "model trained partly on phantoms: 999 of 1000 studies are simulated");
        assert_eq!(of_scores(clinic, of(3, 3)), "phantoms, not patients");
        assert!(of_answer(most).unwrap().contains("(999 of 1000 studies are simulated)"));
        assert_eq!((of_scores(clinic, clinic), of_answer(clinic)), (String::new(), None));
    }

    /// Model files from before studies were counted say it in a text.
    #[test]
    fn a_text_speaks_for_models_without_counts_alone() {
        let of = StudyCounts::of_training;
        assert_eq!(of_network(of(None, "140 phantom studies")), "model trained on phantoms");
        assert_eq!(of_network(of(None, "Phantoms")), "model trained on phantoms");
        assert_eq!(of_network(of(None, "140 studies")), "");
        let patients = StudyCounts { studies: 140, simulated_studies: 0 };
        assert_eq!(of_network(of(Some(patients), "patients of the Phantom ward")), "");
    }
}
