//! A table of text, as CSV, Markdown and HTML.

use crate::report::frame::scroll;
use crate::text::guard;
use maud::{Markup, html};

/// Whether a cell is a number, an interval, or the dash of none: a sign at its start makes no formula of it.
fn is_number(cell: &str) -> bool {
    cell.chars().all(|character| character.is_ascii_digit() || "+-.,e%[] \u{b1}\u{2013}".contains(character))
}

/// A table with a heading a column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TextTable {
    /// The name of its CSV file, without ending.
    pub name: String,
    /// The headings.
    pub columns: Vec<String>,
    /// The rows, of as many cells each.
    pub rows: Vec<Vec<String>>,
}

impl TextTable {
    /// An empty table.
    pub fn new<const N: usize>(name: &str, columns: [&str; N]) -> Self {
        TextTable { name: name.to_owned(), columns: columns.map(str::to_owned).to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(cells.to_vec());
    }

    /// As CSV.
    pub fn csv(&self) -> Vec<u8> {
        let mut table = csv::Writer::from_writer(Vec::new());
        for row in std::iter::once(&self.columns).chain(&self.rows) {
            table
                .write_record(row.iter().map(|cell| if is_number(cell) { cell.clone() } else { guard(cell).into_owned() }))
                .expect("rows of one length, written to memory");
        }
        table.into_inner().expect("written to memory")
    }

    /// As a table of Markdown.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| {
            format!(
                "| {} |\n",
                cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect::<Vec<_>>().join(" | ")
            )
        };
        let rule = format!("|{}\n", "---|".repeat(self.columns.len()));
        line(&self.columns) + &rule + &self.rows.iter().map(|row| line(row)).collect::<String>()
    }

    /// As a table of HTML; the first column are headings of rows. What a cell says of its value stands beneath it.
    pub fn html(&self) -> Markup {
        let cell = |text: &str| {
            let note = [" of at most ", " [", " \u{b1} "].into_iter().filter_map(|note| text.find(note)).min();
            let note = note.filter(|&at| is_number(&text[..at])).unwrap_or(text.len());
            let (value, note) = text.split_at(note);
            html! { td { (value) @if !note.is_empty() { small { (note.trim_start()) } } } }
        };
        let table = html! {
            table {
                thead {
                    tr {
                        @for column in &self.columns {
                            @if column.is_empty() { td {} } @else { th scope="col" { (column.replace("95 %", "95\u{a0}%")) } }
                        }
                    }
                }
                tbody {
                    @for row in &self.rows {
                        tr { @for (at, text) in row.iter().enumerate() { @if at == 0 { th scope="row" { (text) } } @else { (cell(text)) } } }
                    }
                }
            }
        };
        scroll(&format!("Table: {}", self.name.replace('-', " ")), if self.columns.len() > 6 { "wide" } else { "" }, &table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_cannot_break_out_of_their_table() {
        let mut table = TextTable::new("t", ["network", "score"]);
        table.row(["a|b <i>, \"c\"".to_owned(), "0.5\n".to_owned()]);
        assert_eq!(String::from_utf8(table.csv()).unwrap(), "network,score\n\"a|b <i>, \"\"c\"\"\",\"0.5\n\"\n");
        assert_eq!(table.markdown(), "| network | score |\n|---|---|\n| a\\|b <i>, \"c\" | 0.5  |\n");
        table.row(["c".to_owned(), "0.5 of at most 0.9 [0.4, 0.6]".to_owned()]);
        assert!(table.html().into_string().contains("<td>0.5<small>of at most 0.9 [0.4, 0.6]</small></td>"));
        table.row(["d".to_owned(), "0.5 \u{b1} 0.1 (n = 3)".to_owned()]);
        assert!(table.html().into_string().contains("<td>0.5<small>\u{b1} 0.1 (n = 3)</small></td>"));
        assert!(table.html().into_string().contains("<th scope=\"row\">a|b &lt;i&gt;, &quot;c&quot;</th>"));
    }
}
