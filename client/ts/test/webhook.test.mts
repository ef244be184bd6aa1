// Which webhooks the receiver believes.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { test } from "node:test";
import * as x509 from "@peculiar/x509";
import { Client } from "../src/index.mjs";
import { Receiver, type ReceiverOptions } from "../src/receiver/index.mjs";
import { crc32 } from "../src/receiver/crc.js";
import { Authority, daysFromNow, makeKey } from "./authority.mjs";
import { startNoted } from "./noted.mjs";
import { PayPal, signed, webhook, webhookId } from "./paypal.mjs";

const { grpc } = await startNoted();
const paypal = await PayPal.start();
const booked: { seriesId: string; ledger: string | undefined; test: boolean }[] = [];
const lines: string[] = [];
const sandboxId = "4JH86294D6297924G";

const settings = (more: Partial<ReceiverOptions> = {}): ReceiverOptions => ({
  client: new Client(grpc),
  process: ({ donation: { seriesId, ledger }, test }) => booked.push({ seriesId, ledger, test }),
  undecided: (_, error) => {
    throw error;
  },
  ledger: "paypal-live",
  webhookId,
  certHosts: [` ${paypal.certHost.toUpperCase()} `],
  certRoots: paypal.root.pem,
  log: { warn: (text) => lines.push(text), error: (text) => lines.push(text) },
  ...more,
});
const receiver = new Receiver(settings());
const genuine = await paypal.certificate();

async function post(headers: Record<string, string>, body: Buffer, to = receiver): Promise<string> {
  const { status, body: said } = await to.receive("webhook", headers, body);
  return said === "" ? String(status) : `${status} ${(JSON.parse(said) as { reason: string }).reason}`;
}
const event = (): Buffer => webhook(`I-${randomUUID()}`);

test("a signature must be over the exact bytes, for our webhook id, and by the certificate's key", async () => {
  const body = event();
  const headers = signed(genuine, body);
  assert.equal(await post(headers, Buffer.concat([body, Buffer.from(" ")])), "400 invalid");
  assert.equal(await post(signed(genuine, body, { webhook: "another" }), body), "400 invalid");
  const other = await paypal.certificate(undefined, { key: await makeKey() });
  assert.equal(await post(signed({ url: genuine.url, keyPem: other.keyPem }, body), body), "400 invalid");
  assert.equal(await post({ ...headers, "paypal-transmission-id": randomUUID() }, body), "400 invalid");
  assert.equal(
    await post(
      { ...headers, "paypal-transmission-sig": `${headers["paypal-transmission-sig"]!.slice(0, -4)}!!!!` },
      body,
    ),
    "400 invalid",
  );
  assert.equal(await post(headers, body), "200");
  assert.equal(booked.length, 1);
});

test("every header of a webhook is required and checked", async () => {
  const body = event();
  const headers = signed(genuine, body);
  for (const name of Object.keys(headers).filter((name) => name.startsWith("paypal-"))) {
    assert.equal(await post({ ...headers, [name]: "" }, body), "400 headers", name);
    assert.equal(await post({ ...headers, [name]: "x".repeat(1025) }, body), "400 headers", name);
  }
  assert.equal(await post({ ...headers, "paypal-transmission-id": "a|b" }, body), "400 headers");
  assert.equal(await post({ ...headers, "paypal-transmission-time": "yesterday" }, body), "400 headers");
  assert.equal(await post({ ...headers, "paypal-auth-algo": "SHA1withRSA" }, body), "400 headers");
  const upper = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toUpperCase(), value]));
  assert.equal(await post({ ...upper, "PAYPAL-AUTH-ALGO": "sha256WITHrsa" }, body), "200");
  assert.equal((await receiver.receive("webhook", new Headers(headers), body)).status, 200);
});

test("a transmission must be from the last days", async () => {
  for (const [hours, want] of [
    [-74, "400 too_old"],
    [-72, "200"],
    [1, "400 too_new"],
  ] as const) {
    const body = event();
    assert.equal(await post(signed(genuine, body, { at: new Date(Date.now() + hours * 3_600_000) }), body), want);
  }
});

test("a known transmission with another body of the same checksum is refused", async () => {
  const body = event();
  const headers = signed(genuine, body);
  assert.equal(await post(headers, body), "200");
  const forged = withChecksum(event(), crc32(body));
  assert.equal(crc32(forged), crc32(body));
  assert.equal(await post(headers, forged), "400 other_body");
  assert.match(lines.join("\n"), /one of the two is forged/);
  assert.equal(await post(headers, body), "200", "a redelivery");
  // The limit of this check: a process that has not seen the transmission accepts the body.
  assert.equal(await post(headers, forged, new Receiver(settings())), "200");
});

/** Adds 32 letters to the body's beginning, so that its checksum becomes the given one. */
function withChecksum(body: Buffer, wanted: number): Buffer {
  const made = (bits: number): Buffer => {
    const letters = Array.from({ length: 32 }, (_, bit) => ((bits >>> bit) & 1 ? "b" : "a")).join("");
    return Buffer.concat([Buffer.from(`{"filler":"${letters}",`), body.subarray(1)]);
  };
  // CRC-32 is linear: the change by several letters is the sum of the changes by each. So
  // Gaussian elimination finds the letters.
  const zero = crc32(made(0));
  const basis: { value: number; bits: number }[] = []; // the largest first
  const reduce = (vector: { value: number; bits: number }): { value: number; bits: number } => {
    let { value, bits } = vector;
    for (const known of basis) {
      if ((value ^ known.value) >>> 0 < value) [value, bits] = [(value ^ known.value) >>> 0, bits ^ known.bits];
    }
    return { value, bits };
  };
  for (let bit = 0; bit < 32; bit++) {
    const reduced = reduce({ value: (crc32(made(1 << bit)) ^ zero) >>> 0, bits: 1 << bit });
    if (reduced.value !== 0) basis.push(reduced);
    basis.sort((a, b) => b.value - a.value);
  }
  return made(reduce({ value: (zero ^ wanted) >>> 0, bits: 0 }).bits);
}

test("certificates are fetched only from PayPal's hosts and paths", async () => {
  const body = event();
  const asked = paypal.certificates.asked.length;
  for (const url of [
    genuine.url.replace("https:", "http:"),
    genuine.url.replace(paypal.certHost, `example.org`),
    genuine.url.replace("localhost:", "localhost:0"),
    genuine.url.replace("https://", "https://a@"),
    `${genuine.url}?a=b`,
    `${genuine.url}#a`,
    `${genuine.url}/../x`,
    genuine.url.replace("certs/", "certs/x/"),
    genuine.url.replace("certs/", "certs/%43"),
    genuine.url.replace("https://", "https:\\\\"),
    "nonsense",
  ]) {
    assert.equal(await post(signed({ ...genuine, url }, body), body), "400 certificate", url);
  }
  assert.equal(paypal.certificates.asked.length, asked);
  assert.equal(
    await post(signed({ ...genuine, url: genuine.url.replace("localhost", "LOCALHOST") }, body), body),
    "200",
  );
});

test("a certificate with a wrong name, root, time or key is refused", async () => {
  const stranger = await Authority.make("Root");
  const strange = await stranger.leaf("messageverificationcerts.paypal.com");
  const ended = await paypal.certificate(undefined, { to: daysFromNow(-1) });
  const bad = [
    await paypal.certificate("api.paypal.com"),
    await paypal.certificate(undefined, { from: daysFromNow(1) }),
    ended,
    await paypal.certificate(undefined, { key: await makeKey(1024) }),
    await paypal.certificate(undefined, { chain: false }), // its issuer cannot be fetched
  ];
  paypal.certificates.replies.set("/v1/notifications/certs/STRANGE", [200, strange.pem + stranger.pem]);
  bad.push({ ...strange, url: `https://${paypal.certHost}/v1/notifications/certs/STRANGE`, path: "" });
  for (const [i, signer] of bad.entries()) {
    const body = event();
    assert.equal(await post(signed(signer, body), body), "400 certificate", `the ${i}th`);
  }
  // A certificate may end between a transmission and its redelivery.
  const body = event();
  assert.equal(await post(signed(ended, body, { at: daysFromNow(-2) }), body), "200");
});

test("a host without the certificate, or without an answer", async () => {
  for (const [reply, want] of [
    [[404, ""], "400 certificate"],
    [[410, ""], "400 certificate"],
    [[500, genuine.pem], "503 verifier"],
    [[302, genuine.url], "503 verifier"],
    [[200, "<html>"], "503 verifier"],
    [[200, genuine.pem.repeat(100)], "503 verifier"],
  ] as const) {
    const signer = await paypal.certificate();
    const body = event();
    const served = paypal.certificates.replies.get(signer.path)!;
    paypal.certificates.replies.set(signer.path, [...reply]);
    assert.equal(await post(signed(signer, body), body), want, String(reply[0]));
    paypal.certificates.replies.set(signer.path, served);
    assert.equal(await post(signed(signer, body), body), "200", "a trouble is not kept");
  }
  const body = event();
  const untrusting = new Receiver(settings({ certRoots: (await Authority.make("Other")).pem }));
  assert.equal(await post(signed(genuine, body), body, untrusting), "503 verifier");
  assert.match(lines.join("\n"), /its certificate cannot be trusted/);
});

test("a certificate is fetched once for all waiting messages, and kept", async () => {
  const signer = await paypal.certificate();
  const asked = () => paypal.certificates.asked.filter((path) => path === signer.path).length;
  const bodies = Array.from({ length: 10 }, event);
  const answers = await Promise.all(bodies.map((body) => post(signed(signer, body), body)));
  assert.deepEqual([new Set(answers), asked()], [new Set(["200"]), 1]);
  const [body] = bodies as [Buffer];
  assert.deepEqual([await post(signed(signer, body), body), asked()], ["200", 1]);
});

test("an issuer that the host leaves out is fetched from the address in the certificate", async () => {
  const access = new x509.AuthorityInfoAccessExtension({ caIssuers: paypal.issuerAt });
  const signer = await paypal.certificate(undefined, { chain: false, extensions: [access] });
  const body = event();
  assert.equal(await post(signed(signer, body), body), "503 verifier");
  paypal.plain.replies.set("/between", [200, paypal.between.certificate.raw]);
  assert.equal(await post(signed(signer, body), body), "200");
});

test("a message with the sandbox's certificate or webhook id counts as a test", async () => {
  const test = await paypal.certificate("messageverificationcerts.sandbox.paypal.com");
  const body = event();
  assert.equal(await post(signed(test, body), body), "403 sandbox");
  const taking = new Receiver(settings({ sandboxLedger: "paypal-sandbox", sandboxWebhookId: sandboxId }));
  const before = booked.length;
  const bodies = [event(), event(), event()] as const;
  assert.equal(await post(signed(test, bodies[0], { webhook: sandboxId }), bodies[0], taking), "200");
  assert.equal(await post(signed(genuine, bodies[1], { webhook: sandboxId }), bodies[1], taking), "200");
  assert.equal(await post(signed(genuine, bodies[2]), bodies[2], taking), "200");
  assert.deepEqual(
    booked.slice(before).map(({ ledger, test }) => [ledger, test]),
    [
      ["paypal-sandbox", true],
      ["paypal-sandbox", true],
      ["paypal-live", false],
    ],
  );
});

test("PayPal's API gets the exact body", async () => {
  let status = "SUCCESS";
  let tokens = 0;
  const authorised: (string | undefined)[] = [];
  const { api } = paypal;
  api.replies.set("/v1/oauth2/token", (body, request: IncomingMessage) => {
    assert.equal(body.toString(), "grant_type=client_credentials");
    authorised.push(request.headers.authorization);
    return [200, JSON.stringify({ access_token: `t-${++tokens}`, expires_in: 32_400 })];
  });
  api.replies.set("/v1/notifications/verify-webhook-signature", (_, request) =>
    request.headers.authorization === `Bearer t-${tokens}` && tokens !== 1
      ? [200, JSON.stringify({ verification_status: status })]
      : [401, ""],
  );
  const asking = new Receiver(
    settings({ webhookVerify: { clientId: "id", clientSecret: "secret", url: `${paypal.apiUrl}/` } }),
  );
  const body = Buffer.from(event().toString().replace("{", '{ "spaced" : 1.50,'));
  const headers = signed(genuine, body);
  assert.equal(await post(headers, body, asking), "200"); // after the API has refused the first token
  assert.deepEqual([tokens, authorised[0]], [2, `Basic ${Buffer.from("id:secret").toString("base64")}`]);
  const asked = api.posted.at(-1)!.toString();
  assert.ok(asked.endsWith(`,"webhook_event":${body.toString()}}`));
  assert.equal((JSON.parse(asked) as { webhook_id: string }).webhook_id, webhookId);

  status = "FAILURE";
  assert.equal(await post(headers, event(), asking), "400 invalid");
  status = "PERHAPS";
  assert.equal(await post(headers, event(), asking), "503 verifier");
  assert.equal(await post(headers, Buffer.from('{"event_type":"x"},"webhook_id":"mine"'), asking), "400 malformed");
  assert.equal(tokens, 2);
  api.replies.set("/v1/notifications/verify-webhook-signature", [500, ""]);
  assert.equal(await post(headers, event(), asking), "503 verifier");
  const unknown = new Receiver(
    settings({ webhookVerify: { clientId: "id", clientSecret: "wrong", url: paypal.apiUrl } }),
  );
  api.replies.set("/v1/oauth2/token", [401, ""]);
  assert.equal(await post(headers, event(), unknown), "503 verifier");
  assert.match(lines.at(-1)!, /does not know the client id and secret/);
});

test("our CRC-32 is zlib's", () => {
  assert.equal(crc32(Buffer.from("123456789")), 0xcbf43926);
  assert.equal(crc32(Buffer.alloc(0)), 0);
});
