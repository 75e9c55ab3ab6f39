//! The map of the program, and the test that holds it: a room uses only rooms that stand before it in [`ROOMS`], and the modules
//! of one room do not depend on each other in a circle.
//!
//! Read are the `use` lines and the paths in the code of every module that `lib.rs` of the three crates declares, but not what is
//! compiled for tests only. Re-exports are followed to the module that has the item. Left out: what `lib.rs` itself says (it
//! names the rooms), and dependencies between a module and the modules that it is divided into.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The rooms from the ground up: name, and what is done there.
#[rustfmt::skip]
const ROOMS: &[(&str, &str)] = &[
    // The crate osteon-kernels: arithmetic on slices.
    ("kernels::simd", "one trait of f32 lanes, a token an instruction set, one dispatcher"),
    ("kernels::par", "work split over threads; the split never depends on their number"),
    ("kernels::peak", "how fast the machine can multiply and add"),
    ("kernels::gemm", "matrix product: packing and the register tile"),
    ("kernels::elementwise", "add, ReLU and their backward passes"),
    ("kernels::reduce", "sums and means along axes"),
    ("kernels::pool", "max and average pooling"),
    ("kernels::conv", "convolution: the choice of algorithm, one file an algorithm"),
    ("kernels::adaptive", "adaptive average pooling"),
    ("kernels::bias", "a bias for each channel"),
    ("kernels::concat", "channels side by side"),
    ("kernels::dropout", "dropout and its mask"),
    ("kernels::linear", "fully connected layers"),
    ("kernels::norm", "batch normalisation"),
    ("kernels::softmax", "softmax and cross-entropy"),
    ("kernels::attention", "the attention of channels and of pixels (CBAM)"),
    ("kernels::adam", "one step of Adam"),
    // The crate osteon-reference.
    ("reference", "the same arithmetic as plain f64 loops, and the golden arrays; uses nothing"),
    // The crate osteon. What every room may use:
    ("text", "names and cells of strangers, as a terminal and a spreadsheet may have them"),
    ("error", "what is wrong and what to do about it, in one sentence"),
    ("interrupt", "the wish to stop, and who heeds it"),
    ("files", "files that appear whole or not at all, hashes, reading within a bound"),
    ("random", "random streams by name: no draw depends on those before it"),
    ("memory", "how much memory a process may have, and what it says where that ends"),
    ("huge_pages", "huge pages of memory for buffers"),
    // Tensors and learning:
    ("tensor", "shape, dense f32 buffer, arena of buffers, tensors in files"),
    ("autograd", "the tape: records operations and walks back"),
    ("nn", "layers and the names of their parameters"),
    ("optim", "Adam, AdamW, schedules"),
    // From a file to the input of a network, and to its answer (a model says how its inputs are prepared):
    ("image", "a picture of counts, its size, and the side of the patient that it shows"),
    ("dicom", "DICOM: reads hostile files, writes NM"),
    ("intake", "a file, a folder or pictures become a study"),
    ("prepare", "a study becomes the network's input: view aggregation, augmentation, loader"),
    ("models", "the networks: one file a family; model files, inference, learning"),
    // Many studies, and pages for people. An archive has prepared copies and is loaded, so it stands behind `prepare`:
    ("draw", "pictures for people: a raster with text and lines; view aggregation drawn"),
    ("archive", "many studies: manifest, people, split, datasets, importers of public archives"),
    ("metrics", "counts to scores; knows no network"),
    ("report", "scores, curves, pictures and pages"),
    ("annotation", "outlines, codes, LabelMe; lesions measured"),
    ("phantom", "the simulator and its truth"),
    // What the program does:
    ("predict", "a model and a study to an answer with its evidence"),
    ("train", "settings, recipes, the loop, checkpoints, the run's record"),
    ("audit", "trace, verify, gradient check, comparing runs"),
    ("reproduce", "the paper's study"),
    ("cli", "the only room that reads arguments or prints"),
];

/// The crates by the names that code has for them: `lib.rs` of each.
const CRATES: [(&str, &str); 3] =
    [("osteon_kernels", "kernels/src/lib.rs"), ("osteon_reference", "reference/src/lib.rs"), ("osteon", "src/lib.rs")];

/// One module of the program.
#[derive(Default)]
struct Module {
    /// The paths that its code names, as written.
    named: BTreeSet<Vec<String>>,
    /// What its `use` lines bring into it, by the name that it has there.
    imported: BTreeMap<String, Vec<String>>,
}

/// Every module by its full path, as in `osteon::tensor::arena`.
#[derive(Default)]
struct Modules {
    by_path: BTreeMap<String, Module>,
}

impl Modules {
    fn read() -> Modules {
        let mut modules = Modules::default();
        for (name, root) in CRATES {
            modules.file(name, &Path::new(env!("CARGO_MANIFEST_DIR")).join(root));
        }
        modules
    }

    fn file(&mut self, module: &str, path: &Path) {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let folder = path.parent().unwrap();
        let children = if ["lib", "mod"].contains(&stem) { folder.to_owned() } else { folder.join(stem) };
        self.by_path.entry(module.to_owned()).or_default();
        self.tokens(module, &children, tokens);
    }

    /// Reads code in `module`, whose children's files are in the folder `children`.
    fn tokens(&mut self, module: &str, children: &Path, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            if is_punct(&tokens[at], '#') && tokens.get(at + 1).is_some_and(is_for_tests) {
                at = end_of_item(&tokens, at + 2);
                continue;
            }
            match (&tokens[at], tokens.get(at + 1), tokens.get(at + 2)) {
                (TokenTree::Ident(word), Some(TokenTree::Ident(name)), Some(next)) if word == "mod" => {
                    let (child, name) = (format!("{module}::{name}"), name.to_string());
                    match next {
                        TokenTree::Group(body) => {
                            self.by_path.entry(child.clone()).or_default();
                            self.tokens(&child, &children.join(&name), body.stream());
                        }
                        _ => {
                            let files = [children.join(format!("{name}.rs")), children.join(&name).join("mod.rs")];
                            self.file(&child, files.iter().find(|file| file.exists()).expect("the file of a module"));
                        }
                    }
                    at += 3;
                }
                (TokenTree::Ident(word), Some(_), _) if word == "use" => {
                    at += 1 + self.tree(module, &[], &tokens[at + 1..]);
                }
                (TokenTree::Ident(_), ..) => {
                    let mut path = Vec::new();
                    at += segments(&tokens[at..], &mut path);
                    if path.len() > 1 {
                        self.by_path.get_mut(module).unwrap().named.insert(path);
                    }
                }
                (TokenTree::Group(group), ..) => {
                    self.tokens(module, children, group.stream());
                    at += 1;
                }
                _ => at += 1,
            }
        }
    }

    /// Reads one tree of a `use` line (`a::{b, c as d}`) that stands behind `prefix`; how many tokens it is.
    fn tree(&mut self, module: &str, prefix: &[String], tokens: &[TokenTree]) -> usize {
        let mut path = prefix.to_vec();
        let mut at = segments(tokens, &mut path);
        if let Some(TokenTree::Group(group)) = tokens.get(at).filter(|token| matches!(token, TokenTree::Group(_))) {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            inner.split(|token| is_punct(token, ',')).filter(|tree| !tree.is_empty()).for_each(|tree| {
                self.tree(module, &path, tree);
            });
            return at + 1;
        }
        if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
            path.pop();
        }
        let mut name = path.last().cloned();
        if let [TokenTree::Ident(word), TokenTree::Ident(alias), ..] = &tokens[at.min(tokens.len())..]
            && word == "as"
        {
            name = Some(alias.to_string());
            at += 2;
        }
        let module = self.by_path.get_mut(module).unwrap();
        module.imported.extend(name.filter(|_| path.len() > 1).map(|name| (name, path.clone())));
        module.named.insert(path);
        at
    }

    /// The module that a path written in module `from` leads to; `None` outside this program. At most
    /// `imports_left` imports are followed.
    fn target(&self, from: &str, path: &[String], imports_left: usize) -> Option<String> {
        let (first, behind) = path.split_first()?;
        let (mut at, mut rest) = match first.as_str() {
            "crate" => (from.split("::").next()?.to_owned(), behind),
            "self" => (from.to_owned(), behind),
            "super" => (from.rsplit_once("::")?.0.to_owned(), behind),
            name if CRATES.iter().any(|(known, _)| *known == name) => (name.to_owned(), behind),
            name => {
                let here =
                    self.by_path.contains_key(&format!("{from}::{name}")) || self.by_path[from].imported.contains_key(name);
                (here.then(|| from.to_owned())?, path)
            }
        };
        while let Some((name, behind)) = rest.split_first() {
            let child = format!("{at}::{name}");
            if name == "super" {
                at = at.rsplit_once("::")?.0.to_owned();
            } else if self.by_path.contains_key(&child) {
                at = child;
            } else if let Some(import) = self.by_path[&at].imported.get(name).filter(|_| imports_left > 0) {
                let longer: Vec<String> = import.iter().chain(behind).cloned().collect();
                return self.target(&at, &longer, imports_left - 1);
            } else {
                break;
            }
            rest = behind;
        }
        Some(at)
    }

    /// Every pair of modules of which the first uses the second, without what a `lib.rs` says and what it defines itself.
    fn dependencies(&self) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        for (from, module) in &self.by_path {
            let targets = module.named.iter().filter_map(|path| self.target(from, path, 8));
            found.extend(targets.map(|target| (from.clone(), target)));
        }
        found.retain(|(from, to)| from != to && from.contains("::") && to.contains("::"));
        found
    }
}

fn is_punct(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

/// Whether this is the `[cfg(test)]` or `[cfg(doctest)]` of an attribute.
fn is_for_tests(token: &TokenTree) -> bool {
    let text = token.to_string().replace(' ', "");
    text.starts_with("[cfg(test") || text.starts_with("[cfg(all(test") || text.starts_with("[cfg(doctest")
}

/// Behind the item that starts at `at`, perhaps with more attributes: its body, or its semicolon.
fn end_of_item(tokens: &[TokenTree], at: usize) -> usize {
    let ends = |token: &TokenTree| {
        is_punct(token, ';') || matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
    };
    tokens[at..].iter().position(ends).map_or(tokens.len(), |end| at + end + 1)
}

/// Adds the names of `a::b::c` to `path`; how many tokens they and the colons behind them are.
fn segments(tokens: &[TokenTree], path: &mut Vec<String>) -> usize {
    let mut at = 0;
    while let Some(TokenTree::Ident(name)) = tokens.get(at) {
        path.push(name.to_string());
        at += 1;
        if !(tokens.len() > at + 1 && is_punct(&tokens[at], ':') && is_punct(&tokens[at + 1], ':')) {
            break;
        }
        at += 2;
    }
    at
}

/// The room of a module, as [`ROOMS`] names it: the kernels are rooms of their own, the reference is one.
fn room(module: &str) -> String {
    let parts: Vec<&str> = module.split("::").collect();
    match parts[..] {
        ["osteon_kernels", room, ..] => format!("kernels::{room}"),
        ["osteon_reference", ..] => "reference".to_owned(),
        [_, room, ..] => room.to_owned(),
        _ => unreachable!("dependencies are between modules"),
    }
}

#[test]
fn every_room_is_on_the_map() {
    let modules = Modules::read();
    let built: BTreeSet<String> =
        modules.by_path.keys().filter(|module| module.contains("::")).map(|module| room(module)).collect();
    let drawn: BTreeSet<String> = ROOMS.iter().map(|(room, _)| room.to_string()).collect();
    assert_eq!(drawn.len(), ROOMS.len(), "a room stands twice on the map");
    assert_eq!(built, drawn, "left: rooms that there are; right: rooms on the map");
}

#[test]
fn dependencies_are_found() {
    let found = Modules::read().dependencies();
    for (from, to, how) in [
        ("osteon::archive::manifest::table", "osteon::archive::side", "a `use` line"),
        ("osteon::cli::fuse", "osteon::draw::aggregation", "a re-export of a module that is imported"),
        ("osteon::archive::manifest", "osteon::archive::manifest::checks", "a path in the code"),
        ("osteon::prepare::views", "osteon::prepare::settings", "a group from the parent, which re-exports"),
        ("osteon::tensor::file", "osteon::error", "what `lib.rs` re-exports"),
    ] {
        assert!(found.contains(&(from.to_owned(), to.to_owned())), "{how}: {from} uses {to}");
    }
}

#[test]
fn no_room_uses_a_later_one() {
    let level = |module: &str| ROOMS.iter().position(|(known, _)| *known == room(module));
    let wrong: Vec<String> = Modules::read()
        .dependencies()
        .into_iter()
        .filter(|(from, to)| room(from) != room(to) && level(from) < level(to))
        .map(|(from, to)| format!("{from} uses {to}, a later room of the map"))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_room_has_a_circle_of_modules() {
    // Within each module: which of its children uses which, itself or by what is in it.
    let mut uses: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (from, to) in Modules::read().dependencies() {
        let (from, to): (Vec<&str>, Vec<&str>) = (from.split("::").collect(), to.split("::").collect());
        let shared = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
        if room(&from.join("::")) == room(&to.join("::")) && shared < from.len().min(to.len()) {
            let siblings = uses.entry(from[..shared].join("::")).or_default();
            siblings.entry(from[shared].to_owned()).or_default().insert(to[shared].to_owned());
        }
    }
    let mut circles = Vec::new();
    for (parent, mut children) in uses {
        // Who uses nothing that is left, or is used by nothing that is left, is in no circle.
        loop {
            let left: BTreeSet<String> = children.keys().cloned().collect();
            let used: BTreeSet<String> = children.values().flatten().cloned().collect();
            children.retain(|child, uses| used.contains(child) && !uses.is_disjoint(&left));
            if children.len() == left.len() {
                break;
            }
        }
        if !children.is_empty() {
            circles.push(format!("{parent}: {children:?}"));
        }
    }
    assert!(circles.is_empty(), "\n{}", circles.join("\n"));
}
