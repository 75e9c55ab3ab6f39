//! Whether an object's header says that it is a whole-body bone scan, and what it is if not.
//!
//! Only what a header says counts: an element that is missing says nothing.

use crate::dicom::Header;

/// What an object is, where it is no whole-body bone scan: a noun, such as `CT image`.
pub fn other_than_bone_scan(header: &Header) -> Option<String> {
    by_class(header).or_else(|| by_modality(header)).or_else(|| by_image_type(header)).or_else(|| by_tracer(header))
}

/// The SOP classes of PS3.4 B.5 that are no pictures of a gamma camera, by what their UIDs begin with behind
/// `1.2.840.10008.5.1.4.1.1.`.
#[rustfmt::skip]
const CLASSES: [(&str, &str); 24] = [
    ("88.67", "radiation dose report"), ("88.68", "radiopharmaceutical dose report"), ("88.73", "radiopharmaceutical dose report"),
    ("88.76", "radiation dose report"), ("88.59", "key object selection"), ("88.", "structured report"),
    ("104.", "encapsulated document"), ("11.", "presentation state"), ("9.", "waveform"), ("66.4", "segmentation"),
    ("66.", "registration or raw data"), ("481.", "radiotherapy object"), ("30", "parametric map"), ("67", "real-world value mapping"),
    ("2", "CT image"), ("4", "MR image"), ("128", "PET image"), ("130", "PET image"), ("6.", "ultrasound image"),
    ("3.", "ultrasound image"), ("12.", "X-ray image"), ("1.", "X-ray image"), ("1", "X-ray image"), ("77.", "visible-light image"),
];

fn by_class(header: &Header) -> Option<String> {
    let class = header.sop_class.as_deref()?;
    if class == "1.2.840.10008.1.3.10" {
        return Some("index of a medium (DICOMDIR)".to_owned());
    }
    let class = class.strip_prefix("1.2.840.10008.5.1.4.1.1.")?;
    // A secondary capture may hold counts: its modality tells.
    if class == "7" || class.starts_with("7.") {
        return (header.modality.as_deref() != Some("NM")).then(|| "secondary capture".to_owned());
    }
    let is = |known: &str| match known.strip_suffix('.') {
        Some(family) => class == family || class.starts_with(known),
        None => class == known || class.strip_prefix(known).is_some_and(|rest| rest.starts_with('.')),
    };
    CLASSES.iter().find(|(known, _)| is(known)).map(|(_, name)| (*name).to_owned())
}

fn by_modality(header: &Header) -> Option<String> {
    let modality = header.modality.as_deref().filter(|modality| *modality != "NM")?;
    let name = match modality {
        "CT" => "CT image",
        "MR" => "MR image",
        "PT" => "PET image",
        "US" | "IVUS" => "ultrasound image",
        "CR" | "DX" | "RF" | "XA" | "MG" | "RG" | "IO" | "PX" => "X-ray image",
        "SR" => "structured report",
        "DOC" => "encapsulated document",
        "OT" | "SC" => "secondary capture",
        "BMD" => "bone densitometry",
        "ST" => "tomographic series (SPECT)",
        other => return Some(format!("object of another modality ({})", plain(other))),
    };
    Some(format!("{name} (modality {modality})"))
}

/// Value 3 of Image Type (PS3.3 C.8.4.9.1.1), and what others write there.
fn by_image_type(header: &Header) -> Option<String> {
    let types = &header.image_type;
    let says = |word: &str| types.iter().any(|value| value == word);
    if says("WHOLE BODY") || says("WHOLEBODY") || says("WHOLE_BODY") || says("WB") {
        return None;
    }
    let name = if says("STATIC") {
        "static spot view"
    } else if ["TOMO", "RECON TOMO", "GATED TOMO", "RECON GATED TOMO", "SPECT"].iter().any(|word| says(word)) {
        "tomographic series (SPECT)"
    } else if says("DYNAMIC") {
        "dynamic series"
    } else if says("GATED") {
        "gated series"
    } else if says("LOCALIZER") {
        "localizer"
    } else if says("SCREEN SAVE") || says("SCREENSAVE") || says("SCREEN SHOT") {
        "screenshot"
    } else {
        return None;
    };
    let value = types
        .iter()
        .skip(2)
        .find(|value| !value.is_empty())
        .map_or(String::new(), |value| format!(" (Image Type {})", plain(value)));
    Some(format!("{name}{value}"))
}

/// Words for tracers of bone, by which a radiopharmaceutical is let in whatever else its name says.
const BONE_TRACERS: [&str; 22] = [
    "mdp",
    "hdp",
    "hmdp",
    "dpd",
    "hedp",
    "edp",
    "pyp",
    "tcmdp",
    "tchdp",
    "tcdpd",
    "medronate",
    "medronsaure",
    "oxidronate",
    "etidronate",
    "butedronate",
    "teceos",
    "osteocis",
    "pyrophosphate",
    "diphosphonate",
    "bisphosphonate",
    "phosphonate",
    "bone",
];

/// Words for radiopharmaceuticals and nuclides that do not show bone (PS3.16 CID 25 and 18, and kits' names).
#[rustfmt::skip]
const OTHER_TRACERS: [&str; 66] = [
    "mibg", "iobenguane", "iodide", "iodine", "jod", "iodure", "yoduro", "octreotide", "pentetreotide", "octreoscan", "tektrotyd", "edotreotide", "dotatate",
    "dotatoc", "sestamibi", "mibi", "cardiolite", "tetrofosmin", "myoview", "dmsa", "succimer", "mag3", "mertiatide", "tiatide", "dtpa", "pentetate", "maa",
    "macroaggregated", "pertechnetate", "pertechnetat", "colloid", "nanocolloid", "kolloid", "nanocoll", "hmpao", "exametazime", "ceretec", "ecd", "bicisate",
    "neurolite", "leukocytes", "leukozyten", "wbc", "rbc", "erythrocytes", "gallium", "ga67", "citrate", "thallium", "tl201", "thallous", "indium", "in111", "i123", "i131",
    "ioflupane", "datscan", "mebrofenin", "hida", "disida", "psma", "fdg", "fluorodeoxyglucose", "lu177", "lutetium", "besilesomab",
];

fn by_tracer(header: &Header) -> Option<String> {
    let tracer = header.tracer.as_deref()?;
    // `Tc-99m MDP` and `I-131`: letters and digits, with what parts a nuclide's name from its number left out.
    let pieces: Vec<String> =
        tracer.split(|letter: char| !letter.is_alphanumeric()).filter(|piece| !piece.is_empty()).map(str::to_lowercase).collect();
    let nuclides =
        pieces.windows(2).filter(|pair| pair[1].starts_with(|digit: char| digit.is_ascii_digit())).map(|pair| pair.concat());
    // `131I`, as others write it.
    let turned = pieces.iter().filter_map(|piece| {
        let letters = piece.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let digits = &piece[..piece.len() - letters.len()];
        (!digits.is_empty() && !letters.is_empty()).then(|| format!("{letters}{digits}"))
    });
    let words: Vec<String> = nuclides.chain(turned).chain(pieces.iter().cloned()).collect();
    let has = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str()));
    let is_bone = has(&BONE_TRACERS) || words.iter().any(|word| word.ends_with("mdp") || word.ends_with("phosphonate"));
    (!is_bone && has(&OTHER_TRACERS)).then(|| format!("scan with {}, which shows no bone", plain(tracer)))
}

/// A value of the file in a message.
fn plain(value: &str) -> String {
    value.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(uid: &str, modality: &str) -> Option<String> {
        let sop_class = Some(format!("1.2.840.10008.5.1.4.1.1.{uid}"));
        other_than_bone_scan(&Header {
            sop_class,
            modality: Some(modality.into()).filter(|text: &String| !text.is_empty()),
            ..Header::default()
        })
    }

    #[test]
    fn classes_and_modalities_have_names() {
        for (uid, modality, name) in [
            ("20", "NM", None),
            ("20", "", None),
            ("7", "NM", None),
            ("7.2", "NM", None),
            ("7", "OT", Some("secondary capture")),
            ("7.4", "", Some("secondary capture")),
            ("2", "CT", Some("CT image")),
            ("2.1", "CT", Some("CT image")),
            ("4.1", "MR", Some("MR image")),
            ("128", "PT", Some("PET image")),
            ("130", "PT", Some("PET image")),
            ("1.1", "DX", Some("X-ray image")),
            ("1", "CR", Some("X-ray image")),
            ("12.1", "XA", Some("X-ray image")),
            ("88.67", "SR", Some("radiation dose report")),
            ("88.33", "SR", Some("structured report")),
            ("104.1", "DOC", Some("encapsulated document")),
            ("11.1", "PR", Some("presentation state")),
            ("66.4", "SEG", Some("segmentation")),
            ("20", "CT", Some("CT image (modality CT)")),
            ("20", "XYZ", Some("object of another modality (XYZ)")),
        ] {
            assert_eq!(class(uid, modality).as_deref(), name, "{uid} {modality}");
        }
    }

    #[test]
    fn image_types_tell_spots_and_tomograms() {
        let of = |third: &str| {
            let image_type = ["ORIGINAL", "PRIMARY", third, "EMISSION"].map(str::to_owned).to_vec();
            other_than_bone_scan(&Header { modality: Some("NM".into()), image_type, ..Header::default() })
        };
        assert_eq!(of("WHOLE BODY"), None);
        assert_eq!(of(""), None);
        assert_eq!(of("STATIC").as_deref(), Some("static spot view (Image Type STATIC)"));
        assert_eq!(of("RECON TOMO").as_deref(), Some("tomographic series (SPECT) (Image Type RECON TOMO)"));
        assert_eq!(of("DYNAMIC").as_deref(), Some("dynamic series (Image Type DYNAMIC)"));
    }

    #[test]
    fn tracers_of_bone_and_others() {
        let of = |tracer: &str| other_than_bone_scan(&Header { tracer: Some(tracer.into()), ..Header::default() }).is_some();
        for bone in [
            "MDP",
            "Tc-99m HDP",
            "TC99M-MDP",
            "99mTc-DPD",
            "Technetium Tc99m medronate",
            "Technescan HDP",
            "Tc-99m pyrophosphate",
            "Tc-99m",
            "BONE",
            "kit 5",
        ] {
            assert!(!of(bone), "{bone}");
        }
        for other in [
            "I-131 MIBG",
            "Sodium iodide I-131",
            "131I",
            "In-111 pentetreotide",
            "Tc-99m sestamibi",
            "99mTc-MAG3",
            "Ga-67 citrate",
            "FDG",
        ] {
            assert!(of(other), "{other}");
        }
    }
}
