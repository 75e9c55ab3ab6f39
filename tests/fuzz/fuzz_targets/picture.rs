//! Bytes to the reader of pictures; what is read is checked for a body, as it is and inverted.
#![no_main]

use osteon::image::jpeg_is_whole;
use osteon::intake::{checks, picture};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = jpeg_is_whole(bytes);
    if let Ok(picture) = picture::read_bytes(bytes, "a.png") {
        let _ = checks::finding(&picture.image, None);
        let again = picture.clone().inverted().inverted();
        assert_eq!(again.image, picture.image);
        let _ = checks::finding(&picture.inverted().image, Some([4.8, 2.4]));
    }
});
