// Metrics as text: samples -> the exposition format of Prometheus, version 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats/). Samples of one name stand together under one HELP and
// TYPE, whichever source they come from; labels tell them apart.

import type { MetricSample } from "#host";

export interface LabelledSample extends MetricSample {
  readonly labels?: Readonly<Record<string, string>>;
}

export const metricsContentType = "text/plain; version=0.0.4; charset=utf-8";

export function encodeMetrics(samples: readonly LabelledSample[]): string {
  const byName = new Map<string, LabelledSample[]>();
  for (const sample of samples) {
    const known = byName.get(sample.name);
    if (known === undefined) byName.set(sample.name, [sample]);
    else known.push(sample);
  }
  let text = "";
  for (const [name, group] of byName) {
    text += `# HELP ${name} ${escapeHelp(group[0].help)}\n# TYPE ${name} ${group[0].kind}\n`;
    for (const { labels, value } of group) text += `${name}${encodeLabels(labels)} ${encodeValue(value)}\n`;
  }
  return text;
}

function encodeLabels(labels: Readonly<Record<string, string>> = {}): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function encodeValue(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  return String(value);
}

function escapeHelp(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function escapeLabel(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"');
}
