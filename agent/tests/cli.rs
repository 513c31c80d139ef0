//! The command line of the real binary.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use common::{RULES, Site, stdout_json, text};
use serde_json::Value;

#[test]
fn an_unreadable_configuration_is_named_with_its_remedy() {
    let site = Site::new(RULES);
    std::fs::remove_file(site.config()).unwrap();
    for command in [&["run"][..], &["check-config"], &["ask", "t", "x"], &["status"]] {
        let output = site.run(command);
        let shown = text(&output);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {shown}");
        assert!(shown.contains("error: ") && shown.contains("remedy: "), "{shown}");
        assert!(shown.contains(site.config().to_str().unwrap()), "{shown}");
    }
}

#[test]
fn every_mistake_of_a_configuration_is_told_at_once() {
    let site = Site::new("[stor]\nx = 1\n[task.failure-mode]\nerror_max = 7.0\n");
    let output = site.run(&["check-config"]);
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(2), "{shown}");
    assert!(shown.contains("agent.toml:6") && shown.contains("agent.toml:9"), "{shown}");
}

#[test]
fn a_relative_configuration_path_works() {
    let site = Site::new(RULES);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_landfall-agent"));
    command.current_dir(site.path()).env("LANDFALL_PACKAGES", site.path());
    let ask = command.args(["ask", "failure-mode", "leak", "--config", "agent.toml"]);
    let output = ask.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(site.path().join("data").is_dir());
}

#[test]
fn usage_mistakes_exit_with_two() {
    let site = Site::new(RULES);
    assert_eq!(site.run(&["ask"]).status.code(), Some(2));
    assert_eq!(site.run(&["nonsense"]).status.code(), Some(2));
    let unknown = site.run(&["ask", "failure-modes", "x"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown));
    assert!(text(&unknown).contains("the tasks are: failure-mode"), "{}", text(&unknown));
}

#[test]
fn asks_with_and_without_a_running_agent_share_one_store() {
    let site = Site::new(RULES);
    let alone = site.run(&["ask", "failure-mode", "pump leak", "--id", "wo-1", "--json"]);
    assert_eq!(alone.status.code(), Some(0), "{}", text(&alone));
    let first = stdout_json(&alone);
    assert_eq!((&first["label"], &first["repeated"]), (&"Leaking".into(), &false.into()));
    assert_eq!(site.run(&["status"]).status.code(), Some(3));

    let agent = site.start();
    let again =
        stdout_json(&site.run(&["ask", "failure-mode", "pump leak", "--id", "wo-1", "--json"]));
    assert_eq!(again["outcome"], first["outcome"]);
    assert_eq!(again["repeated"], true);
    let status = site.run(&["status", "--json"]);
    assert_eq!(stdout_json(&status)["tasks"]["failure-mode"]["counts"]["repeated"], 1);
    agent.kill();

    // What a killed agent left behind does not mislead.
    let alone = site.run_with(&["ask", "failure-mode", "--id", "wo-1"], b"pump leak\n");
    assert_eq!(alone.status.code(), Some(0), "{}", text(&alone));
    let shown = String::from_utf8_lossy(&alone.stdout).into_owned();
    assert!(shown.starts_with("Leaking\n  by rule leak, confidence 100 %"), "{shown}");
}

#[test]
fn an_open_escalation_exits_with_three_and_can_be_followed() {
    let site = Site::new(RULES);
    let ask = site.run(&["ask", "failure-mode", "noise in gearbox", "--json"]);
    assert_eq!(ask.status.code(), Some(3), "{}", text(&ask));
    let reply = stdout_json(&ask);
    let ticket = reply["escalation"].as_str().unwrap();
    let agent = site.start();
    let shown = site.run(&["ticket", ticket, "--wait=100ms", "--json"]);
    assert_eq!(shown.status.code(), Some(3), "{}", text(&shown));
    assert_eq!(stdout_json(&shown)["state"], "queued");
    assert_eq!(site.run(&["ticket", "x"]).status.code(), Some(2));
    drop(agent);
    assert_eq!(stdout_json(&site.run(&["ticket", ticket, "--json"]))["state"], "queued");
}

fn lines(output: &std::process::Output) -> Vec<Value> {
    let out = String::from_utf8(output.stdout.clone()).unwrap();
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn batches_of_every_kind_are_decided_once() {
    let site = Site::new(RULES);
    let csv: String = std::iter::once("id,Short text\n".to_owned())
        .chain((0..150).map(|n| format!("w{n},\"pump {n}, leak\"\n")))
        .collect();
    std::fs::write(site.path().join("orders.csv"), csv).unwrap();
    let batch = ["batch", "failure-mode", "orders.csv", "--column", "Short text", "--json"];
    let alone = site.run(&batch);
    assert_eq!(alone.status.code(), Some(0), "{}", text(&alone));
    let first = lines(&alone);
    assert_eq!(first.len(), 150);
    assert!(first.iter().all(|line| line["label"] == "Leaking" && line["repeated"] == false));
    assert_eq!((&first[149]["line"], &first[149]["id"]), (&151.into(), &"w149".into()));

    let agent = site.start();
    let again = lines(&site.run(&batch));
    assert!(again.iter().zip(&first).all(|(a, b)| a["outcome"] == b["outcome"]));
    assert!(again.iter().all(|line| line["repeated"] == true));

    let stdin =
        site.run_with(&["batch", "failure-mode", "-", "--json"], b"a leak\n\nK\xFChler leaking\n");
    let lines = lines(&stdin);
    assert_eq!(lines.len(), 2, "{}", text(&stdin));
    assert_eq!((&lines[1]["line"], &lines[1]["encoding"]), (&3.into(), &"windows-1252".into()));
    assert_eq!(agent.end_of("outcome"), 152);

    let missing = site.run(&["batch", "failure-mode", "orders.csv"]);
    assert_eq!(missing.status.code(), Some(2), "{}", text(&missing));
    assert!(text(&missing).contains("the columns are: 'id', 'Short text'"), "{}", text(&missing));
}

#[test]
fn results_of_a_batch_name_the_lines_that_failed() {
    let site = Site::new(RULES);
    let input = b"{\"text\":\"leak\"}\n{oops\n{\"text\":\"leak\",\"id\":\"\"}\n";
    let args =
        ["batch", "failure-mode", "-", "--format", "jsonl", "--out", "results.jsonl", "--json"];
    let output = site.run_with(&args, input);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("2 of 3 lines were not decided"), "{}", text(&output));
    let summary = stdout_json(&output);
    assert_eq!(
        (&summary["results"]["rule"], &summary["results"]["errors"]),
        (&1.into(), &2.into())
    );
    let results = std::fs::read_to_string(site.path().join("results.jsonl")).unwrap();
    let codes: Vec<Value> = results
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["error"]["code"].clone())
        .collect();
    assert_eq!(codes, [Value::Null, "unreadable-line".into(), "invalid-request".into()]);
    let left: Vec<_> = std::fs::read_dir(site.path())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.ends_with(".part"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
