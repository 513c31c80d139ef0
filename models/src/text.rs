//! From text to word pieces and words.
//!
//! A *word* is a maximal run of non-whitespace characters (Unicode `White_Space`). Its tag is
//! predicted at its first word piece. All offsets are in characters. Any string is accepted: of
//! what the tokenizer drops (control characters) nothing remains, of what it does not know an
//! unknown-word piece.

use std::ops::Range;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer,
    TokenizerImpl,
};

/// A run of non-whitespace characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Where it is, in characters.
    pub chars: Range<usize>,
    /// The index of its first piece in [`Encoded::pieces`]; `None` if nothing of it remained.
    pub piece: Option<usize>,
}

/// A text as the encoder reads it, without special pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Word piece ids.
    pub pieces: Vec<i64>,
    /// The words, in order.
    pub words: Vec<Word>,
}

/// The tokenizer of a package.
pub struct TextEncoder {
    tokenizer: Tokenizer,
    prefix: Vec<i64>,
    suffix: Vec<i64>,
}

impl TextEncoder {
    /// Loads a `tokenizer.json`.
    ///
    /// # Errors
    /// What the tokenizer said.
    pub fn load(json: &[u8]) -> Result<TextEncoder, String> {
        let mut tokenizer = read(json)?;
        // Exported tokenizers often truncate and pad; windows are made here instead.
        tokenizer.with_truncation(None).map_err(|error| error.to_string())?;
        tokenizer.with_padding(None);
        let (prefix, suffix) = special_pieces(&tokenizer)?;
        Ok(TextEncoder { tokenizer, prefix, suffix })
    }

    /// Cuts a text into pieces and words.
    ///
    /// # Errors
    /// What the tokenizer said.
    pub fn encode(&self, text: &str) -> Result<Encoded, String> {
        let encoding =
            self.tokenizer.encode_char_offsets(text, false).map_err(|error| error.to_string())?;
        let mut words = words(text);
        assign_pieces(&mut words, &solid(encoding.get_offsets(), text));
        Ok(Encoded { pieces: encoding.get_ids().iter().map(|&id| i64::from(id)).collect(), words })
    }

    /// Pieces around every window.
    pub fn special_count(&self) -> usize {
        self.prefix.len() + self.suffix.len()
    }

    /// How many special pieces precede a window's own.
    pub fn prefix_count(&self) -> usize {
        self.prefix.len()
    }

    /// The encoder's input for some consecutive pieces.
    pub fn wrap(&self, pieces: &[i64]) -> Vec<i64> {
        [&self.prefix[..], pieces, &self.suffix[..]].concat()
    }

    /// One more than the largest id that it produces.
    pub fn vocabulary_size(&self) -> usize {
        let count = self.tokenizer.get_vocab_size(true);
        let is_dense = (0..).take(count).all(|id| self.tokenizer.id_to_token(id).is_some());
        if is_dense {
            // As many ids as pieces, without a gap.
            return count;
        }
        let largest = self.tokenizer.get_vocab(true).into_values().max();
        largest.map_or(0, |id| id as usize + 1)
    }
}

/// Reads `tokenizer.json`. What kind of model it has is only known when it has been read, and to
/// keep it until then takes longer than to try the commonest first.
fn read(json: &[u8]) -> Result<Tokenizer, String> {
    type WordPieces = TokenizerImpl<
        WordPiece,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    >;
    match serde_json::from_slice::<WordPieces>(json) {
        Ok(tokenizer) => Ok(tokenizer.into()),
        Err(_) => Tokenizer::from_bytes(json).map_err(|error| error.to_string()),
    }
}

/// The pieces that the tokenizer puts before and after a text: `[CLS]` and `[SEP]` for BERT.
fn special_pieces(tokenizer: &Tokenizer) -> Result<(Vec<i64>, Vec<i64>), String> {
    let encoding = tokenizer.encode("a", true).map_err(|error| error.to_string())?;
    let mask = encoding.get_special_tokens_mask();
    let ids: Vec<i64> = encoding.get_ids().iter().map(|&id| i64::from(id)).collect();
    let first = mask.iter().position(|&special| special == 0);
    let last = mask.iter().rposition(|&special| special == 0);
    match (first, last) {
        (Some(first), Some(last)) => Ok((ids[..first].to_vec(), ids[last + 1..].to_vec())),
        _ => Err("it makes no word piece of the letter a".to_owned()),
    }
}

/// The words of a text, not yet assigned to pieces.
fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut start = None;
    let mut chars = 0;
    for (at, character) in text.chars().enumerate() {
        chars = at + 1;
        match (start, character.is_whitespace()) {
            (None, false) => start = Some(at),
            (Some(from), true) => {
                words.push(Word { chars: from..at, piece: None });
                start = None;
            }
            (None, true) | (Some(_), false) => {}
        }
    }
    if let Some(from) = start {
        words.push(Word { chars: from..chars, piece: None });
    }
    words
}

/// Offsets without the white space that many tokenizers count as the beginning of a piece.
fn solid(offsets: &[(usize, usize)], text: &str) -> Vec<(usize, usize)> {
    let blank: Vec<bool> = text.chars().map(char::is_whitespace).collect();
    let shed = |&(start, end): &(usize, usize)| {
        let first = (start..end.min(blank.len())).find(|at| !blank[*at]);
        (first.unwrap_or(end), end)
    };
    offsets.iter().map(shed).collect()
}

/// Gives every word the first piece that starts inside it. Both lists are in text order; pieces
/// of white space alone are empty.
fn assign_pieces(words: &mut [Word], offsets: &[(usize, usize)]) {
    let is_before =
        |(start, end): (usize, usize), word: &Word| start < word.chars.start || start >= end;
    let mut piece = 0;
    for word in words {
        while piece < offsets.len() && is_before(offsets[piece], word) {
            piece += 1;
        }
        if piece < offsets.len() && offsets[piece].0 < word.chars.end {
            word.piece = Some(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(text: &str) -> Vec<Range<usize>> {
        words(text).into_iter().map(|word| word.chars).collect()
    }

    #[test]
    fn words_are_runs_of_non_whitespace_in_characters() {
        assert!(spans("").is_empty());
        assert!(spans(" \t\n").is_empty());
        assert_eq!(spans("oil leak"), [0..3, 4..8]);
        assert_eq!(spans("  ölig\u{a0}🔧! "), [2..6, 7..9]);
    }

    #[test]
    fn a_word_takes_the_first_piece_that_starts_in_it() {
        let mut found = words("aa \u{1} bb");
        // "aa" in two pieces, nothing of the control character, "bb" in one.
        assign_pieces(&mut found, &[(0, 1), (1, 2), (5, 7)]);
        let pieces: Vec<Option<usize>> = found.iter().map(|word| word.piece).collect();
        assert_eq!(pieces, [Some(0), None, Some(2)]);
    }

    #[test]
    fn a_piece_may_begin_with_the_space_before_its_word() {
        let text = "aa bb  5";
        let mut found = words(text);
        // Pieces of SentencePiece: "▁aa", "▁b", "b", "▁", "▁", "5".
        let offsets = solid(&[(0, 2), (2, 4), (4, 5), (5, 6), (6, 7), (7, 8)], text);
        assign_pieces(&mut found, &offsets);
        let pieces: Vec<Option<usize>> = found.iter().map(|word| word.piece).collect();
        assert_eq!(pieces, [Some(0), Some(1), Some(5)]);
    }
}
