//! A whole small package: random encoder, random heads, a real tokenizer, a fresh key.

use super::encoder::{Encoder, Random, Sizes};
use super::onnx::{Attribute, Dim, Graph, Values};
use landfall_models::package::{self, sign};
use landfall_models::{Engine, Package, Trust};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Word pieces in one pass, two of them special.
pub(crate) const TOKENS_MAX: usize = 16;
pub(crate) const WIDTH: usize = 48;
pub(crate) const LABELS: [&str; 3] = ["Leaking", "Noise", "Overheating"];
pub(crate) const FIELDS: [&str; 2] = ["Item", "Activity"];
pub(crate) const PARTS: [&str; 3] = ["Whole", "Part", "Place"];
/// Most words of a span of `parts`.
pub(crate) const SPAN_WORDS_MAX: usize = 3;
/// Its tasks: a label, tags, nested spans, and tags again with the head of `fields`.
pub(crate) const TASKS: [&str; 4] = ["failure", "fields", "parts", "tags"];

/// A package in its own directory.
pub(crate) struct Fixture {
    home: TempDir,
    pub(crate) manifest: Value,
    files: Vec<(String, Vec<u8>)>,
}

impl Fixture {
    /// A good package, signed.
    pub(crate) fn new() -> Fixture {
        let mut fixture =
            Fixture { home: TempDir::new().unwrap(), manifest: manifest(), files: files() };
        sign::keygen(&fixture.secret_key(), &fixture.public_key()).unwrap();
        fs::create_dir_all(fixture.dir().join("blobs")).unwrap();
        fixture.write();
        fixture
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.home.path().join("package")
    }

    pub(crate) fn secret_key(&self) -> PathBuf {
        self.home.path().join("maker.key")
    }

    pub(crate) fn public_key(&self) -> PathBuf {
        self.home.path().join("maker.pub")
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::load(&[self.public_key()]).unwrap()
    }

    pub(crate) fn open(&self) -> Result<Package, landfall_models::PackageError> {
        Package::open(&self.dir(), &self.trust())
    }

    pub(crate) fn engine(&self) -> Engine {
        Engine::load(&self.open().unwrap()).unwrap()
    }

    /// The path of one file of the package.
    pub(crate) fn blob(&self, name: &str) -> PathBuf {
        let digest = self.manifest["files"][name]["sha256"].as_str().unwrap();
        self.dir().join("blobs").join(digest)
    }

    /// Replaces a file, in the manifest too, and signs again.
    pub(crate) fn replace(&mut self, name: &str, content: &[u8]) {
        let file = self.files.iter_mut().find(|(file, _)| file == name).unwrap();
        file.1 = content.to_vec();
        self.write();
    }

    /// Writes files, manifest and signature.
    pub(crate) fn write(&mut self) {
        let mut entries = json!({});
        for (name, content) in &self.files {
            let digest = package::hex(&Sha256::digest(content));
            fs::write(self.dir().join("blobs").join(&digest), content).unwrap();
            entries[name] = json!({"sha256": digest, "bytes": content.len()});
        }
        self.manifest["files"] = entries;
        self.write_manifest();
        sign::sign(&self.dir(), &self.secret_key()).unwrap();
    }

    /// Writes the manifest alone.
    pub(crate) fn write_manifest(&self) {
        let mut text = serde_json::to_string_pretty(&self.manifest).unwrap();
        text.push('\n');
        fs::write(self.dir().join("manifest.json"), text).unwrap();
    }

    /// Writes the manifest as it is and signs it, whatever it says.
    pub(crate) fn write_signed_manifest(&self) {
        self.write_manifest();
        let bytes = fs::read(self.dir().join("manifest.json")).unwrap();
        let secret =
            minisign::SecretKeyBox::from_string(&fs::read_to_string(self.secret_key()).unwrap())
                .unwrap()
                .into_unencrypted_secret_key()
                .unwrap();
        let signed =
            minisign::sign(None, &secret, std::io::Cursor::new(bytes), None, None).unwrap();
        fs::write(self.dir().join("manifest.json.minisig"), signed.into_string()).unwrap();
    }
}

fn manifest() -> Value {
    let task = |name: &str, labels: &[&str]| {
        json!({
            "head": format!("{name}.onnx"),
            "labels": labels,
            "calibration": format!("{name}.calibration.json"),
            "golden": format!("{name}.golden.jsonl"),
            "evaluation": format!("{name}.evaluation.jsonl"),
            "metrics": {"n": 3, "split": "made up"}
        })
    };
    let mut manifest = json!({
        "format": 1, "name": "fixture", "version": "0.0.1", "licence": "MIT OR Apache-2.0",
        "description": "Random weights.",
        "sources": [{"name": "none", "licence": "none", "use": "nothing"}],
        "encoder": {
            "file": "encoder.onnx", "hidden": WIDTH, "tokens_max": TOKENS_MAX,
            "tokenizer": "tokenizer.json"
        },
        "tasks": {
            "failure": task("failure", &LABELS), "fields": task("fields", &FIELDS),
            "parts": task("parts", &PARTS), "tags": task("fields", &FIELDS)
        },
        "files": {}
    });
    manifest["tasks"]["failure"]["kind"] = "classification".into();
    manifest["tasks"]["fields"]["kind"] = "extraction".into();
    manifest["tasks"]["fields"]["scheme"] = "bio".into();
    manifest["tasks"]["parts"]["kind"] = "extraction".into();
    manifest["tasks"]["parts"]["scheme"] = "spans".into();
    manifest["tasks"]["parts"]["span_words_max"] = SPAN_WORDS_MAX.into();
    manifest["tasks"]["tags"]["kind"] = "extraction".into();
    manifest["tasks"]["tags"]["scheme"] = "bio".into();
    manifest["tasks"]["tags"]["calibration"] = "tags.calibration.json".into();
    manifest
}

fn files() -> Vec<(String, Vec<u8>)> {
    let mut random = Random(42);
    let vocabulary = vocabulary();
    let sizes = Sizes {
        vocabulary: vocabulary.len(),
        positions: TOKENS_MAX,
        width: WIDTH,
        heads: 3,
        inner: 64,
        layers: 2,
    };
    let encoder = Encoder::random(sizes, &mut random);
    let classifier = Classifier::random(&mut random);
    let tagger = Tagger::random(&mut random);
    let pairer = Pairer::random(&mut random);
    // "pump leaking": pump, leak, ##ing between the special pieces.
    let id = |piece: &str| vocabulary.iter().position(|known| known == piece).unwrap() as i64;
    let hidden = encoder.run(&["[CLS]", "pump", "leak", "##ing", "[SEP]"].map(id));
    let (logits, familiarity) = classifier.run(&hidden);
    let golden = json!({"text": "Pump leaking", "logits": logits, "familiarity": familiarity});
    let rows = tagger.run(&hidden);
    let tags = 1 + 2 * FIELDS.len();
    let words = [&rows[tags..2 * tags], &rows[2 * tags..3 * tags]].concat();
    let golden_fields = json!({"text": "Pump leaking", "logits": words});
    let pairs = pairer.run(&hidden);
    let pair = |first: usize, last: usize| {
        let at = (first * 5 + last) * (1 + PARTS.len());
        pairs[at..at + 1 + PARTS.len()].to_vec()
    };
    // First pieces only, and the first word before the second.
    let words = [pair(1, 1), pair(1, 2), pair(2, 2)].concat();
    let golden_parts = json!({"text": "Pump leaking", "logits": words});
    let calibration = json!({
        "temperature": 1.5, "familiarity_min": 0.2, "scores": [[0.9, 1, 0], [0.4, 0, 2]],
        "reliability": {"n": 2, "ece": 0.25, "brier": 0.1, "bins": [[0.4, 0.0, 1], [0.9, 1.0, 1]]},
        "curve": [[0.5, 0.0], [1.0, 0.5]]
    });
    let calibration_fields = json!({"temperature": 1.0, "scores": [[0.7, 1, 0]]});
    let calibration_tags = json!({"temperature": 2.0, "scores": []});
    let evaluation = json!({"text": "pump leaking", "label": "Leaking"});
    let evaluation_fields = json!({"text": "pump leaking", "spans": []});
    [
        ("encoder.onnx", encoder.onnx()),
        ("tokenizer.json", tokenizer(&vocabulary).to_string().into_bytes()),
        ("failure.onnx", classifier.onnx()),
        ("failure.calibration.json", calibration.to_string().into_bytes()),
        ("failure.golden.jsonl", golden.to_string().into_bytes()),
        ("failure.evaluation.jsonl", evaluation.to_string().into_bytes()),
        ("fields.onnx", tagger.onnx()),
        ("fields.calibration.json", calibration_fields.to_string().into_bytes()),
        ("fields.golden.jsonl", golden_fields.to_string().into_bytes()),
        ("fields.evaluation.jsonl", evaluation_fields.to_string().into_bytes()),
        ("parts.onnx", pairer.onnx()),
        ("parts.calibration.json", calibration_fields.to_string().into_bytes()),
        ("parts.golden.jsonl", golden_parts.to_string().into_bytes()),
        ("parts.evaluation.jsonl", evaluation_fields.to_string().into_bytes()),
        ("tags.calibration.json", calibration_tags.to_string().into_bytes()),
    ]
    .map(|(name, content)| (name.to_owned(), content))
    .to_vec()
}

/// Mean over the pieces, a linear layer, and the cosine to the nearest centre.
struct Classifier {
    weight: Vec<f32>,
    centres: Vec<f32>,
}

impl Classifier {
    fn random(random: &mut Random) -> Classifier {
        let mut centres = random.units(WIDTH * LABELS.len(), 1.0);
        for label in 0..LABELS.len() {
            let column = |centres: &[f32]| -> f32 {
                (0..WIDTH).map(|i| centres[i * LABELS.len() + label].powi(2)).sum()
            };
            let length = column(&centres).sqrt();
            (0..WIDTH).for_each(|i| centres[i * LABELS.len() + label] /= length);
        }
        Classifier { weight: random.units(WIDTH * LABELS.len(), 1.0), centres }
    }

    fn run(&self, hidden: &[f32]) -> (Vec<f32>, f32) {
        let pieces = (hidden.len() / WIDTH) as f32;
        let mean: Vec<f32> = (0..WIDTH)
            .map(|i| hidden.iter().skip(i).step_by(WIDTH).sum::<f32>() / pieces)
            .collect();
        let length = mean.iter().map(|x| x * x).sum::<f32>().sqrt();
        let cosines = product(&mean, &self.centres, LABELS.len());
        let nearest = cosines.into_iter().fold(f32::MIN, f32::max) / length;
        (product(&mean, &self.weight, LABELS.len()), nearest)
    }

    fn onnx(&self) -> Vec<u8> {
        let labels = LABELS.len() as i64;
        let shape = [WIDTH, LABELS.len()];
        let mut graph = head();
        let weight = graph.constant("weight", &shape, &Values::F32(&self.weight));
        let centres = graph.constant("centres", &shape, &Values::F32(&self.centres));
        let over = |axis| [("axes", Attribute::Ints(axis)), ("keepdims", Attribute::Int(0))];
        let mean = graph.node("ReduceMean", "mean", &["hidden"], &over(&[1]));
        let logits = graph.node("MatMul", "logits", &[&mean, &weight], &[]);
        let keep = [("axes", Attribute::Ints(&[1])), ("keepdims", Attribute::Int(1))];
        let length = graph.node("ReduceL2", "length", &[&mean], &keep);
        let unit = graph.node("Div", "unit", &[&mean, &length], &[]);
        let cosines = graph.node("MatMul", "cosines", &[&unit, &centres], &[]);
        let nearest = graph.node("ReduceMax", "familiarity", &[&cosines], &over(&[1]));
        graph.output(&logits, &[Dim::Fixed(1), Dim::Fixed(labels)]);
        graph.output(&nearest, &[Dim::Fixed(1)]);
        graph.to_bytes()
    }
}

/// A linear layer on every piece.
struct Tagger {
    weight: Vec<f32>,
}

impl Tagger {
    fn random(random: &mut Random) -> Tagger {
        Tagger { weight: random.units(WIDTH * (1 + 2 * FIELDS.len()), 1.0) }
    }

    fn run(&self, hidden: &[f32]) -> Vec<f32> {
        let tags = 1 + 2 * FIELDS.len();
        hidden.chunks_exact(WIDTH).flat_map(|row| product(row, &self.weight, tags)).collect()
    }

    fn onnx(&self) -> Vec<u8> {
        let tags = 1 + 2 * FIELDS.len();
        let mut graph = head();
        let weight = graph.constant("weight", &[WIDTH, tags], &Values::F32(&self.weight));
        let logits = graph.node("MatMul", "logits", &["hidden", &weight], &[]);
        graph.output(&logits, &[Dim::Fixed(1), Dim::Pieces, Dim::Fixed(tags as i64)]);
        graph.to_bytes()
    }
}

/// A class for each pair of pieces: what its first and its last say, and what they say together.
struct Pairer {
    /// To the parts of the product.
    sides: [Vec<f32>; 2],
    product: Vec<f32>,
    /// To the classes.
    alone: [Vec<f32>; 2],
}

impl Pairer {
    const CLASSES: usize = 1 + PARTS.len();
    /// Width of the product.
    const INNER: usize = 5;

    fn random(random: &mut Random) -> Pairer {
        let mut two = |outputs| [0, 1].map(|_| random.units(WIDTH * outputs, 0.5));
        let (sides, alone) = (two(Pairer::INNER), two(Pairer::CLASSES));
        let inner = Pairer::INNER;
        Pairer { sides, alone, product: random.units(Pairer::CLASSES * inner * inner, 0.3) }
    }

    fn run(&self, hidden: &[f32]) -> Vec<f32> {
        let of = |weight: &[f32], outputs: usize| -> Vec<Vec<f32>> {
            hidden.chunks_exact(WIDTH).map(|row| product(row, weight, outputs)).collect()
        };
        let [first, last] = self.sides.each_ref().map(|weight| of(weight, Pairer::INNER));
        let [first_alone, last_alone] = self.alone.each_ref().map(|w| of(w, Pairer::CLASSES));
        let pieces = first.len();
        let mut out = Vec::new();
        for (i, j) in (0..pieces).flat_map(|i| (0..pieces).map(move |j| (i, j))) {
            for (class, matrix) in
                self.product.chunks_exact(Pairer::INNER * Pairer::INNER).enumerate()
            {
                let turned = product(&first[i], matrix, Pairer::INNER);
                let together: f32 = turned.iter().zip(&last[j]).map(|(a, b)| a * b).sum();
                out.push(together + first_alone[i][class] + last_alone[j][class]);
            }
        }
        out
    }

    fn onnx(&self) -> Vec<u8> {
        let (inner, classes) = (Pairer::INNER, Pairer::CLASSES);
        let mut graph = head();
        let mut linear = |name: &str, weight: &[f32], outputs: usize| {
            let weight =
                graph.constant(&format!("{name}.w"), &[WIDTH, outputs], &Values::F32(weight));
            graph.node("MatMul", name, &["hidden", &weight], &[])
        };
        let first = linear("first", &self.sides[0], inner);
        let last = linear("last", &self.sides[1], inner);
        let alone =
            [linear("from", &self.alone[0], classes), linear("to", &self.alone[1], classes)];
        let product = [classes, inner, inner];
        let product = graph.constant("product", &product, &Values::F32(&self.product));
        let turned = graph.node("MatMul", "turned", &[&first, &product], &[]);
        let order = |perm| [("perm", Attribute::Ints(perm))];
        let last = graph.node("Transpose", "across", &[&last], &order(&[0, 2, 1]));
        let pairs = graph.node("MatMul", "pairs", &[&turned, &last], &[]);
        let pairs = graph.node("Transpose", "classes", &[&pairs], &order(&[1, 2, 0]));
        let mut sum = pairs;
        for (at, (rows, axis)) in alone.iter().zip([2, 1]).enumerate() {
            let axes = graph.constant(&format!("axes{at}"), &[1], &Values::I64(&[axis]));
            let wide = graph.node("Unsqueeze", &format!("wide{at}"), &[rows, &axes], &[]);
            sum = graph.node("Add", &format!("sum{at}"), &[&wide, &sum], &[]);
        }
        let classes = Dim::Fixed(classes as i64);
        graph.output(&sum, &[Dim::Fixed(1), Dim::Pieces, Dim::Pieces, classes]);
        graph.to_bytes()
    }
}

fn head() -> Graph {
    let mut graph = Graph::default();
    graph.input("hidden", &[Dim::Fixed(1), Dim::Pieces, Dim::Fixed(WIDTH as i64)]);
    graph
}

fn product(row: &[f32], matrix: &[f32], columns: usize) -> Vec<f32> {
    let column = |at: usize| row.iter().enumerate().map(move |(i, x)| x * matrix[i * columns + at]);
    (0..columns).map(|at| column(at).sum()).collect()
}

fn vocabulary() -> Vec<String> {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].map(str::to_owned);
    let words = ["pump", "leak", "oil", "valve", "hot", "##ing", "##s", ".", ",", "(", ")", "!"];
    let letters = ('a'..='z').flat_map(|letter| [letter.to_string(), format!("##{letter}")]);
    special.into_iter().chain(words.map(str::to_owned)).chain(letters).collect()
}

/// A BERT tokenizer that, like many exported ones, truncates and pads unless told otherwise.
fn tokenizer(vocabulary: &[String]) -> Value {
    let special = |id: usize| {
        json!({
            "id": id, "content": vocabulary[id], "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true
        })
    };
    let ids: serde_json::Map<String, Value> =
        vocabulary.iter().enumerate().map(|(id, piece)| (piece.clone(), id.into())).collect();
    json!({
        "version": "1.0",
        "truncation":
            {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"
        },
        "added_tokens": [special(0), special(1), special(2), special(3)],
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor":
            {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": ids
        }
    })
}
