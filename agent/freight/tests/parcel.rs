//! Parcels: what they promise, and the format, byte for byte.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

use landfall_freight::parcel::{BoxKey, Opened, ParcelError, Party, Sealer, Trust, pack, unpack};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};

const NOW_MS: u64 = 1_790_000_000_000;

/// A certificate and its key, in PEM.
type Pair = (String, String);

/// An authority, its hub and a device.
struct World {
    authority: Pair,
    hub: Pair,
    device: Pair,
}

impl World {
    fn new() -> World {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "landfall hub 01020304");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).unwrap().pem();
        let authority = (certificate, key.serialize_pem());
        World {
            hub: issue(&authority, "landfall-hub", ExtendedKeyUsagePurpose::ServerAuth),
            device: issue(&authority, "ship-7", ExtendedKeyUsagePurpose::ClientAuth),
            authority,
        }
    }

    fn trust(&self) -> Trust {
        Trust::new(&[certificate(&self.authority)]).unwrap()
    }

    fn hub(&self) -> Sealer {
        let (key, lasting) = (key(&self.hub), key(&self.authority));
        Sealer::hub(vec![certificate(&self.hub)], &key, &lasting).unwrap()
    }

    fn device(&self) -> Sealer {
        device(&self.device, "ship-7")
    }

    fn to_hub(&self) -> Party {
        Party::hub(BoxKey::of(&key(&self.authority)))
    }
}

fn issue(authority: &Pair, name: &str, usage: ExtendedKeyUsagePurpose) -> Pair {
    let issuer = KeyPair::from_pem(&authority.1).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&authority.0, issuer).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![usage];
    (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
}

fn certificate(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.0.as_bytes()).unwrap()
}

fn key(pair: &Pair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pair.1.as_bytes()).unwrap()
}

fn device(pair: &Pair, name: &str) -> Sealer {
    Sealer::device(name.parse().unwrap(), vec![certificate(pair)], &key(pair)).unwrap()
}

fn frames() -> Vec<Vec<u8>> {
    vec![b"hello".to_vec(), vec![], vec![7; 1000]]
}

fn open_at_hub(world: &World, parcel: &[u8]) -> Result<Opened, ParcelError> {
    unpack(&world.hub(), &world.trust(), NOW_MS, parcel)
}

#[test]
fn what_is_packed_is_unpacked_by_its_receiver_and_nobody_else() {
    let world = World::new();
    let parcel = pack(&world.device(), &world.to_hub(), 42, &frames()).unwrap();
    let opened = open_at_hub(&world, &parcel).unwrap();
    assert_eq!((opened.device.as_str(), opened.at_ms), ("ship-7", 42));
    assert_eq!(opened.frames, frames());
    assert_eq!(opened.certificate, certificate(&world.device).to_vec());
    assert!(!parcel.windows(5).any(|window| window == b"hello"), "in the clear");

    // And back, for the key that came with it.
    let back = Party::device(opened.device, opened.reply_to);
    let parcel = pack(&world.hub(), &back, 43, &frames()).unwrap();
    let opened = unpack(&world.device(), &world.trust(), NOW_MS, &parcel).unwrap();
    assert_eq!(opened.frames, frames());
    assert!(matches!(open_at_hub(&world, &parcel), Err(ParcelError::NotForUs(_))));
    // The device has a new key since.
    let renewed = issue(&world.authority, "ship-7", ExtendedKeyUsagePurpose::ClientAuth);
    let renewed = unpack(&device(&renewed, "ship-7"), &world.trust(), NOW_MS, &parcel);
    assert_eq!(renewed, Err(ParcelError::OtherKey));
}

#[test]
fn a_parcel_that_was_cut_or_changed_is_not_used() {
    let world = World::new();
    let parcel = pack(&world.device(), &world.to_hub(), 42, &[b"hello".to_vec()]).unwrap();
    for length in 0..parcel.len() {
        let cut = open_at_hub(&world, &parcel[..length]);
        assert_eq!(cut, Err(ParcelError::Incomplete), "{length} of {} bytes", parcel.len());
    }
    for at in 0..parcel.len() {
        let mut changed = parcel.clone();
        changed[at] ^= 0x10;
        assert!(open_at_hub(&world, &changed).is_err(), "byte {at}");
    }
    let longer = [parcel, vec![0; 100]].concat();
    assert!(open_at_hub(&world, &longer).is_err());
}

#[test]
fn who_is_not_who_it_says_is_refused() {
    let (world, stranger) = (World::new(), World::new());
    let issue = |name: &str, usage| issue(&world.authority, name, usage);
    let refused = |sealer: &Sealer| {
        let parcel = pack(sealer, &world.to_hub(), 42, &frames()).unwrap();
        matches!(open_at_hub(&world, &parcel), Err(ParcelError::Sender(_)))
    };
    assert!(refused(&stranger.device()), "of another authority");
    let other = issue("ship-8", ExtendedKeyUsagePurpose::ClientAuth);
    assert!(refused(&device(&other, "ship-7")), "with another's certificate");
    let server = issue("ship-7", ExtendedKeyUsagePurpose::ServerAuth);
    assert!(refused(&device(&server, "ship-7")), "with a server's certificate");

    // A broker has a server's certificate of the same authority, and is not the hub.
    let broker = issue("landfall-broker", ExtendedKeyUsagePurpose::ServerAuth);
    let broker = Sealer::hub(vec![certificate(&broker)], &key(&broker), &key(&broker)).unwrap();
    let to = Party::device("ship-7".parse().unwrap(), world.device().box_key());
    let parcel = pack(&broker, &to, 42, &frames()).unwrap();
    let opened = unpack(&world.device(), &world.trust(), NOW_MS, &parcel);
    assert!(matches!(opened, Err(ParcelError::Sender(_))), "{opened:?}");
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Parcels of version 1 are opened as ever. What is written differs each time: keys that are made
/// for one parcel, and signatures, are random. The keys are of this test and of nobody else.
#[test]
fn version_1_is_read_as_ever() {
    if std::env::var_os("LANDFALL_BLESS").is_some() {
        let world = World::new();
        std::fs::create_dir_all(golden("")).unwrap();
        let names = [("ca", &world.authority), ("hub", &world.hub), ("device", &world.device)];
        for (name, (certificate, key)) in names {
            std::fs::write(golden(&format!("{name}.pem")), certificate).unwrap();
            std::fs::write(golden(&format!("{name}.key.pem")), key).unwrap();
        }
        let parcel = pack(&world.device(), &world.to_hub(), 42, &frames()).unwrap();
        std::fs::write(golden("parcel-1.bin"), parcel).unwrap();
    }
    let file = |name: &str| std::fs::read_to_string(golden(name)).unwrap();
    let pair = |name: &str| (file(&format!("{name}.pem")), file(&format!("{name}.key.pem")));
    let world = World { authority: pair("ca"), hub: pair("hub"), device: pair("device") };
    let opened = open_at_hub(&world, &std::fs::read(golden("parcel-1.bin")).unwrap()).unwrap();
    assert_eq!(opened.frames, frames());
    assert_eq!(opened.reply_to, world.device().box_key());
}
