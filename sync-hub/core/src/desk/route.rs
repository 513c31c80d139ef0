//! Where a question goes, in which order, and for how long.
//!
//! A route is a list of steps; the first route that fits a question takes it. A step asks a
//! model, hands the question to a ticket system, or shows it to people, each within its time;
//! what brings no answer there goes to the next step. Behind the last step are always people,
//! without a limit: a question is never put away unanswered.
//!
//! ```text
//!          failed, to be tried again
//!            +-------+
//!            v       |
//! step n: [Ready] --asked--> (answered) | [Waiting] --answer from outside--> (answered)
//!            \______ refused, tries used up, time over ______/--> step n + 1
//! ```
//! Whoever answers first, wherever the question stands, answers it: the escalation takes one
//! answer only.

/// First pause after a failed try unless configured: a service that restarts needs seconds.
pub const PAUSE_MS: u64 = 2_000;

/// Longest pause between two tries: a service that was down for hours is found within minutes.
pub const PAUSE_MS_MAX: u64 = 5 * 60 * 1_000;

/// Different people who must agree, at most.
pub const REVIEW_MAX: u8 = 2;

/// Steps of one route; more than there are kinds of places, twice.
pub const STEPS_MAX: usize = 8;

/// Who can be asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A stronger model, by the name of its table.
    Model(String),
    /// A ticket system, by the name of its table.
    Webhook(String),
    /// People, on the desk's page.
    People,
}

impl Place {
    /// As it is kept and shown: `people`, `model NAME`, `webhook NAME`.
    pub fn name(&self) -> String {
        match self {
            Place::Model(name) => format!("model {name}"),
            Place::Webhook(name) => format!("webhook {name}"),
            Place::People => "people".to_owned(),
        }
    }
}

/// One step of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Who is asked.
    pub place: Place,
    /// How long; without a limit if `None`.
    pub within_ms: Option<u64>,
    /// Tries at most; nothing is tried with people.
    pub tries_max: u16,
    /// The pause after the first failed try; doubled for each further one.
    pub pause_ms: u64,
}

impl Step {
    /// People, for as long as it takes.
    pub const PEOPLE: Step =
        Step { place: Place::People, within_ms: None, tries_max: 1, pause_ms: PAUSE_MS };
}

/// Which questions a route takes. An empty list means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    /// Names of tasks.
    pub tasks: Vec<String>,
    /// Names of devices; `*` stands for any characters, so `rotterdam-*` is a site.
    pub devices: Vec<String>,
    /// Why it was escalated: see [`REASONS`].
    pub reasons: Vec<String>,
    /// Metadata that it must have; `*` as in `devices`.
    pub meta: Vec<(String, String)>,
}

/// What is known of a question when its route is chosen.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its task.
    pub task: &'a str,
    /// Its device.
    pub device: &'a str,
    /// Why it was escalated, as it is kept.
    pub reason: &'a str,
    /// Its metadata.
    pub meta: &'a [(String, String)],
}

/// The words for [`Match::reasons`], and how a kept reason begins.
pub const REASONS: [(&str, &str); 5] = [
    ("low-confidence", "low confidence"),
    ("out-of-scope", "out of scope"),
    ("rule", "rule "),
    ("audit", "audit"),
    ("model-unavailable", "model unavailable"),
];

impl Match {
    /// Whether it takes this question.
    pub fn takes(&self, subject: Subject<'_>) -> bool {
        let any = |list: &[String], is: &dyn Fn(&str) -> bool| {
            list.is_empty() || list.iter().any(|one| is(one))
        };
        any(&self.tasks, &|task| task == subject.task)
            && any(&self.devices, &|pattern| fits(pattern, subject.device))
            && any(&self.reasons, &|word| {
                REASONS
                    .iter()
                    .any(|(name, start)| *name == word && subject.reason.starts_with(start))
            })
            && self.meta.iter().all(|(key, pattern)| {
                subject.meta.iter().any(|(k, value)| k == key && fits(pattern, value))
            })
    }
}

/// Whether a text is as the pattern says; `*` stands for any characters, also none.
pub fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its name, kept with the questions that it takes.
    pub name: String,
    /// Which questions it takes.
    pub of: Match,
    /// Who is asked, in order; people follow the last.
    pub steps: Vec<Step>,
    /// How many different people must give the same answer before it is sent.
    pub review: u8,
}

/// All routes, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The first that fits takes the question; people take what none does.
    pub routes: Vec<Route>,
}

/// What becomes of a question that no route takes, or whose route is no longer configured.
pub const NO_ROUTE: &str = "people";

/// Where a question stands within its step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// To be asked, not before the given time.
    Ready,
    /// Handed over; its answer comes from outside.
    Waiting,
}

/// A question on its route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Name of its route.
    pub route: String,
    /// Which step, from 0.
    pub step: u16,
    /// Where within it.
    pub stage: Stage,
    /// Tries of this step so far.
    pub tries: u16,
    /// When something is to be done: asking, or going on. `None`: never by itself.
    pub due_ms: Option<u64>,
    /// When the time of this step is over.
    pub deadline_ms: Option<u64>,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// Nothing yet: the place took the question and answers by itself.
    Taken,
    /// Nothing: it may work later; not before `after_ms` from now, if the place said so.
    Failed {
        /// Milliseconds that the place asked for.
        after_ms: Option<u64>,
    },
    /// Nothing, and trying again is no use.
    Declined,
    /// Its time is over.
    TimedOut,
}

impl Plan {
    /// The route that takes a question, if one does.
    pub fn route(&self, subject: Subject<'_>) -> Option<&Route> {
        self.routes.iter().find(|route| route.of.takes(subject))
    }

    /// The steps behind a name; people where it is not configured any more.
    fn steps(&self, name: &str) -> &[Step] {
        self.routes.iter().find(|route| route.name == name).map_or(&[], |route| &route.steps)
    }

    /// How many people must agree.
    pub fn review(&self, route: &str) -> u8 {
        self.routes.iter().find(|it| it.name == route).map_or(1, |it| it.review)
    }

    /// The step at which a question stands.
    pub fn step(&self, case: &Case) -> &Step {
        self.steps(&case.route).get(usize::from(case.step)).unwrap_or(&Step::PEOPLE)
    }

    /// Begins the way of a question.
    pub fn begin(&self, subject: Subject<'_>, now_ms: u64) -> Case {
        let route = self.route(subject).map_or(NO_ROUTE, |route| &route.name);
        self.enter(route, 0, now_ms)
    }

    /// Goes on after something came of a step.
    #[must_use]
    pub fn go_on(&self, case: &Case, came: Came, now_ms: u64) -> Case {
        let step = self.step(case);
        let next = || self.enter(&case.route, case.step.saturating_add(1), now_ms);
        match came {
            Came::Taken => Case { stage: Stage::Waiting, due_ms: case.deadline_ms, ..case.clone() },
            Came::Failed { after_ms } => {
                let tries = case.tries.saturating_add(1);
                let due_ms = now_ms.saturating_add(pause_ms(step.pause_ms, tries, after_ms));
                let in_time = case.deadline_ms.is_none_or(|deadline| due_ms < deadline);
                if tries < step.tries_max && in_time {
                    Case { tries, due_ms: Some(due_ms), ..case.clone() }
                } else {
                    next()
                }
            }
            Came::Declined | Came::TimedOut => next(),
        }
    }

    /// What is to be done with a case that is due: ask, or go on because its time is over.
    pub fn is_over(&self, case: &Case, now_ms: u64) -> bool {
        case.stage == Stage::Waiting || case.deadline_ms.is_some_and(|deadline| now_ms >= deadline)
    }

    fn enter(&self, route: &str, step: u16, now_ms: u64) -> Case {
        let at = self.steps(route).get(usize::from(step)).unwrap_or(&Step::PEOPLE);
        let deadline_ms = at.within_ms.map(|within| now_ms.saturating_add(within));
        let (stage, due_ms) = match at.place {
            Place::People => (Stage::Waiting, deadline_ms),
            Place::Model(_) | Place::Webhook(_) => (Stage::Ready, Some(now_ms)),
        };
        Case { route: route.to_owned(), step, stage, tries: 0, due_ms, deadline_ms }
    }
}

/// How long to wait before the try after the `tries`th.
fn pause_ms(first_ms: u64, tries: u16, asked_ms: Option<u64>) -> u64 {
    let doublings = u32::from(tries.saturating_sub(1)).min(16);
    let own = first_ms.saturating_mul(1 << doublings).min(PAUSE_MS_MAX);
    // A place that is overloaded knows best, within reason.
    asked_ms.map_or(own, |asked| own.max(asked.min(PAUSE_MS_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: Subject<'_> =
        Subject { task: "failure-mode", device: "ship-7", reason: "rule ask-hub", meta: &[] };

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn plan() -> Plan {
        let model = Step {
            place: Place::Model("big".into()),
            within_ms: Some(60_000),
            tries_max: 3,
            pause_ms: PAUSE_MS,
        };
        let webhook = Step {
            place: Place::Webhook("tickets".into()),
            within_ms: Some(3_600_000),
            tries_max: 2,
            pause_ms: PAUSE_MS,
        };
        let of = Match { devices: list(&["ship-*"]), ..Match::default() };
        let route = Route { name: "ships".into(), of, steps: vec![model, webhook], review: 2 };
        Plan { routes: vec![route] }
    }

    #[test]
    fn patterns_fit_as_a_person_reads_them() {
        for (pattern, text, is) in [
            ("ship-7", "ship-7", true),
            ("ship-7", "ship-71", false),
            ("ship-*", "ship-7", true),
            ("ship-*", "shed-7", false),
            ("*", "", true),
            ("*-7", "ship-7", true),
            ("s*p*7", "ship-7", true),
            ("s*p*7", "ship-78", false),
            ("a*a", "a", false),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(fits(pattern, text), is, "{pattern} {text}");
        }
    }

    #[test]
    fn every_condition_must_hold_and_any_of_a_list_does() {
        let meta = [("site".to_owned(), "rotterdam".to_owned())];
        let subject = Subject { meta: &meta, ..SUBJECT };
        let all = Match {
            tasks: list(&["other", "failure-mode"]),
            devices: list(&["ship-*"]),
            reasons: list(&["rule"]),
            meta: vec![("site".into(), "rot*".into())],
        };
        assert!(all.takes(subject) && Match::default().takes(subject));
        assert!(!all.takes(SUBJECT), "no metadata");
        for other in [
            Match { tasks: list(&["other"]), ..all.clone() },
            Match { devices: list(&["shed-*"]), ..all.clone() },
            Match { reasons: list(&["audit"]), ..all.clone() },
            Match { meta: vec![("site".into(), "antwerp".into())], ..all },
        ] {
            assert!(!other.takes(subject), "{other:?}");
        }
        for (name, reason) in REASONS {
            let of = Match { reasons: list(&[name]), ..Match::default() };
            assert!(of.takes(Subject { reason, ..SUBJECT }), "{name}");
        }
    }

    #[test]
    fn a_question_goes_from_step_to_step_and_ends_with_people() {
        let plan = plan();
        let mut case = plan.begin(SUBJECT, 1_000);
        assert_eq!((case.due_ms, case.deadline_ms), (Some(1_000), Some(61_000)));
        case = plan.go_on(&case, Came::Failed { after_ms: None }, 1_000);
        assert_eq!((case.step, case.tries, case.due_ms), (0, 1, Some(3_000)));
        case = plan.go_on(&case, Came::Failed { after_ms: Some(10_000) }, 3_000);
        assert_eq!((case.step, case.tries, case.due_ms), (0, 2, Some(13_000)));
        case = plan.go_on(&case, Came::Failed { after_ms: None }, 13_000);
        assert_eq!(plan.step(&case).place, Place::Webhook("tickets".into()), "tries used up");
        case = plan.go_on(&case, Came::Taken, 14_000);
        assert_eq!((case.stage, case.due_ms), (Stage::Waiting, Some(3_613_000)));
        assert!(plan.is_over(&case, 3_613_000));
        case = plan.go_on(&case, Came::TimedOut, 3_613_000);
        assert_eq!(plan.step(&case).place, Place::People);
        assert_eq!((case.stage, case.due_ms), (Stage::Waiting, None), "for as long as it takes");
    }

    #[test]
    fn a_try_that_would_come_too_late_is_not_waited_for() {
        let plan = plan();
        let case = plan.begin(SUBJECT, 0);
        let next = plan.go_on(&case, Came::Failed { after_ms: Some(70_000) }, 0);
        assert_eq!(next.step, 1);
        assert_eq!(plan.go_on(&case, Came::Declined, 0).step, 1);
    }

    #[test]
    fn without_a_route_there_are_people() {
        let plan = plan();
        let case = plan.begin(Subject { device: "shed-1", ..SUBJECT }, 5);
        assert_eq!((plan.step(&case), case.due_ms), (&Step::PEOPLE, None));
        assert_eq!((plan.review(&case.route), plan.review("ships")), (1, 2));
        let gone = Case { route: "renamed".into(), ..plan.begin(SUBJECT, 5) };
        assert_eq!(plan.step(&gone).place, Place::People);
        assert_eq!(Plan::default().begin(SUBJECT, 5).route, NO_ROUTE);
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        assert_eq!([1, 2, 3].map(|tries| pause_ms(2_000, tries, None)), [2_000, 4_000, 8_000]);
        assert_eq!(pause_ms(1, u16::MAX, None), 1 << 16);
        assert_eq!(pause_ms(0, 9, None), 0);
        assert_eq!(pause_ms(1, 1, Some(u64::MAX)), PAUSE_MS_MAX);
    }
}
