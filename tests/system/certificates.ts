// Certificates for a test, made with openssl: an authority, and what it signed.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "./programs.ts";

export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

export class Authority {
  readonly cert: string;
  readonly #directory: string;
  readonly #name: string;

  static async make(directory: string, name: string): Promise<Authority> {
    const authority = new Authority(directory, name);
    const { cert } = authority;
    await run("openssl", [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"],
      ...["-subj", `/CN=${name}`, "-keyout", `${cert}.key`, "-out", cert],
    ]);
    return authority;
  }

  private constructor(directory: string, name: string) {
    this.#directory = directory;
    this.#name = name;
    this.cert = join(directory, `${name}.pem`);
  }

  /** A key and its certificate, for a server at `subjectAltName` (such as IP:127.0.0.1) and for clients. */
  async issue(commonName: string, subjectAltName: string): Promise<KeyPair> {
    const base = join(this.#directory, `${this.#name}-${commonName}`);
    const pair = { cert: `${base}.pem`, key: `${base}.key` };
    writeFileSync(
      `${base}.ext`,
      `subjectAltName=${subjectAltName}\nextendedKeyUsage=serverAuth,clientAuth\n`,
    );
    await run("openssl", [
      ...[
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        `/CN=${commonName}`,
      ],
      ...["-keyout", pair.key, "-out", `${base}.csr`],
    ]);
    await run("openssl", [
      ...[
        "x509",
        "-req",
        "-in",
        `${base}.csr`,
        "-CA",
        this.cert,
        "-CAkey",
        `${this.cert}.key`,
        "-CAcreateserial",
      ],
      ...["-days", "2", "-extfile", `${base}.ext`, "-out", pair.cert],
    ]);
    return pair;
  }
}
