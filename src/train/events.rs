//! The epochs of a run as TensorBoard reads them: a file of TFRecords, each an `Event` of TensorFlow's `event.proto`, with scalars
//! by epoch. Of both formats only what scalars need is here.

use crate::metrics::Epoch;

/// What the first record of such a file says.
const VERSION: &str = "brain.Event:2";

/// The events of a run whose last epoch ended at `now`, in seconds since 1970: a file as a whole.
pub(super) fn bytes(epochs: &[Epoch], now: f64) -> Vec<u8> {
    let ends: Vec<f64> = epochs.iter().rev().scan(now, |end, epoch| Some(std::mem::replace(end, *end - epoch.seconds))).collect();
    let begin = now - epochs.iter().map(|epoch| epoch.seconds).sum::<f64>();
    let mut file = record(&Message::default().double(1, begin).bytes(3, VERSION.as_bytes()).0);
    for (epoch, &end) in epochs.iter().zip(ends.iter().rev()) {
        let mut summary = Message::default();
        for (tag, value) in scalars(epoch) {
            summary = summary.bytes(1, &Message::default().bytes(1, tag.as_bytes()).float(2, value as f32).0);
        }
        file.extend(record(&Message::default().double(1, end).integer(2, epoch.epoch as u64).bytes(5, &summary.0).0));
    }
    file
}

/// What was measured in an epoch, by TensorBoard's tags: the part before the slash is the group of diagrams.
fn scalars(epoch: &Epoch) -> Vec<(&'static str, f64)> {
    let all = [
        ("loss/train", Some(epoch.train_loss)),
        ("loss/validation", epoch.validation_loss),
        ("loss/test", epoch.test_loss),
        ("accuracy/train", Some(epoch.train_accuracy)),
        ("accuracy/validation", epoch.validation_accuracy),
        ("accuracy/test", epoch.test_accuracy),
        ("auc/validation", epoch.validation_auc),
        ("auc/test", epoch.test_auc),
        ("f1/test", epoch.test_f1),
        ("learning_rate", Some(epoch.learning_rate.into())),
        ("gradient_norm", Some(epoch.gradient_norm)),
    ];
    all.into_iter().filter_map(|(tag, value)| Some((tag, value?))).collect()
}

/// A message of protocol buffers: fields one after the other, each a number and what it holds.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    /// The key of a field: its number, and how its value is written.
    fn key(self, field: u64, wire_type: u64) -> Self {
        self.varint(field << 3 | wire_type)
    }

    /// Seven bits a byte, the lowest first; all bytes but the last have the highest bit set.
    fn varint(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    fn integer(self, field: u64, value: u64) -> Self {
        self.key(field, 0).varint(value)
    }

    fn double(self, field: u64, value: f64) -> Self {
        self.key(field, 1).raw(&value.to_le_bytes())
    }

    fn float(self, field: u64, value: f32) -> Self {
        self.key(field, 5).raw(&value.to_le_bytes())
    }

    /// A string, or a message within this one.
    fn bytes(self, field: u64, value: &[u8]) -> Self {
        self.key(field, 2).varint(value.len() as u64).raw(value)
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
}

/// A TFRecord: the length of the data, the data, and a checksum behind each.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length, &masked(crc32c(&length)).to_le_bytes()[..], data, &masked(crc32c(data)).to_le_bytes()].concat()
}

/// A checksum as a TFRecord has it, so that one of data with checksums in it is no checksum of zeros.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli et al. 1993; RFC 3720, section 12.1), bit by bit: an epoch has a few hundred bytes.
fn crc32c(data: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78; // bits reversed
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
    !data.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first value is the check of every catalogue of CRCs, the others are of RFC 3720, section B.4.
    #[test]
    fn checksums_are_those_of_the_standard() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
    }

    /// The first record of any file that TensorFlow writes at the second 1.5e9: length 24, its masked checksum, the event.
    #[test]
    fn the_first_record_is_the_version() {
        let file = bytes(&[], 1.5e9);
        assert_eq!(file.len(), 8 + 4 + 24 + 4);
        assert_eq!(file[..8], [24, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(file[8..12], [0xa3, 0x7f, 0x4b, 0x22], "as every file of TensorFlow begins");
        assert_eq!(file[12], 0x09, "field 1, 64 bits");
        assert_eq!(file[13..21], 1.5e9f64.to_le_bytes());
        assert_eq!(file[21..36], *b"\x1a\x0dbrain.Event:2");
    }

    #[test]
    fn an_epoch_is_an_event_at_the_time_of_its_end() {
        let epoch = |epoch, seconds| Epoch {
            epoch,
            train_loss: 0.5,
            test_auc: Some(0.75),
            learning_rate: 0.25,
            seconds,
            ..Epoch::default()
        };
        let (one, both) = (bytes(&[epoch(1, 3.0)], 100.0), bytes(&[epoch(1, 3.0), epoch(300, 20.0)], 120.0));
        assert_eq!(one, both[..one.len()], "100 is 120 less the second epoch's 20 seconds");
        let event = &both[one.len() + 12..];
        assert_eq!(event[..9], Message::default().double(1, 120.0).0[..]);
        assert_eq!(event[9..12], [0x10, 0xac, 0x02], "field 2, 300 in seven bits a byte");
        // Field 5, which holds field 1: tag and value.
        let value = b"\x0a\x11\x0a\x0aloss/train\x15\x00\x00\x00\x3f";
        assert!(event[12] == 0x2a && event[14..14 + value.len()] == *value, "{event:?}");
        let tags: Vec<&str> = scalars(&epoch(1, 1.0)).into_iter().map(|(tag, _)| tag).collect();
        assert_eq!(tags, ["loss/train", "accuracy/train", "auc/test", "learning_rate", "gradient_norm"]);
    }
}
