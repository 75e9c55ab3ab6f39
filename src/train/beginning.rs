//! Whether the loss of a training explodes in its first steps, as it does where the learning rate is too high.

/// The losses of the first steps, until they have been found to explode.
pub(super) struct Beginning {
    pub losses: Vec<f64>,
    pub guessing: f64,
}

impl Beginning {
    /// Steps whose mean loss is compared.
    pub const WINDOW: usize = 10;
    /// How many times the loss of the first step, or that of guessing, is far above.
    const FAR: f64 = 3.0;
    /// And how many times is so far that coming back from there does not excuse it.
    const BEYOND: f64 = 30.0;

    pub fn new(classes: usize) -> Self {
        Beginning { losses: Vec::new(), guessing: (classes as f64).ln() }
    }

    /// Whether the loss explodes, now that a step had this one: its mean over the last steps. High rates make losses rise for some
    /// steps of a training that goes well, and then they fall again: what has fallen by half since the steps before is no
    /// explosion.
    pub fn explodes(&mut self, loss: f64) -> Option<f64> {
        self.losses.push(loss);
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / Self::WINDOW as f64;
        let before = self.losses.len().checked_sub(2 * Self::WINDOW)?;
        let (before, last) = self.losses[before..].split_at(Self::WINDOW);
        let (before, last) = (mean(before), mean(last));
        let times = last / self.losses[0].max(self.guessing);
        (times > Self::BEYOND || times > Self::FAR && last > before / 2.0).then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The step, from 1, that is said to explode.
    fn exploding(losses: impl IntoIterator<Item = f64>) -> Option<usize> {
        let mut beginning = Beginning::new(3);
        losses.into_iter().position(|loss| beginning.explodes(loss).is_some()).map(|step| step + 1)
    }

    #[test]
    fn a_loss_that_explodes_is_heard_and_one_that_comes_back_is_not() {
        let rises = |step: usize| 1.1 * 1.2f64.powi(step as i32);
        assert_eq!(exploding((0..40).map(rises)), Some(20));
        // At once, by a rate of a thousand: also the first ten are high.
        assert_eq!(exploding([1.1].into_iter().chain([3e5; 30])), Some(20));
        // As a rate of a hundred does, and falls fast, but not to where it was.
        assert_eq!(exploding((0..40).map(|step| if step == 0 { 1.1 } else { 1e7 * 0.7f64.powi(step) })), Some(20));
        // High from the start, by its class weights, and no higher after that.
        assert_eq!(exploding([4.0; 60]), None);
        // Adam at 0.01: some steps of 9, and then it learns.
        let spike = |step: usize| if (1..12).contains(&step) { 9.0 } else { 1.3 };
        assert_eq!(exploding((0..60).map(spike)), None);
        assert_eq!(exploding((0..60).map(|step| 1.1 + 0.03 * step as f64)), None);
    }
}
