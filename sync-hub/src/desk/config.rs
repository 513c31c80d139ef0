//! The tables `[desk]`, `[[desk.model]]`, `[[desk.webhook]]` and `[[desk.route]]` of the
//! configuration file. Everything that is wrong is told at once.

use landfall_hub_core::desk::prompt::Prices;
use landfall_hub_core::desk::route::{
    Match, NO_ROUTE, PAUSE_MS, Place, Plan, REASONS, REVIEW_MAX, Route, STEPS_MAX, Step,
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// Time for second thoughts, unless configured.
const UNDO_SECS_DEFAULT: u64 = 10;

/// How long a question is one person's, unless configured: time to look something up.
const CLAIM_SECS_DEFAULT: u64 = 600;

/// Longest of either: an answer must not be held back for a shift.
const SECS_MAX: u64 = 24 * 60 * 60;

/// How long a reply is waited for, unless configured: a large model on a small machine.
const MODEL_TIMEOUT_SECS_DEFAULT: u64 = 60;

/// The same for a ticket system, which only has to take the question.
const WEBHOOK_TIMEOUT_SECS_DEFAULT: u64 = 15;

/// Longest time that one reply is waited for.
const TIMEOUT_SECS_MAX: u64 = 600;

/// Tries of a model, unless configured: a fault is over, or people are quicker.
const MODEL_TRIES_DEFAULT: u16 = 3;

/// Tries of a ticket system, unless configured: with the pauses, half an hour.
const WEBHOOK_TRIES_DEFAULT: u16 = 10;

/// Tokens of a reply, unless configured: a label with its reason, or a dozen fields.
const TOKENS_OUT_DEFAULT: u32 = 512;

/// Requests under way to one model, unless configured.
const PARALLEL_DEFAULT: usize = 2;

/// Longest key or secret that is read.
const SECRET_BYTES_MAX: u64 = 4096;

/// Where certificate authorities are kept on the systems that we know.
const CA_FILES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The desk, checked.
#[derive(Debug, Clone)]
pub struct DeskConfig {
    /// Who is asked, in which order.
    pub plan: Plan,
    /// Stronger models, by name.
    pub models: BTreeMap<String, Model>,
    /// Ticket systems, by name.
    pub webhooks: BTreeMap<String, Webhook>,
    /// Time for second thoughts before an answer is sent.
    pub undo_ms: u64,
    /// How long a question is one person's.
    pub claim_ms: u64,
    /// Where the hub's page is found by others, for links in tickets.
    pub address: Option<String>,
}

impl Default for DeskConfig {
    fn default() -> DeskConfig {
        DeskConfig {
            plan: Plan::default(),
            models: BTreeMap::new(),
            webhooks: BTreeMap::new(),
            undo_ms: UNDO_SECS_DEFAULT * 1_000,
            claim_ms: CLAIM_SECS_DEFAULT * 1_000,
            address: None,
        }
    }
}

/// How a stronger model is reached.
#[derive(Debug, Clone)]
pub struct Model {
    /// Where requests go.
    pub url: String,
    /// Its name at the service.
    pub model: String,
    /// The key.
    pub key: Option<Secret>,
    /// How a connection is made.
    pub reach: Reach,
    /// Tokens of a reply at most.
    pub tokens_out_max: u32,
    /// Requests under way at once.
    pub parallel: usize,
    /// What tokens cost.
    pub prices: Prices,
    /// What may be spent in a day (UTC), in millionths; without a limit if `None`.
    pub spend_micros_max: Option<u64>,
}

/// How a ticket system is reached.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where questions go.
    pub url: String,
    /// What they are signed with.
    pub secret: Secret,
    /// How a connection is made.
    pub reach: Reach,
}

/// How a connection is made.
#[derive(Debug, Clone)]
pub struct Reach {
    /// How long a reply is waited for.
    pub timeout: Duration,
    /// PEM file of the authorities that are trusted, for `https`.
    pub ca: Option<PathBuf>,
}

/// A key; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The key itself, to be sent and nothing else.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    fn read(path: &Path) -> Result<Secret, String> {
        let at = path.display();
        let failed = |error: std::io::Error| format!("cannot read {at}: {error}");
        let length = std::fs::metadata(path).map_err(failed)?.len();
        if length > SECRET_BYTES_MAX {
            return Err(format!("{at} is too long for a key"));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let key = text.trim();
        if key.is_empty() || key.chars().any(|c| c.is_control() || !c.is_ascii()) {
            return Err(format!("{at} must hold one line with the key"));
        }
        Ok(Secret(key.to_owned()))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// `[desk]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeskTable {
    undo_secs: Option<Spanned<u64>>,
    claim_secs: Option<Spanned<u64>>,
    address: Option<String>,
    #[serde(default)]
    model: Vec<ModelTable>,
    #[serde(default)]
    webhook: Vec<WebhookTable>,
    #[serde(default)]
    route: Vec<RouteTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelTable {
    name: Spanned<String>,
    url: Spanned<String>,
    model: String,
    key_file: Option<Spanned<PathBuf>>,
    ca_file: Option<PathBuf>,
    timeout_secs: Option<Spanned<u64>>,
    tries: Option<Spanned<u16>>,
    pause_secs: Option<Spanned<f64>>,
    tokens_out_max: Option<u32>,
    parallel: Option<Spanned<usize>>,
    price_in: Option<Spanned<f64>>,
    price_out: Option<Spanned<f64>>,
    spend_per_day_max: Option<Spanned<f64>>,
}

/// A webhook as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookTable {
    pub(crate) name: Spanned<String>,
    url: Spanned<String>,
    secret_file: Spanned<PathBuf>,
    ca_file: Option<PathBuf>,
    timeout_secs: Option<Spanned<u64>>,
    tries: Option<Spanned<u16>>,
    pause_secs: Option<Spanned<f64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteTable {
    name: Spanned<String>,
    #[serde(default)]
    task: Vec<String>,
    #[serde(default)]
    device: Vec<String>,
    #[serde(default)]
    reason: Vec<Spanned<String>>,
    #[serde(default)]
    meta: BTreeMap<String, String>,
    to: Vec<Spanned<StepTable>>,
    review: Option<Spanned<u8>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepTable {
    model: Option<String>,
    webhook: Option<String>,
    #[serde(default)]
    people: bool,
    within_secs: Option<u64>,
}

/// Something wrong, at a place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Byte of the file.
    pub(crate) at: usize,
    /// What, and what would be right.
    pub(crate) what: String,
}

/// How often, and after which pause, a place is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Again {
    pub(crate) tries_max: u16,
    pub(crate) pause_ms: u64,
}

/// Collects what is wrong.
#[derive(Default)]
pub(crate) struct Check {
    wrong: Vec<Wrong>,
}

impl Check {
    /// All that is wrong, in the order of the file.
    pub(crate) fn done(self) -> Result<(), Vec<Wrong>> {
        let mut wrong = self.wrong;
        wrong.sort_by_key(|wrong| wrong.at);
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    fn note<T>(&mut self, at: &Spanned<T>, what: impl Into<String>) {
        self.wrong.push(Wrong { at: at.span().start, what: what.into() });
    }

    /// A number within a range.
    pub(crate) fn number<T: Copy + PartialOrd + std::fmt::Display>(
        &mut self,
        name: &str,
        given: Option<&Spanned<T>>,
        default: T,
        range: std::ops::RangeInclusive<T>,
    ) -> T {
        let Some(spanned) = given else { return default };
        let value = *spanned.get_ref();
        if !range.contains(&value) {
            let (low, high) = range.into_inner();
            self.note(spanned, format!("{name} is {value}; use {low} to {high}"));
        }
        value
    }

    pub(crate) fn name(
        &mut self,
        kind: &str,
        name: &Spanned<String>,
        known: &mut BTreeSet<String>,
    ) -> String {
        let text = name.get_ref();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if text.is_empty() || text.len() > 63 || !text.chars().all(plain) {
            self.note(
                name,
                format!("'{text}' is no name of a {kind}: use a-z, 0-9, '-', '_', '.'"),
            );
        }
        if !known.insert(text.clone()) {
            self.note(name, format!("there are two of the name {kind} {text}: rename one"));
        }
        text.clone()
    }

    fn url(&mut self, url: &Spanned<String>) -> String {
        let text = url.get_ref();
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        if host.is_none_or(|host| host.is_empty() || host.starts_with('/')) {
            self.note(url, format!("'{text}' is no address: use http://… or https://…"));
        }
        if host.is_some_and(|host| host.split('/').next().is_some_and(|it| it.contains('@'))) {
            self.note(url, "a password does not belong into an address: use key_file");
        }
        text.clone()
    }

    fn secret(&mut self, path: &Spanned<PathBuf>) -> Secret {
        Secret::read(path.get_ref()).unwrap_or_else(|error| {
            self.note(path, error);
            Secret(String::new())
        })
    }

    /// The authorities for an address: those given, or the system's.
    fn ca(&mut self, url: &Spanned<String>, given: Option<&PathBuf>) -> Option<PathBuf> {
        if !url.get_ref().starts_with("https://") {
            return None;
        }
        let found = match given {
            Some(path) => Some(path.clone()).filter(|path| path.is_file()),
            None => CA_FILES.iter().map(PathBuf::from).find(|path| path.is_file()),
        };
        if found.is_none() {
            self.note(url, "no certificate authorities for https: name a PEM file as ca_file");
        }
        found
    }

    /// Tries at most, and the first pause between two.
    fn again(
        &mut self,
        (tries, pause): (Option<&Spanned<u16>>, Option<&Spanned<f64>>),
        default: u16,
    ) -> Again {
        let tries_max = self.number("tries", tries, default, 1..=100);
        let secs = self.number("pause_secs", pause, 2.0, 0.0..=300.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
        let pause_ms = (secs * 1e3) as u64;
        Again { tries_max, pause_ms }
    }

    fn price(&mut self, name: &str, given: Option<&Spanned<f64>>) -> f64 {
        // Whole units of a currency per million tokens; none costs a thousand times a thousand.
        self.number(name, given, 0.0, 0.0..=1e6)
    }
}

impl DeskTable {
    /// Checks everything and reads the keys.
    ///
    /// # Errors
    /// All that is wrong, in the order of the file.
    pub(crate) fn check(&self) -> Result<DeskConfig, Vec<Wrong>> {
        let mut check = Check::default();
        let secs = 0..=SECS_MAX;
        let undo = check.number("undo_secs", self.undo_secs.as_ref(), UNDO_SECS_DEFAULT, secs);
        let secs = 10..=SECS_MAX;
        let claim = check.number("claim_secs", self.claim_secs.as_ref(), CLAIM_SECS_DEFAULT, secs);
        let (mut models, mut webhooks) = (BTreeMap::new(), BTreeMap::new());
        let (mut tries, mut names) = (BTreeMap::new(), BTreeSet::new());
        for table in &self.model {
            let name = check.name("model", &table.name, &mut names);
            let given = (table.tries.as_ref(), table.pause_secs.as_ref());
            let again = check.again(given, MODEL_TRIES_DEFAULT);
            tries.insert(Place::Model(name.clone()), again);
            models.insert(name, table.check(&mut check));
        }
        names.clear();
        for table in &self.webhook {
            let name = check.name("webhook", &table.name, &mut names);
            let again = table.again(&mut check, WEBHOOK_TRIES_DEFAULT);
            tries.insert(Place::Webhook(name.clone()), again);
            webhooks.insert(name, table.check(&mut check));
        }
        names.clear();
        let routes: Vec<Route> =
            self.route.iter().map(|table| table.check(&mut check, &tries, &mut names)).collect();
        check.done()?;
        Ok(DeskConfig {
            plan: Plan { routes },
            models,
            webhooks,
            undo_ms: undo * 1_000,
            claim_ms: claim * 1_000,
            address: self.address.as_deref().map(|at| at.trim_end_matches('/').to_owned()),
        })
    }
}

impl ModelTable {
    fn check(&self, check: &mut Check) -> Model {
        let given = self.timeout_secs.as_ref();
        let secs =
            check.number("timeout_secs", given, MODEL_TIMEOUT_SECS_DEFAULT, 1..=TIMEOUT_SECS_MAX);
        let prices = Prices {
            tokens_in: check.price("price_in", self.price_in.as_ref()),
            tokens_out: check.price("price_out", self.price_out.as_ref()),
        };
        let most = self.spend_per_day_max.as_ref();
        if let Some(given) = most
            && prices == Prices::default()
        {
            check.note(given, "a limit needs prices: set price_in and price_out");
        }
        let spend = most.map(|_| check.number("spend_per_day_max", most, 0.0, 0.0..=1e9));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked above"
        )]
        let spend_micros_max = spend.map(|units| (units * 1e6) as u64);
        let address = check.url(&self.url);
        Model {
            url: format!("{}/chat/completions", address.trim_end_matches('/')),
            model: self.model.clone(),
            key: self.key_file.as_ref().map(|path| check.secret(path)),
            reach: Reach {
                timeout: Duration::from_secs(secs),
                ca: check.ca(&self.url, self.ca_file.as_ref()),
            },
            tokens_out_max: self.tokens_out_max.unwrap_or(TOKENS_OUT_DEFAULT).clamp(16, 32_768),
            parallel: check.number("parallel", self.parallel.as_ref(), PARALLEL_DEFAULT, 1..=64),
            prices,
            spend_micros_max,
        }
    }
}

impl WebhookTable {
    /// How often it is tried.
    pub(crate) fn again(&self, check: &mut Check, default: u16) -> Again {
        check.again((self.tries.as_ref(), self.pause_secs.as_ref()), default)
    }

    pub(crate) fn check(&self, check: &mut Check) -> Webhook {
        let given = self.timeout_secs.as_ref();
        let secs =
            check.number("timeout_secs", given, WEBHOOK_TIMEOUT_SECS_DEFAULT, 1..=TIMEOUT_SECS_MAX);
        Webhook {
            url: check.url(&self.url),
            secret: check.secret(&self.secret_file),
            reach: Reach {
                timeout: Duration::from_secs(secs),
                ca: check.ca(&self.url, self.ca_file.as_ref()),
            },
        }
    }
}

impl RouteTable {
    fn check(
        &self,
        check: &mut Check,
        tries: &BTreeMap<Place, Again>,
        names: &mut BTreeSet<String>,
    ) -> Route {
        let name = check.name("route", &self.name, names);
        if name == NO_ROUTE {
            check
                .note(&self.name, format!("'{NO_ROUTE}' is what no route takes: use another name"));
        }
        for reason in &self.reason {
            if !REASONS.iter().any(|(word, _)| word == reason.get_ref()) {
                let words = REASONS.map(|(word, _)| word).join(", ");
                check.note(
                    reason,
                    format!("'{}' is no reason; there are {words}", reason.get_ref()),
                );
            }
        }
        if self.to.is_empty() || self.to.len() > STEPS_MAX {
            check.note(&self.name, format!("a route needs 1 to {STEPS_MAX} steps in `to`"));
        }
        let steps: Vec<Step> = self.to.iter().map(|table| step(table, check, tries)).collect();
        let endless = steps.iter().position(|step| step.within_ms.is_none());
        if let Some(at) = endless.filter(|at| at + 1 < steps.len())
            && matches!(steps[at].place, Place::People | Place::Webhook(_))
        {
            check
                .note(&self.to[at], "the steps behind this one are never reached: set within_secs");
        }
        Route {
            name,
            of: Match {
                tasks: self.task.clone(),
                devices: self.device.clone(),
                reasons: self.reason.iter().map(|reason| reason.get_ref().clone()).collect(),
                meta: self.meta.clone().into_iter().collect(),
            },
            steps,
            review: check.number("review", self.review.as_ref(), 1, 1..=REVIEW_MAX),
        }
    }
}

fn step(table: &Spanned<StepTable>, check: &mut Check, tries: &BTreeMap<Place, Again>) -> Step {
    let StepTable { model, webhook, people, within_secs } = table.get_ref();
    let place = match (model, webhook, people) {
        (Some(name), None, false) => Place::Model(name.clone()),
        (None, Some(name), false) => Place::Webhook(name.clone()),
        (None, None, true) => Place::People,
        _ => {
            check.note(
                table,
                "a step is one of model = \"NAME\", webhook = \"NAME\", people = true",
            );
            Place::People
        }
    };
    let known = tries.get(&place).copied();
    if known.is_none() && place != Place::People {
        check.note(table, format!("there is no [[desk.…]] table for {}", place.name()));
    }
    let within_ms = within_secs.map(|secs| secs.saturating_mul(1_000));
    let Again { tries_max, pause_ms } = known.unwrap_or(Again { tries_max: 1, pause_ms: PAUSE_MS });
    Step { place, within_ms, tries_max, pause_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<DeskConfig, Vec<Wrong>> {
        toml::from_str::<DeskTable>(text).unwrap().check()
    }

    #[test]
    fn a_route_over_a_model_and_tickets_to_people() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "s3cret\n").unwrap();
        let config = check(&format!(
            r#"
            undo_secs = 5
            [[model]]
            name = "big"
            url = "http://127.0.0.1:8000/v1/"
            model = "qwen"
            key_file = "{0}"
            price_in = 0.15
            price_out = 0.6
            spend_per_day_max = 2.5
            [[webhook]]
            name = "tickets"
            url = "http://127.0.0.1:9000/in"
            secret_file = "{0}"
            [[route]]
            name = "ships"
            device = ["ship-*"]
            reason = ["low-confidence"]
            to = [{{ model = "big", within_secs = 60 }}, {{ webhook = "tickets", within_secs = 600 }},
                  {{ people = true }}]
            review = 2
            "#,
            secret.display()
        ))
        .unwrap();
        let model = &config.models["big"];
        assert_eq!(model.url, "http://127.0.0.1:8000/v1/chat/completions");
        assert_eq!(model.spend_micros_max, Some(2_500_000));
        assert_eq!(config.webhooks["tickets"].secret.expose(), "s3cret");
        assert!(!format!("{config:?}").contains("s3cret"), "secrets are not shown");
        let steps = &config.plan.routes[0].steps;
        assert_eq!((steps.len(), steps[0].tries_max), (3, MODEL_TRIES_DEFAULT));
        assert_eq!((config.undo_ms, config.plan.routes[0].review), (5_000, 2));
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let wrong = check(
            r#"
            undo_secs = 100000
            [[model]]
            name = "big model"
            url = "ftp://x"
            model = "m"
            key_file = "/nowhere/key"
            spend_per_day_max = 1.0
            [[route]]
            name = "people"
            reason = ["boredom"]
            to = [{ people = true }, { model = "other" }, { people = true, model = "big model" }]
            review = 3
            "#,
        )
        .unwrap_err();
        let text = wrong.iter().map(|wrong| wrong.what.as_str()).collect::<Vec<_>>().join("\n");
        for part in [
            "undo_secs",
            "'big model'",
            "ftp://x",
            "/nowhere/key",
            "needs prices",
            "use another name",
            "'boredom'",
            "model other",
            "one of model",
            "never reached",
            "review is 3",
        ] {
            assert!(text.contains(part), "{part} in:\n{text}");
        }
        assert!(wrong.is_sorted_by_key(|wrong| wrong.at));
    }

    #[test]
    fn without_tables_there_are_people() {
        assert!(check("").unwrap().plan.routes.is_empty());
    }
}
