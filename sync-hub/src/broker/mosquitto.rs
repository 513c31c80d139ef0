//! Files for Mosquitto 2: what it must be told to be a broker between devices and this hub.
//!
//! The configuration and the access list begin with a digest of what follows. A file that
//! somebody has changed since is not overwritten unless that is asked for.

use crate::identity::{
    Authority, HUB_USER, HUBS_MAX, IdentityError, PRIVATE, PUBLIC, failed, hub_user, read,
    write as write_file,
};
use landfall_wire::limits::PACKET_BYTES_MAX;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The configuration, in the directory that was asked for.
pub const CONFIG_FILE: &str = "mosquitto.conf";

/// The list of revoked certificates, there.
pub const REVOKED_FILE: &str = "revoked.pem";

/// Messages that may wait for one client: the frames of a thousand devices that come back at
/// once. What is beyond is dropped by the broker, and sent again by the device.
const QUEUED_MESSAGES_MAX: u32 = 100_000;

/// And their bytes, so that a hub that is down for a moment does not fill the broker's memory.
const QUEUED_BYTES_MAX: u32 = 256 * 1024 * 1024;

/// Messages under way to one client; the default of 20 would make the hub wait for each round
/// trip.
const INFLIGHT_MESSAGES_MAX: u32 = 1_000;

/// What begins the first line of a file of ours.
const MARK: &str = "# Written by landfall-hub broker-config; digest of the rest: ";

/// What to write.
#[derive(Debug, Clone)]
pub struct Request {
    /// Directory for the files; made if missing.
    pub dir: PathBuf,
    /// Address that the broker listens on.
    pub listen: SocketAddr,
    /// Names and addresses under which devices and the hub know the broker.
    pub hosts: Vec<String>,
    /// Serial numbers of revoked certificates, in hex.
    pub revoked: Vec<String>,
    /// Overwrite files that somebody has changed.
    pub force: bool,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// It was not there.
    New,
    /// It was ours, and is another now.
    Changed,
    /// It is as it was.
    Same,
}

/// The files could not be written.
#[derive(Debug, thiserror::Error)]
pub enum MosquittoError {
    /// Somebody has changed these; nothing was written.
    #[error("changed by hand since they were written: {}", list(.0))]
    ChangedByHand(Vec<PathBuf>),
    /// The name of the directory cannot stand in Mosquitto's configuration.
    #[error("{} cannot be named in Mosquitto's configuration", .0.display())]
    Unnameable(PathBuf),
    /// Certificates or files.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Writes everything that Mosquitto needs into one directory. Written again with the same
/// request, it changes nothing but the list of revoked certificates.
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
            ("acl", access_list(), Files::HASH),
        ]
    };
    let mut written = write_files(authority, request, now_ms, texts)?;
    let dir = request.dir.canonicalize().map_err(failed("find", &request.dir))?;
    written.push(revoke(authority, &dir, &request.revoked, now_ms)?);
    Ok(written)
}

/// How a file begins a comment.
pub(super) struct Files;

impl Files {
    pub(super) const HASH: &str = "";
    pub(super) const PERCENT: &str = "%% ";
}

/// Writes the files of a broker into one directory, and the certificates that they name. `texts`
/// makes names, contents, and what a comment begins with beside `#`.
pub(super) fn write_files(
    authority: &Authority,
    request: &Request,
    now_ms: u64,
    texts: impl Fn(&str) -> Vec<(&'static str, String, &'static str)>,
) -> Result<Vec<(PathBuf, Became)>, MosquittoError> {
    std::fs::create_dir_all(&request.dir).map_err(failed("create", &request.dir))?;
    let dir = request.dir.canonicalize().map_err(failed("find", &request.dir))?;
    let plain = |text: &&str| !text.chars().any(char::is_control) && text.trim() == *text;
    let named =
        dir.to_str().filter(plain).ok_or_else(|| MosquittoError::Unnameable(dir.clone()))?;
    let texts: Vec<(&str, String)> = texts(named)
        .into_iter()
        .map(|(name, text, comment)| (name, format!("{comment}{}", marked(&text))))
        .collect();
    let mut changed_by_hand = Vec::new();
    for (name, text) in &texts {
        let path = dir.join(name);
        let keep = |there: &String| there != text && !is_ours(there);
        if !request.force && read(&path)?.is_some_and(|there| keep(&there)) {
            changed_by_hand.push(path);
        }
    }
    if !changed_by_hand.is_empty() {
        return Err(MosquittoError::ChangedByHand(changed_by_hand));
    }
    let pem = authority.broker(&request.hosts, now_ms)?;
    let mut written = vec![
        put(&dir.join("broker.key"), &pem.key, PRIVATE)?,
        put(&dir.join("broker.pem"), &pem.certificate, PUBLIC)?,
        put(&dir.join("ca.pem"), &authority.trusted_pem(), PUBLIC)?,
    ];
    for (name, text) in &texts {
        written.push(put(&dir.join(name), text, PUBLIC)?);
    }
    Ok(written)
}

/// Writes the list of revoked certificates alone.
///
/// # Errors
/// [`IdentityError`].
pub fn revoke(
    authority: &Authority,
    dir: &Path,
    serials: &[String],
    now_ms: u64,
) -> Result<(PathBuf, Became), IdentityError> {
    put(&dir.join(REVOKED_FILE), &authority.revocations(serials, now_ms)?, PUBLIC)
}

fn put(path: &Path, text: &str, mode: u32) -> Result<(PathBuf, Became), IdentityError> {
    let became = match read(path)? {
        Some(there) if there == text => return Ok((path.to_owned(), Became::Same)),
        Some(_) => Became::Changed,
        None => Became::New,
    };
    write_file(path, text, mode)?;
    Ok((path.to_owned(), became))
}

fn marked(rest: &str) -> String {
    format!("{MARK}{}\n{rest}", digest(rest))
}

fn is_ours(text: &str) -> bool {
    let text = text.strip_prefix(Files::PERCENT).unwrap_or(text);
    let marked = text.strip_prefix(MARK).and_then(|text| text.split_once('\n'));
    marked.is_some_and(|(mark, rest)| mark == digest(rest))
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes())[..8].iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn config(dir: &str, listen: SocketAddr) -> String {
    let address = match listen.ip().is_unspecified() {
        true => String::new(),
        false => format!(" {}", listen.ip()),
    };
    format!(
        "\
# For Mosquitto 2. Avoid 2.0.12 to 2.0.18, whose access lists fail with several listeners.

per_listener_settings false
listener {port}{address}
allow_anonymous false

# TLS in both directions: whoever has a certificate of the hub's authority gets in, under the
# name in it, and can neither take another name nor another's session.
cafile {dir}/ca.pem
certfile {dir}/broker.pem
keyfile {dir}/broker.key
crlfile {dir}/{REVOKED_FILE}
require_certificate true
use_identity_as_username true
use_username_as_clientid true
acl_file {dir}/acl

# Nothing is kept: what the hub has not confirmed is on the device, which sends it again.
persistence false
retain_available false

# Acknowledgements are small and must not wait for each other.
set_tcp_nodelay true
# One frame, and not more.
max_packet_size {PACKET_BYTES_MAX}
# What waits for the hub when a fleet comes back at once.
max_queued_messages {QUEUED_MESSAGES_MAX}
max_queued_bytes {QUEUED_BYTES_MAX}
max_inflight_messages {INFLIGHT_MESSAGES_MAX}
",
        port = listen.port(),
    )
}

fn access_list() -> String {
    let mut text = format!(
        "\
# Every device its own two topics, and nothing else: %u is the name in its certificate.
pattern write landfall/1/%u/up
pattern read landfall/1/%u/down

# The hub: what every device sends, and each device's other topic.
user {HUB_USER}
topic read landfall/1/+/up
topic write landfall/1/+/down
"
    );
    for number in 2..=HUBS_MAX {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "
user {}
topic read landfall/1/+/up
topic write landfall/1/+/down
",
            hub_user(number)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const NOW_MS: u64 = 1_780_000_000_000;

    fn request(dir: &Path) -> Request {
        Request {
            dir: dir.join("mosquitto"),
            listen: "0.0.0.0:8883".parse().unwrap(),
            hosts: vec!["mqtt.example.org".to_owned()],
            revoked: vec![],
            force: false,
        }
    }

    fn became(written: &[(PathBuf, Became)], name: &str) -> Became {
        written.iter().find(|(path, _)| path.ends_with(name)).unwrap().1
    }

    #[test]
    fn files_are_written_once_and_follow_the_request() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), NOW_MS).unwrap();
        let first = request(dir.path());
        let written = write(&authority, &first, NOW_MS).unwrap();
        assert!(written.iter().all(|(_, became)| *became == Became::New), "{written:?}");
        let key = std::fs::metadata(first.dir.join("broker.key")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        let config = std::fs::read_to_string(first.dir.join(CONFIG_FILE)).unwrap();
        assert!(config.contains("\nlistener 8883\n"), "{config}");

        let again = write(&authority, &first, NOW_MS).unwrap();
        for name in [CONFIG_FILE, "acl", "broker.pem", "broker.key", "ca.pem"] {
            assert_eq!(became(&again, name), Became::Same, "{name}");
        }
        let other = Request { listen: "127.0.0.1:1883".parse().unwrap(), ..first.clone() };
        let written = write(&authority, &other, NOW_MS).unwrap();
        assert_eq!(became(&written, CONFIG_FILE), Became::Changed, "nobody touched it");
        let config = std::fs::read_to_string(first.dir.join(CONFIG_FILE)).unwrap();
        assert!(config.contains("\nlistener 1883 127.0.0.1\n"), "{config}");
    }

    #[test]
    fn what_somebody_changed_is_kept_unless_forced() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), NOW_MS).unwrap();
        let first = request(dir.path());
        write(&authority, &first, NOW_MS).unwrap();
        let path = first.dir.join("acl");
        let edited = std::fs::read_to_string(&path).unwrap() + "user monitor\ntopic read #\n";
        std::fs::write(&path, &edited).unwrap();
        let other = Request { listen: "127.0.0.1:1883".parse().unwrap(), ..first.clone() };
        let error = write(&authority, &other, NOW_MS).unwrap_err();
        assert!(matches!(&error, MosquittoError::ChangedByHand(paths) if paths.len() == 1));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), edited);
        let config = std::fs::read_to_string(first.dir.join(CONFIG_FILE)).unwrap();
        assert!(config.contains("listener 8883"), "nothing was written");
        write(&authority, &Request { force: true, ..other }, NOW_MS).unwrap();
        assert_ne!(std::fs::read_to_string(&path).unwrap(), edited);
    }
}
