//! What a model's confidence is worth.
//!
//! * [`Calibration`]: from the error that a task tolerates to a threshold on confidence that
//!   keeps it, with a bound that holds for a finite number of scores.
//! * [`Outlook`]: where nothing can be promised, what could be, and with how many more scores.
//! * [`Reliability`]: whether confidence and truth agree: expected calibration error, Brier score.
//! * [`error_bound`], [`wilson`]: intervals for a share. [`auroc`]: how well a score separates.
//!
//! The device decides with it, and the models' tool measures with it. Numbers in, numbers out:
//! no I/O, no clock, no randomness, and no input that makes it panic.

mod binomial;
mod bound;
mod outlook;
mod reliability;

pub use binomial::{at_most, error_bound, wilson};
pub use bound::{
    Accept, BOUND_CONFIDENCE, Calibration, Group, LABEL_SCORES_MIN, METHOD, SOURCES, Score,
    basis_points,
};
pub use outlook::Outlook;
pub use reliability::{Bin, Reliability, auroc};
