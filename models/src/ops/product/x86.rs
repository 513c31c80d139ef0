//! 64-bit x86. The instructions since AVX2 multiply unsigned with signed bytes: weights are
//! stored 128 larger, and each row's sums start with what takes that back.

use super::rows::Spill;
use super::{LINE_COLUMNS, Line, QUAD, Tile};
use std::arch::x86_64::*;

/// Largest sum of the magnitudes of two neighbours in a row that AVX2 multiplies at once: it adds
/// up two products in 16 bits, and 128 times the largest weight, 255, fits.
const PAIR_MAX: i16 = 128;

/// Calls a kernel that is compiled for just as many rows.
macro_rules! by_rows {
    ($rows:expr, $kernel:ident $arguments:tt, $($count:literal)*) => {
        match $rows {
            $($count => $kernel::<$count> $arguments,)*
            rows => unreachable!("no kernel for {rows} rows"),
        }
    };
}

/// A quad of some row for every column.
///
/// # Safety
/// `quad` is within the allocation that it points into.
#[inline(always)]
unsafe fn read(quad: *const [i8; QUAD]) -> i32 {
    // SAFETY: as above; a quad has the size of an `i32`.
    unsafe { quad.cast::<i32>().read_unaligned() }
}

/// Asks for a line to be brought into the second-level cache.
#[inline(always)]
fn fetch(line: &Line) {
    // SAFETY: a hint, on an address that exists.
    unsafe { _mm_prefetch::<_MM_HINT_T1>((&raw const *line).cast()) }
}

/// Three lines wide.
///
/// # Safety
/// The processor has AVX-512 VNNI. For each of at most eight `sums`, `a` has a row of quads;
/// `panel` has three lines and `ahead` one for each quad of a row.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) unsafe fn avx512_vnni(
    a: &[[i8; QUAD]],
    sums: &[i32],
    panel: &[Line],
    ahead: &[Line],
    tile: &mut Tile,
) {
    // SAFETY: as above.
    unsafe { by_rows!(sums.len(), avx512_vnni_rows(a, sums, panel, ahead, tile), 1 2 3 4 5 6 7 8) }
}

#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn avx512_vnni_rows<const ROWS: usize>(
    a: &[[i8; QUAD]],
    sums: &[i32],
    panel: &[Line],
    ahead: &[Line],
    tile: &mut Tile,
) {
    const LINES: usize = 3;
    let quads = a.len() / ROWS;
    let mut acc: [[__m512i; LINES]; ROWS] =
        std::array::from_fn(|row| [_mm512_set1_epi32(sums[row]); LINES]);
    let (panel, _) = panel.as_chunks::<LINES>();
    for (quad, (lines, ahead)) in panel.iter().zip(ahead).enumerate() {
        fetch(ahead);
        // SAFETY: a line is as large and as aligned as the register.
        let b = lines.each_ref().map(|line| unsafe { _mm512_load_si512(line.0.as_ptr().cast()) });
        for (row, acc) in acc.iter_mut().enumerate() {
            // SAFETY: there are `quads` quads for each of `ROWS` rows.
            let a = _mm512_set1_epi32(unsafe { read(a.as_ptr().add(row * quads + quad)) });
            for (acc, b) in acc.iter_mut().zip(b) {
                *acc = _mm512_dpbusd_epi32(*acc, b, a);
            }
        }
    }
    let (out, _) = tile.0.as_chunks_mut::<LINE_COLUMNS>();
    for (out, acc) in out.iter_mut().zip(acc.as_flattened()) {
        // SAFETY: sixteen sums are as large as the register.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), *acc) };
    }
}

/// Makes a kernel, one line wide, of an instruction that works on half a line.
macro_rules! half_lines {
    ($name:ident, $rows:ident, $features:literal, $dot:expr, $($count:literal)*) => {
        /// One line wide.
        ///
        /// # Safety
        /// The processor has the instructions. For each of `sums`, as many as it is compiled for
        /// at most, `a` has a row of quads; `panel` and `ahead` have a line for each quad of a row.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name(
            a: &[[i8; QUAD]],
            sums: &[i32],
            panel: &[Line],
            ahead: &[Line],
            tile: &mut Tile,
        ) {
            // SAFETY: as above.
            unsafe { by_rows!(sums.len(), $rows(a, sums, panel, ahead, tile), $($count)*) }
        }

        #[target_feature(enable = $features)]
        unsafe fn $rows<const ROWS: usize>(
            a: &[[i8; QUAD]],
            sums: &[i32],
            panel: &[Line],
            ahead: &[Line],
            tile: &mut Tile,
        ) {
            let quads = a.len() / ROWS;
            let mut acc: [[__m256i; 2]; ROWS] =
                std::array::from_fn(|row| [_mm256_set1_epi32(sums[row]); 2]);
            for (quad, (line, ahead)) in panel.iter().zip(ahead).enumerate() {
                fetch(ahead);
                let b = halves(line);
                for (row, acc) in acc.iter_mut().enumerate() {
                    // SAFETY: there are `quads` quads for each of `ROWS` rows.
                    let a = _mm256_set1_epi32(unsafe { read(a.as_ptr().add(row * quads + quad)) });
                    for (acc, b) in acc.iter_mut().zip(b) {
                        *acc = $dot(*acc, b, a);
                    }
                }
            }
            let (out, _) = tile.0.as_chunks_mut::<{ LINE_COLUMNS / 2 }>();
            for (out, acc) in out.iter_mut().zip(acc.as_flattened()) {
                // SAFETY: eight sums are as large as the register.
                unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), *acc) };
            }
        }
    };
}

half_lines!(avx_vnni, avx_vnni_rows, "avxvnni", _mm256_dpbusd_avx_epi32, 1 2 3 4 5 6);
half_lines!(avx2, avx2_rows, "avx2", dot_avx2, 1 2 3 4);
// The same code as for AVX-VNNI, on processors that have its instruction as a part of AVX-512.
#[cfg(test)]
half_lines!(vnni_vl, vnni_vl_rows, "avx512vnni,avx512vl", _mm256_dpbusd_epi32, 1 2 3 4 5 6);

/// Both halves of a line.
#[target_feature(enable = "avx")]
fn halves(line: &Line) -> [__m256i; 2] {
    let half: *const __m256i = line.0.as_ptr().cast();
    // SAFETY: a line is as large as two registers and aligned.
    unsafe { [_mm256_load_si256(half), _mm256_load_si256(half.add(1))] }
}

/// Adds to each sum four products. Pairs of products must fit into 16 bits.
#[target_feature(enable = "avx2")]
fn dot_avx2(sums: __m256i, weights: __m256i, quad: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(weights, quad);
    _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

/// Adds what was taken out of each row to its sums.
///
/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2_spills(spills: &[Vec<Spill>], panel: &[Line], tile: &mut Tile) {
    let (rows, _) = tile.0.as_chunks_mut::<LINE_COLUMNS>();
    for (row, spills) in rows.iter_mut().zip(spills).filter(|(_, spills)| !spills.is_empty()) {
        let out: *mut __m256i = row.as_mut_ptr().cast();
        // SAFETY: a row of sums is as large as two registers.
        let mut acc = unsafe { [_mm256_loadu_si256(out), _mm256_loadu_si256(out.add(1))] };
        for spill in spills {
            let a = _mm256_set1_epi32(i32::from_ne_bytes(spill.values.map(i8::cast_unsigned)));
            for (acc, b) in acc.iter_mut().zip(halves(&panel[spill.quad])) {
                *acc = dot_avx2(*acc, b, a);
            }
        }
        // SAFETY: as above.
        unsafe {
            _mm256_storeu_si256(out, acc[0]);
            _mm256_storeu_si256(out.add(1), acc[1]);
        }
    }
}

/// Halves the pairs of a row that are too large; the other halves go to `spills`.
///
/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn spill(row: &mut [[i8; QUAD]], spills: &mut Vec<Spill>) {
    const AT_ONCE: usize = 8;
    let (limit, ones) = (_mm256_set1_epi16(PAIR_MAX), _mm256_set1_epi8(1));
    let whole = row.len() / AT_ONCE * AT_ONCE;
    for first in (0..whole).step_by(AT_ONCE) {
        // SAFETY: eight quads are as large as the register.
        let values = unsafe { _mm256_loadu_si256(row[first..][..AT_ONCE].as_ptr().cast()) };
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(values), ones);
        if _mm256_movemask_epi8(_mm256_cmpgt_epi16(pairs, limit)) != 0 {
            spill_each(&mut row[first..][..AT_ONCE], first, spills);
        }
    }
    spill_each(&mut row[whole..], whole, spills);
}

fn spill_each(quads: &mut [[i8; QUAD]], first: usize, spills: &mut Vec<Spill>) {
    for (at, quad) in quads.iter_mut().enumerate() {
        let mut spilled = [0; QUAD];
        let (pairs, _) = quad.as_chunks_mut::<2>();
        let (rests, _) = spilled.as_chunks_mut::<2>();
        for (pair, rest) in pairs.iter_mut().zip(rests) {
            if pair.iter().map(|value| i16::from(*value).abs()).sum::<i16>() > PAIR_MAX {
                let half = pair.map(|value| value / 2);
                *rest = [pair[0] - half[0], pair[1] - half[1]];
                *pair = half;
            }
        }
        if spilled != [0; QUAD] {
            spills.push(Spill { quad: first + at, values: spilled });
        }
    }
}

/// One line wide, in pairs of inputs, widened to 16 bits.
///
/// # Safety
/// `a` has as many quads as `panel` has lines, for each of at most two rows.
#[target_feature(enable = "sse2")]
pub(super) unsafe fn sse2(a: &[[i8; QUAD]], rows: usize, panel: &[Line], tile: &mut Tile) {
    // SAFETY: as above.
    unsafe { by_rows!(rows, sse2_rows(a, panel, tile), 1 2) }
}

#[target_feature(enable = "sse2")]
unsafe fn sse2_rows<const ROWS: usize>(a: &[[i8; QUAD]], panel: &[Line], tile: &mut Tile) {
    let quads = panel.len();
    let mut acc = [[_mm_setzero_si128(); 4]; ROWS];
    for (quad, line) in panel.iter().enumerate() {
        let half: *const __m128i = line.0.as_ptr().cast();
        for pair in 0..2 {
            // SAFETY: a line is as large as four registers and aligned.
            let b = unsafe { [half.add(2 * pair).read(), half.add(2 * pair + 1).read()] };
            let zero = _mm_setzero_si128();
            let b = [
                _mm_srai_epi16::<8>(_mm_unpacklo_epi8(zero, b[0])),
                _mm_srai_epi16::<8>(_mm_unpackhi_epi8(zero, b[0])),
                _mm_srai_epi16::<8>(_mm_unpacklo_epi8(zero, b[1])),
                _mm_srai_epi16::<8>(_mm_unpackhi_epi8(zero, b[1])),
            ];
            for (row, acc) in acc.iter_mut().enumerate() {
                // SAFETY: there are `quads` quads for each of `ROWS` rows.
                let a = unsafe { a.get_unchecked(row * quads + quad) };
                let (low, high) = (i32::from(a[2 * pair]), i32::from(a[2 * pair + 1]));
                let a = _mm_set1_epi32(high << 16 | low & 0xffff);
                for (acc, b) in acc.iter_mut().zip(b) {
                    *acc = _mm_add_epi32(*acc, _mm_madd_epi16(b, a));
                }
            }
        }
    }
    let (out, _) = tile.0.as_chunks_mut::<4>();
    for (out, acc) in out.iter_mut().zip(acc.as_flattened()) {
        // SAFETY: four sums are as large as the register.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), *acc) };
    }
}
