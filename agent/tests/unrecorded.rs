//! An agent that cannot record: it refuses, or answers without a record, as configured.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails where it stands")]

mod common;

use common::{RULES, Site, stdout_json, text, wait_for};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const ANSWER: &str = "[store]\nwhen_unrecordable = \"answer\"\n";

/// The data directory on a small disk of its own, unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where mounting is not permitted.
    fn mount(dir: &Path) -> Option<SmallDisk> {
        std::fs::create_dir_all(dir).unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=24m", "tmpfs"];
        let mounted = Command::new("mount").args(mount).arg(dir).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| SmallDisk(dir.to_owned()))
    }

    fn fill(&self) {
        let mut hog = std::fs::File::create(self.0.join("hog")).unwrap();
        while hog.write_all(&[1; 64 * 1024]).is_ok() {}
        while hog.write_all(&[1; 512]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("hog")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn a_full_disk_is_answered_through_and_the_hub_is_told() {
    let site = Site::new(&format!("{ANSWER}{RULES}"));
    let Some(disk) = SmallDisk::mount(&site.path().join("data")) else {
        println!("SKIPPED: mounting a tmpfs needs root");
        return;
    };
    let mut agent = site.start();
    assert_eq!(agent.ask("leak", Some("first"))["recorded"], true);
    disk.fill();
    let mut told = 0;
    // What still fits into sled's own space is recorded, and says so.
    let reply = wait_for("a reply without a record", || {
        let reply = agent.ask("leak", None);
        if reply["recorded"] == false { Ok(reply) } else { Err(reply.to_string()) }
    });
    told += 1;
    assert_eq!((&reply["status"], &reply["label"]), (&"answered".into(), &"Leaking".into()));
    assert_eq!((reply.get("outcome"), reply.get("escalation")), (None, None), "{reply}");
    assert!(reply["unrecorded"].as_str().is_some_and(|why| why.contains("full")), "{reply}");
    // The hub cannot be asked, and the reply says so.
    let unsure = agent.ask("noise in gearbox", None);
    told += 1;
    assert_eq!((&unsure["status"], unsure.get("label")), (&"refused".into(), None), "{unsure}");
    let reason = unsure["reason"].as_str().unwrap();
    assert!(reason.contains("the hub cannot be asked now"), "{unsure}");
    // Who needs the record is refused as ever.
    let body = json!({"text": "leak"}).to_string();
    let (code, refused) = agent.post_to("failure-mode?record=required", &body);
    assert_eq!((code, &refused["error"]["code"]), (503, &"not-recorded".into()), "{refused}");
    let ask = site.run(&["ask", "failure-mode", "leak"]);
    told += 1;
    assert_eq!(ask.status.code(), Some(3), "{}", text(&ask));
    assert!(text(&ask).contains("NOT RECORDED"), "{}", text(&ask));
    let status = agent.status();
    assert_eq!(status["unrecorded"]["untold"]["decisions"], told, "{status}");
    assert_eq!(status["tasks"]["failure-mode"]["counts"]["unrecorded"], told, "{status}");
    let metrics = agent.get_text("/metrics");
    let line = format!("landfall_decisions_unrecorded_total{{task=\"failure-mode\"}} {told}\n");
    assert!(metrics.contains(&line), "{metrics}");
    // The count survives a kill, on the full disk.
    agent.kill();
    agent = site.start();
    assert_eq!(agent.status()["unrecorded"]["untold"]["decisions"], told);

    disk.free();
    wait_for("the hub's news", || match &agent.status()["unrecorded"]["untold"] {
        serde_json::Value::Null => Ok(()),
        untold => Err(untold.to_string()),
    });
    let list = ["queue", "list", "--stream", "event", "--limit", "100", "--json"];
    let events = String::from_utf8(site.run(&list).stdout).unwrap();
    let events: Vec<serde_json::Value> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told_hub: Vec<_> = events.iter().filter(|e| e["record"]["event"] == "unrecorded").collect();
    assert_eq!(told_hub.len(), 1, "{events:?}");
    assert_eq!(told_hub[0]["record"]["decisions"], told);
    let again = agent.ask("leak", Some("first"));
    assert_eq!((&again["repeated"], &again["recorded"]), (&true.into(), &true.into()), "{again}");
    assert_eq!(stdout_json(&site.run(&["queue", "verify", "--json"]))["verdict"], "proven");
    drop(agent);
}

#[test]
fn refusing_is_the_default_and_the_choice_is_checked() {
    let site = Site::new(RULES);
    let Some(disk) = SmallDisk::mount(&site.path().join("data")) else {
        println!("SKIPPED: mounting a tmpfs needs root");
        return;
    };
    let agent = site.start();
    disk.fill();
    wait_for("a refusal", || match agent.post(json!({"text": "leak"}).to_string()) {
        (503, body) if body["error"]["code"] == "not-recorded" => Ok(()),
        (code, body) => Err(format!("{code}: {body}")),
    });
    assert_eq!(agent.status()["unrecorded"]["decisions"], 0);
    drop(agent);
    site.configure(&format!("[store]\nwhen_unrecordable = \"maybe\"\n{RULES}"));
    let check = site.run(&["check-config"]);
    assert_eq!(check.status.code(), Some(2), "{}", text(&check));
    assert!(text(&check).contains("use \"refuse\""), "{}", text(&check));
}
