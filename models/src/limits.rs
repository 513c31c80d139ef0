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

/// Largest text in bytes that the engine accepts: it bounds the work of one call, at some
/// 3,000 encoder passes for extraction.
pub const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Largest line of an evaluation file in bytes: a text at its limit, escaped.
pub const LINE_BYTES_MAX: usize = 2 * TEXT_BYTES_MAX;
