//! Which view the words and codes of a file name.
//!
//! A camera says the view of a frame in the View Code Sequence of its detector (PS3.3 C.8.4.11, type 3: it may be missing) or, if it is
//! GE's, in a private element. Codes are those of context group 26 of PS3.16, which may be extended: a code of another scheme counts by
//! its meaning, where that says anterior or posterior as a word.

use crate::image::View;

/// What the words of a code or name say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The view.
    View(View),
    /// Another view: an oblique, a lateral, one of a side.
    Other,
    /// No view, or both.
    Nothing,
}

/// Codes of the two views, with where they come from.
#[rustfmt::skip]
const CODES: [(&str, View, &str); 14] = [
    ("G-5215",    View::Anterior,  "CID 26, SNOMED-RT: Anterior projection"),
    ("399321004", View::Anterior,  "CID 26, SNOMED CT: Anterior projection"),
    ("G-5200",    View::Anterior,  "SNOMED-RT: Anterior"),
    ("R-10206",   View::Anterior,  "CID 26 before 2004, SNOMED-RT: Antero-posterior"),
    ("399348003", View::Anterior,  "SNOMED CT: Antero-posterior"),
    ("R-404CC",   View::Anterior,  "SNOMED-RT: Anterior"),
    ("255549009", View::Anterior,  "SNOMED CT: Anterior"),
    ("G-5216",    View::Posterior, "CID 26, SNOMED-RT: Posterior projection"),
    ("399001007", View::Posterior, "CID 26, SNOMED CT: Posterior projection"),
    ("G-5201",    View::Posterior, "SNOMED-RT: Posterior"),
    ("R-10214",   View::Posterior, "CID 26 before 2004, SNOMED-RT: Postero-anterior"),
    ("272479007", View::Posterior, "SNOMED CT: Postero-anterior"),
    ("R-404CE",   View::Posterior, "SNOMED-RT: Posterior"),
    ("255551008", View::Posterior, "SNOMED CT: Posterior"),
];

/// Words for the two views, in small letters without accents, with the language or the source. A word of a script without blanks
/// between words counts wherever it stands.
#[rustfmt::skip]
const WORDS: [(&str, View, &str); 88] = [
    ("anterior",         View::Anterior,  "CID 26; English, Spanish, Portuguese, German"),
    ("posterior",        View::Posterior, "CID 26; English, Spanish, Portuguese, German"),
    ("ant",              View::Anterior,  "GE's Dataset Name; cameras' abbreviation"),
    ("post",             View::Posterior, "GE's Dataset Name; cameras' abbreviation"),
    ("antr",             View::Anterior,  "cameras' abbreviation"),
    ("pst",              View::Posterior, "cameras' abbreviation"),
    ("ap",               View::Anterior,  "CID 26 before 2004: Antero-posterior"),
    ("pa",               View::Posterior, "CID 26 before 2004: Postero-anterior"),
    ("anteroposterior",  View::Anterior,  "CID 26 before 2004"),
    ("posteroanterior",  View::Posterior, "CID 26 before 2004"),
    ("ventral",          View::Anterior,  "English, German, Spanish, Swedish: the side of the belly"),
    ("dorsal",           View::Posterior, "English, German, Spanish, Swedish: the side of the back"),
    ("front",            View::Anterior,  "English"),
    ("back",             View::Posterior, "English"),
    ("anteriore",        View::Anterior,  "Italian"),
    ("posteriore",       View::Posterior, "Italian"),
    ("anteriores",       View::Anterior,  "Spanish, Portuguese: plural"),
    ("posteriores",      View::Posterior, "Spanish, Portuguese: plural"),
    ("anteroposteriore", View::Anterior,  "Italian"),
    ("posteroanteriore", View::Posterior, "Italian"),
    ("anterieur",        View::Anterior,  "French, Dutch"),
    ("posterieur",       View::Posterior, "French, Dutch"),
    ("anterieure",       View::Anterior,  "French"),
    ("posterieure",      View::Posterior, "French"),
    ("anterieurs",       View::Anterior,  "French: plural"),
    ("posterieurs",      View::Posterior, "French: plural"),
    ("anterieures",      View::Anterior,  "French: plural"),
    ("posterieures",     View::Posterior, "French: plural"),
    ("anteroposterieur", View::Anterior,  "French"),
    ("posteroanterieur", View::Posterior, "French"),
    ("anteroposterieure", View::Anterior, "French"),
    ("posteroanterieure", View::Posterior, "French"),
    ("anteriora",        View::Anterior,  "Swedish"),
    ("posteriora",       View::Posterior, "Swedish"),
    ("anteriort",        View::Anterior,  "Swedish, Norwegian, Danish"),
    ("posteriort",       View::Posterior, "Swedish, Norwegian, Danish"),
    ("vorderansicht",    View::Anterior,  "German"),
    ("ruckansicht",      View::Posterior, "German: Rückansicht"),
    ("rueckansicht",     View::Posterior, "German, without an umlaut"),
    ("vorderseite",      View::Anterior,  "German"),
    ("ruckseite",        View::Posterior, "German: Rückseite"),
    ("rueckseite",       View::Posterior, "German, without an umlaut"),
    ("hinteransicht",    View::Posterior, "German"),
    ("vorn",             View::Anterior,  "German"),
    ("vorne",            View::Anterior,  "German"),
    ("hinten",           View::Posterior, "German"),
    ("vooraanzicht",     View::Anterior,  "Dutch"),
    ("achteraanzicht",   View::Posterior, "Dutch"),
    ("voorzijde",        View::Anterior,  "Dutch"),
    ("achterzijde",      View::Posterior, "Dutch"),
    ("voorkant",         View::Anterior,  "Dutch"),
    ("achterkant",       View::Posterior, "Dutch"),
    ("framifran",        View::Anterior,  "Swedish: framifrån"),
    ("bakifran",         View::Posterior, "Swedish: bakifrån"),
    ("forfra",           View::Anterior,  "Danish, Norwegian"),
    ("bagfra",           View::Posterior, "Danish"),
    ("bakfra",           View::Posterior, "Norwegian"),
    ("edesta",           View::Anterior,  "Finnish: edestä"),
    ("takaa",            View::Posterior, "Finnish"),
    ("przod",            View::Anterior,  "Polish: przód"),
    ("tyl",              View::Posterior, "Polish: tył"),
    ("przednia",         View::Anterior,  "Polish"),
    ("tylna",            View::Posterior, "Polish"),
    ("predni",           View::Anterior,  "Czech: přední"),
    ("zadni",            View::Posterior, "Czech: zadní"),
    ("zepredu",          View::Anterior,  "Czech"),
    ("zezadu",           View::Posterior, "Czech"),
    ("elolnezet",        View::Anterior,  "Hungarian: elölnézet"),
    ("hatulnezet",       View::Posterior, "Hungarian: hátulnézet"),
    ("onden",            View::Anterior,  "Turkish: önden"),
    ("arkadan",          View::Posterior, "Turkish"),
    ("передняя",         View::Anterior,  "Russian"),
    ("задняя",           View::Posterior, "Russian"),
    ("спереди",          View::Anterior,  "Russian"),
    ("сзади",            View::Posterior, "Russian"),
    ("переднезадняя",    View::Anterior,  "Russian: antero-posterior"),
    ("заднепередняя",    View::Posterior, "Russian: postero-anterior"),
    ("πρόσθια",          View::Anterior,  "Greek"),
    ("οπίσθια",          View::Posterior, "Greek"),
    ("前面",              View::Anterior,  "Japanese, Chinese"),
    ("後面",              View::Posterior, "Japanese, traditional Chinese"),
    ("后面",              View::Posterior, "Chinese"),
    ("背面",              View::Posterior, "Japanese, Chinese"),
    ("前位",              View::Anterior,  "Chinese"),
    ("后位",              View::Posterior, "Chinese"),
    ("後位",              View::Posterior, "traditional Chinese"),
    ("전면",              View::Anterior,  "Korean"),
    ("후면",              View::Posterior, "Korean"),
];

/// Words of other views: whatever stands beside them, neither of the two is meant.
#[rustfmt::skip]
const OTHERS: [&str; 62] = [
    "oblique", "obliques", "obl", "obliqua", "obliquo", "oblicua", "oblicuo", "obliqu", "schrag", "schraeg", "schuin", "skra", "skos", "sikma", "косая",
    "lateral", "laterale", "laterales", "lateralis", "lat", "llat", "rlat", "seitlich", "seite", "profil", "profile", "zijaanzicht", "боковая",
    "lao", "rao", "lpo", "rpo", "left", "right", "lt", "rt", "links", "rechts", "gauche", "droit", "droite", "izquierda", "izquierdo", "derecha",
    "derecho", "sinistra", "sinistro", "destra", "destro", "esquerda", "direita", "левая", "правая", "vertex", "axial", "axiale", "caudal", "cranial",
    "斜", "侧", "側", "측면",
];

/// The view that a code names: by its value, else by its meaning.
pub(super) fn of_code(value: &str, meaning: &str) -> Said {
    match CODES.iter().find(|(code, ..)| *code == value) {
        Some((_, view, _)) => Said::View(*view),
        None => of_words(meaning),
    }
}

/// The view that a name or meaning says as a word, in any case of letters.
///
/// Words end where letters do, and where a capital follows a small letter. Both views together say none, but for antero-posterior and
/// postero-anterior, which name where the rays of a radiograph come from, and so the side that is looked at first.
pub(super) fn of_words(text: &str) -> Said {
    let words = words(text);
    let scripted = |known: &str| known.chars().all(|letter| letter >= '\u{2e80}');
    let is = |word: &str, known: &str| if scripted(known) { word.contains(known) } else { word == known };
    if words.iter().any(|word| OTHERS.iter().any(|other| is(word, other))) {
        return Said::Other;
    }
    // Chinese and Japanese for antero-posterior and postero-anterior.
    for (both, view) in [("前后", View::Anterior), ("前後", View::Anterior), ("后前", View::Posterior), ("後前", View::Posterior)]
    {
        if words.iter().any(|word| word.contains(both)) {
            return Said::View(view);
        }
    }
    let view_of = |word: &str| WORDS.iter().find(|(known, ..)| is(word, known)).map(|(_, view, _)| *view);
    let mut views = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let next = words.get(at + 1).and_then(|next| view_of(next));
        let compound = match (word.as_str(), next) {
            ("antero", Some(View::Posterior)) => Some(View::Anterior),
            ("postero", Some(View::Anterior)) => Some(View::Posterior),
            _ => None,
        };
        views.extend(compound.or_else(|| view_of(word)));
        at += if compound.is_some() { 2 } else { 1 };
    }
    match views.first() {
        Some(&view) if views.iter().all(|other| *other == view) => Said::View(view),
        _ => Said::Nothing,
    }
}

/// The words of a text, in small letters without accents. Letters that stand alone are one word with those beside them (`A.P.`), unless
/// what is between them says that there are two of something (`A/P`).
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut word, mut between, mut last_small) = (String::new(), String::new(), false);
    let mut before = String::new(); // what stood before the word under way
    let mut push = |word: &mut String, before: &str| {
        if word.is_empty() {
            return;
        }
        let single = |word: &str| word.chars().count() == 1 && word.is_ascii();
        let word = std::mem::take(word);
        match words.last_mut() {
            Some(last) if single(last) && single(&word) && !before.contains(['/', '+', '&', '\\', ',']) => last.push_str(&word),
            _ => words.push(word),
        }
    };
    let is_accent = |letter: char| matches!(letter, '\u{300}'..='\u{36f}');
    for letter in text.chars().filter(|letter| !is_accent(*letter)) {
        if !letter.is_alphabetic() {
            if !word.is_empty() {
                push(&mut word, &before);
                between.clear();
            }
            between.push(letter);
            last_small = false;
            continue;
        }
        if word.is_empty() {
            before = std::mem::take(&mut between);
        } else if last_small && letter.is_uppercase() {
            push(&mut word, &before);
            before.clear();
        }
        last_small = letter.is_lowercase();
        letter.to_lowercase().for_each(|letter| without_accent(letter, &mut word));
    }
    push(&mut word, &before);
    words
}

/// Adds a small letter of the Latin alphabet without its accent; any other as it is.
fn without_accent(letter: char, word: &mut String) {
    word.push(match letter {
        'à'..='å' | 'ă' | 'ā' | 'ą' => 'a',
        'ç' | 'ć' | 'č' => 'c',
        'ď' => 'd',
        'è'..='ë' | 'ē' | 'ę' | 'ě' => 'e',
        'ğ' => 'g',
        'ì'..='ï' | 'ī' | 'ı' => 'i',
        'ł' => 'l',
        'ñ' | 'ń' | 'ň' => 'n',
        'ò'..='ö' | 'ø' | 'ō' | 'ő' => 'o',
        'ř' => 'r',
        'ś' | 'š' | 'ş' => 's',
        'ť' | 'ţ' => 't',
        'ù'..='ü' | 'ū' | 'ů' | 'ű' => 'u',
        'ý' | 'ÿ' => 'y',
        'ź' | 'ż' | 'ž' => 'z',
        // What small letters of a few alphabets have beside them.
        '\u{300}'..='\u{36f}' => return,
        other => other,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_and_every_word_is_its_view() {
        for (code, view, source) in CODES {
            assert_eq!(of_code(code, "Frontal"), Said::View(view), "{code}: {source}");
        }
        for (word, view, source) in WORDS {
            let own = Said::View(view);
            for text in [word.to_owned(), word.to_uppercase(), format!("WB {word}"), format!("WB_{word}_E"), format!("{word}2")] {
                assert_eq!(of_words(&text), own, "{text}: {source}");
            }
            assert_eq!(of_code("1", word), own, "{word}: {source}");
            assert_eq!(of_words(&format!("left {word} oblique")), Said::Other, "{word}");
            if word.is_ascii() {
                assert_eq!(of_words(&format!("x{word}x")), Said::Nothing, "{word} within a word");
            }
        }
        let mut sorted: Vec<&str> = WORDS.iter().map(|(word, ..)| *word).collect();
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[0] != pair[1]), "a word stands twice");
        for other in OTHERS {
            assert_eq!(of_words(other), Said::Other, "{other}");
            assert_eq!(of_words(&format!("{other} anterior")), Said::Other, "{other}");
        }
    }

    #[test]
    fn what_cameras_write() {
        use View::{Anterior, Posterior};
        for (text, view) in [
            ("ANT", Anterior),
            ("WB POST", Posterior),
            ("ANT_E", Anterior),
            ("Whole body, anterior", Anterior),
            ("WholeBodyAnterior", Anterior),
            ("Antero-posterior", Anterior),
            ("Antéro-postérieur", Anterior),
            ("ANTERO POSTERIOR", Anterior),
            ("Postero-anterior", Posterior),
            ("A.P.", Anterior),
            ("p.-a.", Posterior),
            ("vue antérieure", Anterior),
            ("Ganzkörper Rückansicht", Posterior),
            ("ante\u{301}rieur", Anterior),
            ("全身前面像", Anterior),
            ("全身后前位", Posterior),
            ("Anterior/Anterior", Anterior),
        ] {
            assert_eq!(of_words(text), Said::View(view), "{text}");
        }
        for text in [
            "",
            "WB 1",
            "Frontal",
            "Constant",
            "Posture",
            "ANT/POST",
            "anterior and posterior",
            "A/P",
            "A",
            "P",
            "Patient",
            "import",
        ] {
            assert_eq!(of_words(text), Said::Nothing, "{text}");
        }
        for text in ["Left anterior oblique", "LAO", "R LAT", "Lateral", "ANT OBL", "schräg von vorne", "ANT LEFT"] {
            assert_eq!(of_words(text), Said::Other, "{text}");
        }
    }
}
