//! What reads bytes from outside, and what must hold of it whatever the bytes are: it does not
//! panic, and what it has read comes back when it is written and read again.
//!
//! Shared by libFuzzer (this crate) and by the ordinary tests (`tests/tests/hostile.rs`), which run
//! each target on its seeds and on some changes of them.

use landfall_agent_core::redact::{Kind, Redactor, SitePattern};
use landfall_agent_core::request::Request;
use landfall_agent_core::rules::{Action, RuleSpec, Rules};
use landfall_freight::parcel::{self, Sealer, Trust};
use landfall_hub::identity::{Authority, peer};
use landfall_wire::coding::Primer;
use landfall_wire::frame::{Frame, VERSION, VERSION_CODED};
use landfall_wire::record::Record;
use landfall_wire::token::Token;
use landfall_wire::{enroll, topic};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// One reader.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every reader.
pub const ALL: &[Target] = &[
    Target { name: "frame", run: frame, seeds: frames },
    Target { name: "frame-plain", run: frame_plain, seeds: bodies_plain },
    Target { name: "frame-coded", run: frame_coded, seeds: bodies_coded },
    Target { name: "record", run: record, seeds: records },
    Target { name: "store", run: store, seeds: values },
    Target { name: "rules", run: rules, seeds: rule_texts },
    Target { name: "redact", run: redact, seeds: redact_texts },
    Target { name: "token", run: token, seeds: tokens },
    Target { name: "enroll", run: enrolment, seeds: enrolments },
    Target { name: "certificate-request", run: certificate_request, seeds: certificate_requests },
    Target { name: "parcel", run: parcel_as_it_is, seeds: parcels },
    Target { name: "parcel-signed", run: parcel_signed, seeds: parcels_unsigned },
    Target { name: "hub-configuration", run: hub_configuration, seeds: hub_configurations },
];

/// A time at which the certificates of the golden files hold, milliseconds since 1970.
const NOW_MS: u64 = 1_790_000_000_000;

fn frame(data: &[u8]) {
    if let Ok(frame) = Frame::decode(data) {
        for bytes in [frame.encode(), frame.encode_coded(Primer::NEWEST)] {
            let bytes = bytes.expect("what was read can be written");
            assert_eq!(Frame::decode(&bytes).as_ref(), Ok(&frame));
        }
    }
}

/// With a header and a checksum that hold, so that what is behind them is reached.
fn framed(version: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let crc = crc32fast::hash(body).to_le_bytes();
    [&[version, flags], &crc[..], body].concat()
}

fn frame_plain(data: &[u8]) {
    let (flags, body) = data.split_first().map_or((0, data), |(flags, body)| (flags & 1, body));
    frame(&framed(VERSION, flags, body));
}

fn frame_coded(data: &[u8]) {
    frame(&framed(VERSION_CODED, 0, data));
}

fn record(data: &[u8]) {
    if let Ok(record) = Record::decode(data) {
        let bytes = record.encode();
        // Numbers have longer forms, too: what was read may be shorter when it is written.
        if let Ok(bytes) = bytes {
            assert_eq!(Record::decode(&bytes), Ok(record.clone()));
        }
        let fitted = record.fit();
        assert_eq!(fitted.clone().fit(), fitted, "what fits is not cut again");
        fitted.encode().expect("what was cut to its limits can be written");
    }
}

fn store(data: &[u8]) {
    landfall_agent_core::store::carve_and_check(data);
}

/// Lines make rules: the first is the text to decide.
fn rules(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let asked = lines.next().unwrap_or_default().to_owned();
    let specs: Vec<RuleSpec> = lines.take(12).map(spec).collect();
    if let Ok((rules, _)) = Rules::compile(&specs) {
        let task = "fuzz".parse().expect("a name");
        let request = Request { task, text: asked, caller_id: None, meta: BTreeMap::new() };
        let first = rules.decide(&request).map(|rule| rule.name().to_owned());
        let again = rules.decide(&request).map(|rule| rule.name().to_owned());
        assert_eq!(first, again);
    }
}

/// `name=word,word=all,all=regex`
fn spec(line: &str) -> RuleSpec {
    let mut parts = line.splitn(4, '=');
    let mut next = || parts.next().unwrap_or_default().to_owned();
    let words = |text: String| -> Vec<String> {
        text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let (name, any, all, regex) = (next(), words(next()), words(next()), next());
    RuleSpec {
        name,
        words: any,
        all_words: all,
        regex: Some(regex).filter(|regex| !regex.is_empty()),
        meta: BTreeMap::new(),
        action: Action::OutOfScope,
    }
}

/// The first line is a site's pattern, the rest is masked.
fn redact(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (pattern, text) = text.split_once('\n').unwrap_or(("", text));
    let site = SitePattern { mask: "site".to_owned(), regex: pattern.to_owned() };
    let patterns = if pattern.is_empty() { vec![] } else { vec![site] };
    if let Ok(redactor) = Redactor::new(&Kind::DEFAULT, &patterns) {
        let masked = redactor.redact(text).text();
        // Masks themselves may look like something to mask; it must only end.
        let _again = redactor.redact(&masked).text();
    }
}

fn token(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(token) = text.parse::<Token>() {
        assert_eq!(token.to_string().parse(), Ok(token));
    }
    if let Some((device, direction)) = topic::parse(&text) {
        assert_eq!(topic::topic(&device, direction), text);
    }
}

fn enrolment(data: &[u8]) {
    if let Ok(request) = enroll::decode::<enroll::Request>(data)
        && let Ok(bytes) = enroll::encode(&request)
    {
        assert_eq!(enroll::decode::<enroll::Request>(&bytes[4..]), Ok(request));
    }
    let _reply = enroll::decode::<enroll::Reply>(data);
}

/// What a device wants signed: whatever the request says, the certificate is for that device.
fn certificate_request(data: &[u8]) {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    let authority = AUTHORITY.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("landfall-fuzz-{}", std::process::id()));
        let authority = Authority::open(&dir, NOW_MS).expect("an authority");
        // It signs from memory.
        std::fs::remove_dir_all(&dir).expect("its directory");
        authority
    });
    let device = "ship-7".parse().expect("a name");
    if let Ok(signed) = authority.sign(&device, data, 365, NOW_MS) {
        let certificate = CertificateDer::from_pem_slice(signed.certificate_pem.as_bytes());
        let owner = peer(&certificate.expect("a certificate")).expect("a device's");
        assert_eq!((owner.device, owner.serial), (device, signed.serial));
    }
}

/// The hub of the golden files.
struct Receiver {
    hub: Sealer,
    trust: Trust,
    /// The key with which the device of those files signs.
    device: EcdsaKeyPair,
}

impl Receiver {
    fn get() -> &'static Receiver {
        static RECEIVER: OnceLock<Receiver> = OnceLock::new();
        RECEIVER.get_or_init(|| {
            let file = |name: &str| at_home("agent/freight/tests/golden").join(name);
            let key = |name| PrivateKeyDer::from_pem_file(file(name)).expect("a key");
            let certificate =
                |name| CertificateDer::from_pem_file(file(name)).expect("a certificate");
            let device = key("device.key.pem");
            let device = EcdsaKeyPair::from_pkcs8(
                &ECDSA_P256_SHA256_ASN1_SIGNING,
                device.secret_der(),
                &SystemRandom::new(),
            );
            let (own, lasting) = (key("hub.key.pem"), key("ca.key.pem"));
            Receiver {
                hub: Sealer::hub(vec![certificate("hub.pem")], &own, &lasting).expect("a hub"),
                trust: Trust::new(&[certificate("ca.pem")]).expect("an authority"),
                device: device.expect("a key that signs"),
            }
        })
    }
}

fn parcel_as_it_is(data: &[u8]) {
    let Receiver { hub, trust, .. } = Receiver::get();
    let _opened = parcel::unpack(hub, trust, NOW_MS, data);
}

/// Lengths and a signature that hold: two bytes say where the head ends and the body begins.
fn parcel_signed(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<2>() else { return };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (head, body) = rest.split_at(length);
    let sized = |part: &[u8]| {
        let length = u32::try_from(part.len()).expect("a fuzzer's inputs are small");
        [&length.to_le_bytes(), part].concat()
    };
    let mut bytes = [&b"LFPC\x01"[..], &sized(head), &sized(body)].concat();
    let signature = Receiver::get().device.sign(&SystemRandom::new(), &bytes).expect("signed");
    bytes.extend(signature.as_ref());
    parcel_as_it_is(&bytes);
}

fn hub_configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err((what, remedy)) = landfall_hub::cli::check_text(text, Path::new("hub.toml")) {
        assert!(what.starts_with("hub.toml:"), "{what}");
        assert!(!remedy.is_empty(), "{what}");
    }
}

/// A directory of this repository: the fuzzer and the tests are not equally deep in it.
fn at_home(dir: &str) -> PathBuf {
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|above| above.join(dir));
    above.find(|dir| dir.exists()).expect("the repository")
}

/// The bytes of every golden file whose name `wanted` takes.
fn golden(wanted: impl Fn(&str) -> bool) -> Vec<Vec<u8>> {
    let dir = at_home("agent/wire/tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(dir).expect("a directory").flatten().collect();
    files.sort_by_key(std::fs::DirEntry::file_name);
    let files = files.into_iter().filter(|file| wanted(&file.file_name().to_string_lossy()));
    files
        .map(|file| {
            let text = std::fs::read_to_string(file.path()).expect("a golden file");
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            let digits: Vec<u8> = lines.collect::<String>().into_bytes();
            let byte = |two: &[u8]| {
                u8::from_str_radix(std::str::from_utf8(two).expect("digits"), 16).expect("hex")
            };
            digits.chunks(2).map(byte).collect()
        })
        .collect()
}

fn frames() -> Vec<Vec<u8>> {
    golden(|name| name.starts_with("frame-") || name.starts_with("coded-"))
}

/// Header and checksum are six bytes.
fn bodies_plain() -> Vec<Vec<u8>> {
    let frames = golden(|name| name.starts_with("frame-"));
    let body = |frame: &Vec<u8>| [&frame[1..2], &frame[6..]].concat();
    frames.iter().map(body).collect()
}

fn bodies_coded() -> Vec<Vec<u8>> {
    let frames = golden(|name| name.starts_with("coded-"));
    frames.iter().map(|frame| frame[6..].to_vec()).collect()
}

fn records() -> Vec<Vec<u8>> {
    golden(|name| !name.starts_with("frame-") && !name.starts_with("coded-"))
}

/// Records as the store seals them, each alone and all in packs.
fn values() -> Vec<Vec<u8>> {
    let records = records();
    let packed = |records: &[Vec<u8>]| -> Vec<u8> {
        let length = |record: &Vec<u8>| u16::try_from(record.len()).unwrap_or(0).to_le_bytes();
        records.iter().flat_map(|record| [&length(record)[..], record].concat()).collect()
    };
    let packs = records.chunks(4).map(packed).collect::<Vec<_>>();
    let chained = packs.iter().map(|pack| seal(96, &[&[7; 32][..], pack].concat()));
    let events = packs.iter().map(|pack| seal(66, pack));
    records.iter().map(|record| seal(2, record)).chain(events).chain(chained).collect()
}

/// Magic, kind, epoch, number, length, checksum.
fn seal(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut fields = vec![kind];
    fields.extend([7; 8]);
    fields.extend(9_u64.to_le_bytes());
    fields.extend(u32::try_from(payload.len()).unwrap_or(0).to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&fields);
    crc.update(payload);
    [&b"LFv1"[..], &fields, &crc.finalize().to_le_bytes(), payload].concat()
}

fn rule_texts() -> Vec<Vec<u8>> {
    let texts = [
        "hyd hose leaking at boom cyl\nleak=leak,leaking\nfire=fire,smoke\nshake==shakes\n",
        "test message\ntest===^(?i)test\\W*$\n",
        "naïve café ΑΒΓ 日本\ncafe=café\nword=日本==(\\p{L}+)\\s\n",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn redact_texts() -> Vec<Vec<u8>> {
    let texts = [
        "\nmail ann@example.org or +44 20 7946 0958, DE89 3704 0044 0532 0130 00, 10.0.0.7",
        "(?i)\\bberth \\d+\nat Berth 12 with 4111 1111 1111 1111 and Mr. Smith",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn tokens() -> Vec<Vec<u8>> {
    let token = Token { secret: [3; 8], authority: *b"fingerprint!" };
    vec![token.to_string().into_bytes(), b"landfall/1/ship-7/up".to_vec()]
}

fn enrolments() -> Vec<Vec<u8>> {
    let request = enroll::Request { secret: [7; 8], request: vec![0x30; 250] };
    let reply = enroll::Reply::Issued {
        device: "ship-7".parse().expect("a name"),
        certificate: "-----BEGIN CERTIFICATE-----".to_owned(),
        authorities: "-----BEGIN CERTIFICATE-----".to_owned(),
        hub: "hub.example.org:8883".to_owned(),
    };
    let bytes = [enroll::encode(&request), enroll::encode(&reply)];
    bytes.into_iter().flatten().map(|bytes| bytes[4..].to_vec()).collect()
}

/// Made by `openssl req` for a key of P-256 and for one of RSA, which is not taken.
fn certificate_requests() -> Vec<Vec<u8>> {
    let files = ["request-p256.der", "request-rsa.der"];
    files.iter().map(|name| read(&at_home("tests/fuzz/seeds").join(name))).collect()
}

fn parcels() -> Vec<Vec<u8>> {
    vec![read(&at_home("agent/freight/tests/golden").join("parcel-1.bin"))]
}

/// Head and body of those, as [`parcel_signed`] takes them.
fn parcels_unsigned() -> Vec<Vec<u8>> {
    let unsigned = |parcel: Vec<u8>| {
        let part = |bytes: &[u8]| {
            let (length, rest) = bytes.split_first_chunk::<4>().expect("a length");
            let (part, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
            (part.to_vec(), rest.to_vec())
        };
        let (head, rest) = part(&parcel[5..]);
        let (body, _signature) = part(&rest);
        let length = u16::try_from(head.len()).expect("a short head").to_le_bytes();
        [&length[..], &head, &body].concat()
    };
    parcels().into_iter().map(unsigned).collect()
}

/// The shipped file, and everything that it offers.
fn hub_configurations() -> Vec<Vec<u8>> {
    let shipped = read(&at_home("sync-hub").join("landfall-hub.toml"));
    let text = String::from_utf8_lossy(&shipped).replace("# ", "").into_bytes();
    let desk = b"[desk]\nundo_secs = 5\n[[desk.route]]\ntask = \"t\"\nsteps = []\n".to_vec();
    vec![shipped, text, desk]
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
