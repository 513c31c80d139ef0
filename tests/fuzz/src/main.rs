//! Feeds one target, named in `LANDFALL_FUZZ_TARGET`, with inputs that libFuzzer makes. With
//! `LANDFALL_FUZZ_SEEDS=DIR` it writes what each target begins with, as `DIR/TARGET/N`, and ends.

#![no_main]

mod targets;

use std::path::Path;
use std::sync::OnceLock;
use targets::Target;

libfuzzer_sys::fuzz_target!(init: write_seeds(), |data: &[u8]| {
    static TARGET: OnceLock<&Target> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("LANDFALL_FUZZ_TARGET").unwrap_or_default();
        let found = targets::ALL.iter().find(|target| target.name == name);
        found.unwrap_or_else(|| panic!("LANDFALL_FUZZ_TARGET names no target: '{name}'"))
    });
    (target.run)(data);
});

fn write_seeds() {
    let Some(dir) = std::env::var_os("LANDFALL_FUZZ_SEEDS") else { return };
    for target in targets::ALL {
        let dir = Path::new(&dir).join(target.name);
        std::fs::create_dir_all(&dir).expect("a directory for seeds");
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            std::fs::write(dir.join(format!("seed-{number}")), seed).expect("a seed");
        }
    }
    std::process::exit(0);
}
