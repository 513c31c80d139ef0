//! Rows of activations, as the kernels take them.

use super::{Kernel, QUAD};
use std::ops::Range;

/// Quantised activations, from -127 to 127. The buffers grow to the longest text and stay.
#[derive(Debug)]
pub(in super::super) struct Rows {
    kernel: Kernel,
    quads: usize,
    /// `[row][quad]`.
    values: Vec<[i8; QUAD]>,
    /// What each row's sums start with: it takes back the offset of the weights.
    sums: Vec<i32>,
    /// What did not fit into each row, for the kernel that has such a limit.
    #[cfg(target_arch = "x86_64")]
    spills: Vec<Vec<Spill>>,
}

/// A part of a quad that is multiplied on its own.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spill {
    pub(super) quad: usize,
    pub(super) values: [i8; QUAD],
}

impl Rows {
    /// None yet.
    pub(in super::super) fn new(kernel: Kernel) -> Rows {
        Rows {
            kernel,
            quads: 0,
            values: Vec::new(),
            sums: Vec::new(),
            #[cfg(target_arch = "x86_64")]
            spills: Vec::new(),
        }
    }

    /// Takes `rows` rows of `inputs` values, instead of what it had. `quantise` writes the row of
    /// that number and returns the sum of its values.
    #[inline(always)]
    pub(in super::super) fn fill(
        &mut self,
        rows: usize,
        inputs: usize,
        mut quantise: impl FnMut(usize, &mut [i8]) -> i32,
    ) {
        self.quads = inputs.div_ceil(QUAD);
        self.values.resize(rows * self.quads, [0; QUAD]);
        self.sums.resize(rows, 0);
        let offset = i32::from(self.kernel.weight_offset());
        let each = self.values.chunks_exact_mut(self.quads).zip(&mut self.sums);
        for (at, (row, sum)) in each.enumerate() {
            let (row, rest) = row.as_flattened_mut().split_at_mut(inputs);
            *sum = -offset * quantise(at, row);
            rest.fill(0);
        }
        #[cfg(target_arch = "x86_64")]
        if self.kernel == Kernel::Avx2 {
            self.spill();
        }
    }

    /// Takes out of each row what AVX2 cannot multiply at once.
    #[cfg(target_arch = "x86_64")]
    #[inline(never)]
    fn spill(&mut self) {
        let rows = self.sums.len();
        if self.spills.len() < rows {
            self.spills.resize_with(rows, Vec::new);
        }
        for (row, spills) in self.values.chunks_exact_mut(self.quads).zip(&mut self.spills) {
            spills.clear();
            // SAFETY: rows for AVX2 are only filled where weights could be packed for it.
            unsafe { super::x86::spill(row, spills) };
        }
    }

    /// Whether they can be multiplied with weights of so many quads.
    pub(super) fn fits(&self, kernel: Kernel, quads: usize) -> bool {
        self.kernel == kernel && self.quads == quads
    }

    /// The quads of some rows.
    pub(super) fn quads(&self, rows: &Range<usize>) -> &[[i8; QUAD]] {
        &self.values[rows.start * self.quads..rows.end * self.quads]
    }

    /// What the sums of some rows start with.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn sums(&self, rows: &Range<usize>) -> &[i32] {
        &self.sums[rows.clone()]
    }

    /// What was taken out of some rows.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn spills(&self, rows: &Range<usize>) -> &[Vec<Spill>] {
        &self.spills[rows.clone()]
    }
}
