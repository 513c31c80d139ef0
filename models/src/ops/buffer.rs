//! Tensors between two operators, kept to be used again.
//!
//! A new tensor is filled with zeros before an operator overwrites every number of it, which takes
//! a twentieth of the time of a long text. The layers of an encoder need the same few shapes over
//! and over: what one has read is kept for what the next one writes.

use std::cell::RefCell;
use tract_onnx::tract_hir::internal::*;

/// Tensors that a thread keeps: the shapes of one layer. More would only hold memory.
const KEPT_MAX: usize = 4;

/// Largest tensor that is kept, in bytes: twice what 128 pieces of a wide encoder take. Zeros cost
/// least where texts are longest.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

thread_local! {
    /// The one given last is at the end.
    static KEPT: RefCell<Vec<Tensor>> = const { RefCell::new(Vec::new()) };
}

/// A tensor of numbers that may be any: every one of them has to be written.
pub(super) fn take(shape: &[usize]) -> TractResult<Tensor> {
    let found = KEPT.with_borrow_mut(|kept| {
        let at = kept.iter().rposition(|tensor| tensor.shape() == shape)?;
        Some(kept.remove(at))
    });
    match found {
        Some(tensor) => Ok(tensor),
        None => Tensor::zero::<f32>(shape),
    }
}

/// Keeps a tensor of numbers, if nobody else needs it.
pub(super) fn give(value: TValue) {
    let is_plain = value.datum_type() == f32::datum_type();
    if !is_plain || !value.is_exclusive() || value.len() > KEPT_BYTES_MAX / size_of::<f32>() {
        return;
    }
    KEPT.with_borrow_mut(|kept| {
        if kept.len() == KEPT_MAX {
            kept.remove(0);
        }
        kept.push(value.into_tensor());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_is_used_again_when_nobody_else_has_it() {
        let mut tensor = Tensor::zero::<f32>(&[2, 3]).unwrap();
        tensor.fill_t(7f32).unwrap();
        let value = tensor.into_tvalue();
        let shared = value.clone();
        give(value);
        let first =
            |tensor: &Tensor| tensor.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap()[0];
        assert_eq!(first(&take(&[2, 3]).unwrap()), 0.0, "it is still needed");
        give(shared);
        assert_eq!(first(&take(&[3, 2]).unwrap()), 0.0, "it has another shape");
        assert_eq!(first(&take(&[2, 3]).unwrap()), 7.0);
        assert_eq!(first(&take(&[2, 3]).unwrap()), 0.0, "there was only one");
    }

    #[test]
    fn no_more_are_kept_than_a_layer_needs() {
        for size in 1..20 {
            give(Tensor::zero::<f32>(&[size]).unwrap().into_tvalue());
        }
        KEPT.with_borrow(|kept| {
            let sizes: Vec<usize> = kept.iter().map(Tensor::len).collect();
            assert_eq!(sizes, [16, 17, 18, 19]);
        });
    }
}
