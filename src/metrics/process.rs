//! The process itself, under the names that all of Prometheus' libraries use. Read from `/proc` at each scrape; absent
//! without it.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Unit;

use super::registry::Registry;

/// This process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process;

impl Process {
    /// Registers the metrics.
    pub fn register(self, registry: &mut Registry) {
        registry.0.register(
            "wharfinger_build",
            "Which version this is",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.0.register_collector(Box::new(self));
    }
}

/// The values that the kernel reports.
struct Reading {
    /// CPU time in seconds, in user and kernel mode.
    cpu: f64,
    /// The start time in seconds since 1970.
    start: f64,
    resident: u64,
    virtual_memory: u64,
    threads: u64,
}

impl Reading {
    fn take() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let boot = std::fs::read_to_string("/proc/stat").ok()?;
        let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
        let page = u64::try_from(rustix::param::page_size()).ok()?;
        Self::parse(
            &stat,
            boot.trim().parse().ok()?,
            rustix::param::clock_ticks_per_second(),
            page,
        )
    }

    /// Parses the line of `/proc/self/stat`, see proc(5). The program name in it is in parentheses, and can contain
    /// spaces and parentheses.
    #[expect(clippy::cast_precision_loss, reason = "ticks of centuries fit")]
    fn parse(stat: &str, boot: f64, ticks: u64, page: u64) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        // The first field here has number 3 in proc(5).
        let field = |number: usize| fields.get(number - 3)?.trim().parse::<u64>().ok();
        let seconds = |spent: u64| spent as f64 / ticks as f64;
        Some(Self {
            cpu: seconds(field(14)? + field(15)?),
            threads: field(20)?,
            start: boot + seconds(field(22)?),
            virtual_memory: field(23)?,
            resident: field(24)? * page,
        })
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: &dyn EncodeMetric| {
            let metric = encoder.encode_descriptor(name, help, unit, value.metric_type())?;
            value.encode(metric)
        };
        if let Some(reading) = Reading::take() {
            let (bytes, seconds) = (Unit::Bytes, Unit::Seconds);
            gauge(
                "process_cpu",
                "Time that the process worked, in the kernel too.",
                Some(&seconds),
                &ConstCounter::new(reading.cpu),
            )?;
            gauge(
                "process_start_time",
                "When the process began, in seconds since 1970.",
                Some(&seconds),
                &ConstGauge::new(reading.start),
            )?;
            gauge(
                "process_resident_memory",
                "Memory that is in use.",
                Some(&bytes),
                &ConstGauge::new(reading.resident),
            )?;
            gauge(
                "process_virtual_memory",
                "Addresses that are in use.",
                Some(&bytes),
                &ConstGauge::new(reading.virtual_memory),
            )?;
            gauge(
                "process_threads",
                "Threads of the process.",
                None,
                &ConstGauge::new(reading.threads),
            )?;
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            // One of them is the open folder itself.
            let open = u64::try_from(open.count().saturating_sub(1)).unwrap_or(u64::MAX);
            gauge(
                "process_open_fds",
                "Files and connections that are open.",
                None,
                &ConstGauge::new(open),
            )?;
        }
        if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            gauge(
                "process_max_fds",
                "Files and connections that may be open.",
                None,
                &ConstGauge::new(limit),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_shift_the_numbers() {
        let stat =
            "7 (a ) b) S 1 7 7 0 -1 4194560 80 0 0 0 250 50 0 0 20 0 5 0 1000 4096000 25 184";
        let reading = Reading::parse(stat, 100.0, 100, 4096).unwrap();
        assert!((reading.cpu - 3.0).abs() < 1e-9 && (reading.start - 110.0).abs() < 1e-9);
        assert_eq!((reading.threads, reading.virtual_memory), (5, 4_096_000));
        assert_eq!(reading.resident, 25 * 4096);
        assert!(Reading::parse("7 (a) S", 0.0, 100, 4096).is_none());
    }
}
