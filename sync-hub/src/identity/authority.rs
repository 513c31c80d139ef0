//! The authority, and the hub's own server certificate.

use super::files::{PRIVATE, PUBLIC, failed, read, write};
use super::{IdentityError, tokens};
use landfall_wire::id::DeviceId;
use landfall_wire::token::FINGERPRINT_BYTES;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams,
    CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// The authority that will take over, until it does.
const NEXT_KEY: &str = "ca-next.key";
const NEXT_PEM: &str = "ca-next.pem";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The authority outlives every box that trusts it.
const CA_DAYS: u32 = 7300;

/// Certificates of servers are renewed at start; a hub may run for years without one.
const SERVER_DAYS: u32 = 1825;

/// CN of the hub as a client of a broker, and so its user name there. No device can have it: a
/// device's name has no dot.
pub const HUB_USER: &str = "landfall.hub";

/// Hubs behind one broker: more than one database takes.
pub const HUBS_MAX: u8 = 8;

/// The same of the hub of a number: a broker takes a name once.
pub fn hub_user(number: u8) -> String {
    if number <= 1 { HUB_USER.to_owned() } else { format!("{HUB_USER}-{number}") }
}

/// A certificate of a server with less left than this is renewed at the next start.
const SERVER_DAYS_LEFT_MIN: u32 = 365;

/// Certificates are valid from this long ago: a box without a battery-backed clock starts in
/// the past.
const BACKDATED_DAYS: u32 = 30;

/// The hub's certificate authority.
pub struct Authority {
    dir: PathBuf,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
    /// The authority that will take its place: it is trusted already, and issues to devices.
    next: Option<Next>,
}

struct Next {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// How far an authority is with being replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// There is one authority.
    None,
    /// There are two, and both are trusted. The old one still vouches for the hub, because there
    /// are devices that know no other; the new one issues to devices.
    Overlap,
    /// The new one has just taken over.
    Finished,
}

impl Rotation {
    /// A name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Rotation::None => "one",
            Rotation::Overlap => "overlap",
            Rotation::Finished => "finished",
        }
    }
}

/// What the endpoint proves itself with.
#[derive(Debug)]
pub struct ServerIdentity {
    /// The authorities that devices' certificates may be signed by; the first vouches for the hub.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The server's certificate.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

/// A certificate with its key, in PEM.
#[derive(Debug, Clone)]
pub struct Pem {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// Whom the authority vouches for beside devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The hub's own endpoint.
    Endpoint,
    /// A broker between devices and the hub.
    Broker,
    /// The hub as a client of that broker.
    Client,
}

impl Role {
    /// Name of its files.
    fn stem(self) -> &'static str {
        match self {
            Role::Endpoint => "server",
            Role::Broker => "broker",
            Role::Client => "broker-client",
        }
    }

    fn common_name(self) -> &'static str {
        match self {
            Role::Endpoint => "landfall-hub",
            Role::Broker => "landfall-broker",
            Role::Client => HUB_USER,
        }
    }

    fn usage(self) -> ExtendedKeyUsagePurpose {
        match self {
            Role::Endpoint | Role::Broker => ExtendedKeyUsagePurpose::ServerAuth,
            Role::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }
    }
}

/// Name of the files of the hub's certificate as a client.
pub(super) fn client_stem(number: u8) -> String {
    let stem = Role::Client.stem();
    if number <= 1 { stem.to_owned() } else { format!("{stem}-{number}") }
}

/// A certificate for a device.
pub(super) struct Issued {
    pub(super) certificate_pem: String,
    pub(super) key_pem: String,
    pub(super) serial: String,
    pub(super) expires_ms: u64,
}

/// A certificate for a key that only the device has.
pub struct Signed {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Its serial number in hex.
    pub serial: String,
    /// When it ends, milliseconds since 1970.
    pub expires_ms: u64,
}

/// Who a certificate belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The device, from the CN.
    pub device: DeviceId,
    /// Serial number in hex.
    pub serial: String,
}

impl Authority {
    /// Opens the authority of a data directory; makes both where they are missing.
    ///
    /// # Errors
    /// [`IdentityError`] if files cannot be read or written, or are damaged.
    pub fn open(dir: &Path, now_ms: u64) -> Result<Authority, IdentityError> {
        std::fs::create_dir_all(dir).map_err(failed("create", dir))?;
        // `run` and `enroll` may both be the first.
        let lock = dir.join("identity.lock");
        let locked = std::fs::File::create(&lock).and_then(|file| file.lock().map(|()| file));
        let _locked = locked.map_err(failed("lock", &lock))?;
        let (key_path, path) = (dir.join("ca.key"), dir.join("ca.pem"));
        let (key_pem, certificate_pem) = match (read(&key_path)?, read(&path)?) {
            (Some(key), Some(certificate)) => (key, certificate),
            // Without its certificate the key has signed nothing yet.
            (_, None) => {
                let (key, certificate) = make_authority(now_ms)?;
                write(&key_path, &key, PRIVATE)?;
                write(&path, &certificate, PUBLIC)?;
                (key, certificate)
            }
            (None, Some(_)) => {
                let reason = "the key that belongs to ca.pem is missing; restore it from a \
                              backup: without it every device would have to be enrolled again"
                    .to_owned();
                return Err(IdentityError::Damaged { path: key_path, reason });
            }
        };
        let issuer = issuer(&key_path, &key_pem, &certificate_pem)?;
        let (next_key, next) = (dir.join(NEXT_KEY), dir.join(NEXT_PEM));
        let next = match (read(&next_key)?, read(&next)?) {
            (Some(key), Some(certificate_pem)) => {
                let issuer = self::issuer(&next_key, &key, &certificate_pem)?;
                Some(Next { certificate_pem, issuer })
            }
            // A key without its certificate has signed nothing yet.
            (_, None) => None,
            (None, Some(_)) => {
                // The takeover was cut off between its two files.
                std::fs::rename(&next, &path).map_err(failed("replace", &path))?;
                drop(_locked);
                return Authority::open(dir, now_ms);
            }
        };
        Ok(Authority { dir: dir.to_owned(), certificate_pem, issuer, next })
    }

    /// The certificates of the authorities, for those who trust them.
    pub fn trusted_pem(&self) -> String {
        let next = self.next.as_ref().map_or("", |next| &next.certificate_pem);
        format!("{}{next}", self.certificate_pem)
    }

    /// The same, as they are.
    fn trusted(&self) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        let own = certificate(&self.path("ca.pem"), &self.certificate_pem)?;
        let next = self.next.as_ref();
        let next = next.map(|next| certificate(&self.path(NEXT_PEM), &next.certificate_pem));
        Ok(std::iter::once(own).chain(next.transpose()?).collect())
    }

    /// What a token says of the authority that vouches for the hub.
    ///
    /// # Errors
    /// [`IdentityError`] if its certificate is damaged.
    pub(super) fn fingerprint(&self) -> Result<[u8; FINGERPRINT_BYTES], IdentityError> {
        Ok(tokens::fingerprint(&certificate(&self.path("ca.pem"), &self.certificate_pem)?))
    }

    /// What the authority that vouches for the hub is called in the hub's books: the beginning of
    /// the digest of its certificate, in hex.
    ///
    /// # Errors
    /// [`IdentityError`] if its certificate is damaged.
    pub fn name(&self) -> Result<String, IdentityError> {
        self.fingerprint().map(|digest| hex(&digest))
    }

    /// How far it is with being replaced.
    pub fn rotation(&self) -> Rotation {
        if self.next.is_some() { Rotation::Overlap } else { Rotation::None }
    }

    /// Name and last moment (milliseconds since 1970) of each authority that is trusted.
    pub fn dates(&self) -> Vec<(String, u64)> {
        let dated = |certificate: &CertificateDer<'_>| {
            let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
            let name = parsed.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
            let until = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
            Some((name, until.saturating_mul(1000)))
        };
        self.trusted().unwrap_or_default().iter().filter_map(dated).collect()
    }

    /// Name of the authority that issues to devices: the one that will take over, if there is one.
    pub fn issuing(&self) -> String {
        self.dates().pop().map(|(name, _)| name).unwrap_or_default()
    }

    /// Makes the authority that will take this one's place. Both are trusted from now on. A second
    /// time it changes nothing.
    ///
    /// # Errors
    /// [`IdentityError`] if files cannot be written.
    pub fn rotate(&self, now_ms: u64) -> Result<Rotation, IdentityError> {
        if self.next.is_none() {
            let (key, certificate) = make_authority(now_ms)?;
            write(&self.path(NEXT_KEY), &key, PRIVATE)?;
            write(&self.path(NEXT_PEM), &certificate, PUBLIC)?;
        }
        Ok(Rotation::Overlap)
    }

    /// Lets the new authority take over: who has only the old one's certificate is out. The old one
    /// is kept as `ca-old.key` and `ca-old.pem`.
    ///
    /// # Errors
    /// [`IdentityError`] if files cannot be written.
    pub fn finish(&self) -> Result<Rotation, IdentityError> {
        if self.next.is_none() {
            return Ok(Rotation::None);
        }
        let keep = |from: &str, to: &str| {
            let (from, to) = (self.path(from), self.path(to));
            std::fs::copy(&from, &to).map(drop).map_err(failed("keep", &from))
        };
        keep("ca.key", "ca-old.key")?;
        keep("ca.pem", "ca-old.pem")?;
        let take = |from: &str, to: &str| {
            let to = self.path(to);
            std::fs::rename(self.path(from), &to).map_err(failed("replace", &to))
        };
        // The key first: a certificate without its key tells the next start to go on here.
        take(NEXT_KEY, "ca.key")?;
        take(NEXT_PEM, "ca.pem")?;
        Ok(Rotation::Finished)
    }

    /// The digest of the key that a signing request is for, in hex; its signature holds.
    ///
    /// # Errors
    /// If it is no request.
    pub(crate) fn requested_key(request: &[u8]) -> Result<String, IdentityError> {
        let request = CertificateSigningRequestDer::from(request);
        let request = CertificateSigningRequestParams::from_der(&request)?;
        use rcgen::PublicKeyData as _;
        Ok(hex(&Sha256::digest(request.public_key.der_bytes())))
    }

    /// Signs for a key that only the device has. Of the request only the key counts.
    ///
    /// # Errors
    /// If it is no request, or cannot be signed.
    pub fn sign(
        &self,
        device: &DeviceId,
        request: &[u8],
        days: u32,
        now_ms: u64,
    ) -> Result<Signed, IdentityError> {
        let request = CertificateSigningRequestDer::from(request);
        let mut request = CertificateSigningRequestParams::from_der(&request)?;
        let (params, serial) = end_entity(device_params(device), days, now_ms)?;
        request.params = params;
        let certificate = request.signed_by(self.issuer_for_devices())?;
        let expires_ms = now_ms + u64::from(days) * 24 * 60 * 60 * 1000;
        Ok(Signed { certificate_pem: certificate.pem(), serial, expires_ms })
    }

    /// A certificate, and the authorities to trust, as they travel.
    pub(super) fn as_der(&self, pem: &str) -> Result<(Vec<u8>, Vec<Vec<u8>>), IdentityError> {
        let issued = certificate(Path::new("the new certificate"), pem)?.to_vec();
        Ok((issued, self.trusted()?.iter().map(|it| it.to_vec()).collect()))
    }

    fn issuer_for_devices(&self) -> &Issuer<'static, KeyPair> {
        self.next.as_ref().map_or(&self.issuer, |next| &next.issuer)
    }

    /// The server certificate, issued anew if it ends soon or does not name all `hosts`.
    ///
    /// # Errors
    /// [`IdentityError`] if files cannot be read or written, or a host is no name or address.
    pub fn server(&self, hosts: &[String], now_ms: u64) -> Result<ServerIdentity, IdentityError> {
        let pem = self.vouch(Role::Endpoint, hosts, now_ms)?;
        let authorities = self.trusted()?;
        let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).map_err(|error| {
            IdentityError::Damaged { path: self.path("server.key"), reason: error.to_string() }
        })?;
        let certificate = certificate(&self.path("server.pem"), &pem.certificate)?;
        Ok(ServerIdentity { authorities, certificate, key })
    }

    /// The server certificate as it is, if there is one that will do for a while, whatever it
    /// names; otherwise one for `hosts`.
    ///
    /// # Errors
    /// [`IdentityError`] as [`Authority::server`].
    pub fn server_as_it_is(
        &self,
        hosts: &[String],
        now_ms: u64,
    ) -> Result<ServerIdentity, IdentityError> {
        // Every certificate names this machine, so that a better one is not replaced.
        self.server(&hosts[..hosts.len().min(1)], now_ms)
    }

    /// The authority's own key: parcels are sealed for a key that follows from it.
    ///
    /// # Errors
    /// [`IdentityError`] if it cannot be read.
    pub fn key(&self) -> Result<PrivateKeyDer<'static>, IdentityError> {
        let path = self.path("ca.key");
        let missing = || IdentityError::Damaged { path, reason: "it is missing".to_owned() };
        self.private("ca.key")?.ok_or_else(missing)
    }

    /// The key of the authority that this one took the place of, if there was one: devices that
    /// were enrolled before go on sealing for it.
    ///
    /// # Errors
    /// [`IdentityError`] if it cannot be read.
    pub fn key_before(&self) -> Result<Option<PrivateKeyDer<'static>>, IdentityError> {
        self.private("ca-old.key")
    }

    fn private(&self, name: &str) -> Result<Option<PrivateKeyDer<'static>>, IdentityError> {
        let path = self.path(name);
        let Some(pem) = read(&path)? else { return Ok(None) };
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes());
        key.map(Some).map_err(|error| IdentityError::Damaged { path, reason: error.to_string() })
    }

    /// The certificate of a broker that devices reach under `hosts`, in the same way.
    ///
    /// # Errors
    /// [`IdentityError`] if files cannot be read or written, or a host is no name or address.
    pub fn broker(&self, hosts: &[String], now_ms: u64) -> Result<Pem, IdentityError> {
        self.vouch(Role::Broker, hosts, now_ms)
    }

    /// The certificate of the hub of a number as a client of a broker, issued anew if it ends soon.
    ///
    /// # Errors
    /// [`IdentityError`] if files cannot be read or written.
    pub fn broker_client(&self, number: u8, now_ms: u64) -> Result<Pem, IdentityError> {
        let stem = client_stem(number);
        self.vouch_as(Role::Client, (&stem, &hub_user(number)), &[], now_ms)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn vouch(&self, role: Role, hosts: &[String], now_ms: u64) -> Result<Pem, IdentityError> {
        self.vouch_as(role, (role.stem(), role.common_name()), hosts, now_ms)
    }

    fn vouch_as(
        &self,
        role: Role,
        (stem, common_name): (&str, &str),
        hosts: &[String],
        now_ms: u64,
    ) -> Result<Pem, IdentityError> {
        let (key_path, path) =
            (self.path(&format!("{stem}.key")), self.path(&format!("{stem}.pem")));
        let authority = certificate(&self.dir.join("ca.pem"), &self.certificate_pem)?;
        if let (Some(key), Some(pem)) = (read(&key_path)?, read(&path)?)
            && let Ok(certificate) = certificate(&path, &pem)
            && PrivateKeyDer::from_pem_slice(key.as_bytes()).is_ok()
            && is_fit(&certificate, &authority, hosts, now_ms)
        {
            return Ok(Pem { certificate: pem, key });
        }
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![role.usage()];
        let issued = issue(&self.issuer, params, SERVER_DAYS, now_ms)?;
        // The certificate last: without it, all is made again.
        write(&key_path, &issued.key_pem, PRIVATE)?;
        write(&path, &issued.certificate_pem, PUBLIC)?;
        tracing::info!(role = stem, hosts = hosts.join(","), "issued a certificate");
        Ok(Pem { certificate: issued.certificate_pem, key: issued.key_pem })
    }

    /// Whether the certificate of the hub or of its broker, if there is one yet, names `host`.
    ///
    /// # Errors
    /// [`IdentityError`] if it cannot be read.
    pub fn server_names(&self, host: &str) -> Result<bool, IdentityError> {
        for role in [Role::Endpoint, Role::Broker] {
            let path = self.path(&format!("{}.pem", role.stem()));
            if let Some(pem) = read(&path)?
                && names_all(&certificate(&path, &pem)?, &[host.to_owned()])
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The list of certificates that are not valid any more, in PEM, for a broker: by serial
    /// number in hex.
    ///
    /// # Errors
    /// [`IdentityError`] if it cannot be signed.
    pub fn revocations(&self, serials: &[String], now_ms: u64) -> Result<String, IdentityError> {
        let own = self.revoked_by(&self.issuer, serials, now_ms)?;
        let next = self.next.as_ref();
        // Who checks wants a list of each authority that it trusts.
        let next = next.map(|next| self.revoked_by(&next.issuer, serials, now_ms)).transpose()?;
        Ok(own + &next.unwrap_or_default())
    }

    fn revoked_by(
        &self,
        issuer: &Issuer<'static, KeyPair>,
        serials: &[String],
        now_ms: u64,
    ) -> Result<String, IdentityError> {
        let now = date_time_ymd(1970, 1, 1) + Duration::from_millis(now_ms);
        let revoked = |serial: &String| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&from_hex(serial)),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: now - DAY * BACKDATED_DAYS,
            // Nobody renews it while nothing is revoked.
            next_update: now + DAY * CA_DAYS,
            crl_number: SerialNumber::from(now_ms),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(issuer)?.pem()?)
    }

    pub(super) fn device(
        &self,
        device: &DeviceId,
        days: u32,
        now_ms: u64,
    ) -> Result<Issued, IdentityError> {
        issue(self.issuer_for_devices(), device_params(device), days, now_ms)
    }
}

fn device_params(device: &DeviceId) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, device.as_str());
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// What every certificate has that is no authority's; and its serial number in hex.
fn end_entity(
    mut params: CertificateParams,
    days: u32,
    now_ms: u64,
) -> Result<(CertificateParams, String), IdentityError> {
    let mut serial: [u8; 16] = random()?;
    // Positive and without a leading zero, so that it reads back as the same bytes.
    serial[0] = serial[0] & 0x3f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, days, now_ms);
    Ok((params, hex(&serial)))
}

fn issue(
    issuer: &Issuer<'static, KeyPair>,
    params: CertificateParams,
    days: u32,
    now_ms: u64,
) -> Result<Issued, IdentityError> {
    let (params, serial) = end_entity(params, days, now_ms)?;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    Ok(Issued {
        certificate_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
        serial,
        expires_ms: now_ms + u64::from(days) * 24 * 60 * 60 * 1000,
    })
}

fn issuer(
    key_path: &Path,
    key_pem: &str,
    certificate_pem: &str,
) -> Result<Issuer<'static, KeyPair>, IdentityError> {
    let damaged = |error: rcgen::Error| IdentityError::Damaged {
        path: key_path.to_owned(),
        reason: error.to_string(),
    };
    let key = KeyPair::from_pem(key_pem).map_err(damaged)?;
    Issuer::from_ca_cert_pem(certificate_pem, key).map_err(damaged)
}

/// Reads who a client certificate belongs to; the TLS layer has verified its signature.
///
/// # Errors
/// In words, if it names no device.
pub fn peer(certificate: &CertificateDer<'_>) -> Result<Peer, String> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|e| e.to_string())?;
    let mut names = parsed.subject().iter_common_name();
    let name = match (names.next(), names.next()) {
        (Some(name), None) => name.as_str().map_err(|e| e.to_string())?,
        (None, _) | (Some(_), Some(_)) => return Err("it must have one CN".to_owned()),
    };
    let device = name.parse().map_err(|error| format!("its CN: {error}"))?;
    Ok(Peer { device, serial: hex(parsed.raw_serial()) })
}

fn make_authority(now_ms: u64) -> Result<(String, String), IdentityError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    // Every authority has a name of its own, so that those of two hubs are told apart.
    let name = format!("landfall hub {}", hex(&random::<4>()?));
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, CA_DAYS, now_ms);
    let certificate = params.self_signed(&key)?;
    Ok((key.serialize_pem(), certificate.pem()))
}

fn set_validity(params: &mut CertificateParams, days: u32, now_ms: u64) {
    let now = date_time_ymd(1970, 1, 1) + Duration::from_millis(now_ms);
    params.not_before = now - DAY * BACKDATED_DAYS;
    params.not_after = now + DAY * days;
}

fn certificate(path: &Path, pem: &str) -> Result<CertificateDer<'static>, IdentityError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| IdentityError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn is_fit(
    server: &CertificateDer<'_>,
    authority: &CertificateDer<'_>,
    hosts: &[String],
    now_ms: u64,
) -> bool {
    let parsed = (X509Certificate::from_der(server), X509Certificate::from_der(authority));
    let (Ok((_, parsed)), Ok((_, authority))) = parsed else { return false };
    let enough_secs = now_ms / 1000 + DAY.as_secs() * u64::from(SERVER_DAYS_LEFT_MIN);
    let expires_secs = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    parsed.issuer() == authority.subject()
        && expires_secs >= enough_secs
        && names_all(server, hosts)
}

fn names_all(certificate: &CertificateDer<'_>, hosts: &[String]) -> bool {
    if hosts.is_empty() {
        return true;
    }
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return false };
    let names = &names.value.general_names;
    hosts.iter().all(|host| match host.parse::<IpAddr>() {
        Ok(address) => names.iter().any(|name| match (name, address) {
            (GeneralName::IPAddress(bytes), IpAddr::V4(v4)) => **bytes == v4.octets(),
            (GeneralName::IPAddress(bytes), IpAddr::V6(v6)) => **bytes == v6.octets(),
            _ => false,
        }),
        Err(_) => names.iter().any(
            |name| matches!(name, GeneralName::DNSName(dns) if dns.eq_ignore_ascii_case(host)),
        ),
    })
}

fn random<const N: usize>() -> Result<[u8; N], IdentityError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

fn from_hex(digits: &str) -> Vec<u8> {
    let byte = |at: usize| digits.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    (0..digits.len()).step_by(2).filter_map(byte).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const NOW_MS: u64 = 1_780_000_000_000;

    fn hosts(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_authority_is_made_once_and_its_keys_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = Authority::open(dir.path(), NOW_MS).unwrap();
        first.server(&hosts(&["localhost"]), NOW_MS).unwrap();
        let again = Authority::open(dir.path(), NOW_MS + 1).unwrap();
        assert_eq!(first.trusted_pem(), again.trusted_pem());
        for name in ["ca.key", "server.key"] {
            let mode = std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_lost_authority_key_is_told_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        Authority::open(dir.path(), NOW_MS).unwrap();
        std::fs::remove_file(dir.path().join("ca.key")).unwrap();
        let error = Authority::open(dir.path(), NOW_MS).err().unwrap().to_string();
        assert!(error.contains("ca.key") && error.contains("backup"), "{error}");
    }

    #[test]
    fn the_server_certificate_is_renewed_when_it_must_be() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), NOW_MS).unwrap();
        let names = hosts(&["localhost", "127.0.0.1", "::1"]);
        let first = authority.server(&names, NOW_MS).unwrap().certificate;
        assert_eq!(authority.server(&names, NOW_MS).unwrap().certificate, first, "kept");
        let more = hosts(&["localhost", "hub.example.org"]);
        let second = authority.server(&more, NOW_MS).unwrap().certificate;
        assert_ne!(second, first, "a new name");
        assert!(authority.server_names("Hub.example.org").unwrap());
        assert!(!authority.server_names("127.0.0.1").unwrap());
        let later = NOW_MS + u64::from(SERVER_DAYS - SERVER_DAYS_LEFT_MIN + 1) * 86_400_000;
        assert_ne!(authority.server(&more, later).unwrap().certificate, second, "near its end");
    }

    #[test]
    fn a_broker_and_the_hub_as_its_client_have_certificates_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), NOW_MS).unwrap();
        let broker = authority.broker(&hosts(&["mqtt.example.org"]), NOW_MS).unwrap();
        assert!(authority.server_names("mqtt.example.org").unwrap());
        let again = authority.broker(&hosts(&["mqtt.example.org"]), NOW_MS + 1).unwrap();
        assert_eq!(again.certificate, broker.certificate, "kept");
        let client = authority.broker_client(1, NOW_MS).unwrap();
        assert_eq!(authority.broker_client(1, NOW_MS).unwrap().key, client.key, "kept");
        let der = CertificateDer::from_pem_slice(client.certificate.as_bytes()).unwrap();
        assert!(peer(&der).is_err(), "the hub is no device");
        assert!(HUB_USER.parse::<DeviceId>().is_err(), "and no device can take its name");
    }

    #[test]
    fn the_list_of_the_revoked_names_their_serial_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), NOW_MS).unwrap();
        let issued = authority.device(&"ship-7".parse().unwrap(), 10, NOW_MS).unwrap();
        for serials in [vec![], vec![issued.serial]] {
            let list = authority.revocations(&serials, NOW_MS).unwrap();
            let (_, pem) = x509_parser::pem::parse_x509_pem(list.as_bytes()).unwrap();
            let (_, list) =
                x509_parser::revocation_list::CertificateRevocationList::from_der(&pem.contents)
                    .unwrap();
            let found: Vec<String> =
                list.iter_revoked_certificates().map(|it| hex(it.raw_serial())).collect();
            assert_eq!(found, serials);
        }
    }

    #[test]
    fn a_device_is_read_back_from_its_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), NOW_MS).unwrap();
        let device: DeviceId = "ship-7".parse().unwrap();
        let issued = authority.device(&device, 10, NOW_MS).unwrap();
        let der = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
        assert_eq!(peer(&der), Ok(Peer { device, serial: issued.serial }));
        let ca = CertificateDer::from_pem_slice(authority.trusted_pem().as_bytes()).unwrap();
        assert!(peer(&ca).unwrap_err().contains("CN"), "an authority is no device");
    }
}
