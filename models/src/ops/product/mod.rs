//! The integer product: rows of int8 activations times a matrix of int8 weights, exact in `i32`.
//!
//! Each processor gets the [`Kernel`] that suits it best; all of them give the same sums, to the
//! last bit. A kernel works on tiles: a few rows times a panel of columns, whose sums stay in
//! registers while it runs down the inputs. Four inputs of sixteen columns make a [`Line`] of 64
//! bytes, the unit in which weights are packed, once, when a model is loaded; a panel is one or
//! more lines wide. What is missing at the edges is filled with zeros.
//!
//! The weights of an encoder are larger than a processor's own cache: each panel is used for all
//! rows before the next, which is fetched meanwhile.
//!
//! This is the only module of the crate with `unsafe` code. It rests on three facts, established
//! here: a kernel is only chosen on a processor that has its instructions
//! ([`Kernel::available`]); a panel has as many lines, and every row as many quads, as
//! [`Weights::tile`] says; tiles have room for what a kernel writes ([`ROWS_MAX`],
//! [`COLUMNS_MAX`]).

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod portable;
mod rows;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(super) use rows::Rows;

use std::ops::Range;
use std::sync::LazyLock;

/// Columns in a line.
const LINE_COLUMNS: usize = 16;
/// Inputs in a line: the instructions add up four products at once.
const QUAD: usize = 4;
/// Most rows in a tile.
const ROWS_MAX: usize = 8;
/// Most columns in a tile: three lines.
pub(super) const COLUMNS_MAX: usize = 3 * LINE_COLUMNS;

/// Four inputs of sixteen columns, where a vector register can load them at once.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([i8; LINE_COLUMNS * QUAD]);

/// The sums of a tile, row after row, each as wide as a panel.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(super) struct Tile([i32; ROWS_MAX * COLUMNS_MAX]);

impl Tile {
    pub(super) fn new() -> Tile {
        Tile([0; ROWS_MAX * COLUMNS_MAX])
    }

    /// Its rows, when a panel has `columns`.
    #[inline(always)]
    pub(super) fn rows(&self, columns: usize) -> impl Iterator<Item = &[i32]> {
        self.0.chunks_exact(columns)
    }
}

/// A way to multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kernel {
    /// AVX-512 VNNI: 64 products an instruction.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// AVX-VNNI: 32 products an instruction.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// AVX2: 32 products in three instructions.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// SSE2, which every 64-bit x86 has: 8 products an instruction.
    #[cfg(target_arch = "x86_64")]
    Sse2,
    /// NEON with the dot product: 16 products an instruction.
    #[cfg(target_arch = "aarch64")]
    NeonDot,
    /// NEON: 8 products an instruction.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// Any processor.
    Portable,
}

/// Asked for once: the answer takes a microsecond.
static AVAILABLE: LazyLock<Vec<Kernel>> = LazyLock::new(|| {
    let mut kernels = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
            kernels.push(Kernel::Avx512Vnni);
        }
        if is_x86_feature_detected!("avxvnni") {
            kernels.push(Kernel::AvxVnni);
        }
        if is_x86_feature_detected!("avx2") {
            kernels.push(Kernel::Avx2);
        }
        kernels.push(Kernel::Sse2);
    }
    #[cfg(target_arch = "aarch64")]
    {
        if std::arch::is_aarch64_feature_detected!("dotprod") {
            kernels.push(Kernel::NeonDot);
        }
        kernels.push(Kernel::Neon);
    }
    kernels.push(Kernel::Portable);
    kernels
});

impl Kernel {
    /// Those that this processor can run, the best first.
    pub(super) fn available() -> &'static [Kernel] {
        &AVAILABLE
    }

    /// The best that this processor can run.
    pub(super) fn best() -> Kernel {
        AVAILABLE[0]
    }

    /// Most rows in one of its tiles: as many as its registers hold sums for.
    fn rows_max(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Vnni => 8,
            #[cfg(target_arch = "x86_64")]
            Kernel::AvxVnni => 6,
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => 4,
            #[cfg(target_arch = "x86_64")]
            Kernel::Sse2 => 2,
            #[cfg(target_arch = "aarch64")]
            Kernel::NeonDot => 6,
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => 2,
            Kernel::Portable => 1,
        }
    }

    /// Lines side by side in one of its panels.
    fn lines(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Vnni => 3,
            #[cfg(target_arch = "x86_64")]
            Kernel::AvxVnni | Kernel::Avx2 | Kernel::Sse2 => 1,
            #[cfg(target_arch = "aarch64")]
            Kernel::NeonDot | Kernel::Neon => 1,
            Kernel::Portable => 1,
        }
    }

    /// A line of four inputs' weights.
    fn line(self, inputs: &[[i8; LINE_COLUMNS]; QUAD]) -> [i8; LINE_COLUMNS * QUAD] {
        let mut line = [0; LINE_COLUMNS * QUAD];
        let [a, b, c, d] = inputs;
        #[cfg(target_arch = "x86_64")]
        if self == Kernel::Sse2 {
            // Pairs of inputs: the instruction adds up two products.
            let (pairs, _) = line.as_chunks_mut::<2>();
            let columns = a.iter().zip(b).chain(c.iter().zip(d));
            for (to, (left, right)) in pairs.iter_mut().zip(columns) {
                *to = [*left, *right];
            }
            return line;
        }
        // Adding 128 to a byte turns its highest bit; as integers they are put together at once.
        let offset = u32::from(self.weight_offset()) * 0x0101_0101;
        let bits = |value: &i8| u32::from(value.cast_unsigned());
        let (quads, _) = line.as_chunks_mut::<QUAD>();
        for ((((to, a), b), c), d) in quads.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            let quad = bits(a) | bits(b) << 8 | bits(c) << 16 | bits(d) << 24;
            *to = (quad ^ offset).to_le_bytes().map(u8::cast_signed);
        }
        line
    }

    /// How much larger its weights are stored: x86 takes one side of byte products unsigned.
    fn weight_offset(self) -> u8 {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Vnni | Kernel::AvxVnni | Kernel::Avx2 => 128,
            #[cfg(target_arch = "aarch64")]
            Kernel::NeonDot | Kernel::Neon => 0,
            #[cfg(target_arch = "x86_64")]
            Kernel::Sse2 => 0,
            Kernel::Portable => 0,
        }
    }
}

/// Some rows that are multiplied together.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// Which rows.
    pub(super) rows: Range<usize>,
    /// The how manieth block it is, of how many.
    at: usize,
    of: usize,
}

/// A matrix of weights, packed for one kernel.
#[derive(Debug)]
pub(super) struct Weights {
    kernel: Kernel,
    inputs: usize,
    outputs: usize,
    /// `[panel][quad][line]`.
    lines: Vec<Line>,
}

impl Weights {
    /// Packs a matrix of `[input][output]`.
    ///
    /// # Panics
    /// When `values` has another size, is empty, or the kernel does not run on this processor.
    pub(super) fn pack(kernel: Kernel, values: &[i8], inputs: usize, outputs: usize) -> Weights {
        assert!(values.len() == inputs * outputs && !values.is_empty(), "the matrix's size");
        assert!(Kernel::available().contains(&kernel), "{kernel:?} does not run here");
        let (quads, width) = (inputs.div_ceil(QUAD), kernel.lines());
        let panels = outputs.div_ceil(width * LINE_COLUMNS);
        let zero = 0i8.wrapping_add_unsigned(kernel.weight_offset());
        let mut lines = vec![Line([zero; LINE_COLUMNS * QUAD]); panels * quads * width];
        for (quad, rows) in values.chunks(QUAD * outputs).enumerate() {
            for (at, first) in (0..outputs).step_by(LINE_COLUMNS).enumerate() {
                let count = LINE_COLUMNS.min(outputs - first);
                let mut tile = [[0; LINE_COLUMNS]; QUAD];
                for (tile, row) in tile.iter_mut().zip(rows.chunks_exact(outputs)) {
                    match row[first..].first_chunk() {
                        Some(columns) => *tile = *columns,
                        None => tile[..count].copy_from_slice(&row[first..]),
                    }
                }
                let line = (at / width * quads + quad) * width + at % width;
                lines[line].0 = kernel.line(&tile);
            }
        }
        Weights { kernel, inputs, outputs, lines }
    }

    /// Rows of the matrix.
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Its columns.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Columns in a panel, [`COLUMNS_MAX`] at most.
    pub(super) fn panel_columns(&self) -> usize {
        self.kernel.lines() * LINE_COLUMNS
    }

    /// How many panels.
    pub(super) fn panels(&self) -> usize {
        self.outputs.div_ceil(self.panel_columns())
    }

    /// Shares rows out among tiles of about the same height.
    pub(super) fn blocks(&self, rows: usize) -> impl Iterator<Item = Block> + use<> {
        let of = rows.div_ceil(self.kernel.rows_max());
        (0..of).map(move |at| Block { rows: at * rows / of..(at + 1) * rows / of, at, of })
    }

    /// Multiplies some rows with a panel, into the first rows of `tile`.
    ///
    /// # Panics
    /// When there are no such rows or panel, or the rows were not made for these weights.
    pub(super) fn tile(&self, x: &Rows, block: &Block, panel: usize, tile: &mut Tile) {
        let quads = self.inputs.div_ceil(QUAD);
        let size = quads * self.kernel.lines();
        let rows = block.rows.len();
        assert!(x.fits(self.kernel, quads), "the rows were made for other weights");
        assert!((1..=self.kernel.rows_max()).contains(&rows), "a tile of {rows} rows");
        let a = x.quads(&block.rows);
        // This block's share of the next panel; of the last panel, any lines.
        let ahead = (panel + 1) * size + block.at * size / block.of;
        let ahead = &self.lines[ahead.min(self.lines.len() - quads)..][..quads];
        let panel = &self.lines[panel * size..][..size];
        // SAFETY of all: the kernel was available when the weights were packed. `a` has `quads`
        // quads for each row, `panel` as many times the kernel's lines, and `rows` is within its
        // limit.
        match self.kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Vnni => unsafe {
                x86::avx512_vnni(a, x.sums(&block.rows), panel, ahead, tile);
            },
            #[cfg(target_arch = "x86_64")]
            Kernel::AvxVnni => unsafe {
                x86::avx_vnni(a, x.sums(&block.rows), panel, ahead, tile);
            },
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => unsafe {
                x86::avx2(a, x.sums(&block.rows), panel, ahead, tile);
                x86::avx2_spills(x.spills(&block.rows), panel, tile);
            },
            #[cfg(target_arch = "x86_64")]
            Kernel::Sse2 => unsafe { x86::sse2(a, rows, panel, tile) },
            #[cfg(target_arch = "aarch64")]
            Kernel::NeonDot => unsafe { aarch64::dot(a, rows, panel, tile) },
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => unsafe { aarch64::neon(a, rows, panel, tile) },
            Kernel::Portable => portable::tile(a, panel, tile),
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = ahead;
    }
}
