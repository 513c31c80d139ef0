//! What systemd hears of the real binary: ready, alive, stuck, stopping.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod common;

use common::{Agent, DEADLINE, RULES, Site};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

/// systemd's end of the socket.
struct Systemd {
    socket: UnixDatagram,
    path: PathBuf,
    heard: Vec<String>,
}

impl Systemd {
    fn new(site: &Site) -> Systemd {
        let path = site.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Systemd { socket, path, heard: Vec::new() }
    }

    /// Starts the agent as a unit with this `WatchdogSec=`.
    fn start(&self, site: &Site, watchdog_ms: u64) -> Agent {
        let mut command = site.command(&["run"]);
        command.env("NOTIFY_SOCKET", &self.path);
        command.env("WATCHDOG_USEC", (watchdog_ms * 1000).to_string());
        Agent::start(command, site.path())
    }

    /// Waits for a line that begins so.
    fn hear(&mut self, begin: &str) -> String {
        let mut datagram = [0; 4096];
        loop {
            let read = self.socket.recv(&mut datagram);
            let read = read.unwrap_or_else(|e| panic!("no {begin}: {e}; heard {:?}", self.heard));
            let text = String::from_utf8(datagram[..read].to_vec()).unwrap();
            self.heard.extend(text.lines().map(str::to_owned));
            if let Some(line) = text.lines().find(|line| line.starts_with(begin)) {
                return line.to_owned();
            }
        }
    }
}

#[test]
fn systemd_hears_when_it_is_ready_alive_and_stopping() {
    let site = Site::new(RULES);
    let mut systemd = Systemd::new(&site);
    let mut agent = systemd.start(&site, 200);
    systemd.hear("READY=1");
    let status = systemd.hear("STATUS=");
    assert!(status.starts_with("STATUS=link: no hub, "), "{status}");
    for _ in 0..3 {
        systemd.hear("WATCHDOG=1");
    }
    agent.terminate();
    systemd.hear("STOPPING=1");
    assert!(agent.wait().success(), "{}", agent.log());
}

/// A disk that stands still when it is told to; it goes on and is removed when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    /// `None` where mounting is not permitted.
    fn mount() -> Option<Disk> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        std::fs::create_dir(dir.path().join("mount")).unwrap();
        let disk = Disk(dir);
        let made = run("mkfs.ext4", &["-q".as_ref(), image.as_ref()])
            && run(
                "mount",
                &["-o".as_ref(), "loop".as_ref(), image.as_ref(), disk.path().as_ref()],
            );
        made.then_some(disk)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("mount")
    }

    fn stand_still(&self, still: bool) -> bool {
        run("fsfreeze", &[if still { "-f" } else { "-u" }.as_ref(), self.path().as_ref()])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.stand_still(false);
        run("umount", &["-l".as_ref(), self.path().as_ref()]);
    }
}

fn run(command: &str, args: &[&Path]) -> bool {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    Command::new(command)
        .args(args)
        .env("PATH", path)
        .output()
        .is_ok_and(|output| output.status.success())
}

#[test]
fn a_disk_that_stands_still_has_the_agent_restarted_and_loses_no_decision() {
    let Some(disk) = Disk::mount() else {
        println!("skipped: mounting an image needs root");
        return;
    };
    let site = Site::new(RULES);
    let config = std::fs::read_to_string(site.config()).unwrap();
    let data = disk.path().join("data");
    let config = config.replacen("\"data\"", &format!("{data:?}"), 1);
    std::fs::write(site.config(), config).unwrap();
    let mut systemd = Systemd::new(&site);
    let agent = systemd.start(&site, 1000);
    systemd.hear("WATCHDOG=1");
    std::thread::scope(|scope| {
        if !disk.stand_still(true) {
            println!("skipped: freezing a file system is not permitted");
            return;
        }
        let asked = scope.spawn(|| agent.ask("pump leak", None));
        systemd.hear("WATCHDOG=trigger");
        assert!(agent.log().contains("a part is stuck"), "{}", agent.log());
        // This one is not killed: what waited for the disk is done when that goes on.
        disk.stand_still(false);
        assert_eq!(asked.join().unwrap()["label"], "Leaking");
        systemd.hear("WATCHDOG=1");
    });
    assert!(agent.stop().success());
}
