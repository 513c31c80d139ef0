//! The table `[alarms]` of the configuration file: what is an alarm, and who is told.

use crate::desk::config::{Again, Check, Webhook, WebhookTable, Wrong};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;

/// A device that was not heard for two days is looked at.
const SILENT_SECS_DEFAULT: u64 = 2 * 24 * 60 * 60;

/// A question that a person did not answer within a watch.
const WAIT_SECS_DEFAULT: u64 = 4 * 60 * 60;

/// The population stability index above which a shift is commonly called large.
const DRIFT_DEFAULT: f64 = 0.25;

/// A year: more is a mistake.
const SECS_MAX: u64 = 366 * 24 * 60 * 60;

/// How often a webhook is tried: with doubling pauses from two seconds, some hours.
const TRIES_DEFAULT: u16 = 12;

/// What is an alarm; zero and `None` switch one off.
#[derive(Debug, Clone)]
pub struct AlarmsConfig {
    /// A device that was not heard for so long.
    pub silent_ms: u64,
    /// A question that waits for people for so long.
    pub wait_ms: u64,
    /// The index of confidence or labels over which a release has drifted.
    pub drift_max: f64,
    /// The share of wrong answers that audits must not prove to be exceeded.
    pub error_max: Option<f64>,
    /// Who is told.
    pub webhooks: BTreeMap<String, Told>,
    /// Where the hub's page is found by others, for links.
    pub address: Option<String>,
}

/// Somebody who is told.
#[derive(Debug, Clone)]
pub struct Told {
    /// How.
    pub webhook: Webhook,
    /// How often it is tried.
    pub tries_max: u16,
    /// The first pause; each further one is twice as long.
    pub pause_ms: u64,
}

impl Default for AlarmsConfig {
    fn default() -> AlarmsConfig {
        AlarmsConfig {
            silent_ms: SILENT_SECS_DEFAULT * 1_000,
            wait_ms: WAIT_SECS_DEFAULT * 1_000,
            drift_max: DRIFT_DEFAULT,
            error_max: None,
            webhooks: BTreeMap::new(),
            address: None,
        }
    }
}

/// `[alarms]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlarmsTable {
    silent_secs: Option<Spanned<u64>>,
    wait_secs: Option<Spanned<u64>>,
    drift_max: Option<Spanned<f64>>,
    error_max: Option<Spanned<f64>>,
    address: Option<String>,
    #[serde(default)]
    webhook: Vec<WebhookTable>,
}

impl AlarmsTable {
    /// Checks everything and reads the keys.
    ///
    /// # Errors
    /// All that is wrong, in the order of the file.
    pub(crate) fn check(&self) -> Result<AlarmsConfig, Vec<Wrong>> {
        let mut check = Check::default();
        let secs = |check: &mut Check, name, given: &Option<Spanned<u64>>, default| {
            check.number(name, given.as_ref(), default, 0..=SECS_MAX) * 1_000
        };
        let silent_ms = secs(&mut check, "silent_secs", &self.silent_secs, SILENT_SECS_DEFAULT);
        let wait_ms = secs(&mut check, "wait_secs", &self.wait_secs, WAIT_SECS_DEFAULT);
        let drift = self.drift_max.as_ref();
        let drift_max = check.number("drift_max", drift, DRIFT_DEFAULT, 0.0..=100.0);
        let error = self.error_max.as_ref();
        let error_max = error.map(|_| check.number("error_max", error, 0.0, 0.0..=1.0));
        let (mut webhooks, mut names) = (BTreeMap::new(), BTreeSet::new());
        for table in &self.webhook {
            let name = check.name("webhook", &table.name, &mut names);
            let Again { tries_max, pause_ms } = table.again(&mut check, TRIES_DEFAULT);
            let webhook = table.check(&mut check);
            webhooks.insert(name, Told { webhook, tries_max, pause_ms });
        }
        let address = self.address.as_deref().map(|at| at.trim_end_matches('/').to_owned());
        let config = AlarmsConfig { silent_ms, wait_ms, drift_max, error_max, webhooks, address };
        check.done().map(|()| config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_alarm_is_written_and_mistakes_are_told_all_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "s3cret\n").unwrap();
        let text = format!(
            "silent_secs = 3600\nerror_max = 0.1\n[[webhook]]\nname = \"ops\"\n\
             url = \"http://127.0.0.1:9/x\"\nsecret_file = {:?}\ntries = 3\npause_secs = 0.5\n",
            secret.display().to_string()
        );
        let config = toml::from_str::<AlarmsTable>(&text).unwrap().check().unwrap();
        assert_eq!((config.silent_ms, config.wait_ms), (3_600_000, WAIT_SECS_DEFAULT * 1_000));
        assert_eq!((config.error_max, config.drift_max), (Some(0.1), DRIFT_DEFAULT));
        let ops = &config.webhooks["ops"];
        assert_eq!((ops.tries_max, ops.pause_ms), (3, 500));
        let bad = "silent_secs = 99999999999\nerror_max = 2.0\n[[webhook]]\nname = \"a b\"\n\
                   url = \"ftp://x\"\nsecret_file = \"/nowhere\"\n";
        let wrong = toml::from_str::<AlarmsTable>(bad).unwrap().check().unwrap_err();
        assert_eq!(wrong.len(), 5, "{wrong:?}");
    }
}
