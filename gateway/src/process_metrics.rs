//! Metrics of this process, under the names that Prometheus' client libraries use.

use metrics::{counter, describe_counter, describe_gauge, gauge};
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

const GAUGES: [(&str, &str); 4] = [
    ("process_resident_memory_bytes", "Resident memory of this process"),
    ("process_start_time_seconds", "Unix time at which this process started"),
    ("process_open_fds", "Open file descriptors of this process"),
    ("process_max_fds", "Most file descriptors that this process may open"),
];
const CPU: &str = "process_cpu_seconds_total";

pub(crate) fn describe() {
    for (name, meaning) in GAUGES {
        describe_gauge!(name, meaning);
    }
    describe_counter!(CPU, "CPU time that this process has used, in whole seconds");
}

/// Sets the metrics. What the system does not report has none.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub(crate) fn export() {
    let (Ok(pid), Ok(mut system)) = (sysinfo::get_current_pid(), System::new()) else { return };
    let what = ProcessRefreshKind::nothing().with_memory().with_cpu();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, what);
    let Some(process) = system.process(pid) else { return };
    let files = process.open_files().zip(process.open_files_limit());
    let values = [
        Some(process.memory() as f64),
        Some(process.start_time() as f64),
        files.map(|(open, _)| open as f64),
        files.map(|(_, most)| most as f64),
    ];
    for ((name, _), value) in GAUGES.into_iter().zip(values) {
        if let Some(value) = value {
            gauge!(name).set(value);
        }
    }
    counter!(CPU).absolute(process.accumulated_cpu_time() / 1000);
}
