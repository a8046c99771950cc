//! The machine that a comparison ran on.

use std::{fs, thread::available_parallelism};

use runtime::Clock;
use serde::Serialize;

/// What a reader needs to know of a machine.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Cores that may be used.
    pub cores: usize,
    /// The processor's own name.
    pub processor: String,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Operating system and kernel.
    pub system: String,
    /// This program.
    pub program: String,
    /// When it ran, in seconds since 1970 began.
    pub unix_seconds: u64,
}

impl Machine {
    /// This one.
    pub fn this(clock: &Clock) -> Self {
        let memory_kib: u64 = field("/proc/meminfo", "MemTotal")
            .trim_end_matches(" kB")
            .parse()
            .unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let system = field_of(
            &fs::read_to_string("/etc/os-release").unwrap_or_default(),
            "PRETTY_NAME",
            '=',
        );
        Self {
            cores: cores(),
            processor: format!(
                "{} ({})",
                field("/proc/cpuinfo", "model name"),
                std::env::consts::ARCH
            ),
            memory_mib: memory_kib / 1024,
            system: format!("{}, Linux {}", system.trim_matches('"'), kernel.trim()),
            program: concat!("adit-loadtest ", env!("CARGO_PKG_VERSION")).to_owned(),
            unix_seconds: clock.unix_seconds(),
        }
    }
}

/// Cores that may be used.
pub fn cores() -> usize {
    available_parallelism().map_or(1, Into::into)
}

fn field(file: &str, key: &str) -> String {
    field_of(&fs::read_to_string(file).unwrap_or_default(), key, ':')
}

fn field_of(text: &str, key: &str, separator: char) -> String {
    let mut fields = text.lines().filter_map(|line| line.split_once(separator));
    let found = fields.find(|(name, _)| name.trim() == key);
    found.map_or_else(
        || "unknown".to_owned(),
        |(_, value)| value.trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let machine = Machine::this(&Clock::system());
        assert!(machine.cores > 0 && machine.memory_mib > 0, "{machine:?}");
        assert_eq!(field_of("a : b\nc: d", "c", ':'), "d");
        assert_eq!(field_of("", "c", ':'), "unknown");
    }
}
