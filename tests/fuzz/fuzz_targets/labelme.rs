//! Bytes to the reader of LabelMe's JSON; what is read is checked against codes and a picture, filled, and written again.
#![no_main]

use osteon::image::Size;
use osteon::annotation::{Annotation, Codes};
use std::path::Path;
use std::sync::LazyLock;

static CODES: LazyLock<Codes> = LazyLock::new(Codes::default);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(annotation) = Annotation::from_bytes("a.json", bytes) {
        let _ = annotation.check(Path::new("a.json"), None, &CODES);
        let _ = annotation.check(Path::new("a.json"), Some(Size { rows: 64, columns: 32 }), &CODES);
        let _ = annotation.to_bytes("a.xml");
        let written = annotation.to_bytes("a.json").expect("JSON");
        assert_eq!(Annotation::from_bytes("a.json", &written).expect("what was written"), annotation);
    }
});
