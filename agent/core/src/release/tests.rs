use super::*;
use landfall_wire::id::Digest;

fn release(version: &str) -> ReleaseRef {
    ReleaseRef {
        version: version.to_owned(),
        manifest: Digest::of(version.as_bytes()),
        manifest_bytes: 100,
        signature: Digest::of(b"signature"),
        signature_bytes: 10,
    }
}

fn order(number: u64, version: Option<&str>) -> ReleaseOrder {
    let package = "maintenance".to_owned();
    ReleaseOrder { package, number, release: version.map(release), trial_secs: 60 }
}

fn id(number: u64) -> OrderId {
    OrderId { package: "maintenance".to_owned(), number }
}

/// The machine with the book as the disk has it.
struct Device {
    releases: Releases,
    disk: Book,
}

impl Device {
    fn new() -> Device {
        let (releases, effects) = Releases::start(Book::default(), 0);
        assert_eq!(effects, Effects::default());
        Device { releases, disk: Book::default() }
    }

    fn step(&mut self, now_ms: u64, input: Input) -> Vec<Act> {
        let effects = self.releases.step(now_ms, now_ms, input);
        self.done(effects)
    }

    fn done(&mut self, effects: Effects) -> Vec<Act> {
        if effects.save {
            self.disk = self.releases.book().clone();
        }
        assert_eq!(&self.disk, self.releases.book(), "a change was not saved");
        effects.acts
    }

    /// Killed and started again.
    fn restart(&mut self) -> Vec<Act> {
        let (releases, effects) = Releases::start(self.disk.clone(), 0);
        self.releases = releases;
        self.done(effects)
    }

    fn entry(&self) -> &Entry {
        &self.disk.packages["maintenance"]
    }

    fn stages(&self) -> Vec<(u64, &'static str)> {
        self.disk.untold.iter().map(|r| (r.number, r.stage.name())).collect()
    }
}

fn on_trial() -> Device {
    let mut device = Device::new();
    let acts = device.step(0, Input::Ordered(order(1, Some("2"))));
    assert_eq!(acts, [Act::Fetch(id(1), release("2"))]);
    let acts = device.step(1, Input::Fetched(id(1)));
    assert_eq!(acts, [Act::Try(id(1), Some(release("2")))]);
    assert_eq!(device.entry().candidate.as_ref().map(|c| c.stage), Some(Stage::Trial));
    device
}

#[test]
fn a_release_is_fetched_tried_and_kept() {
    let mut device = on_trial();
    assert_eq!(device.step(1000, Input::Serving(id(1))), []);
    assert_eq!(device.releases.next_wakeup(), Some(61_000));
    assert_eq!(device.step(60_999, Input::Tick), []);
    assert_eq!(device.step(61_000, Input::Tick), [Act::Collect]);
    assert_eq!(device.entry().current, Some(release("2")));
    assert_eq!(device.entry().previous, None);
    let stages = [(1, "accepted"), (1, "fetched"), (1, "trial"), (1, "current")];
    assert_eq!(device.stages(), stages);
    device.step(61_001, Input::Told(4));
    assert_eq!(device.stages(), []);
    // The next one; the one before it is kept.
    device.step(62_000, Input::Ordered(order(2, Some("3"))));
    device.step(62_000, Input::Fetched(id(2)));
    device.step(62_000, Input::Serving(id(2)));
    device.step(200_000, Input::Tick);
    assert_eq!(device.entry().previous, Some(release("2")));
    assert_eq!(device.disk.kept().count(), 2);
}

#[test]
fn an_order_is_obeyed_once() {
    let mut device = on_trial();
    device.step(0, Input::Serving(id(1)));
    device.step(60_000, Input::Tick);
    let before = device.disk.clone();
    assert_eq!(device.step(70_000, Input::Ordered(order(1, Some("2")))), []);
    assert_eq!(device.step(70_000, Input::Ordered(order(0, Some("1")))), []);
    assert_eq!(device.disk, before);
    // A new order for what runs is told so at once.
    assert_eq!(device.step(70_000, Input::Ordered(order(2, Some("2")))), []);
    assert_eq!(device.stages().last(), Some(&(2, "current")));
}

#[test]
fn an_agent_that_ends_during_a_trial_runs_what_ran_before() {
    let mut device = on_trial();
    // A power cut, perhaps: it is tried once more.
    assert_eq!(device.restart(), [Act::Try(id(1), Some(release("2")))]);
    assert_eq!(device.entry().current, None, "what runs at a start is never the candidate");
    device.step(0, Input::Serving(id(1)));
    assert_eq!(device.restart(), []);
    assert_eq!(device.entry().failed.as_ref().map(|f| f.fault), Some(ReleaseFault::Crash));
    assert_eq!(device.stages().last(), Some(&(1, "rolled-back")));
    assert_eq!(device.restart(), [], "and not again");
}

#[test]
fn a_stop_in_order_is_no_crash() {
    let mut device = on_trial();
    for _ in 0..5 {
        device.step(0, Input::Serving(id(1)));
        device.step(10, Input::Stopping);
        assert_eq!(device.restart(), [Act::Try(id(1), Some(release("2")))]);
    }
    assert_eq!(device.entry().failed, None);
}

#[test]
fn what_fails_is_rolled_back_with_its_reason() {
    let mut device = on_trial();
    let fault = ReleaseFault::Evaluation;
    let refused = Input::Refused { id: id(1), fault, detail: "3 of 40 wrong".to_owned() };
    assert_eq!(device.step(0, refused), []);
    assert_eq!(device.entry().failed.as_ref().map(|f| f.detail.as_str()), Some("3 of 40 wrong"));
    assert_eq!(device.entry().current, None);

    let mut device = on_trial();
    let misbehaved = || Input::Misbehaved { detail: "an operator panicked".to_owned() };
    assert_eq!(device.step(0, misbehaved()), [], "not its text: it does not serve yet");
    device.step(0, Input::Serving(id(1)));
    assert_eq!(device.step(1, misbehaved()), [Act::Restore]);
    assert_eq!(device.step(2, misbehaved()), []);
    assert_eq!(device.releases.next_wakeup(), None);
}

#[test]
fn a_new_order_takes_the_place_of_one_under_way() {
    let mut device = Device::new();
    device.step(0, Input::Ordered(order(1, Some("2"))));
    let acts = device.step(1, Input::Ordered(order(2, Some("3"))));
    assert_eq!(acts, [Act::Fetch(id(2), release("3"))]);
    // What comes late is about nothing any more.
    assert_eq!(device.step(2, Input::Fetched(id(1))), []);
    assert_eq!(device.entry().candidate.as_ref().map(|c| c.stage), Some(Stage::Wanted));

    let mut device = on_trial();
    device.step(0, Input::Serving(id(1)));
    let acts = device.step(1, Input::Ordered(order(2, None)));
    assert_eq!(acts, [Act::Restore], "what is configured ran before, and nothing is left to do");
    assert_eq!(device.entry().candidate, None);
    assert_eq!(device.releases.next_wakeup(), None);
}

#[test]
fn going_back_to_what_is_configured_is_tried_too() {
    let mut device = on_trial();
    device.step(0, Input::Serving(id(1)));
    device.step(60_000, Input::Tick);
    let acts = device.step(60_001, Input::Ordered(order(2, None)));
    assert_eq!(acts, [Act::Try(id(2), None)]);
    device.step(60_002, Input::Serving(id(2)));
    device.step(999_999, Input::Tick);
    assert_eq!(device.entry().current, None);
    assert_eq!(device.entry().previous, Some(release("2")));
}

#[test]
fn packages_wait_for_each_other() {
    let mut device = on_trial();
    let other = ReleaseOrder { package: "radio".to_owned(), ..order(1, Some("7")) };
    assert_eq!(device.step(0, Input::Ordered(other)), []);
    device.step(0, Input::Serving(id(1)));
    let radio = OrderId { package: "radio".to_owned(), number: 1 };
    let acts = device.step(60_000, Input::Tick);
    assert_eq!(acts, [Act::Collect, Act::Fetch(radio, release("7"))]);
}

#[test]
fn a_hub_cannot_fill_the_book() {
    let mut device = Device::new();
    for number in 0..2 * PACKAGES_MAX {
        let package = format!("package-{number}");
        device.step(0, Input::Ordered(ReleaseOrder { package, ..order(1, None) }));
    }
    assert_eq!(device.disk.packages.len(), PACKAGES_MAX);
}
