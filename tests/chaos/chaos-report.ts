// What a chaos run tells in the end.

import { formatTable } from "../../src/cmd/shared/table.ts";
import type { ChaosReport } from "./chaos-run.ts";

const seconds = (ms: number): string => (ms === 0 ? "-" : `${(ms / 1000).toFixed(2)} s`);

export function formatReport(report: ChaosReport): string {
  const rows = [...report.faults].map(([kind, longest]) => [
    kind,
    `${longest.count}`,
    seconds(longest.writeAloneMs),
    seconds(longest.readAloneMs),
    seconds(longest.writeMs),
    seconds(longest.readMs),
  ]);
  const right = { align: "right" } as const;
  const columns = [
    { title: "FAULT" },
    { title: "TIMES", ...right },
    { title: "WRITES STOOD", ...right },
    { title: "READS STOOD", ...right },
    { title: "WITH OTHERS: WRITES", ...right },
    { title: "READS", ...right },
  ];
  const total = rows.reduce((sum, row) => sum + Number(row[1]), 0);
  return [
    formatTable(columns, rows, false),
    `${total} faults in ${report.rounds} rounds and ${report.seconds.toFixed(0)} s, seed ${report.seed}`,
    `${report.writes} writes, ${report.flushes} flushes and ${report.reads} reads were answered`,
    `${report.sessions} times a volume was opened, ${report.replaced} of them while who had it before still asked, ${report.losses} after what was not flushed was given up`,
    report.violations.length === 0
      ? "violations: 0"
      : `violations: ${report.violations.length}\n${report.violations.join("\n")}`,
    "",
  ].join("\n");
}
