// The shared cases of PayPal's messages, and the command noted-identify.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { identifyIpn, identifyWebhook, MalformedError } from "../src/paypal/index.mjs";
import { isTest } from "../src/receiver/ipn.js";
import { project, root } from "./places.mjs";

const identify = { ipn: identifyIpn, webhook: identifyWebhook };
type Channel = keyof typeof identify;
const channels: readonly Channel[] = ["ipn", "webhook"];
const testdata = process.env["PAYPAL_TESTDATA"] ?? join(root, "client/paypal/testdata");

interface Case {
  wants: string[];
  warns: string[];
  malformed: string;
  body: Buffer;
}

/** A shared case; client/paypal/testdata/README.md describes the format. */
function readCase(path: string): Case {
  const data = readFileSync(path);
  const cut = data.indexOf("\n---\n");
  assert.ok(cut > 0 && data.at(-1) === 10, "no --- line, or no newline at the end");
  const read: Case = { wants: [], warns: [], malformed: "", body: data.subarray(cut + 5, -1) };
  for (const line of data.subarray(0, cut).toString().split("\n")) {
    const [, key, value] =
      /^(about|want|warn|malformed): (.*)$/s.exec(line) ??
      assert.fail(`the header line "${line}" is unknown; see client/paypal/testdata/README.md`);
    if (key === "want") read.wants.push(value!);
    if (key === "warn") read.warns.push(value!);
    if (key === "malformed") read.malformed = value!;
  }
  assert.equal(read.wants.length > 0, read.malformed === "", "a case has either want or malformed");
  return read;
}

for (const channel of channels) {
  describe(`the shared cases of ${channel}`, () => {
    const files = readdirSync(join(testdata, channel)).filter((file) => file.endsWith(".txt"));
    test("exist", () => {
      assert.ok(files.length >= 80, "is client/paypal/testdata whole?");
    });
    for (const file of files) {
      test(file, () => {
        const { wants, warns, malformed, body } = readCase(join(testdata, channel, file));
        const before = Buffer.from(body);
        if (malformed !== "") {
          assert.throws(
            () => identify[channel](body),
            (error) => error instanceof MalformedError && error.message.includes(malformed),
          );
          return;
        }
        const identified = identify[channel](body);
        assert.deepEqual(body, before, "the body was changed; the receiver still has to verify it");
        assert.equal(identified.lines(), wants.map((line) => `${line}\n`).join(""));
        const left = [...identified.warnings];
        for (const text of warns) {
          const at = left.findIndex((warning) => warning.includes(text));
          assert.ok(at >= 0, `no warning of ${JSON.stringify(left)} contains "${text}"`);
          left.splice(at, 1);
        }
        assert.deepEqual(left, [], "warnings that the case does not name");
      });
    }
  });
}

// The shared cases compare printed lines. Those have neither unknown, nor the type or id of
// a skipped message, so they are tested here.
const unseen: readonly [Channel, string, { type: string; unknown: boolean; id?: string }][] = [
  ["ipn", "txn_type=never_heard_of&payment_status=Completed", { type: "never_heard_of", unknown: true }],
  ["ipn", "txn_type=cart&payment_status=Odd", { type: "cart", unknown: true }],
  ["ipn", "hello=world", { type: "", unknown: true }],
  ["ipn", "txn_type=masspay", { type: "masspay", unknown: false, id: "85655647878421977e4106c1f56bf913" }],
  ["ipn", "txn_type=mp_notification", { type: "mp_notification", unknown: false }],
  ["ipn", "txn_type=payout", { type: "payout", unknown: false }],
  ["ipn", "txn_type=cart&payment_status=Completed&mc_gross=-1", { type: "cart", unknown: false }],
  ["ipn", "txn_type=ca%00rt%22", { type: "ca?rt?", unknown: true }],
  ["webhook", '{"id":"WH-1","event_type":"NEVER.HEARD.OF"}', { type: "NEVER.HEARD.OF", unknown: true, id: "WH-1" }],
  [
    "webhook",
    '{"id":"a b","event_type":"CHECKOUT.ORDER.APPROVED"}',
    { type: "CHECKOUT.ORDER.APPROVED", unknown: false },
  ],
  ["webhook", '{"event_type":"VAULT.PAYMENT-TOKEN.DELETED"}', { type: "VAULT.PAYMENT-TOKEN.DELETED", unknown: false }],
  ["webhook", '{"event_type":"PAYMENT.PAYOU"}', { type: "PAYMENT.PAYOU", unknown: true }],
];
for (const [channel, body, want] of unseen) {
  test(`skipping ${body}`, () => {
    const { skipped, type, unknown, message, warnings } = identify[channel](Buffer.from(body));
    assert.notEqual(skipped, "");
    assert.deepEqual(warnings, []);
    assert.deepEqual({ type, unknown }, { type: want.type, unknown: want.unknown });
    if (want.id !== undefined) assert.equal(message.id, want.id);
  });
}

test("a Uint8Array over part of a buffer is read within its bounds", () => {
  const buffer = new TextEncoder().encode("garbage&txn_type=subscr_cancel&subscr_id=I-1&garbage");
  const [pair] = identifyIpn(buffer.subarray(8, -8)).pairs;
  assert.deepEqual(pair?.donation, { seriesId: "I-1", event: "CANCELLATION" });
});

// Whoever can post to a receiver chooses these texts. A regular expression that backtracks
// over them would run for hours.
test("long runs of one character are read in linear time", { timeout: 60_000 }, () => {
  const run = (text: string): string => text.repeat((1 << 20) / text.length);
  for (const text of [" ", "\r\n", "+", "%20", "%", "&", "=", "a", "0"]) {
    const body = `txn_type=cart${run(text)}x&payment_status=Completed&txn_id=1&test_ipn=${run(text)}x&mc_gross=${run(text)}x`;
    identifyIpn(Buffer.from(body + run(text) + "x"));
    assert.equal(isTest(Buffer.from(body)), !["&"].includes(text));
  }
  for (const text of [" ", "a", "\\\\", "\\u0041", "\\n", "1", "\n", '"', "{", "[", ",", "-", "/captures/"]) {
    for (const body of [
      `{"event_type":"${run(text)}`,
      `{"event_type":"${run(text)}x\u0001"}`,
      `{"a":${run(text)}x}`,
      `${run(text)}{`,
    ]) {
      assert.throws(() => identifyWebhook(Buffer.from(body)), MalformedError);
    }
  }
  const resource = {
    id: run(" ") + "x",
    create_time: `10:00:00 Mar 08,${run(" ")}2021`,
    links: [{ rel: "up", href: run("/captures/") }],
  };
  identifyWebhook(
    Buffer.from(
      JSON.stringify({ id: "WH-1", event_type: "PAYMENT.CAPTURE.COMPLETED", resource: { ...resource, id: "1" } }),
    ),
  );
  identifyWebhook(Buffer.from(JSON.stringify({ event_type: "PAYMENT.CAPTURE.REVERSED", resource })));
});

test("inLedger sets the ledger, and lines() quotes it where necessary", () => {
  const identified = identifyIpn(Buffer.from("txn_type=subscr_cancel&subscr_id=I-1")).inLedger('a "ledger"\n\\ä');
  assert.equal(identified.pairs[0]?.donation.ledger, 'a "ledger"\n\\ä');
  assert.ok(identified.lines().startsWith('{"donation":{"ledger":"a \\"ledger\\"\\u000a\\\\ä","series_id":"I-1",'));
});

const program = (args: string[], input: string | Buffer) =>
  spawnSync(process.execPath, [join(project, "build/src/identify.js"), ...args], { input, encoding: "utf8" });

test("noted-identify prints lines and warnings, and exits with 1 on a malformed message", () => {
  let { status, stdout, stderr } = program(["webhook"], '{"event_type":"NEVER.HEARD.OF"}');
  assert.deepEqual([status, stdout], [0, '{"skipped":"event_type NEVER.HEARD.OF is not known"}\n']);
  assert.match(stderr, /it may have been a donation/);
  ({ status, stdout, stderr } = program(["ipn"], ""));
  assert.deepEqual([status, stdout], [1, ""]);
  assert.match(stderr, /body: holds no field/);
  assert.equal(program([], "").status, 2);
  assert.equal(program(["ipn", "webhook"], "").status, 2);
  assert.equal(program(["toString"], "").status, 2);
  assert.equal(program(["ipn"], Buffer.alloc((4 << 20) + 1, "a")).status, 1);
});

interface Mutant {
  channel: Channel;
  body: string;
  malformed: string;
  lines: string;
  warnings: string[];
  type: string;
  unknown: boolean;
}

// TestMutants in Go writes many variations of the cases, each with the lines that Go prints
// for it.
test("Go and Node read variations of the cases alike", () => {
  const folder = mkdtempSync(join(tmpdir(), "noted-"));
  after(() => {
    rmSync(folder, { recursive: true });
  });
  const path = join(folder, "mutants");
  const args = ["test", "-count=1", "-run=^TestMutants$", "./client/paypal", "-args", `-mutants=${path}`];
  execFileSync("go", args, { cwd: root, stdio: "inherit" });
  const mutants = readFileSync(path, "utf8").trimEnd().split("\n");
  assert.ok(mutants.length > 5000);
  for (const line of mutants) {
    const mutant = JSON.parse(line) as Mutant;
    const got = { channel: mutant.channel, body: mutant.body, ...readMutant(mutant) };
    assert.deepEqual(got, mutant, Buffer.from(mutant.body, "base64").toString("latin1"));
  }
});

function readMutant({ channel, body }: Mutant): Omit<Mutant, "channel" | "body"> {
  try {
    const identified = identify[channel](Buffer.from(body, "base64"));
    const { warnings, type, unknown } = identified;
    return { malformed: "", lines: identified.lines(), warnings: [...warnings], type, unknown };
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    return { malformed: error.field, lines: "", warnings: [], type: "", unknown: false };
  }
}

// Messages that PayPal really sent are not in the repository, but on some machines beside it.
const payloads = process.env["PAYLOADS"] ?? join(root, "../shared/payloads");
const notectl = process.env["NOTECTL"];
test(
  "Go and Node print the same lines for PayPal's own messages",
  { skip: !existsSync(payloads) || notectl === undefined },
  () => {
    const bodies = channels.flatMap((channel) =>
      readdirSync(join(payloads, channel)).map((file) => [channel, join(payloads, channel, file)] as const),
    );
    assert.ok(bodies.length > 90);
    for (const [channel, path] of bodies) {
      const input = readFileSync(path);
      const go = spawnSync(notectl!, ["identify", channel], { input, encoding: "utf8" });
      assert.equal(go.status, 0, path);
      const identified = identify[channel](input);
      assert.equal(identified.lines(), go.stdout, path);
      const unknown = identified.unknown ? [`${identified.skipped}; it may have been a donation: look at it`] : [];
      const warned = [...identified.warnings, ...unknown].map((text) => `notectl: warning: ${text}\n`);
      assert.equal(warned.join(""), go.stderr, path);
    }
  },
);
