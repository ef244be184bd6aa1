// The receiver in node:http, Express and Fastify, over real sockets.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createServer, request as httpRequest, type RequestListener, type Server } from "node:http";
import { after, beforeEach, describe, test } from "node:test";
import express from "express";
import { fastify } from "fastify";
import { Client } from "../src/index.mjs";
import { Receiver, type Delivery } from "../src/receiver/index.mjs";
import { listen, startNoted } from "./noted.mjs";
import { account, ipn, PayPal, signed, webhook, webhookId } from "./paypal.mjs";

const { grpc } = await startNoted();
const paypal = await PayPal.start();
const genuine = await paypal.certificate();
let booked: Delivery[] = [];
const lines: string[] = [];
const receiver = new Receiver({
  client: new Client(grpc),
  process: (delivery) => booked.push(delivery),
  undecided: (_, error) => {
    throw error;
  },
  ledger: "paypal-live",
  accounts: [account],
  webhookId,
  ipnVerifyUrl: paypal.ipnUrl,
  certHosts: [paypal.certHost],
  certRoots: paypal.root.pem,
  log: { warn: (text) => lines.push(text), error: (text) => lines.push(text) },
});

beforeEach(() => {
  booked = [];
});

/** Serves until the tests end, and returns the address. */
async function serving(handler: RequestListener): Promise<string> {
  const server: Server = createServer(handler);
  after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${await listen(server)}`;
}

const node = await serving(receiver.listener("/paypal/"));

const expressApp = express();
expressApp.use("/paypal", receiver.listener());
expressApp.use(express.json(), express.urlencoded({ extended: false }));
expressApp.post("/other", (request, response) => {
  response.json(request.body);
});
const inExpress = await serving(expressApp);

const raw = express();
raw.use("/paypal", express.raw({ type: () => true, limit: "1mb" }), receiver.listener());
const inRawExpress = await serving(raw);

const fastifyApp = fastify();
await fastifyApp.register(receiver.fastify, { prefix: "/paypal" });
fastifyApp.post("/other", (request) => request.body);
after(() => fastifyApp.close());
const inFastify = await fastifyApp.listen({ host: "127.0.0.1", port: 0 });

const form = { "content-type": "application/x-www-form-urlencoded" };

async function post(
  url: string,
  body: string | Buffer | ReadableStream,
  headers: Record<string, string> = form,
): Promise<string> {
  const response = await fetch(url, { method: "POST", body, headers, duplex: "half" });
  const said = await response.text();
  assert.equal(response.headers.get("retry-after"), response.status === 503 ? "30" : null);
  const reason = said.startsWith("{") ? (JSON.parse(said) as { reason?: string }).reason : undefined;
  return reason === undefined ? String(response.status) : `${response.status} ${reason}`;
}

for (const [name, at] of Object.entries({
  "node:http": node,
  "Express": inExpress,
  "Express with raw bodies": inRawExpress,
  "Fastify": inFastify,
})) {
  describe(name, () => {
    test("both channels of one donation, and their exact bytes", async () => {
      const series = `I-${randomUUID()}`;
      const body = ipn(series, { memo: "%FF%zz+;" });
      assert.equal(await post(`${at}/paypal/ipn`, body), "200");
      assert.deepEqual(booked[0]?.body, body);
      const event = Buffer.from(webhook(series).toString().replace("{", '{ "n" : 1.50 , "s" : "\u00e4\\u0000" ,'));
      assert.equal(await post(`${at}/paypal/webhook`, event, signed(genuine, event)), "200");
      assert.equal(booked.length, 1);
    });

    test("a streamed body, and a body that is too long, with and without a Content-Length", async () => {
      const body = ipn(`I-${randomUUID()}`, { memo: "a".repeat(200_000) });
      const stream = (bytes: Buffer) =>
        new ReadableStream({
          start: (c) => {
            c.enqueue(bytes.subarray(0, 10));
            c.enqueue(bytes.subarray(10));
            c.close();
          },
        });
      assert.equal(await post(`${at}/paypal/ipn`, stream(body)), "200");
      const long = Buffer.alloc((256 << 10) + 1, "a");
      assert.match(await post(`${at}/paypal/ipn`, long).catch(() => "413 broken off"), /^413/);
      assert.match(await post(`${at}/paypal/ipn`, stream(long)).catch(() => "413 broken off"), /^413/);
      assert.equal(await post(`${at}/paypal/ipn`, body), "200");
    });

    test("requests that PayPal would not send", async () => {
      assert.equal(
        await post(`${at}/paypal/ipn`, ipn("I-1"), { "content-type": "application/json" }),
        "415 content_type",
      );
      assert.equal(
        await post(`${at}/paypal/webhook`, webhook("I-1"), { "content-type": "application/json" }),
        "400 headers",
      );
      assert.match(await post(`${at}/paypal/other`, "a=b"), /^404/);
      const got = await fetch(`${at}/paypal/ipn`);
      if (name === "Fastify") assert.equal(got.status, 404);
      else assert.deepEqual([got.status, got.headers.get("allow")], [405, "POST"]);
    });
  });
}

test("other routes of the program keep their parsers", async () => {
  for (const at of [inExpress, inFastify]) {
    const response = await fetch(`${at}/other`, {
      method: "POST",
      body: '{"a":1}',
      headers: { "content-type": "application/json" },
    });
    assert.deepEqual(await response.json(), { a: 1 });
  }
});

test("in node:http the receiver answers only its own paths", async () => {
  const response = await fetch(`${node}/`);
  assert.deepEqual(
    [response.status, await response.json()],
    [
      404,
      { error: "there is nothing at this path; PayPal posts to /paypal/ipn and /paypal/webhook", reason: "not_found" },
    ],
  );
  assert.equal(await post(`${node}/paypal/ipn?a=b`, ipn(`I-${randomUUID()}`)), "200");
  assert.equal((await fetch(`${node}/paypalipn`)).status, 404);
});

test("a body that a parser has read already is answered with 503, and logged", async () => {
  const late = express();
  late.use(express.json(), express.urlencoded({ extended: false }));
  late.use("/paypal", receiver.listener());
  const at = await serving(late);
  const event = webhook(`I-${randomUUID()}`);
  assert.equal(await post(`${at}/paypal/ipn`, ipn(`I-${randomUUID()}`)), "503 parsed");
  assert.equal(await post(`${at}/paypal/webhook`, event, signed(genuine, event)), "503 parsed");
  assert.match(lines.at(-1)!, /mount the receiver before express\.json\(\)/);
  assert.equal(booked.length, 0);
});

test("a message that breaks off is ignored", async () => {
  const { port } = new URL(node);
  const before = lines.length;
  await new Promise<void>((resolve) => {
    const sending = httpRequest({
      port,
      path: "/paypal/ipn",
      method: "POST",
      headers: { ...form, "content-length": "1000" },
    });
    sending.on("error", () => {
      resolve();
    });
    sending.write("txn_type=", () => sending.destroy(new Error("gone")));
  });
  for (; lines.length === before;) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.match(lines.at(-1)!, /^ipn refused with 400, broken/);
});
