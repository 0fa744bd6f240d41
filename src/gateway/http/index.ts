// gateway/http: what a daemon tells over HTTP: its metrics in the text format of Prometheus, and its health as JSON. Enters: GET
// requests. Leaves: text. Nothing here changes anything.

export type { LabelledSample } from "./metrics-text-codec.ts";
export type { HealthReport, HttpAddress, HttpDeps, HttpServing, MetricsSource } from "./server.ts";
export { serveHttp } from "./server.ts";
