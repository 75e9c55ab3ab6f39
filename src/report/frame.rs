//! The frame that every page shares: header, sections, style, script and footer.
//!
//! What is shown comes from strangers' files. `maud` escapes every text that is put into markup, and [`printable`] takes out what
//! would still mislead a reader.

use super::palette;
use base64ct::{Base64, Encoding};
use maud::{Markup, PreEscaped, html};

/// Markup without the characters that disguise a text: control characters and those that turn the direction of reading become
/// U+FFFD, so that a patient's name cannot look like another's.
pub(crate) fn printable(markup: Markup) -> String {
    let disguises = |character: char| {
        character.is_control() && !matches!(character, '\n' | '\t')
            || matches!(character, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FFFE}' | '\u{FFFF}')
    };
    markup.into_string().replace(disguises, "\u{FFFD}")
}

/// A PNG file as the address of a picture.
pub(crate) fn data_uri(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", Base64::encode_string(png))
}

/// A whole page. The policy forbids the browser to fetch anything, whatever the body says.
pub(crate) fn page(title: &str, caveat: &str, body: &Markup) -> String {
    const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
    printable(html! {
        (PreEscaped("<!doctype html>\n"))
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(palette::variables())) (PreEscaped(include_str!("page.css"))) }
            }
            body {
                (body)
                footer {
                    p { (caveat) }
                    p { "Made by Osteon " (env!("CARGO_PKG_VERSION")) ". This page holds all its pictures and fetches nothing." }
                }
                script { (PreEscaped(include_str!("page.js"))) }
            }
        }
    })
}

/// The head of a page; facts without a value are left out. `tag` is that of [`section`].
pub(crate) fn header(title: &str, caveat: &str, tag: &str, facts: &[(&str, String)]) -> Markup {
    const RIBS: &str = "M12 3.5v17M8 7.2c1.2-1 6.800-1 8 0M7 10.600c1.500-1.100 8.500-1.100 10 0M7.300 14c1.400-1 8-1 9.400 0M9 17.500c1-.7 5-.7 6 0";
    html! {
        header {
            p.brand {
                svg viewBox="0 0 24 24" aria-hidden="true" { circle cx="12" cy="12" r="10.5" {} path d=(RIBS) {} }
                "Osteon"
            }
            h1 { (title) }
            ul.facts {
                @for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
                    li { span { (name) } " " bdi { (value) } }
                }
            }
            p.caveat.simulated[!tag.is_empty()] role="note" { (caveat) }
        }
    }
}

/// A part of the page. `tag` stands beside its heading wherever scores follow that are not of patients.
pub(crate) fn section(id: &str, heading: &str, tag: &str, inner: &Markup) -> Markup {
    html! {
        section aria-labelledby={ "h-" (id) } {
            h2 id={ "h-" (id) } {
                bdi { (heading) }
                @if !tag.is_empty() { " " span.tag { (tag) } }
            }
            (inner)
        }
    }
}

/// What may be wider or higher than its place, in a box that scrolls: by keyboard too, so it has a name.
pub(crate) fn scroll(name: &str, class: &str, inner: &Markup) -> Markup {
    html! { div class={ "scroll" @if !class.is_empty() { " " (class) } } tabindex="0" role="group" aria-label=(name) { (inner) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_only_text() {
        let shown = |text: &str| printable(html! { p title=(text) { (text) } });
        let escaped = "&lt;img src=x onerror='alert(&quot;1&quot;)'&gt;&amp;";
        assert_eq!(shown("<img src=x onerror='alert(\"1\")'>&"), format!("<p title=\"{escaped}\">{escaped}</p>"));
        assert_eq!(shown("a\u{202E}b\0c"), "<p title=\"a\u{FFFD}b\u{FFFD}c\">a\u{FFFD}b\u{FFFD}c</p>");
        assert_eq!(shown("Müller 患者\n"), "<p title=\"Müller 患者\n\">Müller 患者\n</p>");
    }

    // RFC 4648, section 10.
    #[test]
    fn a_picture_is_base64_with_padding() {
        assert_eq!(data_uri(b"fooba"), "data:image/png;base64,Zm9vYmE=");
        assert_eq!(data_uri(&[0xfb, 0xff, 0xfe]), "data:image/png;base64,+//+");
    }
}
