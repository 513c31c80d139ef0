//! From the logits of a text's windows to one label.
//!
//! A text of one window has that window's answer. In a longer one the matter is often said once,
//! in one place, among much else; averaging over windows would drown it. So the familiar window
//! that is surest of its label answers for the text. Where none is familiar, what a window is sure
//! of means little, and the most familiar one answers. Of equals it is the first.
//!
//! To take the surest of `k` answers is to give error `k` chances. The confidence pays for them:
//! where the window says `p`, the text's confidence is `p^k`, the probability that `k` independent
//! answers, each right with probability `p`, are all right (Šidák, Journal of the American
//! Statistical Association 62, 1967). A long text must be all the clearer to be answered without
//! asking.

use super::TaskSpec;
use super::decode::{argmax, softmax};
use super::forward::RawLabel;
use super::view::View;

/// The view of a text from its windows, of which there is at least one.
pub(super) fn view(spec: &TaskSpec, windows: &[RawLabel]) -> View {
    let is_familiar = |familiarity: f32| spec.familiarity_min.is_none_or(|min| familiarity >= min);
    let familiar = windows.iter().any(|window| is_familiar(window.familiarity));
    let mut best: Option<(f32, usize, Vec<f32>)> = None;
    for window in windows.iter().filter(|window| !familiar || is_familiar(window.familiarity)) {
        let probabilities = softmax(&window.logits, spec.temperature);
        let label = argmax(&probabilities);
        let rank = if familiar { probabilities[label] } else { window.familiarity };
        if best.as_ref().is_none_or(|(best, ..)| rank > *best) {
            best = Some((rank, label, probabilities));
        }
    }
    let (_, label, probabilities) = best.unwrap_or_default();
    let chances = i32::try_from(windows.len()).unwrap_or(i32::MAX);
    View::Label {
        label,
        confidence: probabilities.get(label).map_or(0.0, |p| p.powi(chances)),
        probabilities,
        familiarity: windows.iter().map(|w| w.familiarity).fold(f32::NEG_INFINITY, f32::max),
        familiar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Kind;

    fn spec(familiarity_min: Option<f32>) -> TaskSpec {
        TaskSpec { familiarity_min, ..TaskSpec::plain(Kind::Classification) }
    }

    /// A window that gives label 0 the logarithm of these odds.
    fn window(odds: f32, familiarity: f32) -> RawLabel {
        RawLabel { logits: vec![odds.ln(), 0.0], familiarity }
    }

    fn check(windows: &[RawLabel], min: Option<f32>, expected: (usize, f32, f32, bool)) {
        let View::Label { label, confidence, probabilities, familiarity, familiar } =
            view(&spec(min), windows)
        else {
            panic!("not a label");
        };
        assert_eq!((label, familiar), (expected.0, expected.3));
        assert_eq!(probabilities.len(), 2);
        assert!((confidence - expected.1).abs() < 1e-6, "{confidence} is not {}", expected.1);
        assert!((familiarity - expected.2).abs() < 1e-6, "{familiarity}");
    }

    #[test]
    fn one_window_is_taken_as_it_is() {
        check(&[window(4.0, 0.3)], Some(0.2), (0, 0.8, 0.3, true));
        check(&[window(4.0, 0.1)], Some(0.2), (0, 0.8, 0.1, false));
    }

    #[test]
    fn the_surest_window_answers_and_pays_for_the_choice() {
        let windows = [window(1.5, 0.3), window(0.25, 0.3), window(3.0, 0.4)];
        check(&windows, Some(0.2), (1, 0.8 * 0.8 * 0.8, 0.4, true));
    }

    #[test]
    fn familiar_windows_come_before_surer_ones_that_are_not() {
        let windows = [window(99.0, 0.1), window(0.25, 0.3)];
        check(&windows, Some(0.2), (1, 0.64, 0.3, true));
        check(&windows, Some(0.5), (1, 0.64, 0.3, false));
        check(&windows, None, (0, 0.99 * 0.99, 0.3, true));
    }
}
