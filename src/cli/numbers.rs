//! Numbers on the command line, each within a range that its help states.

use crate::random::MOST_SEED;
use clap::builder::RangedU64ValueParser;
use std::ops::RangeInclusive;

/// A count within `range`; any other is a usage error.
pub fn count(range: RangeInclusive<usize>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(*range.start() as u64..=*range.end() as u64)
}

/// A seed; one that a configuration file could not hold is a usage error.
pub fn seed() -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new().range(0..=MOST_SEED)
}
