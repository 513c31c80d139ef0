//! The spool of the real binary.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use common::{RULES, Site, wait_for, wait_for_file};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// As a careful writer does it: under another name, then renamed.
fn drop_file(site: &Site, name: &str, bytes: &[u8]) {
    fs::create_dir_all(site.spool("")).unwrap();
    let part = site.spool(&format!("{name}.part"));
    fs::write(&part, bytes).unwrap();
    fs::rename(part, site.spool(name)).unwrap();
}

fn results(site: &Site, name: &str) -> Vec<Value> {
    let text = wait_for_file(&site.spool(&format!("done/{name}.results.jsonl")));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn wait_until_moved(path: &Path) {
    wait_for(&format!("file {}", path.display()), || {
        if path.exists() { Ok(()) } else { Err("not there".to_owned()) }
    });
}

#[test]
fn dropped_files_are_decided_and_kept() {
    let site = Site::new(RULES);
    let agent = site.start();
    drop_file(&site, "a.txt", "pump leak\n\nfire drill\n".as_bytes());
    drop_file(&site, "b.jsonl", b"{\"text\":\"leak\",\"id\":\"b1\"}\nnope\n");
    drop_file(&site, "c.csv", b"id,text\nc1,K\xFChler leaking\n");

    let a = results(&site, "a.txt");
    assert_eq!((&a[0]["line"], &a[0]["label"]), (&1.into(), &"Leaking".into()));
    assert_eq!((&a[1]["line"], a[1].get("label")), (&3.into(), Some(&Value::Null)));
    assert!(a[0]["id"].as_str().is_some_and(|id| id.starts_with("a.txt:")), "{a:?}");

    let b = results(&site, "b.jsonl");
    assert_eq!((&b[0]["id"], &b[1]["error"]["code"]), (&"b1".into(), &"unreadable-line".into()));
    let reason = wait_for_file(&site.spool("failed/b.jsonl.reason.txt"));
    assert!(reason.contains("line 2: column 2"), "{reason}");

    let c = results(&site, "c.csv");
    assert_eq!((&c[0]["id"], &c[0]["encoding"]), (&"c1".into(), &"windows-1252".into()));
    for name in ["a.txt", "b.jsonl", "c.csv"] {
        wait_until_moved(&site.spool(&format!("done/{name}")));
        assert!(!site.spool(name).exists());
    }
    assert_eq!(agent.end_of("outcome"), 4);

    // The same file again: the same results, nothing recorded.
    drop_file(&site, "a.txt", "pump leak\n\nfire drill\n".as_bytes());
    let again = results(&site, "a~2.txt");
    assert!(again.iter().all(|line| line["repeated"] == true), "{again:?}");
    assert_eq!(again[0]["outcome"], a[0]["outcome"]);
    assert_eq!(agent.end_of("outcome"), 4);
}

#[test]
fn files_that_cannot_be_read_are_put_aside_with_the_reason() {
    let site = Site::new(RULES);
    let agent = site.start();
    drop_file(&site, "no-column.csv", b"a,b\n1,2\n");
    drop_file(&site, "scan.pdf", b"%PDF-1.7");
    let reason = wait_for_file(&site.spool("failed/no-column.csv.reason.txt"));
    assert!(reason.contains("no column 'text'; the columns are: 'a', 'b'"), "{reason}");
    assert!(reason.contains("remedy: "), "{reason}");
    let reason = wait_for_file(&site.spool("failed/scan.pdf.reason.txt"));
    assert!(reason.contains("neither in .txt"), "{reason}");
    wait_until_moved(&site.spool("failed/no-column.csv"));
    wait_until_moved(&site.spool("failed/scan.pdf"));
    assert_eq!(agent.end_of("outcome"), 0);
}

#[test]
fn a_killed_agent_goes_on_with_its_file_and_records_nothing_twice() {
    const LINES: u64 = 3000;
    let site = Site::new(RULES);
    let agent = site.start();
    let text: String = (0..LINES).map(|n| format!("leak at pump {n}\n")).collect();
    drop_file(&site, "day.txt", text.as_bytes());
    wait_for("the first outcomes", || match agent.end_of("outcome") {
        0 => Err("none yet".to_owned()),
        some => Ok(some),
    });
    agent.kill();
    assert!(!site.spool("done/day.txt").exists(), "the whole file was decided before the kill");
    assert!(site.spool("work/day.txt").exists());

    let agent = site.start();
    let results = results(&site, "day.txt");
    let numbers: Vec<u64> = results.iter().map(|line| line["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=LINES).collect::<Vec<_>>());
    assert_eq!(agent.end_of("outcome"), LINES);
    wait_until_moved(&site.spool("done/day.txt"));
    assert!(!site.spool("work/day.txt.results.part").exists());
}
