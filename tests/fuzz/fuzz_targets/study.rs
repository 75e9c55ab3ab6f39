//! Bytes as a file, which may be a ZIP archive of an examination, to the intake, and to the survey of `osteon doctor`.
#![no_main]

use osteon::intake::study::{self, StudyOptions};
use osteon::intake::survey;
use std::path::PathBuf;
use std::sync::LazyLock;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| std::env::temp_dir().join(format!("osteon-fuzz-{}", std::process::id())));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    std::fs::write(&*FILE, bytes).expect("a temporary file");
    for any_image in [false, true] {
        let options = StudyOptions { any_image, single_view: true, ..StudyOptions::default() };
        let _ = study::read(&[FILE.clone()], &options);
    }
    let _ = survey::survey(&FILE);
});
