//! What happens to the site during the day, by the share of orders that are through.

/// An intervention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Every link goes down.
    Cut,
    /// One agent is killed hard.
    Kill,
    /// It is started again.
    Restart,
    /// Every link comes back.
    Restore,
}

/// Each step with the percentage of orders after which it is due. The agent dies while the
/// links are down, so that what it must not lose is nowhere else yet.
const STEPS: [(usize, Step); 4] =
    [(25, Step::Cut), (45, Step::Kill), (50, Step::Restart), (70, Step::Restore)];

/// The steps that are still to come.
#[derive(Debug, Default)]
pub(super) struct Script {
    taken: usize,
}

impl Script {
    /// The next step if it is due after `done` of `all` orders.
    pub(super) fn due(&mut self, done: usize, all: usize) -> Option<Step> {
        let (percent, step) = *STEPS.get(self.taken)?;
        if done * 100 < all * percent {
            return None;
        }
        self.taken += 1;
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_comes_once_and_in_order() {
        let mut script = Script::default();
        assert_eq!(script.due(24, 100), None);
        assert_eq!(script.due(25, 100), Some(Step::Cut));
        assert_eq!(script.due(25, 100), None);
        let rest: Vec<_> = std::iter::from_fn(|| script.due(100, 100)).collect();
        assert_eq!(rest, [Step::Kill, Step::Restart, Step::Restore]);
    }
}
