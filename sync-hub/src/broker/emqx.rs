//! Files for EMQX 5: what it must be told to be a broker between devices and this hub. Written from
//! its documentation: no EMQX is part of the tests.
//!
//! What differs from Mosquitto: frames of one device go to one hub of several
//! (`hash_clientid`), and there is no list of revoked certificates, which EMQX takes from web
//! servers only; the hub itself does not hear a revoked device.

use super::mosquitto::{Became, Files, MosquittoError, Request, write_files};
use crate::identity::{Authority, HUBS_MAX, hub_user};
use landfall_wire::limits::PACKET_BYTES_MAX;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The configuration, in the directory that was asked for.
pub const CONFIG_FILE: &str = "emqx.conf";

/// Frames that may wait for one hub: those of a thousand devices that come back at once.
const QUEUED_MESSAGES_MAX: u32 = 100_000;

/// Messages under way to one hub.
const INFLIGHT_MESSAGES_MAX: u32 = 1_000;

/// Writes everything that EMQX needs into one directory.
///
/// # Errors
/// [`MosquittoError`].
pub fn write(
    authority: &Authority,
    request: &Request,
    now_ms: u64,
) -> Result<Vec<(PathBuf, Became)>, MosquittoError> {
    let texts = |dir: &str| {
        vec![
            (CONFIG_FILE, config(dir, request.listen), Files::HASH),
            ("acl.conf", access_list(), Files::PERCENT),
        ]
    };
    write_files(authority, request, now_ms, texts)
}

fn config(dir: &str, listen: SocketAddr) -> String {
    format!(
        "\
# For EMQX 5. Give every node its own name and all the same cookie before they form a cluster.

node {{
  name = \"emqx@127.0.0.1\"
  cookie = \"change-me\"
  data_dir = \"/var/lib/emqx\"
}}

# TLS in both directions and nothing else: whoever has a certificate of the hub's authority gets
# in, under the name in it.
listeners.tcp.default.enable = false
listeners.ws.default.enable = false
listeners.wss.default.enable = false
listeners.ssl.default {{
  bind = \"{listen}\"
  ssl_options {{
    cacertfile = \"{dir}/ca.pem\"
    certfile = \"{dir}/broker.pem\"
    keyfile = \"{dir}/broker.key\"
    verify = verify_peer
    fail_if_no_peer_cert = true
  }}
}}

mqtt {{
  peer_cert_as_username = cn
  peer_cert_as_clientid = cn
  # One frame, and not more.
  max_packet_size = {PACKET_BYTES_MAX}
  # What waits for a hub when a fleet comes back at once; what is beyond, devices send again.
  max_mqueue_len = {QUEUED_MESSAGES_MAX}
  max_inflight = {INFLIGHT_MESSAGES_MAX}
  # Nothing is kept.
  retain_available = false
  session_expiry_interval = 0s
  # Frames of one device go to one hub, so that they do not overtake each other.
  shared_subscription_strategy = hash_clientid
}}

authorization {{
  no_match = deny
  deny_action = disconnect
  sources = [
    {{ type = file, enable = true, path = \"{dir}/acl.conf\" }}
  ]
}}
"
    )
}

fn access_list() -> String {
    let mut text =
        String::from("%% The hubs: what every device sends, and each device's other topic.\n");
    for number in 1..=HUBS_MAX {
        let user = hub_user(number);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{{allow, {{username, \"{user}\"}}, subscribe, [\"landfall/1/+/up\"]}}.\n\
             {{allow, {{username, \"{user}\"}}, publish, [\"landfall/1/+/down\"]}}.\n"
        );
    }
    text.push_str(
        "%% Every device its own two topics, and nothing else.\n\
         {allow, all, publish, [\"landfall/1/${username}/up\"]}.\n\
         {allow, all, subscribe, [\"landfall/1/${username}/down\"]}.\n\
         {deny, all}.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_by_hand_is_kept_and_devices_have_their_own_topics() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(&dir.path().join("data"), 1_780_000_000_000).unwrap();
        let request = Request {
            dir: dir.path().join("emqx"),
            listen: "127.0.0.1:8883".parse().unwrap(),
            hosts: vec!["mqtt.example.org".to_owned()],
            revoked: vec![],
            force: false,
        };
        let write = || write(&authority, &request, 1_780_000_000_000);
        write().unwrap();
        let again = write().unwrap();
        assert!(again.iter().all(|(_, became)| *became == Became::Same), "{again:?}");
        let read = |name: &str| std::fs::read_to_string(request.dir.join(name)).unwrap();
        let (config, acl) = (read(CONFIG_FILE), read("acl.conf"));
        assert!(config.contains("fail_if_no_peer_cert = true"), "{config}");
        assert!(acl.starts_with("%% ") && acl.contains("${username}/up"), "{acl}");
        assert!(acl.trim_end().ends_with("{deny, all}."), "{acl}");
        std::fs::write(request.dir.join("acl.conf"), acl + "%% mine\n").unwrap();
        assert!(matches!(write(), Err(MosquittoError::ChangedByHand(_))));
    }
}
