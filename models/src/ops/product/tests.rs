//! Every kernel of this processor against sums one product at a time.

use super::*;

/// A repeatable source of numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn byte(&mut self) -> i8 {
        self.next().to_le_bytes()[0].cast_signed()
    }
}

/// What the numbers of a case look like.
#[derive(Debug, Clone, Copy)]
enum Numbers {
    /// All values alike.
    Even,
    /// The largest, most of them of one sign: sums of products overflow where they can.
    Extreme,
    /// Small ones with a few large ones among them, as activations are.
    Peaked,
}

impl Numbers {
    fn weight(self, random: &mut Random) -> i8 {
        match self {
            Numbers::Even | Numbers::Peaked => random.byte(),
            Numbers::Extreme if random.next().is_multiple_of(8) => -128,
            Numbers::Extreme => 127,
        }
    }

    fn activation(self, random: &mut Random) -> i8 {
        match self {
            Numbers::Even => random.byte().max(-127),
            Numbers::Extreme if random.next().is_multiple_of(8) => -127,
            Numbers::Extreme => 127,
            Numbers::Peaked if random.next().is_multiple_of(16) => random.byte().max(-127),
            Numbers::Peaked => random.byte() / 16,
        }
    }
}

/// Rows, inputs and outputs.
type Size = (usize, usize, usize);

/// One product in plain sums.
struct Case {
    size: Size,
    x: Vec<i8>,
    weights: Vec<i8>,
    sums: Vec<i32>,
}

impl Case {
    fn new(size: Size, numbers: Numbers, random: &mut Random) -> Case {
        let (rows, inputs, outputs) = size;
        let x: Vec<i8> = (0..rows * inputs).map(|_| numbers.activation(random)).collect();
        let weights: Vec<i8> = (0..inputs * outputs).map(|_| numbers.weight(random)).collect();
        let sum = |at: usize| {
            let (row, column) = (at / outputs, at % outputs);
            let product =
                |k| i32::from(x[row * inputs + k]) * i32::from(weights[k * outputs + column]);
            (0..inputs).map(product).sum()
        };
        let sums = (0..rows * outputs).map(sum).collect();
        Case { size, x, weights, sums }
    }

    /// The same through tiles that `multiply` computes.
    fn run(
        &self,
        kernel: Kernel,
        multiply: impl Fn(&Weights, &Rows, &Block, usize, &mut Tile),
    ) -> Vec<i32> {
        let (rows, inputs, outputs) = self.size;
        let weights = Weights::pack(kernel, &self.weights, inputs, outputs);
        let mut x = Rows::new(kernel);
        // What was there before must not matter.
        x.fill(rows + 3, inputs + 5, |_, row| {
            row.fill(99);
            7
        });
        x.fill(rows, inputs, |at, row| {
            row.copy_from_slice(&self.x[at * inputs..][..inputs]);
            row.iter().copied().map(i32::from).sum()
        });
        let mut sums = vec![0; rows * outputs];
        let mut tile = Tile::new();
        for panel in 0..weights.panels() {
            let first = panel * weights.panel_columns();
            let count = weights.panel_columns().min(outputs - first);
            for block in weights.blocks(rows) {
                multiply(&weights, &x, &block, panel, &mut tile);
                for (row, tile) in block.rows.zip(tile.rows(weights.panel_columns())) {
                    sums[row * outputs + first..][..count].copy_from_slice(&tile[..count]);
                }
            }
        }
        sums
    }
}

fn cases() -> impl Iterator<Item = Case> {
    let mut random = Random(1);
    let numbers = [Numbers::Even, Numbers::Extreme, Numbers::Peaked];
    let few = (1..=20).map(|rows| (rows, 36, 50));
    let odd = [(1, 1, 1), (3, 5, 17), (7, 70, 33), (9, 128, 49), (16, 384, 96), (5, 1537, 15)];
    let sizes: Vec<Size> = few.chain(odd).collect();
    numbers.into_iter().flat_map(move |numbers| {
        let cases: Vec<Case> =
            sizes.iter().map(|size| Case::new(*size, numbers, &mut random)).collect();
        cases
    })
}

#[test]
fn every_kernel_gives_the_exact_sums() {
    for case in cases() {
        for kernel in Kernel::available() {
            let sums = case.run(*kernel, Weights::tile);
            assert!(sums == case.sums, "{kernel:?} differs at {:?}", case.size);
        }
    }
}

#[test]
fn the_portable_kernel_is_always_there() {
    assert_eq!(Kernel::available().last(), Some(&Kernel::Portable));
    assert_eq!(Kernel::available().first(), Some(&Kernel::best()));
}

#[test]
#[should_panic(expected = "made for other weights")]
fn rows_of_another_length_are_refused() {
    let weights = Weights::pack(Kernel::Portable, &[1; 32], 8, 4);
    let mut x = Rows::new(Kernel::Portable);
    x.fill(1, 4, |_, _| 0);
    let block = weights.blocks(1).next().unwrap();
    weights.tile(&x, &block, 0, &mut Tile::new());
}

/// Few processors have AVX-VNNI and none here; this is its code with the same instruction of
/// AVX-512, on weights that are packed alike.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_code_for_avx_vnni_gives_the_exact_sums() {
    if !(is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512vl")) {
        return;
    }
    for case in cases() {
        let sums = case.run(Kernel::Avx2, |weights, _, block, panel, tile| {
            let quads = weights.inputs.div_ceil(QUAD);
            // Rows as they are, without what AVX2 takes out of them.
            let mut x = Rows::new(Kernel::AvxVnni);
            let inputs = weights.inputs;
            x.fill(case.size.0, inputs, |at, row| {
                row.copy_from_slice(&case.x[at * inputs..][..inputs]);
                row.iter().copied().map(i32::from).sum()
            });
            let panel = &weights.lines[panel * quads..][..quads];
            // SAFETY: the processor has it; sizes are as in `Weights::tile`.
            unsafe { x86::vnni_vl(x.quads(&block.rows), x.sums(&block.rows), panel, panel, tile) };
        });
        assert!(sums == case.sums, "it differs at {:?}", case.size);
    }
}

/// Both parts of a pair stay within the limit and add up to it.
#[cfg(target_arch = "x86_64")]
#[test]
fn what_avx2_cannot_multiply_at_once_is_taken_out() {
    if !Kernel::available().contains(&Kernel::Avx2) {
        return;
    }
    let mut random = Random(2);
    let row: Vec<i8> = (0..4 * 37).map(|_| Numbers::Even.activation(&mut random)).collect();
    let mut x = Rows::new(Kernel::Avx2);
    x.fill(1, row.len(), |_, to| {
        to.copy_from_slice(&row);
        0
    });
    let mut sums: Vec<i32> =
        x.quads(&(0..1)).as_flattened().iter().copied().map(i32::from).collect();
    let spills = &x.spills(&(0..1))[0];
    assert!(!spills.is_empty());
    let parts = x.quads(&(0..1)).iter().chain(spills.iter().map(|spill| &spill.values));
    for pair in parts.flat_map(|quad| quad.as_chunks::<2>().0) {
        assert!(pair.iter().map(|value| i32::from(value.unsigned_abs())).sum::<i32>() <= 128);
    }
    for spill in spills {
        for (sum, value) in sums[spill.quad * QUAD..].iter_mut().zip(spill.values) {
            *sum += i32::from(value);
        }
    }
    assert_eq!(sums, row.iter().copied().map(i32::from).collect::<Vec<i32>>());
}
