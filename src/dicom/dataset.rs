//! Bytes to data elements: the structure of a DICOM file, borrowed and bounds-checked.
//!
//! The general reader of `dicom-object` allocates what a length field claims before it looks whether that much is there, recurses
//! as deep as a file nests, and keeps every private value. An archive's files deserve less trust, and Osteon needs some twenty
//! elements: this walker slices the file's bytes, so a wrong length is an error and nothing else, and a value nobody asked for is
//! stepped over. Of a sequence it is first made sure that every header in it, however deep, promises no more than what is there.
//! `dicom-object` never sees a file's structure, only a frame's compressed stream.

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags, uids};
use dicom_encoding::text::{SpecificCharacterSet, TextCodec};

/// Sequences in sequences: deeper than any real file.
const MAX_DEPTH: usize = 32;

/// Elements, items and fragments of a file; a series of a thousand frames has fewer, and they are walked in milliseconds.
pub(super) const MAX_ELEMENTS: usize = 500_000;

/// No text of use here is longer.
const MAX_TEXT: usize = 1024;

/// The length field of a sequence, item or encapsulated pixel data that ends with a delimiter.
const UNDEFINED: u32 = u32::MAX;

const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);

/// Explicit VR big endian: retired, and in old archives.
pub(super) const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

/// How the elements of a data set are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Encoding {
    /// Each element names its value representation.
    pub explicit: bool,
    /// Numbers have their high byte first.
    pub big_endian: bool,
}

impl Encoding {
    pub const IMPLICIT: Encoding = Encoding { explicit: false, big_endian: false };
    pub const EXPLICIT: Encoding = Encoding { explicit: true, big_endian: false };

    /// Of the data set in a transfer syntax. All compressed ones are explicit and little endian.
    pub fn of(transfer_syntax: &str) -> Self {
        Encoding { explicit: transfer_syntax != uids::IMPLICIT_VR_LITTLE_ENDIAN, big_endian: transfer_syntax == BIG_ENDIAN }
    }

    /// The encoding that a data set's first elements are written in, whatever the file says; `None` where they are in none.
    pub fn of_bytes(data: &[u8]) -> Option<Self> {
        const ENOUGH: usize = 8;
        let [a, b, ..] = *data else { return None };
        // A data set begins with a low group.
        let big_endian = u16::from_be_bytes([a, b]) < u16::from_le_bytes([a, b]);
        let explicit = Encoding { explicit: true, big_endian };
        let elements: Vec<Element> = DataSet::new(data, explicit).elements().take(ENOUGH).map_while(Result::ok).collect();
        let with_vr = elements.iter().filter(|element| element.vr.is_some()).count();
        if 2 * with_vr > elements.len() {
            return Some(explicit);
        }
        // Letters where the representation would be are hardly a length.
        if data.get(4..6).is_some_and(|letters| letters.iter().all(u8::is_ascii_uppercase)) {
            return None;
        }
        let implicit = Encoding { explicit: false, big_endian };
        DataSet::new(data, implicit).elements().next().is_some_and(|element| element.is_ok()).then_some(implicit)
    }

    /// In words.
    pub fn name(self) -> &'static str {
        match (self.explicit, self.big_endian) {
            (true, false) => "explicit VR little endian",
            (true, true) => "explicit VR big endian",
            (false, false) => "implicit VR little endian",
            (false, true) => "implicit VR big endian",
        }
    }

    pub fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

/// Why bytes are no data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// The bytes end within this element.
    CutShort(Tag),
    /// Something that cannot stand within this element.
    Malformed(Tag),
    /// More than [`MAX_ELEMENTS`].
    TooMany,
}

type Result<T> = std::result::Result<T, Damage>;

/// One data set: a whole file's, or an item's of a sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataSet<'a> {
    bytes: &'a [u8],
    encoding: Encoding,
}

/// A data element and its value's bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub tag: Tag,
    /// The value representation, where the encoding names it.
    pub vr: Option<[u8; 2]>,
    /// Of the value, and of the items in it.
    pub encoding: Encoding,
    /// Without the delimiter, if it had one.
    pub value: &'a [u8],
    /// The length was undefined: `value` is a sequence's items or encapsulated pixel data.
    pub delimited: bool,
}

impl<'a> DataSet<'a> {
    pub fn new(bytes: &'a [u8], encoding: Encoding) -> Self {
        DataSet { bytes, encoding }
    }

    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The elements in the order of the file, until its end or the first damage.
    pub fn elements(self) -> impl Iterator<Item = Result<Element<'a>>> {
        let mut rest = self.bytes;
        let mut left = MAX_ELEMENTS;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (element, length) = match read_element(rest, self.encoding, &mut left) {
                Ok(read) => read,
                Err(damage) => {
                    rest = &[];
                    return Some(Err(damage));
                }
            };
            rest = &rest[length..];
            Some(Ok(element))
        })
    }
}

impl<'a> Element<'a> {
    /// Unsigned 16-bit numbers.
    pub fn shorts(self) -> impl Iterator<Item = u16> {
        self.value.chunks_exact(2).map(move |bytes| self.encoding.u16([bytes[0], bytes[1]]))
    }

    /// Text without the padding around it. What is not ASCII is of no use here and becomes a replacement character.
    pub fn text(self) -> String {
        String::from_utf8_lossy(&self.value[..self.value.len().min(MAX_TEXT)]).trim_matches([' ', '\0']).to_owned()
    }

    /// Text of people, in the character set that the file names (PS3.3 C.12.1.1.2), in pieces between backslashes and without
    /// the padding around them. Without a name it is UTF-8 where it can be, else Latin-1.
    pub fn words(self, character_set: Option<&SpecificCharacterSet>) -> Vec<String> {
        let bytes = &self.value[..self.value.len().min(MAX_TEXT)];
        let decoded = character_set.and_then(|set| set.decode(bytes).ok());
        let text = decoded.or_else(|| Some(std::str::from_utf8(bytes).ok()?.to_owned()));
        let text = text.unwrap_or_else(|| bytes.iter().map(|&byte| char::from(byte)).collect());
        text.split('\\').map(|piece| piece.trim_matches([' ', '\0']).to_owned()).collect()
    }

    /// A decimal number in text.
    pub fn number<T: std::str::FromStr>(self) -> Option<T> {
        self.text().trim().parse().ok()
    }

    /// A whole number in text, which some write as a decimal one (`2.0`).
    pub fn whole_number(self) -> Option<usize> {
        const MOST: f64 = u32::MAX as f64;
        let number = self.number::<f64>().filter(|number| number.fract() == 0.0 && (0.0..=MOST).contains(number));
        self.number().or(number.map(|number| number as usize))
    }

    /// The data sets of a sequence.
    pub fn items(self) -> Result<Vec<DataSet<'a>>> {
        Ok(self.fragments()?.into_iter().map(|bytes| DataSet::new(bytes, self.encoding)).collect())
    }

    /// The values of the items: of a sequence, or of encapsulated pixel data.
    pub fn fragments(self) -> Result<Vec<&'a [u8]>> {
        let mut fragments = Vec::new();
        let mut at = 0;
        while at < self.value.len() {
            let (tag, length) = item_header(self.tag, &self.value[at..], self.encoding)?;
            let body = &self.value[at + 8..];
            if tag != ITEM {
                return Err(Damage::Malformed(self.tag));
            }
            let (value, step) = if length == UNDEFINED {
                let item =
                    Level { of: self.tag, holds: Holds::Elements, encoding: self.encoding, limit: body.len(), delimited: true };
                let length = walk(item, body, &mut { MAX_ELEMENTS })?;
                (&body[..length - DELIMITER], length)
            } else {
                (body.get(..length as usize).ok_or(Damage::CutShort(self.tag))?, length as usize)
            };
            fragments.push(value);
            at += 8 + step;
        }
        Ok(fragments)
    }
}

/// Whether the dictionary gives an element this value representation.
fn represents(tag: Tag, vr: [u8; 2]) -> bool {
    let vr = std::str::from_utf8(&vr).ok().and_then(|vr| vr.parse::<VR>().ok());
    let (Some(vr), Some(entry)) = (vr, StandardDataDictionary.by_tag(tag)) else { return false };
    match entry.vr() {
        VirtualVr::Exact(exact) => exact == vr,
        VirtualVr::Xs => matches!(vr, VR::US | VR::SS),
        VirtualVr::Ox | VirtualVr::Px => matches!(vr, VR::OB | VR::OW),
        VirtualVr::Lt => matches!(vr, VR::US | VR::OW),
        _ => false,
    }
}

/// What stands before an element's value.
struct Header {
    tag: Tag,
    vr: Option<[u8; 2]>,
    /// As the file says it.
    length: u32,
    /// Its own bytes.
    size: usize,
}

impl Header {
    /// The header at the start of `bytes`.
    fn read(bytes: &[u8], encoding: Encoding) -> Result<Self> {
        let nowhere = Tag(0, 0);
        let [a, b, c, d] = *bytes.first_chunk::<4>().ok_or(Damage::CutShort(nowhere))?;
        let tag = Tag(encoding.u16([a, b]), encoding.u16([c, d]));
        let cut = Damage::CutShort(tag);
        let at = |from: usize| bytes.get(from..).ok_or(cut);
        let u32_at = |from: usize| Ok(encoding.u32(*at(from)?.first_chunk::<4>().ok_or(cut)?));
        let vr = *at(4)?.first_chunk::<2>().ok_or(cut)?;
        let is_vr = vr.iter().all(u8::is_ascii_uppercase);
        // Writers leave single elements in the other form, and whole data sets; two letters where a length should be, which are the
        // representation of this very element, are no length.
        let explicit = tag.group() != 0xFFFE && is_vr && (encoding.explicit || represents(tag, vr));
        let (vr, length, size) = match &vr {
            _ if !explicit => (None, u32_at(4)?, 8),
            // PS3.5 7.1.2: two bytes of length behind these, two reserved and four of length behind all others.
            b"AE" | b"AS" | b"AT" | b"CS" | b"DA" | b"DS" | b"DT" | b"FL" | b"FD" | b"IS" | b"LO" | b"LT" | b"PN" | b"SH"
            | b"SL" | b"SS" | b"ST" | b"TM" | b"UI" | b"UL" | b"US" => {
                (Some(vr), u32::from(encoding.u16(*at(6)?.first_chunk::<2>().ok_or(cut)?)), 8)
            }
            _ => (Some(vr), u32_at(8)?, 12),
        };
        Ok(Header { tag, vr, length, size })
    }

    /// The value's encoding.
    fn inner(&self, encoding: Encoding) -> Encoding {
        // PS3.5 6.2.2: an unknown value of undefined length is a sequence in implicit VR little endian, whatever is around it.
        if self.vr == Some(*b"UN") { Encoding::IMPLICIT } else { encoding }
    }

    /// What the value is made of. `None`: it is opaque.
    fn holds(&self) -> Option<Holds> {
        let known_sequence = || {
            let entry = StandardDataDictionary.by_tag(self.tag);
            entry.is_some_and(|entry| entry.vr() == VirtualVr::Exact(VR::SQ))
        };
        match (self.vr.as_ref(), self.length) {
            (Some(b"SQ"), _) | (Some(b"UN") | None, UNDEFINED) => Some(Holds::Items),
            (Some(_), UNDEFINED) => Some(Holds::Fragments),
            (None, _) if known_sequence() => Some(Holds::Items),
            _ => None,
        }
    }

    /// The value, which `rest` starts with, if it has parts to walk through.
    fn level(&self, rest: &[u8], start: usize, encoding: Encoding) -> Result<Option<Level>> {
        let delimited = self.length == UNDEFINED;
        let length = if delimited { rest.len() } else { self.length as usize };
        if length > rest.len() {
            return Err(Damage::CutShort(self.tag));
        }
        let encoding = self.inner(encoding);
        Ok(self.holds().map(|holds| Level { of: self.tag, holds, encoding, limit: start + length, delimited }))
    }
}

/// The element at the start of `bytes`, and how many bytes it takes. `left`: how many elements may still come.
fn read_element<'a>(bytes: &'a [u8], encoding: Encoding, left: &mut usize) -> Result<(Element<'a>, usize)> {
    let header = Header::read(bytes, encoding)?;
    count(left)?;
    let body = &bytes[header.size..];
    let length = match header.level(body, 0, encoding)? {
        Some(level) => walk(level, body, left)?,
        None => header.length as usize,
    };
    let delimited = header.length == UNDEFINED;
    let value = &body[..if delimited { length - DELIMITER } else { length }];
    let Header { tag, vr, size, .. } = header;
    Ok((Element { tag, vr, encoding: header.inner(encoding), value, delimited }, size + length))
}

/// Bytes of a delimiter.
const DELIMITER: usize = 8;

/// Tag and length of an item or delimiter of the sequence `of`.
fn item_header(of: Tag, bytes: &[u8], encoding: Encoding) -> Result<(Tag, u32)> {
    let [a, b, c, d, length @ ..] = *bytes.first_chunk::<8>().ok_or(Damage::CutShort(of))?;
    Ok((Tag(encoding.u16([a, b]), encoding.u16([c, d])), encoding.u32(length)))
}

/// What a value that is not opaque is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// A sequence's.
    Items,
    /// An item's.
    Elements,
    /// Encapsulated pixel data's.
    Fragments,
}

/// A value that is being walked through.
#[derive(Clone, Copy)]
struct Level {
    of: Tag,
    holds: Holds,
    encoding: Encoding,
    /// Where it ends or, if `delimited`, where that around it does.
    limit: usize,
    /// It ends with a delimiter.
    delimited: bool,
}

/// The length of a value at the start of `bytes`, its delimiter included, once every header in it is known to promise no more
/// than what is there. Each byte is looked at once, and no depth of nesting needs stack.
fn walk(value: Level, bytes: &[u8], left: &mut usize) -> Result<usize> {
    let mut levels = vec![value];
    let mut at = 0;
    while let Some(&Level { of, holds, encoding, limit, delimited }) = levels.last() {
        if at == limit && !delimited {
            levels.pop();
            continue;
        }
        let rest = &bytes[at..limit];
        count(left)?;
        let inner = if holds == Holds::Elements {
            if rest.is_empty() {
                return Err(Damage::CutShort(of));
            }
            let header = Header::read(rest, encoding)?;
            at += header.size;
            if header.tag == ITEM_END && delimited {
                levels.pop();
                continue;
            }
            let inner = header.level(&rest[header.size..], at, encoding)?;
            if inner.is_none() {
                at += header.length as usize;
            }
            inner
        } else {
            let (tag, length) = item_header(of, rest, encoding)?;
            at += 8;
            match tag {
                SEQUENCE_END if delimited => {
                    levels.pop();
                    continue;
                }
                ITEM if length == UNDEFINED && holds == Holds::Items => {
                    Some(Level { of, holds: Holds::Elements, encoding, limit, delimited: true })
                }
                ITEM if length == UNDEFINED => return Err(Damage::Malformed(of)),
                ITEM if length as usize > limit - at => return Err(Damage::CutShort(of)),
                ITEM if holds == Holds::Items => {
                    Some(Level { of, holds: Holds::Elements, encoding, limit: at + length as usize, delimited: false })
                }
                ITEM => {
                    at += length as usize;
                    None
                }
                _ => return Err(Damage::Malformed(of)),
            }
        };
        if let Some(inner) = inner {
            // A sequence is two levels: itself and its item.
            if levels.len() > 2 * MAX_DEPTH {
                return Err(Damage::Malformed(of));
            }
            levels.push(inner);
        }
    }
    Ok(at)
}

/// One element less.
fn count(left: &mut usize) -> Result<()> {
    *left = left.checked_sub(1).ok_or(Damage::TooMany)?;
    Ok(())
}

/// A file's data set, and what the file says of its encoding.
pub(super) struct Form<'a> {
    /// The transfer syntax of the meta group; none where there is no such group, or it names none.
    pub declared: Option<String>,
    /// Behind the meta group.
    pub data: &'a [u8],
    /// What PS3.10 7.1 asks for and the file lacks.
    pub lacks: Option<&'static str>,
}

/// Finds the data set of a file: behind preamble and meta group (PS3.10 7.1), behind one of them, or at its very start. `None` where
/// the file is no DICOM.
pub(super) fn form(bytes: &[u8]) -> Option<Result<Form<'_>>> {
    let behind_preamble = bytes.get(PREAMBLE..).and_then(|rest| rest.strip_prefix(MAGIC));
    let rest = behind_preamble.or_else(|| bytes.strip_prefix(MAGIC)).unwrap_or(bytes);
    let (mut data, mut declared, mut left) = (rest, None, MAX_ELEMENTS);
    while let [2, 0, _, _, b'A'..=b'Z', b'A'..=b'Z', ..] = data {
        let (element, length) = match read_element(data, Encoding::EXPLICIT, &mut left) {
            Ok(read) => read,
            // Without the magic it may be anything.
            Err(damage) => return behind_preamble.map(|_| Err(damage)),
        };
        if element.tag == tags::TRANSFER_SYNTAX_UID {
            declared = Some(element.text()).filter(|uid| !uid.is_empty());
        }
        data = &data[length..];
    }
    let has_meta = data.len() < rest.len();
    let lacks = match (behind_preamble.is_some(), has_meta) {
        (true, true) => None,
        (true, false) => Some("meta group"),
        (false, true) => Some("preamble"),
        (false, false) => Some("preamble and no meta group"),
    };
    let is_dicom = behind_preamble.is_some() || has_meta || begins_a_data_set(data);
    is_dicom.then_some(Ok(Form { declared, data, lacks }))
}

/// Whether bytes without anything before them are a data set: group 8 first, and tags that ascend.
pub(super) fn begins_a_data_set(data: &[u8]) -> bool {
    const ENOUGH: usize = 3;
    let Some(encoding) = Encoding::of_bytes(data) else { return false };
    let mut last = None;
    for element in DataSet::new(data, encoding).elements().take(ENOUGH) {
        let Ok(Element { tag, .. }) = element else { return false };
        if last.is_none() && tag.group() != 8 || last.is_some_and(|last| tag <= last) {
            return false;
        }
        last = Some(tag);
    }
    last.is_some()
}

/// Bytes before [`MAGIC`].
pub(super) const PREAMBLE: usize = 128;

/// What every DICOM file has behind its preamble.
pub(super) const MAGIC: &[u8] = b"DICM";

#[cfg(test)]
mod tests {
    use super::*;

    const EXPLICIT: Encoding = Encoding::EXPLICIT;

    /// `depth` sequences of undefined length, one in the other, with their delimiters.
    fn nested(depth: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..depth {
            bytes.extend(b"\x54\x00\x22\x00SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff");
        }
        for _ in 0..depth {
            bytes.extend(b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0");
        }
        bytes
    }

    fn first(bytes: &[u8], encoding: Encoding) -> Result<Element<'_>> {
        DataSet::new(bytes, encoding).elements().next().unwrap()
    }

    #[test]
    fn nesting_is_followed_to_its_limit_and_no_further() {
        assert!(first(&nested(MAX_DEPTH), EXPLICIT).is_ok());
        assert_eq!(first(&nested(100_000), EXPLICIT).unwrap_err(), Damage::Malformed(tags::DETECTOR_INFORMATION_SEQUENCE));
    }

    #[test]
    fn an_unknown_sequence_is_implicit_inside() {
        // UN, undefined length, one item of undefined length with an implicit (0009,1001) of two bytes.
        let mut bytes = b"\x09\x00\x02\x10UN\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff".to_vec();
        bytes.extend(b"\x09\x00\x01\x10\x02\0\0\0ab\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0");
        bytes.extend(b"\x28\x00\x10\x00US\x02\0\x05\0");
        let elements: Vec<_> = DataSet::new(&bytes, EXPLICIT).elements().collect::<Result<_>>().unwrap();
        assert_eq!(elements.len(), 2);
        let item = elements[0].items().unwrap()[0];
        assert_eq!(item.elements().next().unwrap().unwrap().value, b"ab");
        assert_eq!(elements[1].shorts().collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn a_length_past_the_end_is_cut_short() {
        let bytes = b"\xe0\x7f\x10\x00OW\0\0\xfe\xff\xff\xff\x05\0";
        assert_eq!(first(bytes, EXPLICIT).unwrap_err(), Damage::CutShort(tags::PIXEL_DATA));
        let bytes = b"\xe0\x7f\x10\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xfe\xff\xff\xff";
        assert_eq!(first(bytes, Encoding::IMPLICIT).unwrap_err(), Damage::CutShort(tags::PIXEL_DATA));
    }
}
