//! The same answers from every instruction set that can be tried here.
//!
//! The frozen evaluation texts of the shipped package are answered twice: as this processor does
//! it, and in a process to which `bench/cpumask.c` hides AVX-512, AVX-VNNI and AMX. The second
//! process is this test itself, started again.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use landfall_models::{Engine, Package, Trust, eval};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the second process writes its answers.
const ANSWERS: &str = "LANDFALL_TEST_ANSWERS";

fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A line for each task and frozen text: the label, or the spans with their labels.
fn answers() -> Vec<String> {
    let key = home().join("packages").join(landfall_models::package::SHIPPED_KEY);
    let trust = Trust::load(&[key]).unwrap();
    let package = Package::open(&home().join("packages/maintenance"), &trust).unwrap();
    let engine = Engine::load(&package).unwrap();
    let mut lines = Vec::new();
    eval::answers(&engine, &package, 1, |line| lines.push(line)).unwrap();
    lines
}

/// The library that hides instructions; `None`, with the reason, where it cannot be had.
fn mask(dir: &Path) -> Result<PathBuf, String> {
    let library = dir.join("cpumask.so");
    let mut compile = Command::new("cc");
    compile.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library);
    let built = compile.arg(home().join("bench/cpumask.c")).status();
    match built {
        Ok(status) if status.success() => {}
        other => return Err(format!("no C compiler: {other:?}")),
    }
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let can = cpu.split_whitespace().any(|flag| flag == "cpuid_fault");
    can.then_some(library).ok_or_else(|| "this processor cannot fault on CPUID".to_owned())
}

#[test]
fn labels_agree_with_and_without_the_wide_instructions() {
    if let Some(path) = std::env::var_os(ANSWERS) {
        assert!(!std::arch::is_x86_feature_detected!("avx512f"), "the mask does not work");
        std::fs::write(path, answers().join("\n")).unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let library = match mask(dir.path()) {
        Ok(library) => library,
        Err(why) => {
            println!("left out: {why}");
            return;
        }
    };
    let path = dir.path().join("answers");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "labels_agree_with_and_without_the_wide_instructions"])
        .env(ANSWERS, &path)
        .env("LD_PRELOAD", library)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    let masked = std::fs::read_to_string(path).unwrap();
    let here = answers();
    assert!(here.len() >= 30, "{} texts", here.len());
    for (here, masked) in here.iter().zip(masked.lines()) {
        assert_eq!(here, masked);
    }
    assert_eq!(here.len(), masked.lines().count());
}
