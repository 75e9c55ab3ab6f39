//! Two views to an NM Image Storage file.

use super::Sex;
use crate::image::{Image, View};
use crate::{Error, Result, files};
use dicom_core::{DataElement, PrimitiveValue, VR, dicom_value, value::DataSetSequence};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject, Tag};
use sha2::{Digest, Sha256};
use std::path::Path;

/// What [`write_nm`] says of a study besides its pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct NmHeader {
    /// Patient ID; also stands as the patient's name.
    pub patient: String,
    /// Whatever names this study and no other: the UIDs are made from it, so that the same study gets the same UIDs.
    pub identity: String,
    /// Study and series description.
    pub description: String,
    /// Patient's Age, in whole years up to 999; empty where it is unknown.
    pub age_years: Option<u32>,
    /// Patient's Sex; empty where it is unknown.
    pub sex: Option<Sex>,
    /// Height and width of a pixel.
    pub pixel_spacing_mm: [f32; 2],
    /// How long a view took.
    pub duration_ms: u32,
}

impl Default for NmHeader {
    fn default() -> Self {
        NmHeader {
            patient: "unnamed".into(),
            identity: "unnamed".into(),
            description: "Whole-body bone scan".into(),
            age_years: None,
            sex: None,
            pixel_spacing_mm: [2.4, 2.4],
            duration_ms: 15 * 60 * 1000,
        }
    }
}

/// Writes a two-frame NM Image Storage file: 16-bit unsigned counts, explicit VR little endian, a detector a view, each with its
/// View Code. The same arguments give the same bytes: no date, no time, no random UID.
///
/// Counts are rounded. Fails where the views differ in size or hold what 16 bits cannot.
pub fn write_nm(path: impl AsRef<Path>, anterior: &Image, posterior: &Image, about: &NmHeader) -> Result<()> {
    files::write(path, &encode_nm(anterior, posterior, about)?)
}

/// The bytes of the file that [`write_nm`] writes.
pub fn encode_nm(anterior: &Image, posterior: &Image, about: &NmHeader) -> Result<Vec<u8>> {
    let (rows, columns) = (anterior.rows, anterior.columns);
    if (posterior.rows, posterior.columns) != (rows, columns) {
        return Err(Error::setting(
            format!("the anterior view has {rows}x{columns} pixels and the posterior {}x{}", posterior.rows, posterior.columns),
            "give both views one size",
        ));
    }
    let side = |length: usize| {
        u16::try_from(length).ok().filter(|&length| length > 0).ok_or_else(|| {
            Error::setting(format!("DICOM cannot hold a view of {rows}x{columns} pixels"), "use 1 to 65535 rows and columns")
        })
    };
    let (dicom_rows, dicom_columns) = (side(rows)?, side(columns)?);
    let mut samples = vec![0; 2 * rows * columns * size_of::<u16>()];
    let mut counts = 0_u64;
    for (bytes, &count) in samples.chunks_exact_mut(2).zip(anterior.pixels.iter().chain(&posterior.pixels)) {
        if !(-0.5..65535.5).contains(&count) {
            return Err(Error::setting(format!("a count of {count} does not fit 16 bits"), "scale the views to 0..65535"));
        }
        let count = (count + 0.5) as u16;
        counts += u64::from(count);
        bytes.copy_from_slice(&count.to_le_bytes());
    }
    // An integer string holds 31 bits; the attribute may be empty.
    let counts = i32::try_from(counts).map_or(String::new(), |counts| counts.to_string());

    let sex = about.sex.map_or("", |sex| match sex {
        Sex::Male => "M",
        Sex::Female => "F",
        Sex::Other => "O",
    });
    let age = about.age_years.filter(|years| *years <= 999).map_or(String::new(), |years| format!("{years:03}Y"));

    let instance = uid(&about.identity, "instance");
    let [row_spacing, column_spacing] = about.pixel_spacing_mm;
    let text = |tag: Tag, vr: VR, value: &str| DataElement::new(tag, vr, PrimitiveValue::from(value));
    let short = |tag: Tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
    let empty = |tag: Tag, vr: VR| DataElement::new(tag, vr, PrimitiveValue::Empty);
    let shorts = |tag: Tag, [first, second]: [u16; 2]| DataElement::new(tag, VR::US, dicom_value!(U16, [first, second]));
    let sequence = |tag: Tag, items: Vec<InMemDicomObject>| DataElement::new(tag, VR::SQ, DataSetSequence::from(items));
    let code = |value: &str, scheme: &str, meaning: &str| {
        InMemDicomObject::from_element_iter([
            text(tags::CODE_VALUE, VR::SH, value),
            text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, scheme),
            text(tags::CODE_MEANING, VR::LO, meaning),
        ])
    };
    let detector = |view: View| {
        let (value, meaning) = match view {
            View::Anterior => ("399321004", "Anterior projection"),
            View::Posterior => ("399001007", "Posterior projection"),
        };
        InMemDicomObject::from_element_iter([
            text(tags::COLLIMATOR_TYPE, VR::CS, "PARA"),
            text(tags::FOCAL_DISTANCE, VR::IS, "0"),
            empty(tags::IMAGE_POSITION_PATIENT, VR::DS),
            empty(tags::IMAGE_ORIENTATION_PATIENT, VR::DS),
            text(tags::ZOOM_FACTOR, VR::DS, "1\\1"),
            sequence(tags::VIEW_CODE_SEQUENCE, vec![code(value, "SCT", meaning)]),
        ])
    };
    let energy_window = InMemDicomObject::from_element_iter([sequence(
        tags::ENERGY_WINDOW_RANGE_SEQUENCE,
        vec![InMemDicomObject::from_element_iter([
            text(tags::ENERGY_WINDOW_LOWER_LIMIT, VR::DS, "126"),
            text(tags::ENERGY_WINDOW_UPPER_LIMIT, VR::DS, "154"),
        ])],
    )]);
    let radiopharmaceutical = InMemDicomObject::from_element_iter([
        text(tags::RADIOPHARMACEUTICAL, VR::LO, "99mTc-MDP"),
        sequence(tags::RADIONUCLIDE_CODE_SEQUENCE, vec![code("72454003", "SCT", "Technetium-99m")]),
    ]);

    let object = InMemDicomObject::from_element_iter([
        text(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\WHOLE BODY\\EMISSION"),
        text(tags::SOP_CLASS_UID, VR::UI, uids::NUCLEAR_MEDICINE_IMAGE_STORAGE),
        text(tags::SOP_INSTANCE_UID, VR::UI, &instance),
        empty(tags::STUDY_DATE, VR::DA),
        empty(tags::STUDY_TIME, VR::TM),
        empty(tags::ACCESSION_NUMBER, VR::SH),
        text(tags::MODALITY, VR::CS, "NM"),
        text(tags::MANUFACTURER, VR::LO, "Osteon"),
        empty(tags::REFERRING_PHYSICIAN_NAME, VR::PN),
        text(tags::STUDY_DESCRIPTION, VR::LO, &about.description),
        text(tags::SERIES_DESCRIPTION, VR::LO, &about.description),
        text(tags::PATIENT_NAME, VR::PN, &format!("{}^", about.patient)),
        text(tags::PATIENT_ID, VR::LO, &about.patient),
        empty(tags::PATIENT_BIRTH_DATE, VR::DA),
        text(tags::PATIENT_SEX, VR::CS, sex),
        text(tags::PATIENT_AGE, VR::AS, &age),
        text(tags::COUNTS_ACCUMULATED, VR::IS, &counts),
        text(tags::ACTUAL_FRAME_DURATION, VR::IS, &about.duration_ms.to_string()),
        text(tags::WHOLE_BODY_TECHNIQUE, VR::CS, "1PS"),
        empty(tags::SCAN_VELOCITY, VR::DS),
        empty(tags::SCAN_LENGTH, VR::IS),
        text(tags::STUDY_INSTANCE_UID, VR::UI, &uid(&about.identity, "study")),
        text(tags::SERIES_INSTANCE_UID, VR::UI, &uid(&about.identity, "series")),
        empty(tags::STUDY_ID, VR::SH),
        text(tags::SERIES_NUMBER, VR::IS, "1"),
        text(tags::INSTANCE_NUMBER, VR::IS, "1"),
        empty(tags::LATERALITY, VR::CS),
        short(tags::SAMPLES_PER_PIXEL, 1),
        text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        text(tags::NUMBER_OF_FRAMES, VR::IS, "2"),
        DataElement::new(
            tags::FRAME_INCREMENT_POINTER,
            VR::AT,
            dicom_value!(Tags, [tags::ENERGY_WINDOW_VECTOR, tags::DETECTOR_VECTOR]),
        ),
        short(tags::ROWS, dicom_rows),
        short(tags::COLUMNS, dicom_columns),
        text(tags::PIXEL_SPACING, VR::DS, &format!("{row_spacing}\\{column_spacing}")),
        short(tags::BITS_ALLOCATED, 16),
        short(tags::BITS_STORED, 16),
        short(tags::HIGH_BIT, 15),
        short(tags::PIXEL_REPRESENTATION, 0),
        shorts(tags::ENERGY_WINDOW_VECTOR, [1, 1]),
        short(tags::NUMBER_OF_ENERGY_WINDOWS, 1),
        sequence(tags::ENERGY_WINDOW_INFORMATION_SEQUENCE, vec![energy_window]),
        sequence(tags::RADIOPHARMACEUTICAL_INFORMATION_SEQUENCE, vec![radiopharmaceutical]),
        shorts(tags::DETECTOR_VECTOR, [1, 2]),
        short(tags::NUMBER_OF_DETECTORS, 2),
        sequence(tags::DETECTOR_INFORMATION_SEQUENCE, vec![detector(View::Anterior), detector(View::Posterior)]),
        empty(tags::PATIENT_ORIENTATION_CODE_SEQUENCE, VR::SQ),
        empty(tags::PATIENT_GANTRY_RELATIONSHIP_CODE_SEQUENCE, VR::SQ),
        DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U8(samples.into())),
    ]);
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .media_storage_sop_class_uid(uids::NUCLEAR_MEDICINE_IMAGE_STORAGE)
        .media_storage_sop_instance_uid(&instance);
    let unwritable = |error: String| Error::setting(format!("the study cannot be put into DICOM ({error})"), "check its header");
    let mut bytes = Vec::with_capacity(4 * rows * columns + 4096);
    object
        .with_meta(meta)
        .map_err(|error| unwritable(error.to_string()))?
        .write_all(&mut bytes)
        .map_err(|error| unwritable(error.to_string()))?;
    Ok(bytes)
}

/// A UID of the 2.25 arc (ITU-T X.667: an UUID as a decimal number), made from a digest: no registered root, no chance.
fn uid(identity: &str, level: &str) -> String {
    let digest = Sha256::new().chain_update(level).chain_update([0]).chain_update(identity).finalize();
    let mut number = [0; 16];
    number.copy_from_slice(&digest[..16]);
    number[6] = (number[6] & 0x0f) | 0x80; // version 8: made by a rule of our own
    number[8] = (number[8] & 0x3f) | 0x80; // the variant of RFC 9562
    format!("2.25.{}", u128::from_be_bytes(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_study_gives_the_same_bytes_and_another_gives_other_uids() {
        let view = Image { rows: 3, columns: 2, pixels: vec![0.0, 1.0, 2.0, 300.0, 65535.0, 5.0] };
        let about = NmHeader { patient: "P1".into(), identity: "seed 1, study 1".into(), ..NmHeader::default() };
        let bytes = encode_nm(&view, &view, &about).unwrap();
        assert_eq!(bytes, encode_nm(&view, &view, &about).unwrap());
        let other = encode_nm(&view, &view, &NmHeader { identity: "seed 1, study 2".into(), ..about }).unwrap();
        let object = |bytes: &[u8]| dicom_object::from_reader(bytes).unwrap();
        assert_ne!(
            object(&bytes).meta().media_storage_sop_instance_uid(),
            object(&other).meta().media_storage_sop_instance_uid()
        );
        assert_eq!(
            object(&bytes).element(tags::COUNTS_ACCUMULATED).unwrap().to_int::<u64>().unwrap(),
            2 * (1 + 2 + 300 + 65535 + 5)
        );
    }
}
