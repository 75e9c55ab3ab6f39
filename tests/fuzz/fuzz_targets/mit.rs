//! Bytes to the reader of the MIT LabelMe's XML; what is read is checked against codes and a picture, filled, and written again.
#![no_main]

use osteon::image::Size;
use osteon::annotation::{Annotation, Codes};
use std::path::Path;
use std::sync::LazyLock;

static CODES: LazyLock<Codes> = LazyLock::new(Codes::default);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(annotation) = Annotation::from_bytes("a.xml", bytes) {
        let _ = annotation.check(Path::new("a.xml"), None, &CODES);
        let _ = annotation.check(Path::new("a.xml"), Some(Size { rows: 64, columns: 32 }), &CODES);
        let written = annotation.to_bytes("a.xml").expect("XML");
        let again = Annotation::from_bytes("a.xml", &written).expect("what was written");
        assert_eq!(again.outlines.len(), annotation.outlines.len());
    }
});
