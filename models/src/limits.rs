//! Every bound of a package and its use, with the reason for its number.

/// Largest manifest in bytes: a package with hundreds of tasks stays far below it.
pub const MANIFEST_BYTES_MAX: u64 = 1024 * 1024;

/// Largest signature or key file in bytes: minisign's own are about 300.
pub const SIGNATURE_BYTES_MAX: u64 = 4096;

/// Largest single file of a package in bytes. An encoder of a billion int8 weights is 1 GB;
/// this is the next power of two.
pub const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Largest package in bytes, all files together: one encoder at its limit and its heads.
pub const PACKAGE_BYTES_MAX: u64 = FILE_BYTES_MAX + 256 * 1024 * 1024;

/// Most files in a package: five for each of two hundred tasks.
pub const FILES_MAX: usize = 1024;

/// Longest name of a package, task or label in bytes; the wire carries no longer ones.
pub const NAME_BYTES_MAX: usize = 63;

/// Longest name of a file in a package in bytes: file systems stop at 255.
pub const FILE_NAME_BYTES_MAX: usize = 255;

/// Most labels of one task: every label costs a row in each head and in each report.
pub const LABELS_MAX: usize = 1024;

/// Most calibration scores of one task: beyond it the bound they give no longer tightens.
pub const SCORES_MAX: usize = 100_000;

/// Most word pieces in one encoder pass: position tables of the supported encoders end there
/// or earlier, and attention grows with the square of it.
pub const TOKENS_MAX: usize = 8192;

/// Fewest word pieces of a pass: room for the two special tokens and some text.
pub const TOKENS_MIN: usize = 8;

/// Most words of one span of a task whose spans nest: beyond it they are sentences, and the pairs
/// to look at grow with it.
pub const SPAN_WORDS_MAX: usize = 64;

/// Most logits of one pass of such a task, every pair of word pieces having one for each label:
/// 64 MB, which is 255 labels at 256 word pieces.
pub const SPAN_LOGITS_MAX: usize = 16 * 1024 * 1024;

/// Most bins and points of the reliability figures of one task: they are for people.
pub const RELIABILITY_ROWS_MAX: usize = 1000;

/// Largest text in bytes that the engine accepts: it bounds the work of one call, at some
/// 10,000 encoder passes for prose.
pub const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Largest line of an evaluation file in bytes: a text at its limit, escaped.
pub const LINE_BYTES_MAX: usize = 2 * TEXT_BYTES_MAX;

/// Largest JSON file of a model that is imported, in bytes: `tokenizer.json` of the largest
/// vocabularies has 35 MB, the format of safetensors stops at 100 MB.
pub const IMPORT_JSON_BYTES_MAX: u64 = 100_000_000;

/// Most files that an imported model's weights are spread over.
pub const IMPORT_SHARDS_MAX: usize = 256;

/// Widest hidden state of an imported encoder: four times that of the largest of a billion
/// parameters.
pub const WIDTH_MAX: usize = 8192;

/// Widest inner layer of an imported encoder; the integer product's sums fit up to 65,536.
pub const INNER_MAX: usize = 32_768;

/// Most layers of an imported encoder: twice those of the deepest of a billion parameters.
pub const LAYERS_MAX: usize = 96;

/// Most word pieces of an imported encoder: four times the largest multilingual vocabulary.
pub const VOCABULARY_MAX: usize = 1 << 20;
