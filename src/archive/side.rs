//! Training, validation or test: what a row of a manifest is for.

/// What a study is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The network learns from it.
    Train,
    /// It chooses the epoch whose weights are the model.
    Validation,
    /// The network is tested with it.
    Test,
}

impl Side {
    /// As tables write it.
    pub fn name(self) -> &'static str {
        match self {
            Side::Train => "train",
            Side::Validation => "validation",
            Side::Test => "test",
        }
    }

    /// The side of that name.
    pub fn named(name: &str) -> Option<Side> {
        [Side::Train, Side::Validation, Side::Test].into_iter().find(|side| side.name() == name)
    }
}
