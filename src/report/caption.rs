//! What is said of simulated patients and of the program wherever a score, an answer or a curve stands. Pages, figures, traces and
//! the command line all ask here.

use crate::DISCLAIMER;
use crate::models::{Simulators, StudyCounts};

/// "Trained and evaluated on phantoms (simulated patients, simulator 2). Research software, not a medical device." Where only some
/// studies are simulated: "Trained partly on phantoms: 999 of 1000 studies are simulated by simulator 2." `uses` are what was done,
/// and on which studies.
pub(crate) fn caveat(uses: &[(&str, StudyCounts)]) -> String {
    let capital = |verbs: &str| verbs[..1].to_uppercase() + &verbs[1..];
    let mut all: Vec<(Simulators, Vec<&str>)> = Vec::new();
    for (verb, on) in uses.iter().filter(|(_, on)| on.all_simulated()) {
        match all.iter_mut().find(|(simulators, _)| *simulators == on.simulators()) {
            Some((_, verbs)) => verbs.push(verb),
            None => all.push((on.simulators(), vec![verb])),
        }
    }
    let some = uses.iter().filter(|(_, on)| on.any_simulated() && !on.all_simulated());
    let all = all
        .into_iter()
        .map(|(simulators, verbs)| format!("{} on phantoms (simulated patients, {simulators}).", capital(&verbs.join(" and "))));
    let some = some.map(|(verb, on)| format!("{} partly on phantoms: {}.", capital(verb), on.sentence()));
    all.chain(some).chain([DISCLAIMER.to_owned()]).collect::<Vec<_>>().join(" ")
}

/// The tag of scores; empty where they are of patients, by a network that was trained on patients.
pub(crate) fn of_scores(trained_on: StudyCounts, evaluated_on: StudyCounts) -> String {
    match (evaluated_on.all_simulated(), evaluated_on.any_simulated()) {
        (true, _) => format!("phantoms of {}, not patients", evaluated_on.simulators()),
        (false, true) => evaluated_on.sentence(),
        (false, false) => of_network(trained_on),
    }
}

/// The tag of a network's answers; empty where it was trained on patients.
pub(crate) fn of_network(trained_on: StudyCounts) -> String {
    match (trained_on.all_simulated(), trained_on.any_simulated()) {
        (true, _) => format!("model trained on phantoms of {}", trained_on.simulators()),
        (false, true) => format!("model trained partly on phantoms: {}", trained_on.sentence()),
        (false, false) => String::new(),
    }
}

/// The warning beside an answer.
pub(crate) fn of_answer(trained_on: StudyCounts) -> Option<String> {
    match (trained_on.all_simulated(), trained_on.any_simulated()) {
        (true, _) => Some(format!(
            "The network has seen simulated patients only ({}): on a real scan its probabilities mean nothing.",
            trained_on.simulators()
        )),
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
    use crate::models::SimulatorVersion;

    #[test]
    fn the_caveat_names_and_counts_what_was_simulated() {
        let two: Simulators = [SimulatorVersion::Two].into_iter().collect();
        let of = |simulated_studies, studies| StudyCounts { studies, simulated_studies, simulators: two };
        let clinic = StudyCounts { studies: 1000, ..StudyCounts::default() };
        assert_eq!(caveat(&[("trained", clinic), ("evaluated", clinic)]), DISCLAIMER);
        assert!(caveat(&[("trained", of(200, 200)), ("evaluated", clinic)]).starts_with("Trained on phantoms (simulated"));
        assert!(caveat(&[("trained", clinic), ("evaluated", of(1, 1))]).starts_with("Evaluated on phantoms (simulated"));
        let [most, one] = [of(999, 1000), of(1, 20)];
        assert_eq!(
            caveat(&[("trained", most), ("evaluated", of(7, 7))]),
            format!(
                "Evaluated on phantoms (simulated patients, simulator 2). Trained partly on phantoms: 999 of 1000 studies are simulated by \
                 simulator 2. {DISCLAIMER}"
            )
        );
        let first = StudyCounts { simulators: Simulators::default(), ..of(5, 5) };
        assert_eq!(
            caveat(&[("trained", first), ("evaluated", of(7, 7))]),
            format!(
                "Trained on phantoms (simulated patients, simulator 1). Evaluated on phantoms (simulated patients, simulator 2). \
                 {DISCLAIMER}"
            )
        );
        let both: StudyCounts = [first, of(7, 7), clinic].into_iter().sum();
        assert_eq!(both.to_string(), "1012 studies, 12 of them phantoms of simulators 1 and 2");
        assert_eq!(of(3, 3).to_string(), "3 phantom studies of simulator 2");
        assert_eq!(of_scores(most, one), "1 of 20 studies is simulated by simulator 2");
        assert_eq!(of_scores(most, clinic), "model trained partly on phantoms: 999 of 1000 studies are simulated by simulator 2");
        assert_eq!(of_scores(clinic, of(3, 3)), "phantoms of simulator 2, not patients");
        assert!(of_answer(most).unwrap().contains("(999 of 1000 studies are simulated by simulator 2)"));
        assert_eq!((of_scores(clinic, clinic), of_answer(clinic)), (String::new(), None));
    }

    /// Model files from before studies were counted say it in a text.
    #[test]
    fn a_text_speaks_for_models_without_counts_alone() {
        let of = StudyCounts::of_training;
        assert_eq!(of_network(of(None, "140 phantom studies")), "model trained on phantoms of simulator 1");
        assert_eq!(of_network(of(None, "Phantoms")), "model trained on phantoms of simulator 1");
        assert_eq!(of_network(of(None, "140 studies")), "");
        let patients = StudyCounts { studies: 140, ..StudyCounts::default() };
        assert_eq!(of_network(of(Some(patients), "patients of the Phantom ward")), "");
    }
}
