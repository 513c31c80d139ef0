//! What a benchmark ran on.

use std::time::SystemTime;

/// The machine, its load and the build, in one line.
pub fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, name)| name.trim());
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let day = now.get(..10).unwrap_or_default();
    format!(
        "{model}, {cores} cores, Linux {}, {build} build, load average {load} at the end, {day}",
        kernel.trim()
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_machine_is_named() {
        let named = super::machine();
        assert!(named.contains("Linux ") && named.contains(" build, "), "{named}");
    }
}
