// The package as its users install it: packed, in fresh projects, with import and require,
// and with its types.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { project, root } from "./places.mjs";

const run = (folder: string, command: string, ...args: string[]): string =>
  execFileSync(command, args, { cwd: folder, encoding: "utf8", stdio: ["pipe", "pipe", "inherit"] });
const npm = ["install", "--silent", "--no-audit", "--no-fund", "--prefer-offline"];

interface Manifest {
  version: string;
  license: string;
  author: string;
  homepage: string;
  bugs: string;
  repository: { url: string; directory: string };
  engines: { node: string };
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
}
const manifest = JSON.parse(readFileSync(join(project, "package.json"), "utf8")) as Manifest;

const folder = mkdtempSync(join(tmpdir(), "noted-"));
after(() => {
  rmSync(folder, { recursive: true });
});
// test.sh has built dist.
const [packed] = JSON.parse(
  run(project, "npm", "pack", "--json", "--ignore-scripts", "--pack-destination", folder),
) as [{ filename: string; files: { path: string }[] }];
const archive = join(folder, packed.filename);

test("the archive has what it needs, and nothing else", () => {
  const paths = packed.files.map(({ path }) => path);
  for (const path of [
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
    "package.json",
    "dist/index.js",
    "dist/index.mjs",
    "dist/index.d.mts",
    "dist/identify.js",
  ]) {
    assert.ok(paths.includes(path), path);
  }
  const others = paths.filter(
    (path) => !/^(LICENSE|README\.md|CHANGELOG\.md|package\.json|dist\/.*\.(js|mjs|d\.ts|d\.mts))$/.test(path),
  );
  assert.deepEqual(others, []);
  assert.equal(readFileSync(join(project, "LICENSE"), "utf8"), readFileSync(join(root, "LICENSE"), "utf8"));
  assert.equal(manifest.license, "Apache-2.0");
  assert.ok(readFileSync(join(project, "CHANGELOG.md"), "utf8").includes(`\n## ${manifest.version} `));
});

test("the package names its authors and links", () => {
  assert.equal(manifest.author, "The authors of Noted");
  for (const link of [manifest.homepage, manifest.bugs, manifest.repository.url]) {
    assert.match(link, /^(git\+)?https:\/\/github\.com\/donation-dedupe\/noted/);
  }
  assert.equal(manifest.repository.directory, "client/ts");
});

test("the lockfile has a checksum for every package, and names no registry", () => {
  const lock = readFileSync(join(project, "package-lock.json"), "utf8");
  const { packages } = JSON.parse(lock) as { packages: Record<string, { integrity?: string; resolved?: string }> };
  const installed = Object.entries(packages).filter(([path]) => path !== "");
  assert.ok(installed.length > 0);
  for (const [path, { integrity, resolved }] of installed) {
    assert.match(integrity ?? "", /^sha512-/, `${path}: install again with the .npmrc of this folder`);
    assert.equal(resolved, undefined, `${path}: install again with the .npmrc of this folder`);
  }
});

test("dependencies are three, and pinned", () => {
  assert.deepEqual(Object.keys(manifest.dependencies), [
    "@bufbuild/protobuf",
    "@connectrpc/connect",
    "@connectrpc/connect-node",
  ]);
  for (const [name, version] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })) {
    assert.match(version, /^\d+\.\d+\.\d+$/, name);
  }
  assert.equal(manifest.engines.node, ">=20.3");
});

const commonjs = `
const assert = require("node:assert");
const { Client, NotedError, NotSettled, Unavailable } = require("@donation-dedupe/noted");
const { identifyIpn, MalformedError } = require("@donation-dedupe/noted/paypal");
const { Receiver } = require("@donation-dedupe/noted/receiver");
assert.equal(identifyIpn(Buffer.from("txn_type=subscr_cancel&subscr_id=I-1")).pairs[0].donation.event, "CANCELLATION");
new Receiver({ client: new Client("127.0.0.1:1"), process() {}, undecided() {}, accounts: ["a"] });
new Client("127.0.0.1:1").exists({ seriesId: "I-1" }).catch((error) => {
  assert.ok(error instanceof Unavailable && error instanceof NotedError && !(error instanceof NotSettled));
  return import("@donation-dedupe/noted").then((module) => {
    assert.equal(module.Unavailable, Unavailable, "a program that imports and requires has one class of each error");
    console.log("required");
  });
});`;

const module = `
import assert from "node:assert";
import { Client, Event, NotedError, Unavailable } from "@donation-dedupe/noted";
import { identifyWebhook, MalformedError } from "@donation-dedupe/noted/paypal";
import { Receiver } from "@donation-dedupe/noted/receiver";
assert.throws(() => identifyWebhook(Buffer.from("[]")), MalformedError);
new Receiver({ client: new Client("127.0.0.1:1"), process() {}, undecided() {}, accounts: ["a"] });
await assert.rejects(new Client("127.0.0.1:1").exists({ seriesId: "I-1", event: Event.REFUND }), Unavailable);
assert.ok(Unavailable.prototype instanceof NotedError);
console.log("imported");`;

const typed = `
import { Client, NotSettled, type Donation, type Hold, type Note, type Verdict } from "@donation-dedupe/noted";
import { identifyIpn, type Identified } from "@donation-dedupe/noted/paypal";
import { Receiver, type Delivery, type ReceiverOptions } from "@donation-dedupe/noted/receiver";
const client = new Client("127.0.0.1:1", { timeoutMs: 1000 });
const donation: Donation = { seriesId: "I-1", event: "REFUND", occurredAt: new Date() };
export const verdict: Promise<Verdict> = client.once(donation, undefined, async (note: Note, hold: Hold) => {
  hold.check();
  await Promise.resolve(note.donationId);
});
export const identified = (body: Buffer): Identified => identifyIpn(body).inLedger("paypal-live");
const options: ReceiverOptions = { client, process: (delivery: Delivery) => delivery.donationId, undecided: (told, error) => [told.body, error.reason] };
export const receiver = new Receiver(options);
export const isBooked = (error: unknown): boolean => error instanceof NotSettled;
// @ts-expect-error an event that is not in the contract
export const wrong: Donation = { seriesId: "I-1", event: "PAYED" };
// @ts-expect-error an amount must be a string
export const cents: Donation = { seriesId: "I-1", amount: 25 };
`;

describe("in a fresh project", () => {
  const fresh = join(folder, "fresh");
  const tsc = join(project, "node_modules/typescript/bin/tsc");

  test("it installs", () => {
    execFileSync("mkdir", ["-p", fresh]);
    writeFileSync(join(fresh, "package.json"), '{"private":true}');
    const types = `@types/node@${manifest.devDependencies["@types/node"]!}`;
    run(fresh, "npm", ...npm, archive, types);
  });

  test("require and import", () => {
    writeFileSync(join(fresh, "required.cjs"), commonjs);
    writeFileSync(join(fresh, "imported.mjs"), module);
    assert.equal(run(fresh, process.execPath, "required.cjs"), "required\n");
    assert.equal(run(fresh, process.execPath, "imported.mjs"), "imported\n");
    const inner = 'try { require("@donation-dedupe/noted/dist/client.js") } catch (error) { console.log(error.code) }';
    assert.equal(run(fresh, process.execPath, "-e", inner), "ERR_PACKAGE_PATH_NOT_EXPORTED\n");
  });

  // Checks the declaration files too, as TypeScript does by default.
  for (const [resolution, module, ...more] of [
    ["node16", "node16"],
    ["bundler", "esnext", "--skipLibCheck"],
  ] as const) {
    test(`types by ${resolution}`, () => {
      const files = resolution === "bundler" ? ["typed.mts"] : ["typed.mts", "typed.cts"];
      for (const file of files) writeFileSync(join(fresh, file), typed);
      const options = [
        "--strict",
        "--noEmit",
        "--target",
        "es2022",
        "--lib",
        "es2023",
        "--types",
        "node",
        "--module",
        module,
        "--moduleResolution",
        resolution,
      ];
      run(fresh, process.execPath, tsc, ...options, ...more, ...files);
    });
  }

  test("noted-identify runs", () => {
    const said = execFileSync(join(fresh, "node_modules/.bin/noted-identify"), ["ipn"], {
      input: "txn_type=masspay",
      encoding: "utf8",
    });
    assert.equal(said, '{"skipped":"masspay tells of payments made, not of a donation"}\n');
  });
});
