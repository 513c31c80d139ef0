//! Alarms: what a person should look at, found in the database, told to webhooks, shown, and kept.
//!
//! * `causes`: what is an alarm now.
//! * `books`: one alarm for each cause until it is over; who has seen it; what is to be told.
//! * `driver`: looks, and tells.
//! * [`config`]: the table `[alarms]` of the configuration file.
//!
//! Of several hubs on one database each looks, and whichever is first raises, clears and tells.

pub mod books;
mod causes;
pub mod config;
pub(crate) mod driver;

pub use config::AlarmsConfig;
