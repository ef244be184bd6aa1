// Runs every sample of the README, and compares its table with the receiver's answers.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once as event } from "node:events";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { randomUUID } from "node:crypto";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { after, describe, test } from "node:test";
import { Code } from "@connectrpc/connect";
import { trace } from "@opentelemetry/api";
import { NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import * as noted from "../src/index.mjs";
import { Client, NotSettled, reasons, type Donation, type NotedError } from "../src/index.mjs";
import { Receiver } from "../src/receiver/index.mjs";
import { daysFromNow } from "./authority.mjs";
import { listen, Proxy, startNoted, until } from "./noted.mjs";
import { account, ipn, pacific, PayPal, signed, webhook } from "./paypal.mjs";
import { project, root } from "./places.mjs";
import { refuse, serve } from "./stand.mjs";

const readme = readFileSync(join(project, "README.md"), "utf8");
const [own = "", others = ""] = readme.split("## Other languages");
const samples = (language: string): string[] =>
  [...own.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, "gms"))].map(([, text]) => text!);
const [twentyLines, inNode, inExpress, inFastify, listing, tracing, contract] = samples("ts") as [
  string,
  string,
  string,
  string,
  string,
  string,
  string,
];

const { grpc } = await startNoted();
const client = new Client(grpc);

/**
 * The modules that the samples import: the user's books and the way to a person. They report
 * each call to this process, or on standard output.
 */
const booksJs = `
const say = (what, more) => (globalThis.heard ?? console.log)(JSON.stringify({ what, ...more }));
export async function book(id, donation) {
  if (donation.amount === "13.00") throw new Error("the books are closed");
  await globalThis.meanwhile?.(donation, id);
  say("booked", { id });
}
export async function tellAPerson(error, body) { say("told", { name: error.name, reason: error.reason }); }
`;
const here = globalThis as {
  heard?: (line: string) => void;
  meanwhile?: (donation: Donation, id: string) => unknown;
};
const booksTs = `import type { Donation } from "@donation-dedupe/noted";
export declare function book(id: string, donation: Donation): Promise<void>;
export declare function tellAPerson(error: unknown, body: Uint8Array): Promise<void>;
`;

const folder = join(project, "build/readme");
const compile = (name: string, sample: string): string => {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), '{"type":"module"}');
  const installed = join(folder, "node_modules/@donation-dedupe/noted");
  mkdirSync(dirname(installed), { recursive: true });
  if (!existsSync(installed)) symlinkSync(project, installed);
  writeFileSync(join(folder, "books.js"), booksJs);
  writeFileSync(join(folder, "books.d.ts"), booksTs);
  writeFileSync(join(folder, `${name}.ts`), sample);
  const options = [
    "--strict",
    "--noUncheckedIndexedAccess",
    "--target",
    "es2022",
    "--module",
    "nodenext",
    "--types",
    "node",
    "--skipLibCheck",
  ];
  execFileSync(process.execPath, [join(project, "node_modules/typescript/bin/tsc"), ...options, `${name}.ts`], {
    cwd: folder,
    stdio: "inherit",
  });
  return join(folder, `${name}.js`);
};

const setting = (sample: string, from: string, to: string): string => {
  assert.ok(sample.includes(from), `the sample no longer contains "${from}"; change this test with it`);
  return sample.replace(from, to);
};

test("every sample is tested here", () => {
  assert.deepEqual([samples("ts").length, samples("js").length, samples("sh").length], [7, 1, 3]);
  assert.equal(own.split("```").length - 1, 2 * 11);
});

test("the twenty lines", async (t) => {
  const proxy = await Proxy.to(grpc);
  const path = compile(
    "twenty",
    setting(twentyLines, '"127.0.0.1:50051"', `"${proxy.address}", { timeoutMs: 1_000, settleTimeoutMs: 500 }`),
  );
  const { receive } = (await import(path)) as { receive: (body: Uint8Array) => Promise<number> };
  const heard: string[] = [];
  here.heard = (line) => {
    const { what, name, reason } = JSON.parse(line) as Record<string, string>;
    heard.push([what, name, reason].filter((word) => word !== undefined).join(" "));
  };
  here.meanwhile = async ({ seriesId, amount }, id) => {
    if (amount === "11.00") proxy.down();
    if (amount === "12.00") await client.forget(seriesId, id, "a test", { ledger: "paypal-live" });
  };
  t.after(() => {
    delete here.heard;
    delete here.meanwhile;
  });
  const series = `I-${randomUUID()}`;
  assert.deepEqual([await receive(ipn(series)), await receive(ipn(series))], [200, 200]);
  assert.equal(await receive(Buffer.alloc(0)), 400);
  await client.note({ seriesId: `${series}-held`, ledger: "paypal-live" }, undefined, { holdMs: 60_000 });
  assert.equal(await receive(ipn(`${series}-held`)), 503);
  assert.equal(await receive(ipn(`${series}-bad`, { mc_gross: "13.00" })), 503);
  assert.deepEqual(heard.splice(0), ["booked"]);
  assert.equal(await receive(ipn(`${series}-old`, { payment_date: pacific(daysFromNow(-60)) })), 200);
  assert.equal(await receive(ipn(`${series}-gone`, { mc_gross: "12.00" })), 200);
  assert.deepEqual(heard.splice(0), [
    "told OccurredTooEarly OCCURRED_TOO_EARLY",
    "booked",
    "told NotSettled NOTE_NOT_FOUND",
  ]);
  assert.equal(await receive(ipn(`${series}-cut`, { mc_gross: "11.00" })), 503);
  assert.deepEqual(heard, ["booked"]);
  assert.equal(await receive(ipn(series)), 503, "nothing is known");
});

test("the twenty lines keep each message for a person that Noted can never decide", async (t) => {
  let reason = "";
  const stand = await serve({
    noteDonation: () => {
      throw refuse(Code.OutOfRange, reason);
    },
  });
  const path = compile("undecided", setting(twentyLines, "127.0.0.1:50051", stand));
  const { receive } = (await import(path)) as { receive: (body: Uint8Array) => Promise<number> };
  const told: string[] = [];
  here.heard = (line) => told.push((JSON.parse(line) as { name: string }).name);
  t.after(() => delete here.heard);
  const [, row = ""] = /^\| `once` throws an `Undecidable`: (.*) \| 200, keep it for a person/m.exec(own) ?? [];
  const names = [...row.matchAll(/`(\w+)`/g)].map(([, name]) => name!);
  for (const name of names) {
    reason = Object.keys(reasons).find((each) => reasons[each]!.name === name)!;
    assert.equal(await receive(ipn("I-1")), 200, name);
  }
  assert.deepEqual(told, names);
  assert.equal(names.length, 5);
});

const paypal = await PayPal.start();
const genuine = await paypal.certificate();
describe("the three receivers", () => {
  for (const [name, sample] of Object.entries({ node: inNode, express: inExpress, fastify: inFastify })) {
    test(name, async () => {
      const port = await freePort();
      const stand = `ipnVerifyUrl: ${JSON.stringify(paypal.ipnUrl)}, certHosts: [${JSON.stringify(paypal.certHost)}], certRoots: ${JSON.stringify(paypal.root.pem)},\n  ledger:`;
      const ours = setting(setting(setting(sample, "127.0.0.1:50051", grpc), "8081", String(port)), "ledger:", stand);
      const program = spawn(process.execPath, [compile(name, ours)], { stdio: ["ignore", "pipe", "ignore"] });
      let said = "";
      program.stdout.on("data", (text) => (said += String(text)));
      after(async () => {
        program.kill();
        await event(program, "exit");
      });
      const post = async (path: string, body: Buffer, headers: Record<string, string>): Promise<number> =>
        (await fetch(`http://127.0.0.1:${port}/paypal/${path}`, { method: "POST", body, headers })).status;
      const form = { "content-type": "application/x-www-form-urlencoded" };
      const series = `I-${randomUUID()}`;
      await until(() =>
        post("ipn", ipn(series), form).then(
          (status) => status === 200,
          () => false,
        ),
      );
      const told = webhook(series);
      assert.equal(await post("webhook", told, signed(genuine, told)), 200);
      assert.equal(await post("ipn", ipn(series, { receiver_email: "other@example.org" }), form), 403);
      assert.equal(await post("ipn", ipn(`${series}-bad`, { mc_gross: "13.00" }), form), 503);
      const old = ipn(`${series}-old`, { payment_date: pacific(daysFromNow(-60)) });
      assert.equal(await post("ipn", old, form), 200);
      await until(() => said.includes("OCCURRED_TOO_EARLY"));
      assert.deepEqual(
        said
          .trim()
          .split("\n")
          .map((line) => (JSON.parse(line) as { what: string }).what),
        ["booked", "told"],
      );
    });
  }
});

async function freePort(): Promise<number> {
  const server = createServer();
  const port = await listen(server);
  server.close();
  await event(server, "close");
  return port;
}

test("the listing and the require", async () => {
  const seriesId = `I-${randomUUID()}`;
  const { receipt } = await client.note({ seriesId, ledger: "paypal-live" }, undefined, { holdMs: 60_000 });
  await client.release(receipt);
  const path = compile("listing", setting(listing, "127.0.0.1:50051", grpc));
  assert.ok(execFileSync(process.execPath, [path], { encoding: "utf8" }).includes(`${seriesId} 1\n`));
  const [required] = samples("js") as [string];
  execFileSync(process.execPath, ["-e", required], { cwd: project });
});

test("Noted continues the trace of a program with OpenTelemetry", async (t) => {
  const spans: Buffer[] = [];
  const collector = createHttpServer((request, response) => {
    request.on("data", (part: Buffer) => spans.push(part));
    request.on("end", () => response.setHeader("content-type", "application/x-protobuf").end());
  });
  t.after(() => {
    collector.close();
    collector.closeAllConnections();
  });
  const endpoint = `http://127.0.0.1:${await listen(collector)}`;
  Object.assign(process.env, { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_BSP_SCHEDULE_DELAY: "50" });
  const traced = await startNoted();
  delete process.env["OTEL_EXPORTER_OTLP_ENDPOINT"];
  const provider = new NodeTracerProvider();
  provider.register();
  t.after(() => provider.shutdown());

  const path = compile("trace", setting(setting(tracing, "127.0.0.1:50051", traced.grpc), "const noted", "export $&"));
  const { noted: ours } = (await import(path)) as { noted: Client };
  const { traceId, spanId } = await trace.getTracer("test").startActiveSpan("receiving", async (span) => {
    assert.equal(await ours.once({ seriesId: `I-${randomUUID()}` }, undefined, () => undefined), "FIRST");
    span.end();
    return span.spanContext();
  });
  // In protobuf the trace, the span and its parent are bytes, and the name follows.
  const hex = (text: string) => text.replace(/../g, "\\x$&");
  const within = (rpc: string) =>
    new RegExp(`${hex(traceId)}[^]{1,40}${hex(spanId)}[^]{1,40}noted\\.v1\\.DedupeService/${rpc}`);
  await until(() => {
    const got = Buffer.concat(spans).toString("latin1");
    return within("NoteDonation").test(got) && within("SettleDonation").test(got);
  });
});

const quiet = { npm_config_prefer_offline: "true", npm_config_audit: "false", npm_config_fund: "false" };

test("the install commands install from git, from the package's own folder alone", () => {
  const folder = mkdtempSync(join(tmpdir(), "noted-"));
  after(() => {
    rmSync(folder, { recursive: true });
  });
  // A repository with this folder's files in it and nothing else.
  const [origin, app] = [join(folder, "origin"), join(folder, "app")];
  const files = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "-z"], {
    cwd: project,
    encoding: "utf8",
  });
  for (const file of files.split("\0").filter((name) => name !== "" && existsSync(join(project, name)))) {
    cpSync(join(project, file), join(origin, "client/ts", file));
  }
  const git = (...args: string[]): unknown => execFileSync("git", ["-C", origin, ...args], { stdio: "pipe" });
  git("init", "--quiet");
  git("add", ".");
  git("-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "--quiet", "-m", "test");
  mkdirSync(app);
  writeFileSync(join(app, "package.json"), '{"private":true}');
  const github = "https://github.com/donation-dedupe/noted";
  const instead = {
    GIT_CONFIG_COUNT: "1",
    GIT_CONFIG_KEY_0: `url.file://${origin}.insteadOf`,
    GIT_CONFIG_VALUE_0: github,
  };
  const run = { cwd: app, env: { ...process.env, ...quiet, ...instead }, stdio: "pipe" } as const;
  const commands = samples("sh")[0]!;
  assert.ok(commands.includes(`git clone --depth 1 ${github} ../noted\n`));
  execFileSync("sh", ["-ec", commands], run);
  const { Client } = createRequire(join(app, "package.json"))("@donation-dedupe/noted") as typeof noted;
  assert.equal(typeof Client.prototype.once, "function");
});

test("the commands name the archive as npm packs it, and a server that exists", () => {
  const { version } = JSON.parse(readFileSync(join(project, "package.json"), "utf8")) as { version: string };
  const [, , identify] = samples("sh") as [string, string, string];
  assert.equal(
    readme
      .match(/donation-dedupe-noted-([\d.]+)\.tgz/g)!
      .every((name) => name === `donation-dedupe-noted-${version}.tgz`),
    true,
  );
  assert.ok(
    samples("sh").some((text) => text === "npx --no noted-identify ipn < body\n"),
    identify,
  );
  assert.ok(existsSync(join(root, "server/cmd/noted")));
});

test("the recipe generates a client in an empty folder, and the client works", () => {
  const folder = mkdtempSync(join(tmpdir(), "noted-"));
  after(() => {
    rmSync(folder, { recursive: true });
  });
  const commands = samples("sh").find((text) => text.includes("buf.gen.yaml"))!;
  const need = readFileSync(join(root, ".ci/need"), "utf8");
  assert.ok(
    commands.includes(
      `@bufbuild/buf@${/ BUF=([\d.]+)/.exec(` ${need.replaceAll("\n", " ")}`)![1]!} @bufbuild/protoc-gen-es@${/ ES=([\d.]+)/.exec(need)![1]!}`,
    ),
    "the versions that src/gen is made with",
  );
  const { dependencies } = JSON.parse(readFileSync(join(project, "package.json"), "utf8")) as {
    dependencies: Record<string, string>;
  };
  for (const [name, version] of Object.entries(dependencies)) assert.ok(commands.includes(`${name}@${version}`), name);
  const script = setting(commands, "../noted/api", join(root, "api"));
  execFileSync("sh", ["-ec", script], {
    cwd: folder,
    env: { ...process.env, ...quiet },
    stdio: "pipe",
  });
  const made = "noted/v1/noted_pb.ts";
  // The descriptor contains the other languages' package names too.
  const generated = (path: string): string => readFileSync(join(path, made), "utf8").replace(/fileDesc\(".*?"/, "");
  assert.equal(generated(join(folder, "src/gen")), generated(join(project, "src/gen")));
  writeFileSync(join(folder, "src/sample.ts"), setting(contract, "127.0.0.1:50051", grpc));
  const tsc = join(project, "node_modules/typescript/bin/tsc");
  const options = [
    "--strict",
    "--target",
    "es2022",
    "--module",
    "nodenext",
    "--skipLibCheck",
    "--outDir",
    "build",
    "src/sample.ts",
  ];
  execFileSync(process.execPath, [tsc, ...options], { cwd: folder, stdio: "inherit" });
  assert.equal(execFileSync(process.execPath, ["build/sample.js"], { cwd: folder, encoding: "utf8" }), "FIRST\n");
});

/** The table: the errors that once() throws, and the answer to each. */
const rows = [...own.matchAll(/^\| (`once` throws .*?) \| (\d+|[^|]*?) \| .* \|$/gm)].map(([, what, answer]) => ({
  what: what!,
  answer: answer!,
}));

/** The answer to an error: from its own row, or from the row for any other error. */
function answerTo(kind: string, settled: boolean): string {
  const isOther = (what: string): boolean =>
    what.includes(settled ? "any other `NotSettled`" : "any other `NotedError`");
  const named = rows.find(
    ({ what }) => !isOther(what) && what.includes("`NotSettled`") === settled && what.includes(`\`${kind}\``),
  );
  return (named ?? rows.find(({ what }) => isOther(what)))!.answer;
}

/** The receiver's answer when once() throws this error. */
async function received(error: NotedError): Promise<{ status: number; told: boolean }> {
  let calls = 0;
  const undecided: unknown[] = [];
  const lines: string[] = [];
  const failing = {
    // undecided() notes in another series, which succeeds.
    once: (_donation: unknown, _message: unknown, process: (note: object, hold: object) => unknown) =>
      calls++ === 0
        ? Promise.reject(error)
        : Promise.resolve(process({ donationId: "d" }, { differences: [] })).then(() => "FIRST"),
  };
  const receiver = new Receiver({
    client: failing as never,
    process: () => undefined,
    undecided: (told) => undecided.push(told),
    accounts: [account],
    ipnVerifyUrl: `http://127.0.0.1:${await listen(verifying())}/`,
    log: { warn: () => undefined, error: (text) => lines.push(text) },
  });
  const { status } = await receiver.receive("ipn", {}, ipn("I-1"));
  return { status, told: undecided.length > 0 || /by hand/.test(lines.join("\n")) };
}

function verifying() {
  const server = createServer((socket) => {
    socket.on("data", () => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nVERIFIED"));
  });
  after(() => server.close());
  return server;
}

test("the receiver answers every error as the table says", async () => {
  assert.equal(rows.length, 5);
  for (const [reason, kind] of Object.entries(reasons)) {
    const error = new kind("noting I-1", "said", { reason });
    for (const [thrown, settled] of [
      [error, false],
      [new NotSettled("settling d", "said", { reason, cause: error }), true],
    ] as const) {
      const { status, told } = await received(thrown);
      const says = answerTo(kind.name, settled);
      assert.equal(
        `${status}${told ? " and a person" : ""}`,
        says.replace(/^200, .*person$/, "200 and a person"),
        `${kind.name}, ${settled ? "" : "not "}settled`,
      );
    }
  }
});

test("the classes that the README names are exported", () => {
  const named = [...own.matchAll(/`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`/g)]
    .map(([, name]) => name!)
    .filter((name) => name !== "MalformedError");
  assert.ok(named.length > 8);
  for (const name of named) assert.ok(name in noted, name);
});

test("every link is absolute or to a heading of the README", () => {
  const links = [...readme.matchAll(/\]\(([^)]+)\)/g)].map(([, link]) => link!);
  assert.ok(links.length > 0 && others !== "");
  for (const link of links) {
    const [, path] =
      /^https:\/\/github\.com\/donation-dedupe\/noted(?:\/(?:blob|tree)\/main\/([^#]+)|#readme)$/.exec(link) ??
      (link.startsWith("#") ? [] : assert.fail(link));
    if (path !== undefined) assert.ok(existsSync(join(root, path)), link);
    if (link.startsWith("#"))
      assert.ok(readme.toLowerCase().includes(`\n## ${basename(link).slice(1).replaceAll("-", " ")}\n`), link);
  }
});
