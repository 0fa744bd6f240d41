// What the process takes of the machine, under the names that Prometheus gives it everywhere.

import type { Metrics } from "#host";

export function residentBytes(): number {
  return process.memoryUsage.rss();
}

export function publishUsage(metrics: Metrics): void {
  metrics.gauge("process_cpu_seconds_total", "CPU time of the process.", () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
  metrics.gauge("process_resident_memory_bytes", "Memory of the process.", residentBytes);
}
