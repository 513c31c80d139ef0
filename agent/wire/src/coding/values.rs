//! Numbers and text as bits with contexts.
//!
//! A value's contexts are where it stands in its record ([`Path`]), what stood there before, and
//! what the record has said so far. Text is known or new: a known one is a number, a new one goes
//! byte by byte, each in the context of the bytes before it in any text.

use super::CodingError;
use super::arithmetic::Coder;
use super::model::Model;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::ops::Range;

/// Most different texts remembered for one place: more would slow a batch down, not shrink it.
const TEXTS_MAX: usize = 4096;

/// Bytes of text of which the last ones are looked for again further back.
const MATCH_BYTES: usize = 5;

/// Numbers of up to so many bits take fewer steps.
const SMALL: u32 = 3;

/// Where a value stands: the fields, variants and elements that lead to it, as a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Path(u32);

impl Path {
    pub(super) const RECORD: Path = Path(0x9d2c_5680);

    pub(super) fn then(self, step: u32) -> Path {
        Path(hash(self.0, step.wrapping_add(1)))
    }
}

fn hash(a: u32, b: u32) -> u32 {
    let mixed = (a ^ b.wrapping_mul(0x85eb_ca6b)).wrapping_mul(0x9e37_79b1);
    (mixed ^ mixed >> 15).wrapping_mul(0xc2b2_ae35)
}

/// Where to look a text up; the same whenever it is asked.
fn key(text: &[u8]) -> u64 {
    BuildHasherDefault::<DefaultHasher>::new().hash_one(text)
}

/// What is known of one place.
#[derive(Clone, Default)]
struct Place {
    /// Of numbers.
    last: u64,
    /// Of texts: where in the history each is.
    texts: Vec<Range<usize>>,
    /// For a writer: text -> its number.
    numbers: HashMap<u64, usize>,
}

/// What was learnt so far, on either side.
#[derive(Clone)]
pub(super) struct Memory {
    model: Model,
    places: HashMap<Path, Place>,
    /// Every new text, one after the other.
    history: Vec<u8>,
    /// Where in it each run of [`MATCH_BYTES`] last ended.
    ends: HashMap<u32, usize>,
}

impl Memory {
    pub(super) fn new() -> Memory {
        Memory {
            model: Model::new(),
            places: HashMap::new(),
            history: vec![0],
            ends: HashMap::new(),
        }
    }
}

/// Codes values: writes them, or ignores what it is given and returns what was written.
pub(super) struct Values<'a> {
    memory: Memory,
    coder: Coder<'a>,
    /// The variants that the record has chosen so far.
    variants: u32,
    /// How large the record's last number was, as a number of bits.
    size: u32,
    /// Whether the record's last byte was not the one that stood there before: then the rest of a
    /// digest is another too.
    is_fresh: bool,
    /// What may still be read, in bytes: a reader's memory is bounded.
    budget: usize,
}

impl<'a> Values<'a> {
    pub(super) fn new(memory: Memory, coder: Coder<'a>, budget: usize) -> Values<'a> {
        Values { memory, coder, variants: 0, size: 0, is_fresh: false, budget }
    }

    pub(super) fn finish(self) -> (Memory, Vec<u8>) {
        (self.memory, self.coder.finish())
    }

    /// A record begins.
    pub(super) fn begin(&mut self) {
        self.variants = 0;
        self.size = 0;
        self.is_fresh = false;
    }

    fn spend(&mut self, bytes: usize) -> Result<(), CodingError> {
        if self.coder.is_past_end() {
            return Err(CodingError::Short);
        }
        self.budget = self.budget.checked_sub(bytes).ok_or(CodingError::TooLarge)?;
        Ok(())
    }

    fn place(&mut self, path: Path) -> &mut Place {
        self.memory.places.entry(path).or_default()
    }

    /// Which of an enum's variants, or whether an option is there.
    pub(super) fn variant(&mut self, path: Path, variant: u32) -> Result<u32, CodingError> {
        let known = u64::from(variant);
        let variant = u32::try_from(self.number(path, known)?).map_err(|_| CodingError::Value)?;
        self.variants = hash(self.variants, path.0 ^ variant);
        Ok(variant)
    }

    /// A number that tends to grow: what matters is the step from the one before.
    pub(super) fn step(&mut self, path: Path, value: u64) -> Result<u64, CodingError> {
        let last = self.place(path).last;
        let step = value.wrapping_sub(last).cast_signed();
        // Steps forward and back as 0, -1, 1, -2, ...
        let folded = (step << 1 ^ step >> 63).cast_unsigned();
        let folded = self.coded(path.then(0), folded)?;
        let step = (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed();
        let value = last.wrapping_add(step.cast_unsigned());
        self.place(path).last = value;
        Ok(value)
    }

    /// Any other number.
    pub(super) fn number(&mut self, path: Path, value: u64) -> Result<u64, CodingError> {
        self.coded(path, value)
    }

    /// How many bits the number has, then those below the first. The first twelve of them are
    /// learnt as a whole, so that small numbers and those that come back are known by heart.
    fn coded(&mut self, path: Path, value: u64) -> Result<u64, CodingError> {
        self.spend(1)?;
        let last = self.place(path).last;
        let last_hash = hash((last >> 32) as u32, (last & 0xffff_ffff) as u32);
        let contexts = [
            path.0,
            hash(path.0, self.size ^ 0x1000),
            hash(path.0, self.variants ^ 0x2000),
            hash(path.0, last_hash ^ 0x3000),
            hash(hash(path.0, self.variants), last_hash ^ 0x4000),
        ];
        let size = self.size(&contexts, path.0, u64::BITS - value.leading_zeros());
        if size > u64::BITS {
            return Err(CodingError::Value);
        }
        let mut found = u64::from(size > 0);
        for at in (0..size.saturating_sub(1)).rev() {
            let done = size - 1 - at;
            let bit = value >> at & 1 == 1;
            let node = match done {
                0..12 => hash(size, (found & 0xffff) as u32),
                _ => hash(size, at ^ 0x8000_0000),
            };
            found = found << 1 | u64::from(self.bit(&contexts, path.0, node, bit));
        }
        self.size = size;
        self.place(path).last = found;
        Ok(found)
    }

    /// A size of up to 64 bits; up to [`SMALL`] takes three steps instead of eight.
    fn size(&mut self, contexts: &[u32], set: u32, size: u32) -> u32 {
        let is_small = self.bit(contexts, set, 0, size <= SMALL);
        let bits = if is_small { 2 } else { 7 };
        let mut node = 1 | u32::from(is_small) << 8;
        for at in (0..bits).rev() {
            node = node << 1 | u32::from(self.bit(contexts, set, node, size >> at & 1 == 1));
        }
        node & ((1 << bits) - 1)
    }

    /// A byte that is most often the one that stood there before, as in a digest.
    pub(super) fn byte(&mut self, path: Path, value: u8) -> Result<u8, CodingError> {
        self.spend(1)?;
        let last = self.place(path).last;
        let last_hash = hash(path.0, (last & 0xff) as u32 ^ 0x5000);
        let variants = hash(path.0, self.variants ^ 0x5100);
        let digest = hash(u32::from(self.is_fresh), 0x5200);
        let contexts = [last_hash, variants, hash(last_hash, variants), digest];
        let is_again = self.bit(&contexts, digest, 0, u64::from(value) == last);
        self.is_fresh = !is_again;
        if is_again {
            return u8::try_from(last).map_err(|_| CodingError::Value);
        }
        let mut node = 1u32;
        for at in (0..8).rev() {
            node = node << 1 | u32::from(self.bit(&contexts, digest, node, value >> at & 1 == 1));
        }
        self.place(path).last = u64::from(node & 0xff);
        Ok((node & 0xff) as u8)
    }

    fn bit(&mut self, contexts: &[u32], set: u32, node: u32, bit: bool) -> bool {
        let mut nodes = [0; super::model::CONTEXTS_MAX];
        for (to, context) in nodes.iter_mut().zip(contexts) {
            *to = hash(*context, node);
        }
        self.memory.model.bit(&mut self.coder, bit, &nodes[..contexts.len()], set)
    }

    /// Text, or any bytes.
    pub(super) fn text(&mut self, path: Path, text: &[u8]) -> Result<Vec<u8>, CodingError> {
        let memory = &self.memory;
        let place = memory.places.get(&path);
        let known = place.and_then(|place| place.numbers.get(&key(text))).copied();
        let is_same =
            |at: &usize| place.is_some_and(|p| memory.history[p.texts[*at].clone()] == *text);
        let known = known.filter(is_same);
        // 0 is a new one.
        let number = self.coded(path.then(1), known.map_or(0, |at| at as u64 + 1))?;
        if number > 0 {
            let at = usize::try_from(number - 1).unwrap_or(usize::MAX);
            let known = self.place(path).texts.get(at).cloned().ok_or(CodingError::Value)?;
            self.spend(known.len())?;
            return Ok(self.memory.history[known].to_vec());
        }
        let start = self.memory.history.len();
        let text = self.new_text(path, text)?;
        let place = self.place(path);
        if place.texts.len() < TEXTS_MAX {
            place.numbers.insert(key(&text), place.texts.len());
            place.texts.push(start..start + text.len());
        }
        Ok(text)
    }

    fn new_text(&mut self, path: Path, text: &[u8]) -> Result<Vec<u8>, CodingError> {
        let length = self.coded(path.then(2), text.len() as u64)?;
        let length = usize::try_from(length).map_err(|_| CodingError::TooLarge)?;
        self.spend(length)?;
        let mut found = Vec::new();
        // Texts are read on their own: the bytes before the first are none.
        let (mut recent, mut word) = (0u64, 0u32);
        let mut at = None;
        for index in 0..length {
            if self.coder.is_past_end() {
                return Err(CodingError::Short);
            }
            let byte = self.letter(path, recent, word, at, text.get(index).copied().unwrap_or(0));
            found.push(byte);
            recent = recent << 8 | u64::from(byte);
            word = if byte.is_ascii_alphanumeric() { hash(word, byte.into()) } else { 0 };
            at = self.remember(byte, found.len(), recent, at);
        }
        Ok(found)
    }

    /// Appends to the history, and says where it may go on as it did before.
    fn remember(
        &mut self,
        byte: u8,
        length: usize,
        recent: u64,
        at: Option<usize>,
    ) -> Option<usize> {
        let memory = &mut self.memory;
        memory.history.push(byte);
        let followed = at.filter(|at| memory.history[*at] == byte).map(|at| at + 1);
        if length < MATCH_BYTES {
            return followed;
        }
        let run = recent & ((1 << (8 * MATCH_BYTES)) - 1);
        let key = hash((run >> 32) as u32, (run & 0xffff_ffff) as u32);
        let earlier = memory.ends.insert(key, memory.history.len());
        followed.or(earlier)
    }

    fn letter(&mut self, path: Path, recent: u64, word: u32, at: Option<usize>, value: u8) -> u8 {
        let low = (recent & 0xffff_ffff) as u32;
        let expected = at.and_then(|at| self.memory.history.get(at)).copied();
        let contexts = [
            hash(path.0, 0x10),
            hash(low & 0xff, 0x11),
            hash(low & 0xffff, 0x12),
            hash(low & 0xff_ffff, 0x13),
            hash(low, 0x14),
            hash(word ^ (low & 0xff), 0x15),
            hash(expected.map_or(0x1ff, u32::from), 0x16),
        ];
        // Weights by the byte before, and by whether the history says how it goes on.
        let set = hash(low & 0xff, u32::from(expected.is_some()));
        let mut node = 1u32;
        for bit in (0..8).rev() {
            let mut contexts = contexts;
            if let Some(expected) = expected.map(u32::from)
                && (expected | 0x100) >> (bit + 1) != node
            {
                contexts[6] = 0x17;
            }
            node = node << 1 | u32::from(self.bit(&contexts, set, node, value >> bit & 1 == 1));
        }
        (node & 0xff) as u8
    }
}
