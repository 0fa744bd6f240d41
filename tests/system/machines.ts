// Machines of a network of their own, on this machine: a network namespace each, all on one bridge that lies in a
// namespace too, so that nothing of the real network is touched. What connects them can be cut, slowed and made to lose
// packets while programs run on them. Needs root.
//
// Everything carries the process that made it in its name and goes with it: namespaces, the programs in them, mounts and the
// directory. What a process that was killed left behind goes when the next one begins.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Place, Scope } from "./programs.ts";
import { Program, run } from "./programs.ts";

const prefix = "torus-lab-";
const undoMsMax = 20_000;
const machinesMax = 200;

/** Labs of this process, which may make several. */
let labs = 0;

/** Fails with what the machine lacks. */
export function requireMachines(): void {
  if (process.getuid?.() !== 0)
    throw new Error("this makes network namespaces, bridges and firewall rules: run it as root");
  const probe = `${prefix}${process.pid}-probe`;
  const made = tryNow("ip", "netns", "add", probe);
  tryNow("ip", "netns", "del", probe);
  if (made.status !== 0) {
    throw new Error(
      `this needs network namespaces, which cannot be made here (start the container with --privileged): ${made.stderr}`,
    );
  }
}

export interface Shaping {
  /** How lines are made slow here: with a delay, or, where the kernel has no netem, by being narrow. */
  readonly kind: "netem" | "tbf";
}

/** A machine: programs on it see its own network only. The files are those of everybody. */
export class Machine implements Place {
  readonly name: string;
  readonly address: string;
  readonly #namespace: string;
  readonly #shaping: Shaping;

  constructor(name: string, namespace: string, address: string, shaping: Shaping) {
    this.name = name;
    this.address = address;
    this.#namespace = namespace;
    this.#shaping = shaping;
  }

  launch(program: string, args: readonly string[]): Program {
    return new Program("nsenter", [`--net=/run/netns/${this.#namespace}`, program, ...args]);
  }

  /** From now on nothing that `other` sends arrives here, until what is returned is called. */
  async cutFrom(other: Machine): Promise<() => Promise<void>> {
    return this.#rule("INPUT", "-s", other.address, "-j", "DROP");
  }

  /** Nothing arrives, from anyone. */
  async deafen(): Promise<() => Promise<void>> {
    return this.#rule("INPUT", "!", "-i", "lo", "-j", "DROP");
  }

  /** Nothing leaves. */
  async silence(): Promise<() => Promise<void>> {
    return this.#rule("OUTPUT", "!", "-o", "lo", "-j", "DROP");
  }

  /** So many of a hundred packets that come are lost. */
  async lose(percent: number): Promise<() => Promise<void>> {
    const share = (percent / 100).toFixed(4);
    return this.#rule(
      ...["INPUT", "!", "-i", "lo", "-m", "statistic", "--mode", "random", "--probability", share],
      ...["-j", "DROP"],
    );
  }

  /** What leaves takes its time. */
  async slow(): Promise<() => Promise<void>> {
    const how =
      this.#shaping.kind === "netem"
        ? ["netem", "delay", "40ms", "20ms", "limit", "10000"]
        : ["tbf", "rate", "40mbit", "burst", "32kbit", "latency", "400ms"];
    await this.#run("tc", "qdisc", "replace", "dev", "eth0", "root", ...how);
    return async () => void (await this.#run("tc", "qdisc", "del", "dev", "eth0", "root").catch(() => {}));
  }

  /** Undoes every cut, loss and delay. */
  async heal(): Promise<void> {
    await this.#run("iptables", "-w", "-F");
    await this.#run("tc", "qdisc", "del", "dev", "eth0", "root").catch(() => {});
  }

  async #rule(chain: string, ...rule: string[]): Promise<() => Promise<void>> {
    await this.#run("iptables", "-w", "-A", chain, ...rule);
    // It may have been healed meanwhile.
    return async () => void (await this.#run("iptables", "-w", "-D", chain, ...rule).catch(() => {}));
  }

  #run(program: string, ...args: string[]): Promise<string> {
    return run("ip", ["netns", "exec", this.#namespace, program, ...args]);
  }
}

/** A network of machines, and a directory for what they keep. */
export class Lab {
  /** Goes with the lab. */
  readonly directory: string;
  readonly shaping: Shaping;
  readonly machines: Machine[] = [];
  readonly #stem: string;
  readonly #switch: string;
  readonly #subnet: string;
  readonly #undo: () => void;

  static async open(scope: Scope): Promise<Lab> {
    requireMachines();
    // Numbers of processes come again: what is ours, and was not made by us, was left by another.
    sweep((owner) => (owner === process.pid ? labs === 0 : !existsSync(`/proc/${owner}`)));
    const lab = new Lab();
    scope.after(() => lab.close());
    return lab;
  }

  private constructor() {
    labs += 1;
    this.#stem = `${prefix}${process.pid}-${labs}-`;
    this.#switch = `${this.#stem}switch`;
    this.directory = join("/tmp", this.#stem.slice(0, -1));
    this.#undo = () => sweep((owner, stem) => owner === process.pid && stem === this.#stem);
    process.once("exit", this.#undo);
    mkdirSync(this.directory, { recursive: true });
    now("ip", "netns", "add", this.#switch);
    this.#inSwitch("ip", "link", "add", "bridge0", "type", "bridge");
    this.#inSwitch("ip", "link", "set", "bridge0", "up");
    this.shaping = this.#findShaping();
    this.#subnet = this.#connectHere();
  }

  /** A new machine on the network. */
  addMachine(name: string): Machine {
    const number = this.machines.length + 2;
    if (number > machinesMax) throw new Error(`a lab has ${machinesMax} machines at most`);
    const namespace = this.#stem + name;
    now("ip", "netns", "add", namespace);
    const port = `port${number}`;
    this.#inSwitch(
      ...["ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace],
    );
    this.#inSwitch("ip", "link", "set", port, "master", "bridge0", "up");
    const address = `${this.#subnet}.${number}`;
    const own = (...args: string[]) => now("ip", "-n", namespace, ...args);
    own("addr", "add", `${address}/24`, "dev", "eth0");
    own("link", "set", "eth0", "up");
    own("link", "set", "lo", "up");
    const machine = new Machine(name, namespace, address, this.shaping);
    this.machines.push(machine);
    return machine;
  }

  async heal(): Promise<void> {
    await Promise.all(this.machines.map((machine) => machine.heal()));
  }

  /** Ends what runs on the machines and takes everything away. */
  close(): void {
    this.#undo();
    process.off("exit", this.#undo);
  }

  #inSwitch(...command: string[]): void {
    now("ip", "netns", "exec", this.#switch, ...command);
  }

  #findShaping(): Shaping {
    const netem = ["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"];
    return { kind: tryNow("ip", "netns", "exec", this.#switch, ...netem).status === 0 ? "netem" : "tbf" };
  }

  /** This process reaches the machines, too: it is number 1 of a subnet that nobody uses yet. */
  #connectHere(): string {
    const device = `lab${process.pid}n${labs}`;
    const used = now("ip", "-4", "-o", "addr", "show");
    const subnets = Array.from({ length: 250 }, (_, i) => `10.213.${(process.pid + i) % 250}`);
    const subnet = subnets.find((candidate) => !used.includes(` ${candidate}.`));
    if (subnet === undefined) throw new Error("no subnet of 10.213.0.0/16 is free");
    now("ip", "link", "add", device, "type", "veth", "peer", "name", "port1", "netns", this.#switch);
    now("ip", "addr", "add", `${subnet}.1/24`, "dev", device);
    now("ip", "link", "set", device, "up");
    this.#inSwitch("ip", "link", "set", "port1", "master", "bridge0", "up");
    return subnet;
  }
}

/** Takes away the labs that `chosen` names: by the process that made them, and the stem of their names. */
function sweep(chosen: (owner: number, stem: string) => boolean): void {
  const pattern = new RegExp(`^(?:${prefix}(\\d+)-(\\d+)|lab(\\d+)n(\\d+)$)`);
  const isChosen = (name: string): boolean => {
    const match = pattern.exec(name);
    if (match === null) return false;
    const [owner, number] = match.slice(match[1] === undefined ? 3 : 1);
    return chosen(Number(owner), `${prefix}${owner}-${number}-`);
  };
  const namespaces = (existsSync("/run/netns") ? readdirSync("/run/netns") : []).filter(isChosen);
  for (const namespace of namespaces) {
    for (const pid of tryNow("ip", "netns", "pids", namespace).stdout.split("\n").filter(Boolean)) {
      try {
        process.kill(Number(pid), "SIGKILL");
      } catch {
        // It ended by itself.
      }
    }
  }
  for (const line of readFileSync("/proc/mounts", "utf8").split("\n").reverse()) {
    const path = line.split(" ")[1] ?? "";
    const name = path.startsWith("/tmp/") ? path.split("/")[2] : "";
    if (isChosen(name)) tryNow("umount", "-l", path);
  }
  // Before the namespaces: the kernel takes their devices away only some time later.
  for (const device of readdirSync("/sys/class/net").filter(isChosen)) tryNow("ip", "link", "del", device);
  for (const namespace of namespaces) tryNow("ip", "netns", "del", namespace);
  for (const name of readdirSync("/tmp").filter(isChosen))
    rmSync(join("/tmp", name), { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
}

function tryNow(
  program: string,
  ...args: string[]
): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(program, args, { encoding: "utf8", timeout: undoMsMax });
}

/** Runs a program and waits; fails unless it ended with 0. For what is quick. */
function now(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = tryNow(program, ...args);
  if (status !== 0) throw new Error(`${program} ${args.join(" ")} ended with ${status}: ${stderr}`);
  return stdout;
}
