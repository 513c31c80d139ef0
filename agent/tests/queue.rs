//! `queue list`, `queue verify` and `queue export` of the real binary, while the agent runs and
//! while it is stopped.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use common::{Agent, RULES, Site, stdout_json, text};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// Answered by a rule, by numbers, and a question for each tenth.
fn ask_some(agent: &Agent, from: u32, to: u32) {
    for number in from..to {
        let what = if number % 10 == 0 { "noise in gearbox" } else { "pump leak" };
        agent.ask(what, Some(&format!("wo-{number}")));
    }
}

/// Every file of the data directory with its content.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
    found
}

fn lines(out: &[u8]) -> Vec<Value> {
    let out = String::from_utf8(out.to_vec()).unwrap();
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn part<'a>(summary: &'a Value, stream: &str) -> &'a Value {
    let parts = summary["streams"].as_array().unwrap();
    parts.iter().find(|part| part["stream"] == stream).unwrap_or_else(|| panic!("{summary}"))
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// What somebody without this software would check in an export: that each outcome leads to the
/// next, from a beginning that is the device's own.
fn check_export(export: &[Value], outcomes: usize) {
    let (head, end) = (&export[0], &export[export.len() - 1]);
    assert_eq!((&head["kind"], &head["format"]), (&"export".into(), &1.into()), "{head}");
    assert_eq!((&end["kind"], &end["outcomes"]), (&"end".into(), &outcomes.into()), "{end}");
    let found: Vec<&Value> = export.iter().filter(|line| line["kind"] == "outcome").collect();
    assert_eq!(found.len(), outcomes);
    let epoch = found[0]["id"].as_str().unwrap().split_once('-').unwrap().0.to_owned();
    let begin = [
        &b"landfall outcome chain 1\0"[..],
        head["device"].as_str().unwrap_or_default().as_bytes(),
        &[0],
        &bytes(&epoch.clone().into()),
        &0_u64.to_be_bytes(),
    ];
    let mut value = Sha256::digest(begin.concat()).to_vec();
    for (number, line) in found.iter().enumerate() {
        assert_eq!(line["id"], format!("{epoch}-{number}"), "in order");
        assert_eq!(bytes(&line["before"]), value, "{line}");
        value = Sha256::digest([value, bytes(&line["raw"])].concat()).to_vec();
        assert_eq!(bytes(&line["after"]), value, "{line}");
    }
    assert_eq!(bytes(&head["chain"]["value"]), value, "the store's own end");
}

#[test]
fn the_same_is_shown_of_a_running_agent_and_of_a_stopped_one() {
    let site = Site::new(RULES);
    let agent = site.start();
    ask_some(&agent, 0, 30);
    let running = stdout_json(&site.run(&["queue", "list", "--json"]));
    let outcomes = part(&running, "outcome");
    assert_eq!((&outcomes["waiting"], &outcomes["end"]), (&30.into(), &30.into()), "{running}");
    assert!(outcomes["bytes"].as_u64().unwrap() > 30 * 40, "{outcomes}");
    assert!(outcomes["oldest_ms"].as_u64().is_some_and(|at| at > 1_700_000_000_000));
    assert_eq!(part(&running, "escalation")["waiting"], 3);
    assert_eq!(
        (&running["tickets"]["open"], &running["tickets"]["queued"]),
        (&3.into(), &3.into())
    );
    let shown = site.run(&["queue", "list"]);
    assert!(text(&shown).contains("30 wait, 0 to 29"), "{}", text(&shown));
    let list = ["queue", "list", "--stream", "outcome", "--limit", "300", "--json"];
    let listed = lines(&site.run(&list).stdout);
    assert_eq!(listed.len(), 30);
    assert_eq!(listed[10]["record"]["status"], "escalated");
    assert_eq!(listed[11]["record"]["decision"]["label"], "Leaking");
    assert_eq!(agent.stop().code(), Some(0));

    let before = files(&site.path().join("data"));
    let stopped = stdout_json(&site.run(&["queue", "list", "--json"]));
    assert_eq!((part(&stopped, "outcome"), &stopped["chain"]), (outcomes, &running["chain"]));
    assert_eq!(lines(&site.run(&list).stdout), listed);
    let verify = site.run(&["queue", "verify", "--json"]);
    assert_eq!(verify.status.code(), Some(0), "{}", text(&verify));
    let export = site.run(&["queue", "export"]);
    check_export(&lines(&export.stdout), 30);
    assert_eq!(files(&site.path().join("data")), before, "looking changes nothing");
}

#[test]
fn pages_follow_each_other_and_nonsense_is_named() {
    let site = Site::new(RULES);
    let agent = site.start();
    ask_some(&agent, 1, 6);
    let page = |more: &[&str]| {
        let args = [&["queue", "list", "--stream", "outcome", "--json", "--limit", "2"], more];
        site.run(&args.concat())
    };
    let first = page(&[]);
    let ids = |output: &std::process::Output| -> Vec<String> {
        let ids = lines(&output.stdout);
        ids.iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect()
    };
    let (one, two) = (ids(&first), ids(&page(&["--after", &ids(&first)[1]])));
    assert!(text(&first).contains(&format!("--after {}", one[1])), "{}", text(&first));
    assert!(one[1].ends_with("-1") && two[0].ends_with("-2"), "{one:?} {two:?}");
    for (more, found) in [
        (&["--stream", "outcomes"][..], "the streams are: escalation, event, outcome"),
        (&["--stream", "outcome", "--after", "7"], "is not a record"),
        (&["--after", "00f1e2d3c4b5a697-1"], "--stream"),
    ] {
        let output = site.run(&[&["queue", "list"], more].concat());
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(found), "{found}: {}", text(&output));
    }
    let get = |path: &str| agent.get(path);
    assert_eq!(get("/v1/queue/nothing").0, 404);
    assert_eq!(get("/v1/queue/outcome?limit=257").1["error"]["code"], "invalid-query");
    assert_eq!(get("/v1/queue/outcome?after=x").1["error"]["code"], "invalid-record");
    assert_eq!(get("/v1/outcomes/00f1e2d3c4b5a697-1").1["error"]["code"], "unknown-outcome");
    let (code, one) = get(&format!("/v1/outcomes/{}", one[0]));
    assert_eq!((code, &one["record"]["caller_id"]), (200, &"wo-1".into()), "{one}");
    let digest: String =
        Sha256::digest("pump leak")[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(one["text_digest"], digest);
}

#[test]
fn a_running_agent_is_verified_and_exported_while_it_decides() {
    let site = Site::new(RULES);
    let agent = site.start();
    ask_some(&agent, 0, 70);
    let verify = site.run(&["queue", "verify"]);
    assert_eq!(verify.status.code(), Some(0), "{}", text(&verify));
    assert!(text(&verify).contains("70 outcomes are held (0 to 69)"), "{}", text(&verify));
    let report = stdout_json(&site.run(&["queue", "verify", "--json"]));
    assert_eq!(
        (&report["verdict"], &report["epochs"][0]["linked"]),
        (&"proven".into(), &70.into())
    );
    // One value of the chain was told, after 64.
    assert_eq!(report["epochs"][0]["marks"], 1, "{report}");

    let out = site.path().join("outcomes.jsonl");
    let args = ["queue", "export", "--json", "--out", out.to_str().unwrap()];
    let export = site.run(&args);
    assert_eq!(stdout_json(&export)["outcomes"], 70, "{}", text(&export));
    check_export(&lines(&std::fs::read(&out).unwrap()), 70);
    let nowhere = site.run(&["queue", "export", "--out", "/no/such/dir/x"]);
    assert_eq!(nowhere.status.code(), Some(1), "{}", text(&nowhere));
    assert!(text(&nowhere).contains("remedy: check the path"), "{}", text(&nowhere));
}

/// A flipped byte where sled notices it: the command says what the agent would find, and leaves it
/// all as it is.
#[test]
fn a_damaged_store_is_reported_and_left_alone() {
    let site = Site::new(RULES);
    let agent = site.start();
    ask_some(&agent, 0, 120);
    agent.stop();
    let db = site.path().join("data/q/1/db");
    let mut raw = std::fs::read(&db).unwrap();
    // Early in the log, in the middle of some outcome.
    let at = raw.windows(4).position(|window| window == b"LFv1").unwrap() + 60;
    raw[at] ^= 0x10;
    std::fs::write(&db, &raw).unwrap();
    for snapshot in std::fs::read_dir(site.path().join("data/q/1")).unwrap() {
        let path = snapshot.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("snap.") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let before = files(&site.path().join("data"));
    let verify = site.run(&["queue", "verify", "--json"]);
    assert_eq!(verify.status.code(), Some(1), "{}", text(&verify));
    assert_eq!(stdout_json(&verify)["verdict"], "broken", "{}", text(&verify));
    assert!(text(&verify).contains("remedy: keep the disk as it is"), "{}", text(&verify));
    let list = site.run(&["queue", "list"]);
    assert_eq!(list.status.code(), Some(0), "{}", text(&list));
    assert_eq!(files(&site.path().join("data")), before, "looking changes nothing");
}

#[test]
fn without_a_store_or_an_answer_that_is_said() {
    let site = Site::new(RULES);
    let none = site.run(&["queue", "list"]);
    assert_eq!(none.status.code(), Some(2), "{}", text(&none));
    assert!(text(&none).contains("there is no store in"), "{}", text(&none));
    assert!(!site.path().join("data").exists(), "looking makes nothing");
    std::fs::write(site.config(), format!("data_dir = \"data\"\n{RULES}")).unwrap();
    let agent = site.start();
    let locked = site.run(&["queue", "verify"]);
    assert_eq!(locked.status.code(), Some(1), "{}", text(&locked));
    assert!(text(&locked).contains("its HTTP is off"), "{}", text(&locked));
    drop(agent);
}
