//! The digest of a large file that is quick to check: SHA-256 over the SHA-256 digests of its parts.
//!
//! One SHA-256 is a chain that a processor without instructions for it walks at some 150 MB a
//! second: that would be half of a start. Parts are hashed side by side, one in each lane of a
//! vector register. Every part has [`PART_BYTES`], the last one what is left; the number of parts
//! follows from the file's size, which the manifest states too, so that no two files have the same
//! parts.

use rten_simd::ops::{BitOps, IntOps, NumOps};
use rten_simd::{Isa, SimdOp};
use sha2::{Digest, Sha256};

/// Bytes of a part: small enough that even a small encoder has one for every lane.
pub(super) const PART_BYTES: usize = 64 * 1024;
/// The same in bits.
const PART_BITS: i32 = 8 * 64 * 1024;

/// Fewest parts that two threads share: 4 MB, some milliseconds.
const SHARED_MIN: usize = 64;

/// Bytes that SHA-256 takes at once.
const BLOCK: usize = 64;
/// Most lanes of a vector register: AVX-512.
const LANES_MAX: usize = 16;
/// Fewest lanes that are faster than one part after the other.
const LANES_MIN: usize = if cfg!(target_arch = "aarch64") { 4 } else { 8 };

/// The digest.
pub(super) fn digest(content: &[u8]) -> [u8; 32] {
    let (whole, rest) = content.as_chunks::<PART_BYTES>();
    let mut digests = vec![[0; 32]; whole.len()];
    // Two processors, if there are two, halve the time; what is small is not worth a thread.
    let half = if whole.len() < SHARED_MIN { 0 } else { whole.len() / 2 };
    let (parts, others) = whole.split_at(half);
    let (digests_of_parts, digests_of_others) = digests.split_at_mut(half);
    std::thread::scope(|scope| {
        if half > 0 {
            scope.spawn(|| fill(parts, digests_of_parts));
        }
        fill(others, digests_of_others);
    });
    let mut all = Sha256::new();
    digests.iter().for_each(|digest| all.update(digest));
    if !rest.is_empty() {
        all.update(Sha256::digest(rest));
    }
    all.finalize().into()
}

/// Hashes every part.
fn fill(parts: &[[u8; PART_BYTES]], digests: &mut [[u8; 32]]) {
    if hashes_by_itself() {
        one_by_one(parts, digests);
    } else {
        Lanes { parts, digests }.dispatch();
    }
}

/// Whether the processor has instructions for SHA-256.
fn hashes_by_itself() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("sha");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("sha2");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

fn one_by_one(parts: &[[u8; PART_BYTES]], digests: &mut [[u8; 32]]) {
    for (part, digest) in parts.iter().zip(digests) {
        *digest = Sha256::digest(part).into();
    }
}

/// Parts, hashed as many at once as a register has lanes.
struct Lanes<'a> {
    parts: &'a [[u8; PART_BYTES]],
    digests: &'a mut [[u8; 32]],
}

impl SimdOp for Lanes<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let lanes = isa.i32().len();
        if lanes < LANES_MIN {
            return one_by_one(self.parts, self.digests);
        }
        let groups = self.parts.chunks(lanes).zip(self.digests.chunks_mut(lanes));
        for (parts, digests) in groups {
            side_by_side(isa, parts, digests);
        }
    }
}

/// Hashes at most as many parts as there are lanes; lanes without one repeat the last.
#[inline(always)]
fn side_by_side<I: Isa>(isa: I, parts: &[[u8; PART_BYTES]], digests: &mut [[u8; 32]]) {
    let ops = isa.i32();
    let mut state = START.map(|word| ops.splat(word.cast_signed()));
    let mut words = [[0i32; LANES_MAX]; 16];
    for at in (0..PART_BYTES).step_by(BLOCK) {
        for lane in 0..ops.len() {
            let part = &parts[lane.min(parts.len() - 1)];
            let (block, _) = part[at..at + BLOCK].as_chunks::<4>();
            for (words, bytes) in words.iter_mut().zip(block) {
                words[lane] = i32::from_be_bytes(*bytes);
            }
        }
        let block = words.each_ref().map(|words| ops.load(words));
        state = compress(isa, state, block);
    }
    // What SHA-256 ends with: a one, zeros, and the length in bits.
    let mut last = [ops.zero(); 16];
    last[0] = ops.splat(1 << 31);
    last[15] = ops.splat(PART_BITS);
    state = compress(isa, state, last);
    for (at, state) in state.into_iter().enumerate() {
        let mut word = [0i32; LANES_MAX];
        ops.store(state, &mut word);
        for (digest, word) in digests.iter_mut().zip(word) {
            digest[4 * at..][..4].copy_from_slice(&word.to_be_bytes());
        }
    }
}

/// SHA-256's compression (FIPS 180-4, 6.2.2), in every lane.
#[inline(always)]
fn compress<I: Isa>(isa: I, start: [I::I32; 8], mut words: [I::I32; 16]) -> [I::I32; 8] {
    let ops = isa.i32();
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = start;
    for round in (0..64).step_by(16) {
        for at in 0..16 {
            if round > 0 {
                let (early, late) = (words[(at + 1) % 16], words[(at + 14) % 16]);
                let early = xor(
                    isa,
                    rotate::<I, 7, 25>(isa, early),
                    rotate::<I, 18, 14>(isa, early),
                    shift::<I, 3>(isa, early),
                );
                let late = xor(
                    isa,
                    rotate::<I, 17, 15>(isa, late),
                    rotate::<I, 19, 13>(isa, late),
                    shift::<I, 10>(isa, late),
                );
                let sum = ops.add(words[at], words[(at + 9) % 16]);
                words[at] = ops.add(sum, ops.add(early, late));
            }
            let turned = xor(
                isa,
                rotate::<I, 6, 26>(isa, e),
                rotate::<I, 11, 21>(isa, e),
                rotate::<I, 25, 7>(isa, e),
            );
            let choice = ops.xor(g, ops.and(e, ops.xor(f, g)));
            let constant = ops.splat(ROUNDS[round + at].cast_signed());
            let next = ops.add(ops.add(h, words[at]), ops.add(constant, ops.add(turned, choice)));
            let turned = xor(
                isa,
                rotate::<I, 2, 30>(isa, a),
                rotate::<I, 13, 19>(isa, a),
                rotate::<I, 22, 10>(isa, a),
            );
            let majority = ops.or(ops.and(a, b), ops.and(c, ops.or(a, b)));
            (h, g, f, e) = (g, f, e, ops.add(d, next));
            (d, c, b, a) = (c, b, a, ops.add(next, ops.add(turned, majority)));
        }
    }
    let ends = [a, b, c, d, e, f, g, h];
    std::array::from_fn(
        #[inline(always)]
        |at| ops.add(start[at], ends[at]),
    )
}

#[inline(always)]
fn xor<I: Isa>(isa: I, x: I::I32, y: I::I32, z: I::I32) -> I::I32 {
    isa.i32().xor(x, isa.i32().xor(y, z))
}

/// To the right, zeros from the left.
#[inline(always)]
fn shift<I: Isa, const BITS: i32>(isa: I, x: I::I32) -> I::I32 {
    let ops = isa.i32();
    ops.and(ops.shift_right::<BITS>(x), ops.splat((u32::MAX >> BITS).cast_signed()))
}

/// To the right by `RIGHT` bits; `LEFT` is the rest of 32.
#[inline(always)]
fn rotate<I: Isa, const RIGHT: i32, const LEFT: i32>(isa: I, x: I::I32) -> I::I32 {
    const { assert!(RIGHT + LEFT == 32) };
    let ops = isa.i32();
    ops.or(ops.shift_left::<LEFT>(x), shift::<I, RIGHT>(isa, x))
}

/// The first 32 bits of the fractions of the square roots of the first 8 primes.
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The same of the cube roots of the first 64.
const ROUNDS: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(content: &[u8]) -> [u8; 32] {
        let parts = content.chunks(PART_BYTES).map(Sha256::digest);
        Sha256::digest(parts.flatten().collect::<Vec<u8>>()).into()
    }

    #[test]
    fn lanes_hash_as_sha256_does() {
        let content: Vec<u8> = (0..37 * 64 * 1024u32)
            .map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3])
            .collect();
        let (parts, _) = content.as_chunks::<PART_BYTES>();
        for count in [1, 3, 4, 8, 15, 16, 17, 37] {
            let mut digests = vec![[0; 32]; count];
            Lanes { parts: &parts[..count], digests: &mut digests }.dispatch();
            for (part, digest) in parts.iter().zip(digests) {
                assert_eq!(digest, <[u8; 32]>::from(Sha256::digest(part)), "of {count}");
            }
        }
    }

    #[test]
    fn every_size_has_its_digest() {
        let content = vec![7; 2 * PART_BYTES + 1];
        let shared = vec![9; SHARED_MIN * PART_BYTES + 5];
        assert_eq!(digest(&shared), expected(&shared), "two threads");
        for size in [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 1] {
            assert_eq!(digest(&content[..size]), expected(&content[..size]), "{size} bytes");
        }
    }
}
