//! Whether all networks learn, and what the paper's recipe comes to.

use super::{MAIN, Part, Reproduction, decimal, interval};
use crate::Result;
use crate::metrics::{self, Bootstrap, Epoch, Order, Pairing, Summary};
use crate::report;
use crate::reproduce::{By, Data, ON_D3, TextTable, Training};
use crate::text::counted;
use crate::train::Recipe;

/// The share of inRAC's gain over chance that every network is to reach.
const ENOUGH: f64 = 0.85;

/// The mean over the seeds of something of a training's epochs.
fn mean(histories: &[&[Epoch]], of: impl Fn(&[Epoch]) -> Option<f64>) -> Option<f64> {
    Summary::of(histories.iter().map(|history| of(history))).map(|summary| summary.mean)
}

/// The loss of the last epoch over the training images.
fn last_training_loss(history: &[Epoch]) -> Option<f64> {
    history.last().map(|epoch| epoch.train_loss)
}

/// The least loss over the held-out images.
fn least_held_out_loss(history: &[Epoch]) -> Option<f64> {
    history.iter().filter_map(Epoch::held_out_loss).min_by(f64::total_cmp)
}

fn loss(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.3}"))
}

impl Reproduction {
    /// Every network's gain over chance beside inRAC's, and the losses that led there.
    pub(super) fn learning(&self) -> Result<Part> {
        let columns = [
            "network",
            "accuracy [95 %]",
            "deviation over seeds",
            "gain over chance",
            "share of inRAC's gain",
            "at least 85 %",
            "last training loss",
            "least held-out loss",
        ];
        let mut table = TextTable::new("learning", columns);
        let classes = self.main.model.classes.len() as f64;
        let (chance, guess) = (1.0 / classes, classes.ln());
        let gain = |name: &str| -> Result<Option<f64>> { Ok(self.accuracy(name)?.map(|accuracy| accuracy.value - chance)) };
        let of_main = gain(MAIN)?.filter(|gain| *gain > 0.0);
        let (mut below, mut runs) = (Vec::new(), Vec::new());
        for architecture in ON_D3 {
            let name = Training { data: Data::D3, architecture, repetition: 0, by: By::Study }.name();
            let Some(accuracy) = self.accuracy(&name)? else { continue };
            let seeds = self.repetitions(&name);
            let histories: Vec<&[Epoch]> = seeds.iter().map(|outcome| &*outcome.history).collect();
            let deviation =
                Summary::of(seeds.iter().map(|outcome| outcome.scores.accuracy)).and_then(|summary| summary.deviation);
            let own = accuracy.value - chance;
            let share = of_main.map(|main| own / main);
            let answer = share.map_or("-", |share| if share >= ENOUGH { "yes" } else { "no" });
            let (last, least) = (mean(&histories, last_training_loss), mean(&histories, least_held_out_loss));
            if answer == "no" {
                let share = 100.0 * share.unwrap_or_default();
                below.push(format!(
                    "{architecture} ({share:.0} %): its training loss ends at {}, and its held-out loss is {} at its least",
                    loss(last),
                    loss(least)
                ));
            }
            table.row([
                architecture.to_owned(),
                decimal(Some(accuracy.value)) + &interval(accuracy.interval),
                decimal(deviation),
                decimal(Some(own)),
                share.map_or("-".to_owned(), |share| format!("{:.0} %", 100.0 * share)),
                answer.to_owned(),
                loss(last),
                loss(least),
            ]);
            runs.push((architecture.to_owned(), histories));
        }
        let verdict = match (of_main, below.is_empty()) {
            (None, _) => "inRAC itself gains nothing over chance here.".to_owned(),
            (_, true) => "All of them reach 85 % of what inRAC gains.".to_owned(),
            (_, false) => format!("Below 85 % of what inRAC gains, in means over the seeds: {}.", below.join("; ")),
        };
        let text = format!(
            "Accuracy on the test images of D3, mean over {}; chance is {chance:.3}, and a network that guesses has a loss of {guess:.3} \
             (dashed). Held-out losses are of the validation patients where the recipe has them, else of the test images. {verdict}",
            counted(self.options.seeds, "seed"),
        );
        let figure = report::loss_panels(&runs, guess, &self.caveat());
        Ok(Part::new("learning", "Do all nine learn").text(text).table(table).figure("losses", figure))
    }

    /// inRAC by the paper's recipe to its end, as it is and with precise batch normalisation; none where it was not trained.
    pub(super) fn paper_recipe(&self) -> Result<Option<Part>> {
        let name = |by| Training { data: Data::D3, architecture: "inrac", repetition: 0, by }.name();
        let of = |by| self.outcomes.get(&name(by));
        let (Some(plain), Some(precise)) = (of(By::Paper), of(By::PaperPrecise)) else { return Ok(None) };
        let columns = ["inRAC on D3", "accuracy [95 %]", "F1", "AUC", "ECE", "log loss"];
        let mut table = TextTable::new("paper-recipe", columns);
        let rows = [
            ("the paper's recipe", Some(plain)),
            ("the same with precise batch normalisation", Some(precise)),
            ("the study's recipe, first seed", of(By::Study)),
        ];
        for (label, outcome) in rows.into_iter().filter_map(|(label, outcome)| Some((label, outcome?))) {
            let accuracy = metrics::mean_accuracy(&[&outcome.predictions], Bootstrap::default())?;
            let log_loss = outcome.scores.statistics.as_ref().and_then(|statistics| statistics.calibration.log_loss);
            table.row([
                label.to_owned(),
                decimal(Some(accuracy.value)) + &interval(accuracy.interval),
                decimal(outcome.scores.mean.f1),
                decimal(outcome.scores.mean.auc),
                decimal(outcome.calibration_error()),
                decimal(log_loss),
            ]);
        }
        let difference =
            metrics::compare_seeds(&[&precise.predictions], &[&plain.predictions], Pairing::SameStudies, Bootstrap::default())?;
        let answer = match difference.order() {
            Order::Above => "better by more than chance",
            Order::Below => "worse by more than chance",
            Order::NotDistinguishable => "not distinguishable",
        };
        let history = &plain.history;
        let measured = || history.iter().filter_map(|epoch| Some((epoch.test_accuracy?, epoch.epoch)));
        let at_end = |(accuracy, epoch): (f64, usize)| format!("{accuracy:.3} after epoch {epoch}");
        let range = measured().min_by(|a, b| a.0.total_cmp(&b.0)).zip(measured().max_by(|a, b| a.0.total_cmp(&b.0)));
        let range = range.map_or(String::new(), |(least, most)| {
            let among = counted(measured().count(), "measurement");
            format!(
                " Among its {among} of the test images the worst has an accuracy of {}, the best of {}.",
                at_end(least),
                at_end(most)
            )
        });
        let learnt = history.last().map_or(String::new(), |last| {
            let right = 100.0 * last.train_accuracy;
            format!("its training loss is {:.3} and {right:.0} % of the training images are right as it trains", last.train_loss)
        });
        let recipe = Recipe::Paper.settings();
        let text = format!(
            "Adam at {}, the same throughout, batches of {}, with the first seed. After {} {learnt}; on the test images its accuracy is \
             {}, with precise batch normalisation {}: {answer} (difference {}{}).{range} Precise batch normalisation leaves the weights \
             as they are and measures mean and variance over all training images in place of a moving average over batches.",
            recipe.learning_rate,
            recipe.batch,
            counted(history.len(), "epoch"),
            decimal(difference.b),
            decimal(difference.a),
            decimal(difference.difference),
            interval(difference.interval),
        );
        let figure = report::curves(history, &self.caveat());
        let heading = "The paper's recipe to its end";
        Ok(Some(Part::new("paper-recipe", heading).text(text).table(table).figure("paper-recipe", figure)))
    }
}
