//! What a spreadsheet saves as CSV: its characters, what parts its cells, and its lines.

use crate::{Error, Result};
use std::borrow::Cow;
use std::path::Path;

/// How a spreadsheet saves what can be read.
const SAVE: &str =
    "save it as CSV in UTF-8 (in Excel the file type `CSV UTF-8`, in LibreOffice the character set `Unicode (UTF-8)`)";

/// Cells of a line: no spreadsheet has more columns.
const MOST_CELLS: usize = 1 << 14;

/// What may part cells, and its name.
pub(super) const SEPARATORS: [(u8, &str); 3] = [(b',', "comma"), (b';', "semicolon"), (b'\t', "tab")];

/// The text of a file: UTF-8, or UTF-16 where its first bytes tell; without the mark of byte order.
///
/// # Errors
/// Other text, which nothing in it tells the encoding of; a spreadsheet's own format; a line of more cells than a spreadsheet has.
pub(super) fn text<'a>(path: &Path, bytes: &'a [u8]) -> Result<Cow<'a, str>> {
    let refuse = |problem: String| Err(Error::file(path, problem, SAVE));
    for (start, what) in [
        (&b"PK\x03\x04"[..], "is no CSV but a spreadsheet's own format (.xlsx or .ods)"),
        (b"\xD0\xCF\x11\xE0", "is no CSV but a spreadsheet's own format (.xls)"),
        (b"\xFF\xFE\0\0", "is text in UTF-32"),
        (b"\0\0\xFE\xFF", "is text in UTF-32"),
    ] {
        if bytes.starts_with(start) {
            return refuse(what.to_owned());
        }
    }
    let text = match utf16(bytes) {
        Some(number) => {
            let units = bytes.chunks_exact(2).map(|pair| number([pair[0], pair[1]]));
            match char::decode_utf16(units).collect::<Result<String, _>>() {
                Ok(text) if bytes.len().is_multiple_of(2) => Cow::from(text),
                _ => return refuse("is text in UTF-16 that is cut short or damaged".to_owned()),
            }
        }
        None => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(error) => {
                let before = &bytes[..error.valid_up_to()];
                let line = 1 + Lines::ends(before);
                let byte = bytes[before.len()];
                return refuse(format!("is not UTF-8 text (line {line} has the byte {byte:#04X})"));
            }
        },
    };
    let text = match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Cow::Owned(mut text) => {
            if text.starts_with('\u{feff}') {
                text.drain(..'\u{feff}'.len_utf8());
            }
            Cow::Owned(text)
        }
    };
    let parts = |byte: &u8| SEPARATORS.iter().any(|(separator, _)| separator == byte);
    let mut lines = text.as_bytes().split(|byte| matches!(byte, b'\n' | b'\r'));
    if lines.any(|line| line.len() >= MOST_CELLS && line.iter().filter(|byte| parts(byte)).count() >= MOST_CELLS) {
        return Err(Error::file(path, format!("has a line of more than {MOST_CELLS} cells"), "give a table of studies"));
    }
    Ok(text)
}

/// How a pair of bytes is a number, where the bytes are UTF-16: by their mark, or because every second of the first sixteen is 0, as a
/// header has them and no text of bytes.
fn utf16(bytes: &[u8]) -> Option<fn([u8; 2]) -> u16> {
    let zeros = |odd: usize| {
        bytes.get(..16).is_some_and(|head| head.iter().enumerate().all(|(at, byte)| (*byte == 0) == (at % 2 == odd)))
    };
    if bytes.starts_with(b"\xFF\xFE") || zeros(1) {
        Some(u16::from_le_bytes)
    } else if bytes.starts_with(b"\xFE\xFF") || zeros(0) {
        Some(u16::from_be_bytes)
    } else {
        None
    }
}

/// What the first line says of the separator where it is Excel's `sep=;`, and where the table begins behind it.
pub(super) fn declared_separator(text: &str) -> Option<(u8, usize)> {
    let end = text.find(['\n', '\r'])?;
    let line = text[..end].trim_matches(' ').trim_matches('"');
    let name = line.get(..4).filter(|name| name.eq_ignore_ascii_case("sep="))?;
    let [separator] = line.as_bytes()[name.len()..] else { return None };
    SEPARATORS.iter().find(|(known, _)| *known == separator).map(|_| (separator, end))
}

/// A reader of the records of `text`, with blanks around cells taken away.
pub(super) fn reader(text: &str, separator: u8) -> csv::Reader<&[u8]> {
    let mut builder = csv::ReaderBuilder::new();
    builder.flexible(true).trim(csv::Trim::All).has_headers(false).delimiter(separator);
    builder.from_reader(text.as_bytes())
}

/// Counts the lines up to where records begin, in ascending order.
pub(super) struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    before: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Lines { text: text.as_bytes(), at: 0, before: 0 }
    }

    /// The line, from 1, of the record at a position. A record's position is before the blank lines above it.
    pub(super) fn of_record(&mut self, position: usize) -> usize {
        let blank = self.text.iter().skip(position).take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let start = (position + blank).clamp(self.at, self.text.len());
        self.before += Lines::ends(&self.text[self.at..start]);
        self.at = start;
        self.before + 1
    }

    /// Ends of lines in a piece of text that divides no `\r\n`.
    fn ends(text: &[u8]) -> usize {
        let ends = |(at, byte): (usize, &u8)| *byte == b'\n' || *byte == b'\r' && text.get(at + 1) != Some(&b'\n');
        text.iter().enumerate().filter(|entry| ends(*entry)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, number: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(number).collect()
    }

    fn said(bytes: &[u8]) -> String {
        text(Path::new("m.csv"), bytes).unwrap_err().to_string()
    }

    #[test]
    fn encodings_that_are_certain_are_read() {
        let table = "patient,anterior\nMüller 患者,𝒳\n";
        let marked = format!("\u{feff}{table}");
        for bytes in [
            table.as_bytes().to_vec(),
            marked.as_bytes().to_vec(),
            utf16(&marked, u16::to_le_bytes),
            utf16(&marked, u16::to_be_bytes),
            utf16(table, u16::to_le_bytes),
            utf16(table, u16::to_be_bytes),
        ] {
            assert_eq!(text(Path::new("m.csv"), &bytes).unwrap(), table);
        }
    }

    #[test]
    fn others_are_refused_with_how_to_save() {
        let half = utf16("\u{feff}patient,ü", u16::to_le_bytes);
        for (bytes, problem) in [
            (&b"patient\nx\r\nM\xFCller"[..], "is not UTF-8 text (line 3 has the byte 0xFC)"),
            (b"PK\x03\x04xlsx", "(.xlsx or .ods)"),
            (b"\xD0\xCF\x11\xE0xls", "(.xls)"),
            (b"\xFF\xFE\0\0p\0\0\0", "UTF-32"),
            (&half[..half.len() - 1], "UTF-16 that is cut short"),
            (b"\xFF\xFE\x00\xD8p\0", "UTF-16 that is cut short"),
        ] {
            let said = said(bytes);
            assert!(said.contains(problem) && said.contains("; save it as CSV in UTF-8 (in Excel"), "{said}");
        }
        let wide = said(",".repeat(MOST_CELLS).as_bytes());
        assert!(wide.contains("has a line of more than 16384 cells"), "{wide}");
        assert!(text(Path::new("m.csv"), ",".repeat(MOST_CELLS - 1).as_bytes()).is_ok());
    }

    #[test]
    fn lines_end_as_any_system_ends_them() {
        let text = "a\r\nb\rc\n\n\r\nd\re";
        let mut lines = Lines::of(text);
        let records: Vec<usize> = [0, 3, 5, 7, 11].map(|position| lines.of_record(position)).to_vec();
        assert_eq!(records, [1, 2, 3, 6, 7]);
        assert_eq!(declared_separator("sep=;\r\npatient"), Some((b';', 5)));
        assert_eq!(declared_separator("\"SEP=\t\"\npatient"), Some((b'\t', 7)));
        assert_eq!(declared_separator("sep=|\npatient"), None);
        assert_eq!(declared_separator("patient;label\n"), None);
    }
}
