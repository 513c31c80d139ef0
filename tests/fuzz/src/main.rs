//! Feeds one target, named in `LANDFALL_FUZZ_TARGET`, with inputs that libFuzzer makes.

#![no_main]

mod targets;

use std::sync::OnceLock;
use targets::Target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    static TARGET: OnceLock<&Target> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("LANDFALL_FUZZ_TARGET").unwrap_or_default();
        let found = targets::ALL.iter().find(|target| target.name == name);
        found.unwrap_or_else(|| panic!("LANDFALL_FUZZ_TARGET names no target: '{name}'"))
    });
    (target.run)(data);
});
