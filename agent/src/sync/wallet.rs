//! The device's certificates: the one it was enrolled with, and those that it got since.
//!
//! The enrolled one is where the site put it, on a file system that the agent may not write to. What
//! the hub gives later is in `data_dir/identity`:
//!
//! ```text
//! renew.key     the key that a certificate was asked for
//! trial.pem     certificate, key and authorities as the hub gave them, not used yet
//! current.pem   the same, once the hub has welcomed the device with them
//! ```
//!
//! Each is one file, so that certificate, key and authorities are always of one piece, and is
//! replaced whole. The newest is used; one that was never welcomed takes turns with the one before,
//! which stays until then. A device that was enrolled anew has the newest in its directory.

use super::enroll::{signing_request, write_private};
use super::identity::{Identity, IdentityError, Validity};
use crate::clock::Clock;
use landfall_wire::directive::Certificate;
use rcgen::KeyPair;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

const DIR: &str = "identity";

/// When this share of a certificate's time is over, a new one is asked for: the other two are left
/// for a device that is out of reach.
const RENEW_AFTER_SHARE: u64 = 3;

/// One certificate of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// From the hub, not used yet.
    Trial,
    /// From the hub, in use.
    Current,
    /// The one it was enrolled with.
    Enrolled,
}

/// All of them.
#[derive(Debug)]
pub struct Wallet {
    enrolled: PathBuf,
    dir: PathBuf,
    clock: Arc<Clock>,
    /// The newest was not welcomed at the last try.
    doubted: AtomicBool,
    /// What was picked last, while the files are as they were: TLS sessions are resumed with the
    /// settings that they were made with.
    picked: Mutex<Option<(Stamp, Identity, Place)>>,
}

/// When each of the files was written, and whether the newest is doubted.
type Stamp = ([Option<SystemTime>; 3], bool);

impl Wallet {
    /// `enrolled` is the directory that `landfall-hub enroll` wrote.
    pub fn new(enrolled: &Path, data_dir: &Path, clock: Arc<Clock>) -> Wallet {
        let (enrolled, dir) = (enrolled.to_owned(), data_dir.join(DIR));
        Wallet { enrolled, dir, clock, doubted: AtomicBool::new(false), picked: Mutex::default() }
    }

    /// By which certificates are judged.
    pub(crate) fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// The identity to use now.
    ///
    /// # Errors
    /// Why the enrolled one cannot be used, if there is no other.
    pub fn pick(&self) -> Result<(Identity, Place), IdentityError> {
        let stamp = self.stamp();
        let mut picked = self.picked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, identity, place)) = picked.as_ref()
            && *at == stamp
        {
            return Ok((identity.clone(), *place));
        }
        let (identity, place) = self.newest()?;
        *picked = Some((stamp, identity.clone(), place));
        Ok((identity, place))
    }

    fn stamp(&self) -> Stamp {
        let written = |path: PathBuf| std::fs::metadata(path).and_then(|it| it.modified()).ok();
        let enrolled = self.enrolled.join("bundle.toml");
        let doubted = self.doubted.load(Ordering::Relaxed);
        ([written(self.trial()), written(self.current()), written(enrolled)], doubted)
    }

    /// Every identity that there is, the one to use now first: a parcel may be sealed for the key of
    /// one that was renewed since.
    pub(crate) fn all(&self) -> Vec<Identity> {
        let picked = self.pick().ok();
        let place = picked.as_ref().map(|(_, place)| *place);
        let enrolled = Identity::load(&self.enrolled, &self.clock).ok();
        let others = self.renewed().chain(enrolled.map(|it| (it, Place::Enrolled)));
        let others = others.filter(|(_, other)| Some(*other) != place);
        picked.into_iter().chain(others).map(|(identity, _)| identity).collect()
    }

    /// Every file that holds a key of this device, if it is there.
    pub fn key_files(&self) -> [PathBuf; 4] {
        [self.enrolled.join("device.key"), self.key(), self.trial(), self.current()]
    }

    /// What the hub gave since the device was enrolled.
    fn renewed(&self) -> impl Iterator<Item = (Identity, Place)> {
        let files = [(Place::Trial, self.trial()), (Place::Current, self.current())];
        files.into_iter().filter_map(|(place, path)| {
            let identity = Identity::load_one(&path, &self.enrolled, &self.clock).ok()?;
            Some((identity, place))
        })
    }

    fn newest(&self) -> Result<(Identity, Place), IdentityError> {
        let enrolled = Identity::load(&self.enrolled, &self.clock);
        let doubted = self.doubted.load(Ordering::Relaxed);
        let mut found: Vec<(Identity, Place)> =
            self.renewed().filter(|(_, place)| !(doubted && *place == Place::Trial)).collect();
        let refused = match enrolled {
            Ok(identity) => {
                found.push((identity, Place::Enrolled));
                None
            }
            Err(error) => Some(error),
        };
        // The last of equals is the newest: of one moment, the one that the hub gave.
        let newest = found.into_iter().rev().max_by_key(|(identity, _)| identity.valid.from_ms);
        match (newest, refused) {
            (Some(newest), _) => Ok(newest),
            (None, Some(error)) => Err(error),
            (None, None) => unreachable!("what was not refused was found"),
        }
    }

    /// The hub has welcomed the device with this one: what came before is not needed any more.
    pub fn welcomed(&self, place: Place) {
        self.doubted.store(false, Ordering::Relaxed);
        if place == Place::Trial
            && let Err(error) = std::fs::rename(self.trial(), self.current())
        {
            tracing::warn!(%error, "the new certificate stays on trial");
        }
    }

    /// The hub could not be greeted with this one: the one before has the next turn.
    pub fn not_welcomed(&self, place: Place) {
        let doubted = place == Place::Trial;
        self.doubted.store(doubted, Ordering::Relaxed);
    }

    /// A request for a new certificate, if it is time for one. Its key is on the disk.
    ///
    /// # Errors
    /// When the key cannot be made or written.
    pub fn request(&self) -> Result<Option<Vec<u8>>, String> {
        let Ok((identity, _)) = self.pick() else { return Ok(None) };
        if !is_due(identity.valid, self.clock.now_ms()) {
            return Ok(None);
        }
        std::fs::create_dir_all(&self.dir).map_err(|error| error.to_string())?;
        let path = self.key();
        let key = match std::fs::read_to_string(&path).map(|pem| KeyPair::from_pem(&pem)) {
            Ok(Ok(key)) => key,
            Ok(Err(_)) | Err(_) => {
                let key = KeyPair::generate().map_err(|error| error.to_string())?;
                write_private(&path, &key.serialize_pem()).map_err(|error| error.to_string())?;
                key
            }
        };
        let request = signing_request(&key, Some(&identity.device));
        request.map(Some).map_err(|error| error.to_string())
    }

    /// Takes what the hub gave. One that it has already, or did not ask for, changes nothing.
    ///
    /// # Errors
    /// In words, when it cannot be used or written; nothing is changed then.
    pub fn take(&self, given: &Certificate) -> Result<bool, String> {
        let Ok(key) = std::fs::read_to_string(self.key()) else { return Ok(false) };
        let part = self.dir.join("given.pem");
        let mut content = pem("CERTIFICATE", &given.certificate);
        for authority in &given.authorities {
            content.push_str(&pem("CERTIFICATE", authority));
        }
        content.push_str(&key);
        write_private(&part, &content).map_err(|error| error.to_string())?;
        // It says no to a certificate of another device.
        if let Err(error) = Identity::load_one(&part, &self.enrolled, &self.clock) {
            let _gone = std::fs::remove_file(&part);
            return Err(error.to_string());
        }
        std::fs::rename(&part, self.trial()).map_err(|error| error.to_string())?;
        // Its key is in the trial now.
        let _stays = std::fs::remove_file(self.key());
        self.doubted.store(false, Ordering::Relaxed);
        Ok(true)
    }

    fn key(&self) -> PathBuf {
        self.dir.join("renew.key")
    }

    fn trial(&self) -> PathBuf {
        self.dir.join("trial.pem")
    }

    fn current(&self) -> PathBuf {
        self.dir.join("current.pem")
    }
}

fn is_due(valid: Validity, now_ms: u64) -> bool {
    let Validity { from_ms, until_ms } = valid;
    now_ms >= from_ms + until_ms.saturating_sub(from_ms) / RENEW_AFTER_SHARE
}

/// As text (RFC 7468): base 64, 64 characters a line.
fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in der.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|at| u32::from(three.get(at).copied().unwrap_or(0)));
        let bits = (a << 16) | (b << 8) | c;
        for at in 0..4 {
            let digit = usize::try_from((bits >> (18 - 6 * at)) & 63).unwrap_or(0);
            text.push(if at <= three.len() { char::from(DIGITS[digit]) } else { '=' });
        }
    }
    let lines: Vec<&str> =
        (0..text.len()).step_by(64).map(|at| &text[at..(at + 64).min(text.len())]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_one_is_asked_for_after_a_third() {
        let valid = Validity { from_ms: 1000, until_ms: 4000 };
        assert!(!is_due(valid, 1999));
        assert!(is_due(valid, 2000) && is_due(valid, 9000));
    }

    #[test]
    fn certificates_are_written_as_text() {
        assert!(pem("X", b"foobar").contains("\nZm9vYmFy\n"));
        assert!(pem("X", b"foob").contains("\nZm9vYg==\n"));
        assert!(pem("X", b"fooba").contains("\nZm9vYmE=\n"));
        assert!(pem("X", &[0; 300]).lines().all(|line| line.len() <= 64));
    }
}
