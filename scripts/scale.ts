// Simulates a large cluster: `npm run scale`. What it costs the metadata service, how long it takes until data is where it belongs after peers
// joined, died or left, and how much moves. docs/operate/scale.md explains the figures; see --help.

import { parseArgs } from "node:util";
import type { ScaleLoad, ScalePhase, ScaleReport, ScaleSize } from "../src/sim/index.ts";
import { largeSize, runScale, smallSize } from "../src/sim/index.ts";
import { numberOf, readFlags } from "./script-flags.ts";

const usage = `
Simulates a large cluster in virtual time (docs/operate/scale.md).

  --peers N --racks N --volumes N --seed N    another size (500 peers in 20 racks, 10 000 volumes; that takes long)
  --small                                     a cluster of 15 peers, in seconds
  -o json                                     everything, for programs

Exit code 1 when copies were missing in the end or blocks were lost, 2 when asked for wrongly.
`;
const peersMax = 1000;
const volumesMax = 100_000;

const write = (line: string): void => void process.stdout.write(`${line}\n`);

function table(header: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = header.map((title, at) => Math.max(title.length, ...rows.map((row) => row[at].length)));
  for (const row of [header, ...rows])
    write(row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]) : cell.padStart(widths[at]))).join("  "));
  write("");
}

const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

function size(bytes: number): string {
  const unit = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 2 ** (10 * unit);
  return `${value >= 100 || unit === 0 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

function minutes(ms: number | null): string {
  return ms === null ? "-" : `${(ms / 60_000).toFixed(1)} min`;
}

function rate(count: number, { durationMs }: ScalePhase): string {
  const perSecond = (count * 1000) / durationMs;
  return perSecond >= 10 ? perSecond.toFixed(0) : perSecond.toFixed(2);
}

function ratio(value: number, to: number): string {
  return to === 0 ? "-" : (value / to).toFixed(3);
}

function loadRows(phase: ScalePhase): string[][] {
  const row = (load: ScaleLoad): string[] => [
    load.what,
    rate(load.reads, phase),
    rate(load.keys, phase),
    `${size((load.bytes * 1000) / phase.durationMs)}/s`,
    rate(load.transactions, phase),
    rate(load.leases, phase),
    `${size((load.bytes * 1000) / phase.durationMs / phase.peers)}/s`,
  ];
  return phase.loads.filter(({ reads, transactions }) => reads + transactions > 0).map(row);
}

function show(report: ScaleReport): void {
  const { size: of, phases } = report;
  write(
    `\n${of.peers} peers of ${size(of.diskBytes)} in ${of.racks} racks, ${of.volumes} volumes of ${size(report.volumeBytes)} (${report.writtenVolumes} of them written), ${of.replicas} copies, seed ${of.seed}`,
  );
  write(
    `all metadata that decides: ${size(report.metadataBytes)}; a ring: ${size(report.ringBytes)}; the map of a volume: ${size(report.inodeBytes)}`,
  );
  write(
    `balance (fullest peer over the mean): ${report.balance.toFixed(3)}; movement when a rack joins, over the ideal: ${report.movement.toFixed(3)}\n`,
  );
  table(
    ["", "COPIES THERE", "SETTLED", "RINGS", "MOVED", "OVER IDEAL", "MOST TO ONE", "MISSING", "LOST"],
    phases
      .filter(({ settledMs }) => settledMs !== null)
      .map((phase) => [
        phase.name,
        minutes(phase.copiedMs),
        minutes(phase.settledMs),
        `${phase.rings}`,
        size(phase.movedBytes),
        ratio(phase.movedBytes, phase.idealBytes),
        size(phase.gotBytesMax),
        `${phase.missingCopies}`,
        `${phase.lostBlocks}`,
      ]),
  );
  for (const phase of phases) {
    write(`${phase.name}: what is read and written a second`);
    table(["", "READS", "KEYS", "BYTES", "TRANSACTIONS", "LEASES", "BYTES A PEER"], loadRows(phase));
  }
}

interface Wanted {
  readonly size: ScaleSize;
  readonly isJson: boolean;
}

function readWanted(): Wanted {
  const { values } = parseArgs({
    options: {
      peers: { type: "string" },
      racks: { type: "string" },
      volumes: { type: "string" },
      seed: { type: "string" },
      small: { type: "boolean", default: false },
      output: { type: "string", short: "o", default: "text" },
    },
  });
  if (values.output !== "text" && values.output !== "json")
    throw new Error(`--output "${values.output}" is neither text nor json`);
  const base = values.small ? smallSize : largeSize;
  const given = (name: "peers" | "racks" | "volumes" | "seed", min: number, max: number): number => {
    const text = values[name];
    return text === undefined ? base[name] : numberOf(`--${name}`, text, { min, max });
  };
  const peers = given("peers", 4, peersMax);
  const racks = Math.min(given("racks", 2, peers), peers);
  const volumes = given("volumes", 1, volumesMax);
  const seed = given("seed", 0, 2 ** 31);
  return { size: { ...base, peers, racks, volumes, seed }, isJson: values.output === "json" };
}

async function main({ size: wanted, isJson }: Wanted): Promise<number> {
  const startedMs = performance.now();
  const say = (line: string): void =>
    void process.stderr.write(`${((performance.now() - startedMs) / 1000).toFixed(0)} s: ${line}\n`);
  const report = await runScale(wanted, say);
  say(`done, with ${size(process.memoryUsage().rss)} of memory`);
  if (isJson) write(JSON.stringify(report, null, 2));
  else show(report);
  return report.phases.some(({ missingCopies, lostBlocks }) => missingCopies + lostBlocks > 0) ? 1 : 0;
}

const wanted = readFlags("scale", usage, readWanted);
if (wanted !== null) process.exitCode = await main(wanted);
