//! Writes what each target begins with: `seeds DIR` makes `DIR/TARGET/N`.

#[path = "../targets.rs"]
mod targets;

fn main() -> std::io::Result<()> {
    let dir = std::env::args_os().nth(1).map_or_else(|| "corpus".into(), std::path::PathBuf::from);
    for target in targets::ALL {
        let dir = dir.join(target.name);
        std::fs::create_dir_all(&dir)?;
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            std::fs::write(dir.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
