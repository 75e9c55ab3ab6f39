//! Adam and AdamW, and learning-rate schedules.

use crate::autograd::{Gradients, ParameterId, Parameters};
use osteon_kernels::adam::{self as kernel, AdamStep};
use osteon_kernels::simd::Isa;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Adam (Kingma and Ba 2015): its constants. With decoupled decay it is AdamW (Loshchilov and Hutter 2019).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adam {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// L2 penalty, added to the gradient of every parameter; or decoupled from it.
    pub weight_decay: f32,
    /// Whether weight decay is decoupled from Adam's moments (AdamW). It then applies to weights of convolutions and linear layers only;
    /// one-dimensional parameters (batch normalisation's and biases) do not decay.
    pub decoupled: bool,
}

impl Default for Adam {
    fn default() -> Self {
        Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, decoupled: false }
    }
}

/// Adam's moments and the number of its steps.
#[derive(Clone, Debug)]
pub struct Moments {
    step: u64,
    /// First and second moment of every parameter; empty for what is not trained.
    moments: Vec<[Vec<f32>; 2]>,
}

impl Moments {
    /// Before the first step.
    pub fn new(parameters: &Parameters) -> Self {
        let moments = parameters.iter().map(|(_, parameter)| {
            let len = if parameter.is_trained() { parameter.value.shape().len() } else { 0 };
            [vec![0.0; len], vec![0.0; len]]
        });
        Moments { step: 0, moments: moments.collect() }
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// First and second moment of a parameter, in its order in memory; empty for what is not trained.
    pub fn of(&self, id: ParameterId) -> [&[f32]; 2] {
        self.moments[id.index()].each_ref().map(Vec::as_slice)
    }

    /// Goes on after `step` steps with these moments of every parameter.
    ///
    /// # Panics
    /// Where their lengths are not those of the parameters.
    pub fn restore(&mut self, step: u64, moments: Vec<[Vec<f32>; 2]>) {
        let lengths = |moments: &[[Vec<f32>; 2]]| moments.iter().map(|both| both.each_ref().map(Vec::len)).collect::<Vec<_>>();
        assert_eq!(lengths(&moments), lengths(&self.moments), "lengths of moments");
        (self.step, self.moments) = (step, moments);
    }

    /// Moves every parameter that has a gradient.
    pub fn step(&mut self, isa: Isa, adam: &Adam, parameters: &mut Parameters, gradients: &Gradients, learning_rate: f32) {
        self.step += 1;
        let Adam { beta1, beta2, epsilon, weight_decay, decoupled } = *adam;
        for id in parameters.trained() {
            if let Some(gradient) = gradients.get(id) {
                let no_decay = decoupled && parameters.get(id).value.shape()[..].len() == 1;
                let weight_decay = if no_decay { 0.0 } else { weight_decay };
                let settings = AdamStep { learning_rate, beta1, beta2, epsilon, weight_decay, decoupled, step: self.step };
                let [first, second] = &mut self.moments[id.index()];
                kernel::step(isa, &settings, gradient, parameters.values_mut(id), first, second);
            }
        }
    }
}

/// The learning rate of each step: a linear warm-up from zero, then a decay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The rate after the warm-up.
    pub learning_rate: f32,
    /// Epochs of the warm-up.
    pub warm_up_epochs: f32,
    /// How it decays after the warm-up.
    pub decay: Decay,
}

/// Where in a run a step is: of the stretch between two restarts of the schedule, all counted in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Steps since the stretch began.
    pub step: u64,
    /// Steps of the whole stretch.
    pub of: u64,
}

impl Position {
    /// That of `step` (from 0) in a run of `epochs` epochs of `steps` steps, whose schedule begins anew after the epochs `restarts`, which
    /// rise (warm restarts: Loshchilov and Hutter 2017).
    pub fn new(step: usize, steps: usize, epochs: usize, restarts: &[Restart]) -> Self {
        let epoch = step / steps.max(1);
        let first = restarts.iter().rfind(|restart| restart.after <= epoch).map_or(0, |restart| restart.after);
        let end = restarts.iter().find(|restart| restart.after > epoch).map_or(epochs, |restart| restart.planned);
        Position { step: (step - first * steps) as u64, of: (end.saturating_sub(first) * steps) as u64 }
    }
}

/// A restart of the schedule. Written `30`, or `22/30` where the stretch before it was to last longer than it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Restart {
    /// Epochs before it.
    pub after: usize,
    /// The epoch at which the stretch before it was to end, which its schedule was made for.
    pub planned: usize,
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.after == self.planned {
            true => write!(f, "{}", self.after),
            false => write!(f, "{}/{}", self.after, self.planned),
        }
    }
}

impl FromStr for Restart {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (after, planned) = text.split_once('/').unwrap_or((text, text));
        match (after.trim().parse(), planned.trim().parse()) {
            (Ok(after), Ok(planned)) if 0 < after && after <= planned => Ok(Restart { after, planned }),
            _ => Err(format!("`{text}` is no restart; write epochs above 0, such as 30, or 22/30 where 30 were planned")),
        }
    }
}

impl From<Restart> for String {
    fn from(restart: Restart) -> String {
        restart.to_string()
    }
}

impl TryFrom<String> for Restart {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// How the learning rate falls.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Not at all.
    Constant,
    /// To zero along half a cosine (cosine annealing).
    Cosine,
    /// By a factor after every so many epochs.
    Step {
        /// Epochs between the steps.
        epochs: usize,
        /// What each multiplies the rate by.
        factor: f32,
    },
}

impl Schedule {
    /// The same rate throughout.
    pub fn constant(learning_rate: f32) -> Self {
        Schedule { learning_rate, warm_up_epochs: 0.0, decay: Decay::Constant }
    }

    /// The rate of step `step` (from 0) of `total_steps`.
    pub fn learning_rate(&self, step: u64, total_steps: u64, steps_per_epoch: u64) -> f32 {
        let (step, total, epoch) = (step as f64, total_steps as f64, steps_per_epoch as f64);
        let warm_up = f64::from(self.warm_up_epochs) * epoch;
        let share = if step < warm_up {
            (step + 1.0) / (warm_up + 1.0)
        } else {
            match self.decay {
                Decay::Constant => 1.0,
                Decay::Cosine => {
                    let done = ((step - warm_up) / (total - warm_up).max(1.0)).min(1.0);
                    0.5 * (1.0 + (std::f64::consts::PI * done).cos())
                }
                Decay::Step { epochs, factor } => {
                    let steps_taken = (step / (epoch * epochs as f64).max(1.0)).floor();
                    f64::from(factor).powf(steps_taken)
                }
            }
        };
        (f64::from(self.learning_rate) * share) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::Context;
    use crate::autograd::{Mode, ParameterKind, Tape};
    use crate::tensor::Tensor;

    #[test]
    fn rates_warm_up_then_decay() {
        let rate = |decay, step| Schedule { learning_rate: 2.0, warm_up_epochs: 1.0, decay }.learning_rate(step, 110, 10);
        assert_eq!(rate(Decay::Constant, 0), 2.0 / 11.0);
        assert_eq!(rate(Decay::Constant, 9), 20.0 / 11.0);
        assert_eq!(rate(Decay::Constant, 109), 2.0);
        assert_eq!(rate(Decay::Cosine, 10), 2.0);
        assert!((rate(Decay::Cosine, 60) - 1.0).abs() < 1e-6);
        assert!(rate(Decay::Cosine, 109) < 1e-3);
        let step = Decay::Step { epochs: 3, factor: 0.1 };
        assert_eq!(rate(step, 29), 2.0);
        assert_eq!(rate(step, 30), 0.2);
        assert!((rate(step, 65) - 0.02).abs() < 1e-7);
    }

    #[test]
    fn a_schedule_begins_anew_after_a_restart() {
        let restarts = ["3/4", "5"].map(|text| text.parse::<Restart>().unwrap());
        assert_eq!(restarts.map(|restart| restart.to_string()), ["3/4", "5"]);
        let at = |step| Position::new(step, 10, 7, &restarts);
        for (step, expected) in [(0, (0, 40)), (29, (29, 40)), (30, (0, 20)), (49, (19, 20)), (50, (0, 20)), (69, (19, 20))] {
            assert_eq!(at(step), Position { step: expected.0, of: expected.1 }, "{step}");
        }
        assert_eq!(Position::new(12, 10, 4, &[]), Position { step: 12, of: 40 });
        for wrong in ["", "0", "5/4", "x", "3/"] {
            assert!(wrong.parse::<Restart>().unwrap_err().contains("22/30"), "{wrong}");
        }
    }

    #[test]
    fn a_constant_rate_is_the_rate() {
        assert_eq!(Schedule::constant(0.01).learning_rate(5, 10, 1), 0.01);
    }

    #[test]
    fn decoupled_decay_takes_from_weights_alone() {
        let mut parameters = Parameters::new();
        let ids = [
            parameters.add("conv.weight", ParameterKind::Convolution, Tensor::full([1, 1, 2, 2], 1.0)),
            parameters.add("fc.weight", ParameterKind::Plain, Tensor::full([2, 2], 1.0)),
            parameters.add("bn.weight", ParameterKind::Plain, Tensor::full([2], 1.0)),
        ];
        let gradients = {
            let mut context = Context::default();
            let mut tape = Tape::new(Mode::Training, &parameters, &mut context);
            let x = tape.input([1, 2], &[0.0; 2], false).unwrap();
            let (weight, bias) = (tape.parameter(ids[1]), tape.parameter(ids[2]));
            let y = tape.linear(x, weight, bias).unwrap();
            tape.backward(y, &[0.0; 2]).unwrap()
        };
        let adam = Adam { weight_decay: 0.1, decoupled: true, ..Adam::default() };
        let mut moments = Moments::new(&parameters);
        moments.step(Isa::detect(), &adam, &mut parameters, &gradients, 0.5);
        // A gradient of zeros leaves what decay leaves; what has no gradient stays.
        let first = ids.map(|id| parameters.get(id).value.values()[0]);
        assert_eq!(first, [1.0, 0.95, 1.0]);
    }
}
