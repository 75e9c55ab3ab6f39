//! Names and cells that come from strangers, as a terminal and a spreadsheet may have them: nothing in them speaks to the terminal,
//! looks like a line of the program's own, or is computed by a spreadsheet.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;

/// Whether a character is not seen as what it is: it moves the cursor, ends the line, or changes how the text around it is read.
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{AD}'
                | '\u{61C}'
                | '\u{180E}'
                | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{FEFF}'
                | '\u{FFF9}'..='\u{FFFB}'
                | '\u{FFFE}'
                | '\u{FFFF}'
                | '\u{1D173}'..='\u{1D17A}'
                | '\u{E0000}'..='\u{E007F}'
        )
}

/// A name as git shows it: as it is where all of it is seen, else in double quotes, with `\n`, `\t`, `\"`, `\\` and the like, and three
/// octal digits for every other byte that is hidden or no UTF-8.
pub fn quoted(name: impl AsRef<OsStr>) -> String {
    let name = name.as_ref();
    // Where a backslash parts folders, it is in every path.
    let is_syntax = |character: char| character == '"' || character == '\\' && !cfg!(windows);
    match name.to_str() {
        Some(text) if !text.contains(|character| is_hidden(character) || is_syntax(character)) => text.to_owned(),
        _ => format!("\"{}\"", escaped(name)),
    }
}

/// What stands between the quotes of [`quoted`].
pub fn escaped(name: impl AsRef<OsStr>) -> String {
    let mut text = String::new();
    let octal = |text: &mut String, bytes: &[u8]| text.extend(bytes.iter().map(|byte| format!("\\{byte:03o}")));
    for chunk in name.as_ref().as_encoded_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            let letter = match character {
                '\x07' => 'a',
                '\x08' => 'b',
                '\t' => 't',
                '\n' => 'n',
                '\x0b' => 'v',
                '\x0c' => 'f',
                '\r' => 'r',
                '"' | '\\' => character,
                hidden if is_hidden(hidden) => {
                    octal(&mut text, hidden.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
                seen => {
                    text.push(seen);
                    continue;
                }
            };
            text.extend(['\\', letter]);
        }
        octal(&mut text, chunk.invalid());
    }
    text
}

/// [`quoted`] as a method of paths: what messages have in place of `display`.
pub trait Shown {
    /// The name, quoted where it has to be.
    fn shown(&self) -> String;
}

impl<T: AsRef<OsStr> + ?Sized> Shown for T {
    fn shown(&self) -> String {
        quoted(self)
    }
}

/// A path as a text file holds it: as it is where it is UTF-8, else [`quoted`].
pub fn plain(path: &Path) -> String {
    path.to_str().map_or_else(|| quoted(path), str::to_owned)
}

/// `1 study`, `2 studies`: a count before its noun, which is given in the singular and regular in the plural.
pub fn counted(count: usize, noun: &str) -> String {
    if count == 1 {
        return format!("1 {noun}");
    }
    let before = |ending: &str| noun.strip_suffix(ending);
    if let Some(stem) = before("y").filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u'])) {
        format!("{count} {stem}ies")
    } else if let Some(stem) = before("sis") {
        format!("{count} {stem}ses")
    } else if noun.ends_with(['s', 'x']) || noun.ends_with("tch") || noun.ends_with("sh") {
        format!("{count} {noun}es")
    } else {
        format!("{count} {noun}s")
    }
}

/// Text whose hidden characters, but for those in `kept`, became U+FFFD.
pub fn without_hidden(text: &str, kept: &[char]) -> String {
    text.replace(|character| is_hidden(character) && !kept.contains(&character), "\u{fffd}")
}

/// JSON that says the same, with an escape (`\u001b`) for each hidden character in its strings.
pub fn json(json: &str) -> Cow<'_, str> {
    let is_escaped = |character: char| is_hidden(character) && !matches!(character, '\n' | '\r' | '\t');
    if !json.contains(is_escaped) {
        return json.into();
    }
    let mut text = String::new();
    for character in json.chars() {
        match is_escaped(character) {
            true => text.extend(character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
            false => text.push(character),
        }
    }
    text.into()
}

/// A word of a command line as a shell takes it, on one line and without control characters: those become escapes within `$'...'`, which
/// bash, zsh and POSIX 2024 read.
pub fn shell_word(text: &str) -> String {
    if text.contains(char::is_control) {
        let escaped = |letter: char| match letter {
            '\n' => r"\n".to_owned(),
            '\'' | '\\' => format!(r"\{letter}"),
            control if control.is_control() => {
                control.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!(r"\{byte:03o}")).collect()
            }
            letter => letter.into(),
        };
        return format!("$'{}'", text.chars().map(escaped).collect::<String>());
    }
    let is_plain =
        |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '.' | '-' | '=' | '/' | ':' | '+' | '%' | ',');
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// A cell of text for a table: with an apostrophe before it where a spreadsheet would compute it. [`unguard`] takes that away again.
pub fn guard(cell: &str) -> Cow<'_, str> {
    if is_computed(cell) { format!("'{cell}").into() } else { cell.into() }
}

/// The text of a cell that [`guard`] wrote.
pub fn unguard(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|text| is_computed(text)).unwrap_or(cell)
}

/// Whether a spreadsheet takes a cell for a formula, or would once apostrophes are taken from it.
fn is_computed(cell: &str) -> bool {
    cell.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_git_does() {
        for (name, shown) in [
            ("scan 1.dcm", "scan 1.dcm"),
            ("Müller/患者.dcm", "Müller/患者.dcm"),
            ("a\nb", "\"a\\nb\""),
            ("a\tb\r", "\"a\\tb\\r\""),
            ("say \"b\"", "\"say \\\"b\\\"\""),
            ("\u{1b}[31mred\u{7f}", "\"\\033[31mred\\177\""),
            ("ü\u{202e}fdp", "\"ü\\342\\200\\256fdp\""),
            ("zero\u{200b}width\u{85}", "\"zero\\342\\200\\213width\\302\\205\""),
        ] {
            assert_eq!(quoted(name), shown);
            assert_eq!(Path::new(name).shown(), shown);
        }
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            assert_eq!(quoted(OsStr::from_bytes(b"a\xff\xc3(")), "\"a\\377\\303(\"");
            assert_eq!(quoted("a\\b"), "\"a\\\\b\"");
            assert_eq!(plain(Path::new(OsStr::from_bytes(b"\xfe"))), "\"\\376\"");
        }
        assert_eq!(plain(Path::new("a\nb")), "a\nb");
        assert_eq!(without_hidden("a\n\u{1b}b\tc", &['\n', '\t']), "a\n\u{fffd}b\tc");
    }

    #[test]
    fn a_noun_is_in_the_plural_unless_there_is_one() {
        let nouns = ["study", "class", "metastasis", "day", "phantom study", "frame", "batch", "box", "epoch"];
        let plurals = ["studies", "classes", "metastases", "days", "phantom studies", "frames", "batches", "boxes", "epochs"];
        for (noun, plural) in nouns.into_iter().zip(plurals) {
            assert_eq!(counted(1, noun), format!("1 {noun}"));
            assert_eq!([0, 2].map(|count| counted(count, noun)), [0, 2].map(|count| format!("{count} {plural}")));
        }
    }

    #[test]
    fn json_says_the_same_with_nothing_hidden() {
        let text = "a\n\u{1b}\u{9b}31m\u{7f}\u{202e}\u{e0041}\"\\ü";
        let written = serde_json::to_string_pretty(&vec![text]).unwrap();
        let shown = json(&written);
        assert!(!shown.contains(|character| is_hidden(character) && character != '\n'), "{shown}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&shown).unwrap(), [text]);
    }

    #[test]
    fn guarded_cells_are_no_formulas_and_read_back() {
        for cell in ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "'=x", "''-x", "'", "'x", "", "a=b", "''", "Müller"] {
            let written = guard(cell);
            assert!(!written.starts_with(['=', '+', '-', '@', '\t', '\r']), "{written}");
            assert_eq!(unguard(&written), cell);
        }
        assert_eq!((guard("a=b"), guard("=b")), ("a=b".into(), "'=b".into()));
        // What others wrote without a guard stays what it is.
        assert_eq!((unguard("=b"), unguard("'b")), ("=b", "'b"));
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (text, word) in [
            ("nADmet", "nADmet"),
            ("No Met", "'No Met'"),
            ("it's", r"'it'\''s'"),
            ("$(x)", "'$(x)'"),
            ("", "''"),
            ("a\n\u{1b}[31m it's \\1", r"$'a\n\033[31m it\'s \\1'"),
            ("\u{85}", r"$'\302\205'"),
        ] {
            assert_eq!(shell_word(text), word);
        }
    }
}
