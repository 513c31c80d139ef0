//! Opening packages: what is refused, in which order, and what the error says.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::fixture::{Fixture, TASKS};
use landfall_models::package::sign;
use landfall_models::{Package, PackageError, Trust};
use serde_json::json;
use std::fs;

/// Opening must fail with an error that says `expected`, and a remedy.
fn refuse(fixture: &Fixture, expected: &str) -> PackageError {
    let error = match fixture.open() {
        Ok(_) => panic!("opened, though: {expected}"),
        Err(error) => error,
    };
    assert!(error.to_string().contains(expected), "{error} does not say {expected:?}");
    assert!(!error.remedy().is_empty());
    error
}

#[test]
fn a_good_package_opens_and_knows_its_digest() {
    let fixture = Fixture::new();
    let package = fixture.open().unwrap();
    assert_eq!(package.manifest().name, "fixture");
    assert_eq!(package.manifest().tasks.len(), TASKS.len());
    let bytes = fs::read(fixture.dir().join("manifest.json")).unwrap();
    let digest: [u8; 32] = sha2::Digest::finalize(sha2::Digest::chain_update(
        <sha2::Sha256 as sha2::Digest>::new(),
        bytes,
    ))
    .into();
    assert_eq!(package.digest(), digest);
}

#[test]
fn what_is_missing_is_named() {
    let fixture = Fixture::new();
    let nowhere = fixture.home().join("nowhere");
    let error = Package::open(&nowhere, &fixture.trust()).err().unwrap();
    assert!(matches!(error, PackageError::NoDirectory(_)), "{error}");

    fs::remove_file(fixture.blob("encoder.onnx")).unwrap();
    refuse(&fixture, "lacks encoder.onnx (blobs/");
    fs::remove_file(fixture.dir().join("manifest.json.minisig")).unwrap();
    refuse(&fixture, "is not signed");
    fs::remove_file(fixture.dir().join("manifest.json")).unwrap();
    refuse(&fixture, "has no manifest.json");
}

#[test]
fn a_changed_manifest_is_refused_before_it_is_parsed() {
    let fixture = Fixture::new();
    let path = fixture.dir().join("manifest.json");
    let good = fs::read(&path).unwrap();
    for change in [b" ".to_vec(), b"not json".to_vec(), b"{".repeat(100_000)] {
        fs::write(&path, [good.clone(), change].concat()).unwrap();
        let error = refuse(&fixture, "was changed after it was signed");
        assert!(matches!(error, PackageError::TamperedManifest(_)));
    }
}

#[test]
fn a_changed_file_is_refused_whatever_its_size() {
    let fixture = Fixture::new();
    let path = fixture.blob("failure.onnx");
    let good = fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    fs::write(&path, &flipped).unwrap();
    refuse(&fixture, "failure.onnx of model package");
    refuse(&fixture, "its SHA-256 differs");
    fs::write(&path, &good[1..]).unwrap();
    refuse(&fixture, "the manifest says");
    fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    refuse(&fixture, "it is larger than");
}

/// A file of four parts, the last one short.
fn large() -> (Fixture, &'static str, Vec<u8>) {
    let mut fixture = Fixture::new();
    let content = b"not read when it is opened\n".repeat(8000);
    fixture.replace("failure.evaluation.jsonl", &content);
    (fixture, "failure.evaluation.jsonl", content)
}

#[test]
fn signing_adds_the_digests_of_parts_and_opening_checks_them() {
    let (fixture, name, content) = large();
    let manifest = fs::read_to_string(fixture.dir().join("manifest.json")).unwrap();
    assert_eq!(manifest.matches("parts_sha256").count(), 1, "only files of several parts");
    let package = fixture.open().unwrap();
    assert!(package.manifest().files[name].parts_sha256.is_some());
    package.check_names().unwrap();
    for at in [0, content.len() / 2, content.len() - 1] {
        let mut flipped = content.clone();
        flipped[at] ^= 1;
        fs::write(fixture.blob(name), &flipped).unwrap();
        refuse(&fixture, "its SHA-256 differs");
    }
    fs::write(fixture.blob(name), &content).unwrap();
    // Once more: nothing is left to add.
    sign::sign(&fixture.dir(), &fixture.secret_key()).unwrap();
    assert_eq!(fs::read_to_string(fixture.dir().join("manifest.json")).unwrap(), manifest);
    fixture.open().unwrap();
}

/// As versions before this field wrote them.
#[test]
fn a_manifest_without_digests_of_parts_opens() {
    let (fixture, name, content) = large();
    fixture.write_signed_manifest();
    assert_eq!(fixture.open().unwrap().manifest().files[name].parts_sha256, None);
    fs::write(fixture.blob(name), &content[1..]).unwrap();
    refuse(&fixture, "the manifest says");
}

#[test]
fn wrong_digests_of_parts_and_wrong_names_are_told() {
    let (mut fixture, name, content) = large();
    fixture.manifest["files"][name]["parts_sha256"] = "0".repeat(64).into();
    fixture.write_signed_manifest();
    refuse(&fixture, "its SHA-256 differs");
    let error = sign::sign(&fixture.dir(), &fixture.secret_key()).unwrap_err();
    assert!(error.to_string().contains("its SHA-256 differs"), "{error}");
    fixture.manifest["files"][name]["parts_sha256"] = "Z".repeat(64).into();
    fixture.write_signed_manifest();
    refuse(&fixture, "not 64 lower-case hexadecimal digits");
    // The parts are right, the name is another file's.
    let (mut fixture, name, _) = large();
    let parts = fixture.open().unwrap().manifest().files[name].parts_sha256.clone();
    fixture.manifest["files"][name]["sha256"] = "1".repeat(64).into();
    fixture.manifest["files"][name]["parts_sha256"] = parts.into();
    fs::write(fixture.blob(name), content).unwrap();
    fixture.write_signed_manifest();
    let error = fixture.open().unwrap().check_names().unwrap_err();
    assert!(matches!(error, PackageError::TamperedFile { .. }), "{error}");
}

#[test]
fn only_trusted_keys_count() {
    let fixture = Fixture::new();
    let (secret, public) = (fixture.home().join("other.key"), fixture.home().join("other.pub"));
    sign::keygen(&secret, &public).unwrap();
    let other = Trust::load(std::slice::from_ref(&public)).unwrap();
    let error = Package::open(&fixture.dir(), &other).err().unwrap();
    assert!(
        matches!(&error, PackageError::UnknownKey { key_id, .. } if key_id.len() == 16),
        "{error}"
    );
    let none = Trust::load(&[]).unwrap();
    assert!(Package::open(&fixture.dir(), &none).is_err());
    let both = Trust::load(&[public, fixture.public_key()]).unwrap();
    Package::open(&fixture.dir(), &both).unwrap();
}

#[test]
fn damaged_signatures_are_told_from_wrong_ones() {
    let fixture = Fixture::new();
    let path = fixture.dir().join("manifest.json.minisig");
    let good = fs::read_to_string(&path).unwrap();
    let bad = ["", "nonsense", &good[..good.len() / 2], "\u{fffd}\n\n\n\n"];
    for content in bad {
        fs::write(&path, content).unwrap();
        let error = refuse(&fixture, "minisign signature");
        assert!(matches!(error, PackageError::BadSignature(_)), "{content:?}: {error}");
    }
    // The trusted comment is signed too.
    fs::write(&path, good.replace("fixture 0.0.1", "fixture 9.9.9")).unwrap();
    refuse(&fixture, "was changed after it was signed");
    fs::write(&path, "x".repeat(5000)).unwrap();
    assert!(matches!(refuse(&fixture, "cannot read"), PackageError::Io { .. }));
}

#[test]
fn key_files_are_checked() {
    let fixture = Fixture::new();
    let load = |name: &str, content: &[u8]| {
        let path = fixture.home().join(name);
        fs::write(&path, content).unwrap();
        Trust::load(&[path]).err().unwrap().to_string()
    };
    assert!(load("a.pub", b"nonsense").contains("is not a minisign public key"));
    assert!(load("b.pub", b"\xff\xfe").contains("is not a public key"));
    let missing = Trust::load(&[fixture.home().join("c.pub")]).err().unwrap();
    assert!(missing.to_string().contains("does not exist"), "{missing}");
    // The secret key is no public key, and no key is overwritten.
    assert!(Trust::load(&[fixture.secret_key()]).is_err());
    let error = sign::keygen(&fixture.secret_key(), &fixture.public_key()).err().unwrap();
    assert!(error.to_string().contains("not overwritten"), "{error}");
}

#[cfg(unix)]
#[test]
fn the_secret_key_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = Fixture::new();
    let mode = fs::metadata(fixture.secret_key()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// A manifest that is signed, but wrong in one way.
#[test]
fn signed_manifests_are_checked_too() {
    let check = |change: fn(&mut serde_json::Value), expected: &str| {
        let mut fixture = Fixture::new();
        change(&mut fixture.manifest);
        fixture.write_signed_manifest();
        refuse(&fixture, expected);
    };
    check(|m| m["format"] = json!(2), "has format 2; this version reads format 1");
    check(|m| m["format"] = json!("1"), "invalid type");
    check(|m| m["tasks"] = json!({}), "it has no tasks");
    check(|m| m["encoder"]["tokens_max"] = json!(1), "tokens_max is 1");
    check(|m| m["encoder"]["tokens_max"] = json!(1_000_000), "tokens_max is 1000000");
    check(|m| m["encoder"]["file"] = json!("../../etc/passwd"), "which is not among its files");
    check(|m| m["tasks"]["failure"]["labels"] = json!(["A", "A"]), "\"A\" appears twice");
    check(|m| m["tasks"]["failure"]["labels"] = json!([]), "it has 0 labels");
    check(|m| m["tasks"]["failure"]["labels"] = json!(["a\nb"]), "is not usable");
    check(|m| m["tasks"]["fields"]["scheme"] = json!("bioes"), "unknown variant");
    check(
        |m| m["tasks"]["parts"]["span_words_max"] = json!(0),
        "span_words_max is 0, it must be 1",
    );
    check(|m| m["tasks"]["parts"]["span_words_max"] = json!(1_000_000), "it must be 1 to 64");
    check(|m| m["tasks"]["parts"]["span_words_max"] = json!(-1), "invalid value");
    check(|m| m["tasks"]["fields"]["scheme"] = json!("spans"), "missing field `span_words_max`");
    check(|m| m["encoder"]["tokens_max"] = json!(8000), "logits for a pass of 8000 word pieces");
    check(|m| m["tasks"]["failure"]["kind"] = json!("ranking"), "unknown variant");
    check(
        |m| m["files"]["../x"] = json!({"sha256": "0".repeat(64), "bytes": 1}),
        "file name \"../x\" is not plain",
    );
    check(
        |m| m["files"]["x"] = json!({"sha256": "../../../../etc/passwd", "bytes": 1}),
        "is not 64 lower-case hexadecimal digits",
    );
    check(
        |m| m["files"]["x"] = json!({"sha256": "0".repeat(64), "bytes": u64::MAX}),
        "the limit is",
    );
}

#[test]
fn signing_refuses_what_would_not_open() {
    let fixture = Fixture::new();
    fs::write(fixture.blob("failure.onnx"), b"").unwrap();
    let error = sign::sign(&fixture.dir(), &fixture.secret_key()).err().unwrap();
    assert!(matches!(error, PackageError::TamperedFile { .. }), "{error}");
    let fixture = Fixture::new();
    let error = sign::sign(&fixture.dir(), &fixture.public_key()).err().unwrap();
    assert!(matches!(error, PackageError::Key { .. }), "{error}");
}
