//! `kill -9` at random moments under load: nothing that a caller was told is lost, nothing is
//! at the hub twice. The seed of a failed run is in its output; `LANDFALL_SEED` repeats it.

mod common;

use common::{Site, moments};
use landfall_tests::load::Load;

/// Kills of each process.
const KILLS: usize = 12;
/// Callers of each device: several requests are in flight at every kill.
const CALLERS: usize = 4;

#[test]
fn an_agent_that_is_killed_loses_nothing_told_and_doubles_nothing() {
    let mut moments = moments();
    let mut site = Site::start(&["ship-7"]);
    let load = Load::start(&site.devices, CALLERS, "kill").unwrap();
    for _ in 0..KILLS {
        load.wait_for(moments.pick(1..40)).unwrap();
        site.devices[0].kill().unwrap();
        site.devices[0].start().unwrap();
    }
    load.wait_for(10).unwrap();
    let told = load.finish().unwrap();
    site.check_exactly_once(&told, moments.seed);
}

#[test]
fn an_agent_killed_while_its_link_is_down_delivers_all_of_it_later() {
    let mut moments = moments();
    let mut site = Site::start(&["ship-7"]);
    let load = Load::start(&site.devices, CALLERS, "kill").unwrap();
    load.wait_for(20).unwrap();
    site.devices[0].link.cut();
    for _ in 0..3 {
        load.wait_for(moments.pick(1..60)).unwrap();
        site.devices[0].kill().unwrap();
        site.devices[0].start().unwrap();
    }
    load.wait_for(10).unwrap();
    let told = load.finish().unwrap();
    let before = site.stats().outcomes;
    assert!(before < told.len() as u64, "the link was down: {before} of {}", told.len());
    site.devices[0].link.restore();
    site.check_exactly_once(&told, moments.seed);
}

#[test]
fn a_hub_that_is_killed_loses_nothing_and_applies_nothing_twice() {
    let mut moments = moments();
    let mut site = Site::start(&["ship-7", "depot-1"]);
    let load = Load::start(&site.devices, 2, "kill").unwrap();
    for _ in 0..KILLS {
        // Only what arrives shows that the devices are connected again.
        site.wait_for_outcomes(site.stats().outcomes + moments.pick(1..30) as u64);
        site.hub.kill().unwrap();
        load.wait_for(moments.pick(1..20)).unwrap();
        site.hub.restart().unwrap();
        for device in &site.devices {
            device.link.retarget(site.hub.mqtt);
        }
    }
    let told = load.finish().unwrap();
    site.check_exactly_once(&told, moments.seed);
}
