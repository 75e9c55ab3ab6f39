//! The table of codes: what the parts of a label mean. It is `codes.csv` in the manifest's folder, with the columns
//! `code,kind,name`; without that file it is a table of Osteon's own.

use crate::text::Shown;
use crate::{Error, Result, files};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The file's name.
pub const FILE: &str = "codes.csv";

/// A larger file is no table of codes.
const MAX_BYTES: u64 = 1 << 20;

/// Osteon's own table. The regions are those of the paper's figure 12 as the phantom divides the body, and where the tracer goes
/// besides.
const BUILT_IN: &str = "\
code,kind,name
ADMet,disease,Metastasis of an adenocarcinoma of the lung
nADMet,disease,Metastasis of another lung cancer
Met,disease,Metastasis of a cancer that is not told
arthritis,benign,Arthritis of a joint
degeneration,benign,Worn disc or facet joint of the spine
fracture,benign,Healing or healed fracture
dental,benign,Teeth and jaw
sinusitis,benign,Inflamed sinus
normal,benign,Uptake that everybody has
skull,region,Skull cap and face and jaw
vertebrae,region,Cervical and thoracic and lumbar vertebrae
ribs,region,Ribs
girdle,region,Sternum and clavicles and scapulae
pelvis,region,Hip bones and sacrum
long-bones,region,Humerus and femur
distal,region,Forearm and hand and lower leg and foot
kidneys,region,Kidneys
bladder,region,Urinary bladder
injection-point,region,Where the tracer was injected
soft-tissue,region,Soft tissue
";

/// What a code is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodeKind {
    /// A disease: a metastasis of some cancer.
    Disease,
    /// Uptake that is no metastasis: benign or normal.
    Benign,
    /// A part of the body.
    Region,
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// As labels have it: without `/`.
    pub code: String,
    /// What it is of.
    pub kind: CodeKind,
    /// In words.
    pub name: String,
}

/// A checked table of codes.
#[derive(Clone, Debug)]
pub struct Codes {
    /// Its file; `None`: Osteon's own.
    path: Option<PathBuf>,
    codes: Vec<Code>,
    index: HashMap<String, usize>,
}

/// What a label says; one of the two is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding<'a> {
    /// The disease or benign finding. `None`: the outline is of a part of the body.
    pub disease: Option<&'a Code>,
    /// The part of the body.
    pub region: Option<&'a Code>,
}

/// Why a label says nothing: what is wrong with it, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Continues "the outline …".
    pub problem: String,
    /// What the user can do.
    pub remedy: String,
}

impl Default for Codes {
    /// Osteon's own table.
    fn default() -> Self {
        Codes::parse(Path::new(FILE), BUILT_IN.as_bytes(), None).expect("a table that a test reads")
    }
}

impl Codes {
    /// The table in the folder of a manifest, or Osteon's own where the folder has none.
    ///
    /// # Errors
    /// As [`Codes::read`].
    pub fn beside(manifest: impl AsRef<Path>) -> Result<Self> {
        let path = manifest.as_ref().with_file_name(FILE);
        if path.exists() { Codes::read(path) } else { Ok(Codes::default()) }
    }

    /// Reads a table.
    ///
    /// # Errors
    /// One sentence naming file and line: no CSV in UTF-8 with the header `code,kind,name`, a kind that is none, an empty code or
    /// one with `/`, a code that is there twice, no code.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Codes::from_bytes(path, &files::read_at_most(path, MAX_BYTES)?)
    }

    /// The table that a file of these bytes at `path` holds.
    ///
    /// # Errors
    /// As [`Codes::read`].
    pub fn from_bytes(path: impl AsRef<Path>, bytes: &[u8]) -> Result<Self> {
        Codes::parse(path.as_ref(), bytes, Some(path.as_ref().to_owned()))
    }

    fn parse(path: &Path, bytes: &[u8], file: Option<PathBuf>) -> Result<Self> {
        const REMEDY: &str = "write the header code,kind,name and a code a line, with the kind disease, benign or region";
        let text = std::str::from_utf8(bytes).map_err(|_| Error::file(path, "is not UTF-8 text", "save it as CSV in UTF-8"))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let header = reader.headers().map_err(|error| Error::file(path, format!("is not CSV ({error})"), REMEDY))?;
        if header != ["code", "kind", "name"].as_slice() {
            return Err(Error::file(path, "has another header than code,kind,name", REMEDY));
        }
        let mut table = Codes { path: file, codes: Vec::new(), index: HashMap::new() };
        for record in reader.records() {
            let record = record.map_err(|error| Error::file(path, format!("is not CSV ({error})"), REMEDY))?;
            let line = record.position().map_or(0, csv::Position::line);
            let refuse = |problem: String, remedy: &str| Err(Error::file(path, format!("line {line} {problem}"), remedy));
            let [code, kind, name] = [0, 1, 2].map(|at| record.get(at).unwrap_or_default());
            if record.iter().any(|cell| cell.contains(char::is_control)) {
                return refuse("has a line break or another control character".to_owned(), "remove it");
            }
            let kind = match kind {
                "disease" => CodeKind::Disease,
                "benign" => CodeKind::Benign,
                "region" => CodeKind::Region,
                other => return refuse(format!("has the kind `{other}`"), "write disease, benign or region"),
            };
            if code.is_empty() || code.contains('/') {
                return refuse(format!("has the code `{code}`"), "write a code without /, which parts the codes of a label");
            }
            if table.index.insert(code.to_owned(), table.codes.len()).is_some() {
                return refuse(format!("has the code `{code}` again"), "give each code one line");
            }
            table.codes.push(Code { code: code.to_owned(), kind, name: name.to_owned() });
        }
        if table.codes.is_empty() {
            return Err(Error::file(path, "holds no code", REMEDY));
        }
        Ok(table)
    }

    /// The codes, in the table's order.
    pub fn codes(&self) -> &[Code] {
        &self.codes
    }

    /// The index of a code in the table.
    pub fn position(&self, code: &str) -> Option<usize> {
        self.index.get(code).copied()
    }

    /// What a label says: `disease/region`, or one of the two. A disease may be a benign finding.
    pub fn finding(&self, label: &str) -> Result<Finding<'_>, Unknown> {
        let code = |text: &str| self.position(text).map(|at| &self.codes[at]).ok_or_else(|| self.unknown(text));
        let (first, second) = match label.split_once('/') {
            Some((first, second)) => (first.trim(), Some(second.trim())),
            None => (label.trim(), None),
        };
        let first = code(first)?;
        let second = second.map(code).transpose()?;
        match (first.kind, second) {
            (CodeKind::Region, None) => Ok(Finding { disease: None, region: Some(first) }),
            (CodeKind::Disease | CodeKind::Benign, None) => Ok(Finding { disease: Some(first), region: None }),
            (CodeKind::Disease | CodeKind::Benign, Some(region)) if region.kind == CodeKind::Region => {
                Ok(Finding { disease: Some(first), region: Some(region) })
            }
            _ => Err(Unknown {
                problem: "is labelled with codes that do not go together".to_owned(),
                remedy: "write disease/region, or one of the two".to_owned(),
            }),
        }
    }

    fn unknown(&self, text: &str) -> Unknown {
        let problem = match text {
            "" => "lacks a code".to_owned(),
            text => format!("has the code `{}`, which the table does not know", super::short(text)),
        };
        // Written in another case, or the table's first ones of each kind.
        let alike = self.codes.iter().find(|code| code.code.eq_ignore_ascii_case(text));
        let remedy = match (alike, &self.path) {
            (Some(code), _) => format!("write {}", code.code),
            (None, Some(path)) => format!("correct it, or add it to {}", path.shown()),
            (None, None) => format!(
                "correct it (osteon annotation codes lists what is known), or write your own {FILE} into the manifest's folder"
            ),
        };
        Unknown { problem, remedy }
    }

    /// The table as a file.
    pub fn to_csv(&self) -> String {
        let mut table = csv::Writer::from_writer(Vec::new());
        self.codes.iter().for_each(|code| table.serialize(code).expect("text, written to memory"));
        String::from_utf8(table.into_inner().expect("written to memory")).expect("written as text")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_is_a_table_and_comes_back_as_written() {
        let codes = Codes::default();
        let again = Codes::from_bytes(FILE, codes.to_csv().as_bytes()).unwrap();
        assert_eq!(codes.codes(), again.codes());
        assert_eq!(codes.to_csv(), BUILT_IN);
    }

    #[test]
    fn labels_are_a_disease_and_a_region_or_one_of_them() {
        let codes = Codes::default();
        let said = |label: &str| {
            let finding = codes.finding(label).unwrap();
            [finding.disease, finding.region].map(|code| code.map_or("-", |code| code.code.as_str()))
        };
        assert_eq!(said("ADMet/ribs"), ["ADMet", "ribs"]);
        assert_eq!(said(" arthritis / distal "), ["arthritis", "distal"]);
        assert_eq!(said("nADMet"), ["nADMet", "-"]);
        assert_eq!(said("ribs"), ["-", "ribs"]);
        for (label, problem, remedy) in [
            ("ADMet/rib", "has the code `rib`, which the table does not know", "osteon annotation codes"),
            ("admet/ribs", "has the code `admet`", "write ADMet"),
            ("", "lacks a code", "correct it"),
            ("ADMet/", "lacks a code", "correct it"),
            ("ADMet/ribs/left", "has the code `ribs/left`", "correct it"),
            ("ribs/ADMet", "do not go together", "write disease/region"),
            ("ADMet/nADMet", "do not go together", "write disease/region"),
        ] {
            let unknown = codes.finding(label).unwrap_err();
            assert!(unknown.problem.contains(problem) && unknown.remedy.contains(remedy), "{label}: {unknown:?}");
        }
    }

    #[test]
    fn bad_tables_are_refused_in_a_sentence() {
        for (text, problem) in [
            ("", "another header"),
            ("code,kind\nA,disease\n", "another header"),
            ("code,kind,name\n", "holds no code"),
            ("code,kind,name\nA,illness,a\n", "line 2 has the kind `illness`"),
            ("code,kind,name\n,disease,a\n", "line 2 has the code ``"),
            ("code,kind,name\nA/B,disease,a\n", "line 2 has the code `A/B`"),
            ("code,kind,name\nA,disease,a\nA,region,b\n", "line 3 has the code `A` again"),
            ("code,kind,name\nA,disease,\"a\nb\"\n", "control character"),
            ("code,kind,name\nA,disease\n", "is not CSV"),
        ] {
            let said = Codes::from_bytes("codes.csv", text.as_bytes()).unwrap_err().to_string();
            assert!(said.contains(problem) && said.contains("; ") && !said.contains('\n'), "{said}");
        }
        assert!(Codes::from_bytes("codes.csv", &[0xff]).unwrap_err().to_string().contains("UTF-8"));
    }
}
