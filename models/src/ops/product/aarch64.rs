//! 64-bit ARM.

use super::{Line, QUAD, Tile};
use std::arch::aarch64::*;
use std::arch::asm;

/// A quad of some row for every column.
///
/// # Safety
/// `quad` is within the allocation that it points into.
#[inline(always)]
unsafe fn read(quad: *const [i8; QUAD]) -> i32 {
    // SAFETY: as above; a quad has the size of an `i32`.
    unsafe { quad.cast::<i32>().read_unaligned() }
}

/// The four registers of a line.
#[target_feature(enable = "neon")]
fn registers(line: &Line) -> [int8x16_t; 4] {
    // SAFETY: a line is as large as four registers.
    let loaded = unsafe { vld1q_s8_x4(line.0.as_ptr()) };
    [loaded.0, loaded.1, loaded.2, loaded.3]
}

/// Adds to each sum four products. The intrinsic for it is not stable yet.
#[target_feature(enable = "dotprod")]
fn dot_add(sums: int32x4_t, weights: int8x16_t, quad: int8x16_t) -> int32x4_t {
    let mut sums = sums;
    // SAFETY: it works on registers only, and the processor has it.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {quad:v}.16b",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            quad = in(vreg) quad,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}

/// With the dot product, one line wide.
///
/// # Safety
/// The processor has it. `a` has as many quads as `panel` has lines, for each of at most six rows.
#[target_feature(enable = "dotprod")]
pub(super) unsafe fn dot(a: &[[i8; QUAD]], rows: usize, panel: &[Line], tile: &mut Tile) {
    // SAFETY: as above.
    unsafe {
        match rows {
            1 => dot_rows::<1>(a, panel, tile),
            2 => dot_rows::<2>(a, panel, tile),
            3 => dot_rows::<3>(a, panel, tile),
            4 => dot_rows::<4>(a, panel, tile),
            5 => dot_rows::<5>(a, panel, tile),
            6 => dot_rows::<6>(a, panel, tile),
            rows => unreachable!("no kernel for {rows} rows"),
        }
    }
}

#[target_feature(enable = "dotprod")]
unsafe fn dot_rows<const ROWS: usize>(a: &[[i8; QUAD]], panel: &[Line], tile: &mut Tile) {
    let quads = panel.len();
    let mut acc = [[vdupq_n_s32(0); 4]; ROWS];
    for (quad, line) in panel.iter().enumerate() {
        let b = registers(line);
        for (row, acc) in acc.iter_mut().enumerate() {
            // SAFETY: there are `quads` quads for each of `ROWS` rows.
            let a = vdupq_n_s32(unsafe { read(a.as_ptr().add(row * quads + quad)) });
            for (acc, b) in acc.iter_mut().zip(b) {
                *acc = dot_add(*acc, b, vreinterpretq_s8_s32(a));
            }
        }
    }
    let (out, _) = tile.0.as_chunks_mut::<4>();
    for (out, acc) in out.iter_mut().zip(acc.as_flattened()) {
        // SAFETY: four sums are as large as the register.
        unsafe { vst1q_s32(out.as_mut_ptr(), *acc) };
    }
}

/// Without it, one line wide.
///
/// # Safety
/// `a` has as many quads as `panel` has lines, for each of at most two rows.
#[target_feature(enable = "neon")]
pub(super) unsafe fn neon(a: &[[i8; QUAD]], rows: usize, panel: &[Line], tile: &mut Tile) {
    // SAFETY: as above.
    unsafe {
        match rows {
            1 => neon_rows::<1>(a, panel, tile),
            2 => neon_rows::<2>(a, panel, tile),
            rows => unreachable!("no kernel for {rows} rows"),
        }
    }
}

/// Two products fit into 16 bits, 2 * 127 * 128, and are then added to sums of 32 bits: two for
/// each column, which are added up at the end.
#[target_feature(enable = "neon")]
unsafe fn neon_rows<const ROWS: usize>(a: &[[i8; QUAD]], panel: &[Line], tile: &mut Tile) {
    let quads = panel.len();
    let quad_of = |row: usize, quad: usize| {
        // SAFETY: there are `quads` quads for each of `ROWS` rows.
        vreinterpret_s8_s32(vdup_n_s32(unsafe { read(a.as_ptr().add(row * quads + quad)) }))
    };
    let mut acc = [[vdupq_n_s32(0); 8]; ROWS];
    let (twos, last) = panel.as_chunks::<2>();
    for (at, [first, second]) in twos.iter().enumerate() {
        let (b, c) = (registers(first), registers(second));
        for (row, acc) in acc.iter_mut().enumerate() {
            let (x, y) = (quad_of(row, 2 * at), quad_of(row, 2 * at + 1));
            let (acc, _) = acc.as_chunks_mut::<2>();
            for ((acc, b), c) in acc.iter_mut().zip(b).zip(c) {
                let low = vmlal_s8(vmull_s8(vget_low_s8(b), x), vget_low_s8(c), y);
                let high = vmlal_s8(vmull_s8(vget_high_s8(b), x), vget_high_s8(c), y);
                *acc = [vpadalq_s16(acc[0], low), vpadalq_s16(acc[1], high)];
            }
        }
    }
    if let [line] = last {
        for (row, acc) in acc.iter_mut().enumerate() {
            let x = quad_of(row, quads - 1);
            let (acc, _) = acc.as_chunks_mut::<2>();
            for (acc, b) in acc.iter_mut().zip(registers(line)) {
                acc[0] = vpadalq_s16(acc[0], vmull_s8(vget_low_s8(b), x));
                acc[1] = vpadalq_s16(acc[1], vmull_s8(vget_high_s8(b), x));
            }
        }
    }
    let (out, _) = tile.0.as_chunks_mut::<4>();
    let (acc, _) = acc.as_flattened().as_chunks::<2>();
    for (out, [low, high]) in out.iter_mut().zip(acc) {
        // SAFETY: four sums are as large as the register.
        unsafe { vst1q_s32(out.as_mut_ptr(), vpaddq_s32(*low, *high)) };
    }
}
