//! What a model is, as the `metadata.json` of a MONAI bundle, beside its ONNX file: <https://docs.monai.io/en/stable/mb_specification.html>.
//! `reference/scripts/check_monai.py` holds it against MONAI's own schema.

use super::Model;
use crate::text;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// MONAI's schema of 25 July 2024, which its release 1.4.0 came with.
const SCHEMA: &str = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json";
const MONAI: &str = "1.4.0";

/// What exported networks are compared with: `reference/scripts/requirements.txt`.
const PYTORCH: &str = "2.15.0";
const NUMPY: &str = "2.4.6";
const ONNX_RUNTIME: &str = "1.32.0";

/// Of what nobody has told the program.
const BY_A_PERSON: &str = "to be filled in by a person";

/// The file, in the schema's order.
#[derive(Serialize)]
struct Bundle {
    schema: &'static str,
    version: &'static str,
    changelog: Map<String, Value>,
    monai_version: &'static str,
    pytorch_version: &'static str,
    numpy_version: &'static str,
    required_packages_version: Value,
    name: String,
    task: String,
    description: String,
    authors: &'static str,
    copyright: &'static str,
    data_source: String,
    data_type: &'static str,
    image_classes: String,
    pred_classes: String,
    eval_metrics: Map<String, Value>,
    intended_use: String,
    references: [&'static str; 1],
    network_data_format: Value,
    /// As `osteon model info` has it.
    osteon: Value,
}

impl Model {
    /// The bytes of the `metadata.json` that describes the [ONNX file](Self::to_onnx) of this model. `caveat` is what has to be said of its
    /// scores. What only a person can say says so.
    pub fn to_monai(&self, caveat: &str) -> Vec<u8> {
        let about = &self.metadata;
        let classes = about.classes.join(", ");
        let channels = |names: &[String]| {
            names.iter().enumerate().map(|(at, name)| (at.to_string(), name.clone().into())).collect::<Map<_, _>>()
        };
        let of_input =
            "counts of the fused views over the body's level, clamped and compressed as osteon.preprocessing says".to_owned();
        let [rows, columns] = about.input_size;
        let output = |kind: &str, format: &str, range: Value| {
            json!({
                "type": kind, "format": format, "num_channels": about.classes.len(), "spatial_shape": [], "dtype": "float32",
                "value_range": range, "is_patch_data": false, "channel_def": channels(&about.classes),
            })
        };
        let mut eval_metrics: Map<String, Value> =
            about.provenance.iter().flat_map(|run| &run.scores).map(|(name, score)| (name.clone(), (*score).into())).collect();
        if !eval_metrics.is_empty() {
            eval_metrics.insert("caveat".to_owned(), caveat.into());
        }
        let trained_on = if about.trained_on.is_empty() { "nothing: the weights are not trained" } else { &about.trained_on };
        let bundle = Bundle {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            changelog: [(env!("CARGO_PKG_VERSION").to_owned(), "exported as ONNX by osteon".into())].into_iter().collect(),
            monai_version: MONAI,
            pytorch_version: PYTORCH,
            numpy_version: NUMPY,
            required_packages_version: json!({ "onnxruntime": ONNX_RUNTIME }),
            name: format!("Osteon {}", about.architecture),
            task: format!("Classification of whole-body bone scans as {classes}"),
            description: format!(
                "{caveat} The network {} on the fused anterior and posterior views of a planar whole-body bone scan, as ONNX (opset 17). Made without MONAI: \
                 monai_version is that of the schema, the other versions are those that exported networks were compared with.",
                about.architecture
            ),
            authors: BY_A_PERSON,
            copyright: BY_A_PERSON,
            data_source: format!("Trained on {trained_on}. Where the data can be had: {BY_A_PERSON}."),
            data_type: "dicom",
            image_classes: format!("one channel: {of_input}"),
            pred_classes: format!("the probability of each of {classes}, in this order"),
            eval_metrics,
            intended_use: format!("Research on how networks read bone scans. {caveat} No diagnosis may rest on it."),
            references: ["Lin, Guo et al., Insights into Imaging 2022, doi 10.1186/s13244-022-01162-2"],
            network_data_format: json!({
                "inputs": { "input": {
                    "type": "image", "format": "magnitude", "modality": "NM", "num_channels": 1, "spatial_shape": [rows, columns],
                    "dtype": "float32", "value_range": [0.0, plain(&about.preprocessing.highest_value())], "is_patch_data": false,
                    "channel_def": channels(std::slice::from_ref(&of_input)),
                } },
                "outputs": {
                    "logits": output("tuples", "raw", json!([])),
                    "probabilities": output("probabilities", "classes", json!([0.0, 1.0])),
                },
            }),
            osteon: json!({
                "weights_sha256": self.weights_hash(), "file_sha256": self.file_sha256(), "architecture": about.architecture,
                "classes": about.classes, "preprocessing": plain(&about.preprocessing), "training_studies": about.training_studies,
            }),
        };
        let json = serde_json::to_string_pretty(&bundle).expect("plain values are JSON");
        format!("{}\n", text::json(&json)).into_bytes()
    }
}

/// A value with each f32 in its own few digits.
fn plain(value: &impl Serialize) -> Value {
    let text = serde_json::to_string(value).expect("plain values are JSON");
    serde_json::from_str(&text).expect("text that was just made")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Metadata, Provenance};
    use crate::prepare::{Compression, Preprocessing};

    fn model(about: impl FnOnce(&mut Metadata)) -> Model {
        let classes: Vec<String> = ["NoMet", "ADMet", "nADMet"].map(str::to_owned).to_vec();
        let mut metadata = Metadata::new("classifier-18", &classes, [64, 32], Preprocessing::default());
        about(&mut metadata);
        Model::initialised(metadata, 1).unwrap()
    }

    /// What MONAI's schema requires, with the types that it wants; the script beside holds a file against the schema itself.
    #[test]
    fn what_the_schema_requires_is_there() {
        let found: Value = serde_json::from_slice(&model(|_| ()).to_monai("Caveat.")).unwrap();
        for key in [
            "schema",
            "version",
            "monai_version",
            "pytorch_version",
            "numpy_version",
            "task",
            "description",
            "authors",
            "copyright",
        ] {
            assert!(found[key].as_str().is_some_and(|value| !value.is_empty()), "{key}");
        }
        assert!(found["required_packages_version"].is_object() && found["changelog"].is_object());
        let format = &found["network_data_format"];
        let [inputs, outputs] = ["inputs", "outputs"].map(|side| format[side].as_object().unwrap());
        assert_eq!(
            (inputs.keys().map(String::as_str).collect::<Vec<_>>(), outputs.keys().map(String::as_str).collect::<Vec<_>>()),
            (vec!["input"], vec!["logits", "probabilities"])
        );
        for (name, tensor) in inputs.iter().chain(outputs) {
            assert!(["type", "format", "dtype"].iter().all(|key| tensor[key].is_string()), "{name}");
            assert!(["spatial_shape", "value_range"].iter().all(|key| tensor[key].is_array()), "{name}");
            assert!(
                tensor["num_channels"].is_u64() && tensor["is_patch_data"].is_boolean() && tensor["channel_def"].is_object(),
                "{name}"
            );
        }
        assert_eq!((&inputs["input"]["spatial_shape"], &inputs["input"]["value_range"]), (&json!([64, 32]), &json!([0.0, 4.0])));
        assert_eq!(outputs["probabilities"]["channel_def"], json!({ "0": "NoMet", "1": "ADMet", "2": "nADMet" }));
        assert_eq!((&found["eval_metrics"], &found["authors"]), (&json!({}), &json!(BY_A_PERSON)));
    }

    #[test]
    fn scores_come_with_their_caveat_and_names_cannot_hide() {
        let model = model(|about| {
            about.trained_on = "140 phantom\u{202e} studies".to_owned();
            about.preprocessing.compression = Compression::Linear;
            about.provenance = Some(Provenance {
                version: "0.1.0".into(),
                commit: String::new(),
                isa: "avx2".into(),
                processes: Vec::new(),
                data: "aa".into(),
                split: None,
                configuration: json!({}),
                epochs: 3,
                scores: [("accuracy".to_owned(), 0.5)].into_iter().collect(),
            });
        });
        let bytes = model.to_monai("Trained on phantoms.");
        assert_eq!(bytes, model.to_monai("Trained on phantoms."));
        let text = String::from_utf8(bytes).unwrap();
        assert!(!text.contains('\u{202e}'), "{text}");
        let found: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(found["eval_metrics"], json!({ "accuracy": 0.5, "caveat": "Trained on phantoms." }));
        assert_eq!(found["network_data_format"]["inputs"]["input"]["value_range"], json!([0.0, 16.0]));
        assert!(found["description"].as_str().unwrap().starts_with("Trained on phantoms. "));
        assert_eq!(found["osteon"]["preprocessing"]["threshold"], json!(0.15));
        assert_eq!(found["osteon"]["weights_sha256"], json!(model.weights_hash()));
    }

    #[test]
    fn versions_are_those_of_the_scripts() {
        let pinned = include_str!("../../reference/scripts/requirements.txt");
        for line in [format!("torch=={PYTORCH}"), format!("numpy=={NUMPY}"), format!("onnxruntime=={ONNX_RUNTIME}")] {
            assert!(pinned.lines().any(|other| other == line), "{line}");
        }
        assert!(include_str!("../../reference/scripts/check_monai.py").contains(SCHEMA.rsplit('/').next().unwrap()));
    }
}
