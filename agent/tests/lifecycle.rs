//! Starts, stops and kills of the real binary.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use common::{RULES, Site, text};
use serde_json::json;

#[test]
fn a_killed_agent_keeps_what_it_told() {
    let site = Site::new(RULES);
    let agent = site.start();
    let answered = agent.ask("pump leak", Some("wo-1"));
    let escalated = agent.ask("noise in gearbox", Some("wo-2"));
    let ticket = escalated["escalation"].as_str().unwrap().to_owned();
    agent.kill();

    let agent = site.start();
    for (id, text, before) in
        [("wo-1", "pump leak", &answered), ("wo-2", "noise in gearbox", &escalated)]
    {
        let after = agent.ask(text, Some(id));
        assert_eq!(after["repeated"], true, "{after}");
        assert_eq!(after["outcome"], before["outcome"]);
        assert_eq!(after["escalation"], before["escalation"]);
    }
    assert_eq!(
        agent.get(&format!("/v1/escalations/{ticket}")),
        (200, json!({"ticket": ticket, "state": "queued"}))
    );
    assert_eq!((agent.end_of("outcome"), agent.end_of("escalation")), (2, 1));
}

#[test]
fn a_killed_agent_under_load_loses_no_reply() {
    let site = Site::new(RULES);
    let agent = site.start();
    let address = agent.url.clone();
    // Each caller notes what it was told, until its connection breaks.
    let told = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                let url = format!("{address}/v1/tasks/failure-mode");
                scope.spawn(move || {
                    let ask = |n: u32| {
                        let body = json!({"text": "leak", "id": format!("{caller}-{n}")});
                        let mut response = common::http().post(&url).send_json(body).ok()?;
                        let reply: serde_json::Value = response.body_mut().read_json().ok()?;
                        Some((reply["id"].clone(), reply["outcome"].clone()))
                    };
                    (0..).map_while(ask).collect::<Vec<_>>()
                })
            })
            .collect();
        common::wait_for("forty outcomes", || match agent.end_of("outcome") {
            enough if enough >= 40 => Ok(()),
            few => Err(format!("{few}")),
        });
        agent.kill();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(told.len() >= 36, "{}", told.len());
    let agent = site.start();
    for (id, outcome) in &told {
        let again = agent.ask("leak", id.as_str());
        assert_eq!((&again["repeated"], &again["outcome"]), (&true.into(), outcome), "{id}");
    }
}

#[test]
fn sigterm_answers_whoever_waits_and_exits_with_zero() {
    let site = Site::new(RULES);
    let mut agent = site.start();
    let ticket = agent.ask("noise in gearbox", None)["escalation"].as_str().unwrap().to_owned();
    let waited = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| agent.get(&format!("/v1/escalations/{ticket}?wait=60s")));
        agent.terminate();
        waiting.join()
    });
    // The request may have come too late; if it was taken, it was answered.
    if let Ok((code, body)) = waited {
        assert_eq!((code, &body["state"]), (200, &json!("queued")));
    }
    let status = agent.wait();
    assert_eq!(status.code(), Some(0), "{}", agent.log());
    assert!(!site.path().join("data/run.json").exists());
    let log = agent.log();
    assert!(!log.contains("ERROR landfall_agent::service: the"), "{log}");
}

#[test]
fn a_second_agent_on_the_same_data_is_refused() {
    let site = Site::new(RULES);
    let agent = site.start();
    let second = site.run(&["run"]);
    assert_eq!(second.status.code(), Some(1), "{}", text(&second));
    assert!(text(&second).contains("in use by another process"), "{}", text(&second));
    assert!(text(&second).contains("remedy: stop the other agent"), "{}", text(&second));
    assert_eq!(agent.ask("leak", None)["status"], "answered");
}

#[test]
fn a_taken_port_is_named() {
    let site = Site::new(RULES);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = format!("data_dir = \"data\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n{RULES}");
    std::fs::write(site.config(), config).unwrap();
    let run = site.run(&["run"]);
    assert_eq!(run.status.code(), Some(1), "{}", text(&run));
    assert!(text(&run).contains(&format!("cannot listen on 127.0.0.1:{port}")), "{}", text(&run));
}

#[test]
fn without_http_the_ready_line_says_so() {
    let site = Site::new(RULES);
    std::fs::write(site.config(), format!("data_dir = \"data\"\n{RULES}")).unwrap();
    let agent = site.start();
    assert_eq!(agent.address(), "-");
    let ask = site.run(&["ask", "failure-mode", "leak"]);
    assert_eq!(ask.status.code(), Some(1), "{}", text(&ask));
    assert!(text(&ask).contains("its HTTP is off"), "{}", text(&ask));
    assert_eq!(agent.stop().code(), Some(0));
}
