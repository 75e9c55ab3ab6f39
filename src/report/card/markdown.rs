//! Text in Markdown: nothing that comes from a file is read as markup.

use crate::text::without_hidden;

/// A text within a line or a table's cell. Backticks stay: they are the card's own, and those of names become apostrophes in [`name`].
pub(super) fn cell(text: &str) -> String {
    without_hidden(&text.replace(['\n', '\r', '\t'], " "), &[]).replace('|', "\\|")
}

/// A name from a file: letters that Markdown or HTML would read as markup are written as what they are.
pub(super) fn name(text: &str) -> String {
    let mut plain = String::new();
    for letter in without_hidden(&text.replace(['\n', '\r', '\t'], " "), &[]).chars() {
        match letter {
            '<' => plain += "&lt;",
            '&' => plain += "&amp;",
            '`' => plain.push('\''),
            '\\' | '*' | '[' | ']' | '#' => plain.extend(['\\', letter]),
            // An underscore within a word is no markup, and identifiers are full of them.
            letter => plain.push(letter),
        }
    }
    plain
}
