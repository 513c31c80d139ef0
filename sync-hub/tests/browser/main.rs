//! The pages in a real browser: signing in, the desk with its keys, the fleet kept up to date.
//!
//! Where there is no Chromium with its driver it says so and shows nothing.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail loudly and say why on standard error"
)]
#![expect(dead_code, reason = "helpers are shared with `tests/hub`")]

const POSTGRES: bool = false;

#[path = "../hub/client.rs"]
mod client;
mod driver;
#[path = "../hub/process.rs"]
mod process;

use client::{Device, batch, escalation, outcomes, task};
use driver::Browser;
use landfall_wire::record::{StreamId, TaskKind};
use process::Hub;

const PASSWORD: &str = "correct horse battery";

/// Where pictures for the documentation go, if they are wanted.
const PICTURES: &str = "LANDFALL_PICTURES";

fn picture(browser: &Browser, name: &str) {
    if let Some(dir) = std::env::var_os(PICTURES) {
        std::fs::write(std::path::Path::new(&dir).join(name), browser.screenshot()).unwrap();
    }
}

#[tokio::test]
async fn an_operator_signs_in_and_answers_with_the_keyboard() {
    let Some(browser) = Browser::start() else { return };
    let mut hub = Hub::new();
    hub.enroll("ship-7");
    hub.add_user("ann", "admin", PASSWORD);
    let config = hub.path("hub.toml");
    std::fs::write(&config, "[desk]\nundo_secs = 3600\n").unwrap();
    hub.start_more(&["--config".to_owned(), config.to_str().unwrap().to_owned()]);
    let (mut device, _) = Device::greeted(&hub, "ship-7", vec![]).await;
    let labels = ["Leaking", "Stuck", "Noise", "Overheating", "Vibration"];
    let tasks = [task("failure-mode", TaskKind::Classification, &labels)];
    device.send(&batch(StreamId::Event, 0, &tasks)).await;
    device.acked(StreamId::Event, 1).await;
    let questions = [
        escalation("failure-mode", "Seawater pump P-101: valve will not move after the overhaul"),
        escalation("failure-mode", "Drain valve stuck, handwheel turns freely"),
        escalation("failure-mode", "Gearbox whines at half load"),
    ];
    device.send(&batch(StreamId::Escalation, 0, &questions)).await;
    device.acked(StreamId::Escalation, 3).await;
    tokio::task::spawn_blocking(move || {
        // A stranger is asked who they are, and comes to where they wanted.
        browser.open(&format!("http://{}/desk", hub.web()));
        browser.wait_title("Sign in");
        browser.type_into("#name", "ann");
        browser.type_into("#password", "not the password");
        browser.click("form.answer button");
        browser.wait_text("is not right");
        browser.type_into("#password", PASSWORD);
        browser.click("form.answer button");
        browser.wait_title("Desk");
        browser.wait_text("handwheel turns freely");
        picture(&browser, "desk.png");

        browser.keys("n");
        browser.wait_text("valve will not move");
        browser.keys("?");
        browser.wait_text("take back the last answer");
        browser.keys("?");
        picture(&browser, "question.png");
        // The second choice, then answered.
        browser.keys("2");
        browser.keys("a");
        browser.wait_text("handwheel turns freely");
        browser.wait_text("it is sent in a moment");
        let text = browser.text("main");
        assert!(!text.contains("will not move"), "the next question: {text}");
        browser.keys("s");
        browser.wait_text("whines at half load");
        browser.open(&format!("http://{}/desk", hub.web()));
        browser.wait_text("is not sent yet");
        browser.keys("u");
        browser.wait_text("Taken back");
        browser.wait_text("valve will not move");
        assert_eq!(hub.stats().escalations.open, 3);
        let trail = hub.run_ok(&["trail"]);
        assert!(trail.contains("took back") && trail.contains("ann"), "{trail}");
        assert_eq!(browser.problems(), Vec::<String>::new(), "nothing is refused or fails");
    })
    .await
    .unwrap();
    drop(device);
}

#[tokio::test]
async fn the_fleet_is_kept_up_to_date() {
    let Some(browser) = Browser::start() else { return };
    let hub = Hub::with_devices(&["ship-7", "ship-8"]);
    let (mut device, _) = Device::greeted(&hub, "ship-7", vec![]).await;
    let web = hub.web();
    let browser = tokio::task::spawn_blocking(move || {
        browser.open(&format!("http://{web}/"));
        browser.wait_title("Fleet");
        browser.wait_text("ship-8");
        browser
    })
    .await
    .unwrap();
    device.send(&outcomes(0, 42)).await;
    device.acked(StreamId::Outcome, 42).await;
    tokio::task::spawn_blocking(move || {
        // Nobody loads the page again.
        browser.wait_text("42\noutcomes");
        assert!(browser.count("svg.chart") >= 2, "charts");
        picture(&browser, "fleet.png");
        assert_eq!(browser.problems(), Vec::<String>::new(), "nothing is refused or fails");
    })
    .await
    .unwrap();
}
