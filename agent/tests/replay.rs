//! `replay` of the real binary: by rules, and by the package that ships.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use common::{Agent, RULES, Site, stdout_json, text};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;

const TASKS: &str = "
[task.failure-mode]
error_max = 0.20
leave = { text = true }
[task.work-order-fields]
error_max = 0.50
";

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/packages").canonicalize().unwrap()
}

fn run(site: &Site, args: &[&str]) -> Output {
    site.command(args).env("LANDFALL_PACKAGES", shipped()).output().unwrap()
}

fn start(site: &Site) -> Agent {
    let mut command = site.command(&["run"]);
    command.env("LANDFALL_PACKAGES", shipped());
    Agent::start(command, site.path())
}

fn outcome(reply: &Value) -> &str {
    reply["outcome"].as_str().unwrap_or_else(|| panic!("{reply}"))
}

#[test]
fn rules_decide_again_as_they_did_and_other_rules_are_told() {
    let site = Site::new(RULES);
    let agent = site.start();
    let answered = agent.ask("pump leak", None);
    let escalated = agent.ask("noise in gearbox", None);
    let masked = agent.ask("leak, call 0123 456 7890", Some("wo-1"));
    for reply in [&answered, &escalated] {
        let replay = site.run(&["replay", outcome(reply), "--json"]);
        assert_eq!(replay.status.code(), Some(0), "{}", text(&replay));
        let shown = stdout_json(&replay);
        assert_eq!((&shown["likeness"], &shown["conclusive"]), (&"same".into(), &true.into()));
        assert_eq!(shown["text"]["fit"], "exact", "{shown}");
    }
    // What is recorded of this one is masked; the caller's own text settles it.
    let replay = site.run(&["replay", outcome(&masked), "--json"]);
    assert_eq!(replay.status.code(), Some(3), "{}", text(&replay));
    assert_eq!(stdout_json(&replay)["text"]["fit"], "masked");
    let given = ["replay", outcome(&masked), "--text", "-"];
    let right = site.run_with(&given, b"leak, call 0123 456 7890\n");
    assert_eq!(right.status.code(), Some(0), "{}", text(&right));
    let wrong = site.run_with(&given, b"leak, call 0123 456 7891\n");
    assert_eq!(wrong.status.code(), Some(1), "{}", text(&wrong));
    assert!(text(&wrong).contains("not the text that was decided"), "{}", text(&wrong));
    agent.stop();

    let stopped = site.run(&["replay", outcome(&answered)]);
    assert_eq!(stopped.status.code(), Some(0), "{}", text(&stopped));
    assert!(text(&stopped).contains("Leaking, answered by rule leak"), "{}", text(&stopped));

    let former = site.path().join("former.toml");
    std::fs::copy(site.config(), &former).unwrap();
    site.configure(&RULES.replace("\"Leaking\"", "\"Noise\""));
    let gone = site.run(&["replay", outcome(&answered)]);
    assert_eq!(gone.status.code(), Some(3), "{}", text(&gone));
    assert!(text(&gone).contains("is not here any more"), "{}", text(&gone));
    assert!(text(&gone).contains("--with-current"), "{}", text(&gone));
    let current = site.run(&["replay", outcome(&answered), "--with-current", "--json"]);
    assert_eq!(current.status.code(), Some(3), "{}", text(&current));
    let shown = stdout_json(&current);
    assert_eq!((&shown["likeness"], &shown["conclusive"]), (&"differs".into(), &false.into()));
    assert_eq!(shown["differences"][0], "the answer was Leaking, and is now Noise", "{shown}");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_landfall-agent"));
    let command = command.args(["replay", outcome(&answered), "--config"]).arg(&former);
    let output = command.env("LANDFALL_PACKAGES", site.path().join("none")).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "the former file: {}", text(&output));
}

#[test]
fn the_model_decides_again_as_it_did() {
    let site = Site::new(TASKS);
    let agent = start(&site);
    let order = "replace leaking hydraulic hose on boom";
    let reply = agent.ask(order, None);
    let body = serde_json::json!({ "text": order, "id": "wo-1" }).to_string();
    let fields = agent.post_to("work-order-fields", &body).1;
    let running = run(&site, &["replay", outcome(&reply), "--json"]);
    assert_eq!(running.status.code(), Some(0), "{}", text(&running));
    let shown = stdout_json(&running);
    assert_eq!((&shown["likeness"], &shown["conclusive"]), (&"same".into(), &true.into()));
    assert_eq!(shown["confidence_difference"], 0.0, "{shown}");
    assert_eq!(shown["package"]["recorded"], shown["package"]["used"], "{shown}");
    agent.stop();

    // The text of this task does not leave, so it is not held.
    let missing = run(&site, &["replay", outcome(&fields)]);
    assert_eq!(missing.status.code(), Some(3), "{}", text(&missing));
    assert!(text(&missing).contains("the text is not held on the device"), "{}", text(&missing));
    let file = site.path().join("order.txt");
    std::fs::write(&file, order).unwrap();
    let given = ["replay", outcome(&fields), "--text", file.to_str().unwrap()];
    let replay = run(&site, &given);
    assert_eq!(replay.status.code(), Some(0), "{}", text(&replay));
    assert!(text(&replay).contains("its digest is that of the text"), "{}", text(&replay));

    // Without the package it cannot be told.
    let gone = site.run(&["replay", outcome(&reply)]);
    assert_eq!(gone.status.code(), Some(3), "{}", text(&gone));
    assert!(text(&gone).contains("it was decided by package"), "{}", text(&gone));
    let unknown = run(&site, &["replay", "00f1e2d3c4b5a697-7"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown));
}
