//! Issuing an identity to a device: a directory to put on the box.

use super::files::{PRIVATE, PUBLIC, failed, read, write};
use super::{Authority, IdentityError};
use crate::database::commands::Enroll;
use crate::database::queries::{self, Enrolment};
use crate::database::sql::Connection;
use crate::database::{self, DbError, views};
use landfall_freight::parcel::BoxKey;
use landfall_wire::id::{DeviceId, Epoch};
use rustls_pki_types::PrivateKeyDer;
use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What a bundle holds.
pub const BUNDLE_FILES: [&str; 4] = ["ca.pem", "device.pem", "device.key", "bundle.toml"];

/// Where a device finds the hub: `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubAddress(String);

impl HubAddress {
    /// The host, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        let host = self.0.rsplit_once(':').map_or(self.0.as_str(), |(host, _)| host);
        host.trim_matches(['[', ']'])
    }

    /// The port.
    pub fn port(&self) -> u16 {
        let port = self.0.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        // Parsing has excluded everything else.
        port.unwrap_or_default()
    }
}

impl FromStr for HubAddress {
    type Err = String;
    fn from_str(text: &str) -> Result<HubAddress, String> {
        let valid = text.rsplit_once(':').is_some_and(|(host, port)| {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            let host_ok = match bare {
                Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
                None => !host.is_empty() && host.chars().all(known),
            };
            host_ok && port.parse::<u16>().is_ok_and(|port| port != 0)
        });
        if valid {
            return Ok(HubAddress(text.to_owned()));
        }
        Err(format!("'{text}' is not HOST:PORT, such as hub.example.org:8883"))
    }
}

impl fmt::Display for HubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who wants what.
#[derive(Debug, Clone)]
pub struct Request {
    /// The device.
    pub device: DeviceId,
    /// Directory to write to.
    pub out: PathBuf,
    /// Where the device finds the hub.
    pub hub: HubAddress,
    /// Where it finds files of releases, if they are handed out.
    pub files: Option<HubAddress>,
    /// Days that the certificate is valid.
    pub days: u32,
    /// Issue a new certificate even if the device has one.
    pub renew: bool,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enrolled {
    /// A certificate was issued and the bundle written.
    Issued {
        /// When it ends, RFC 3339.
        expires_at: String,
    },
    /// The bundle is there already; nothing was changed.
    Already {
        /// When the certificate ends, RFC 3339.
        expires_at: String,
    },
}

/// Why a device was not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// It has a certificate, but not in that directory; a key is never issued twice.
    #[error("{device} is enrolled already, and its identity is not in {}", out.display())]
    Elsewhere {
        /// The device.
        device: DeviceId,
        /// The directory asked for.
        out: PathBuf,
    },
    /// It was revoked.
    #[error("{0} was revoked")]
    Revoked(DeviceId),
    /// The directory holds the identity of another device.
    #[error("{} holds the identity of another device", .0.display())]
    Occupied(PathBuf),
    /// Certificates or files.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The books.
    #[error(transparent)]
    Database(#[from] DbError),
}

/// Enrols a device: issues a certificate, enters it in the books, writes the bundle.
///
/// # Errors
/// [`EnrollError`]; a certificate that is in the books but whose bundle could not be written
/// is of no use to anyone, its key is gone.
pub fn enroll(
    authority: &Authority,
    books: &mut Connection,
    request: &Request,
    now_ms: u64,
) -> Result<Enrolled, EnrollError> {
    let Request { device, out, days, renew, .. } = request;
    let known = queries::enrolment(books, device).map_err(|source| DbError::new("read", source))?;
    let here = bundle_device(out)?;
    if here.as_deref().is_some_and(|name| name != device.as_str()) {
        return Err(EnrollError::Occupied(out.clone()));
    }
    if let (Some(Enrolment { revoked, expires_ms }), false) = (known, renew) {
        return match (revoked, expires_ms, here) {
            (true, _, _) => Err(EnrollError::Revoked(device.clone())),
            (false, Some(expires_ms), Some(_)) => {
                Ok(Enrolled::Already { expires_at: views::time(expires_ms) })
            }
            (false, _, _) => {
                Err(EnrollError::Elsewhere { device: device.clone(), out: out.clone() })
            }
        };
    }
    std::fs::create_dir_all(out).map_err(failed("create", out))?;
    let issued = authority.device(device, *days, now_ms)?;
    let answers_epoch = Epoch(getrandom::u64().map_err(IdentityError::from)?);
    let command = Enroll {
        device: device.clone(),
        serial: issued.serial,
        authority: authority.issuing(),
        expires_ms: issued.expires_ms,
        now_ms,
        answers_epoch,
    };
    database::apply(books, &command)?;
    write(&out.join("device.key"), &issued.key_pem, PRIVATE)?;
    write(&out.join("device.pem"), &issued.certificate_pem, PUBLIC)?;
    write(&out.join("ca.pem"), &authority.trusted_pem(), PUBLIC)?;
    // The bundle last: it says that the rest is complete.
    write(&out.join("bundle.toml"), &bundle(request, &authority.key()?), PUBLIC)?;
    let expires_ms = i64::try_from(issued.expires_ms).unwrap_or(i64::MAX);
    Ok(Enrolled::Issued { expires_at: views::time(expires_ms) })
}

fn bundle(request: &Request, authority: &PrivateKeyDer<'_>) -> String {
    // None has a character that TOML would want escaped.
    let Request { device, hub, files, .. } = request;
    let files = files.as_ref().map(|files| format!("files = \"{files}\"\n")).unwrap_or_default();
    let courier = BoxKey::of(authority);
    format!("device = \"{device}\"\nhub = \"{hub}\"\n{files}courier = \"{courier}\"\n")
}

/// The device whose bundle is in a directory.
fn bundle_device(dir: &Path) -> Result<Option<String>, IdentityError> {
    let path = dir.join("bundle.toml");
    let Some(text) = read(&path)? else { return Ok(None) };
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        IdentityError::Damaged { path, reason: error.message().to_owned() }
    })?;
    Ok(table.get("device").and_then(toml::Value::as_str).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Source;
    use crate::database::commands::{Revoke, Revoked};
    use std::os::unix::fs::PermissionsExt;

    const NOW_MS: u64 = 1_780_000_000_000;

    fn request(dir: &Path, device: &str) -> Request {
        let device: DeviceId = device.parse().unwrap();
        let out = dir.join("out").join(device.as_str());
        Request {
            device,
            out,
            hub: "hub.example.org:8883".parse().unwrap(),
            files: None,
            days: 10,
            renew: false,
        }
    }

    fn enroll(data: &Path, request: &Request, now_ms: u64) -> Result<Enrolled, EnrollError> {
        let authority = Authority::open(data, now_ms)?;
        let mut books = database::open(&Source::file(data))?;
        super::enroll(&authority, &mut books, request, now_ms)
    }

    #[test]
    fn a_device_is_enrolled_once_unless_renewed() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let wanted = request(dir.path(), "ship-7");
        let first = enroll(&data, &wanted, NOW_MS).unwrap();
        assert!(matches!(first, Enrolled::Issued { .. }));
        for name in BUNDLE_FILES {
            assert!(wanted.out.join(name).is_file(), "{name}");
        }
        let key = std::fs::metadata(wanted.out.join("device.key")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        let bundle = std::fs::read_to_string(wanted.out.join("bundle.toml")).unwrap();
        let start = "device = \"ship-7\"\nhub = \"hub.example.org:8883\"\ncourier = \"";
        assert!(bundle.starts_with(start), "{bundle}");

        let pem = std::fs::read_to_string(wanted.out.join("device.pem")).unwrap();
        let again = enroll(&data, &wanted, NOW_MS).unwrap();
        assert!(matches!(again, Enrolled::Already { .. }));
        assert_eq!(std::fs::read_to_string(wanted.out.join("device.pem")).unwrap(), pem);
        let elsewhere = Request { out: dir.path().join("other"), ..wanted.clone() };
        let error = enroll(&data, &elsewhere, NOW_MS).unwrap_err();
        assert!(matches!(error, EnrollError::Elsewhere { .. }), "{error}");

        enroll(&data, &Request { renew: true, ..wanted.clone() }, NOW_MS).unwrap();
        assert_ne!(std::fs::read_to_string(wanted.out.join("device.pem")).unwrap(), pem);
    }

    #[test]
    fn addresses_are_checked() {
        for (good, host) in [("hub.example.org:8883", "hub.example.org"), ("[::1]:1", "::1")] {
            let address = good.parse::<HubAddress>().unwrap();
            assert_eq!(address.host(), host);
            assert!(good.ends_with(&format!(":{}", address.port())));
        }
        for bad in ["hub", "hub:", ":1", "hub:0", "a b:1", "::1:8883", "h\"x:1", "[x]:1"] {
            assert!(bad.parse::<HubAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_directory_of_another_device_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let first = request(dir.path(), "ship-7");
        enroll(&data, &first, NOW_MS).unwrap();
        let second = Request { out: first.out, ..request(dir.path(), "ship-8") };
        let error = enroll(&data, &second, NOW_MS).unwrap_err();
        assert!(matches!(error, EnrollError::Occupied(_)), "{error}");
    }

    #[test]
    fn a_revoked_device_comes_back_only_when_renewed() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let wanted = request(dir.path(), "ship-7");
        enroll(&data, &wanted, NOW_MS).unwrap();
        let mut books = database::open(&Source::file(&data)).unwrap();
        let revoke = Revoke { device: wanted.device.clone(), now_ms: NOW_MS };
        assert_eq!(database::apply(&mut books, &revoke).unwrap(), Revoked::Now);
        assert_eq!(database::apply(&mut books, &revoke).unwrap(), Revoked::Already);
        let error = enroll(&data, &wanted, NOW_MS).unwrap_err();
        assert!(matches!(error, EnrollError::Revoked(_)), "{error}");
        enroll(&data, &Request { renew: true, ..wanted }, NOW_MS).unwrap();
        let serials = queries::revoked_serials(&books).unwrap();
        assert_eq!(serials.len(), 1, "the old certificate stays revoked");
    }
}
