//! Commands on identities, and usage errors.

use crate::client::Device;
use crate::process::Hub;

#[test]
fn enrolling_twice_says_so_and_changes_nothing() {
    let hub = Hub::new();
    hub.enroll("ship-7");
    let out = hub.identity("ship-7");
    let pem = std::fs::read(out.join("device.pem")).unwrap();
    let again = hub.run_ok(&["enroll", "ship-7", "--out", out.to_str().unwrap()]);
    assert!(again.contains("already"), "{again}");
    assert_eq!(std::fs::read(out.join("device.pem")).unwrap(), pem);
    let elsewhere = hub.path("elsewhere");
    let far = ["enroll", "ship-8", "--out", elsewhere.to_str().unwrap(), "--hub", "hub.example:1"];
    let note = String::from_utf8(hub.run(&far).stderr).unwrap();
    assert!(note.contains("--name hub.example"), "{note}");
    let elsewhere = hub.path("another");
    let (code, error) = hub.run_err(&["enroll", "ship-7", "--out", elsewhere.to_str().unwrap()]);
    assert!(code == 1 && error.contains("remedy:") && error.contains("--renew"), "{error}");
}

#[test]
fn usage_errors_have_exit_code_2_and_a_remedy() {
    let hub = Hub::new();
    for args in [
        &["run", "--web", "0.0.0.0:0", "--listen", "127.0.0.1:0"][..],
        &["enroll", "Ship 7", "--out", "x"],
        &["escalations", "answer", "nonsense", "--by", "x", "--label", "y"],
        &["frobnicate"],
    ] {
        let output = hub.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
    }
    let (_, error) = hub.run_err(&["run", "--web", "0.0.0.0:0", "--listen", "127.0.0.1:0"]);
    assert!(error.contains("loopback") && error.contains("tunnel"), "{error}");
    let (code, error) = hub.run_err(&["stats"]);
    assert!(code == 1 && error.contains("holds no hub"), "{error}");
}

#[test]
fn one_hub_per_directory() {
    let mut hub = Hub::with_devices(&["ship-7"]);
    let (code, error) = hub.run_err(&["run", "--listen", "127.0.0.1:0", "--web", "127.0.0.1:0"]);
    assert!(code == 1 && error.contains("another hub"), "{error}");
    hub.stop();
    hub.start();
    let stats = hub.run_ok(&["stats", "--json"]);
    assert!(stats.contains("\"devices\": 1"), "{stats}");
}

#[tokio::test]
async fn a_device_enrolled_while_the_hub_runs_connects_at_once() {
    let hub = Hub::with_devices(&[]);
    hub.enroll("ship-7");
    let (_device, _) = Device::greeted(&hub, "ship-7", vec![]).await;
    let devices = hub.run_ok(&["devices"]);
    assert!(devices.contains("ship-7") && devices.contains("online"), "{devices}");
}
