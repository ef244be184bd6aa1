// Runs against a real server, which test.sh builds.
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once as event } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { Code, ConnectError, createClient, type Client } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { DedupeService, State, Verdict } from "./gen/noted/v1/noted_pb.js";
import { connectTo, once } from "./once.js";

let server: ChildProcess, http: string, grpc: string;
let noted: Client<typeof DedupeService>;

before(async () => {
  server = spawn(process.env.NOTED!, ["-dev", "-listen", "127.0.0.1:0", "-http-listen", "127.0.0.1:0", "-admin-listen", "off"], { stdio: ["ignore", "pipe", "ignore"] });
  const [banner] = await event(createInterface(server.stdout!), "line") as [string];
  [grpc, http] = banner.match(/127\.0\.0\.1:\d+/g)!.map((address) => "http://" + address) as [string, string];
  noted = connectTo(http);
});

after(async () => {
  server.kill();
  const [code] = await event(server, "exit");
  assert.equal(code, 0);
});

const donation = (seriesId: string) => ({ ledger: "test", seriesId, amount: "25.00", currencyCode: "EUR" });
const ipn = { channel: "ipn", id: "61A0" }, webhook = { channel: "webhook", id: "WH-7" };

test("a donation that is told of on two channels, twice each, is processed once", async () => {
  const ids: string[] = [], verdicts: string[] = [];
  for (const message of [ipn, webhook, ipn, webhook]) {
    verdicts.push(Verdict[await once(noted, donation("I-1"), message, async (note) => { ids.push(note.donationId); })]);
  }
  assert.deepEqual(verdicts, ["FIRST", "DUPLICATE", "DUPLICATE", "DUPLICATE"]);
  assert.equal(ids.length, 1);
  const { notes } = await noted.listDonations({ ledger: "test", seriesId: "I-1" });
  assert.deepEqual(notes.map((note) => [note.donationId, note.state]), [[ids[0], State.SETTLED]]);
});

test("what fails is free for the next message at once, under the same id", async () => {
  const attempts: [string, number][] = [];
  const failing = once(noted, donation("I-2"), ipn, async (note) => {
    attempts.push([note.donationId, note.attempt]);
    throw new Error("the books are closed");
  });
  await assert.rejects(failing, /the books are closed/);
  assert.equal(await once(noted, donation("I-2"), webhook, async (note) => { attempts.push([note.donationId, note.attempt]); }), Verdict.FIRST);
  assert.deepEqual(attempts, [[attempts[0]![0], 1], [attempts[0]![0], 2]]);
});

test("of twenty at the same moment one processes, and the others are told to come again or that it is done", async () => {
  let processed = 0;
  const verdicts = await Promise.all(Array.from({ length: 20 }, (_, i) => once(noted, donation("I-3"), i % 2 ? ipn : webhook, async () => {
    processed++;
    await setTimeout(50);
  })));
  assert.equal(processed, 1);
  assert.equal(verdicts.filter((verdict) => verdict === Verdict.FIRST).length, 1);
  assert.ok(!verdicts.includes(Verdict.UNSPECIFIED));
});

test("who takes longer than the hold keeps it, and who has lost it is told", async () => {
  const slow = once(noted, donation("I-4"), ipn, () => setTimeout(2500), 1);
  await setTimeout(2000);
  assert.equal(await once(noted, donation("I-4"), webhook, () => assert.fail("processed twice")), Verdict.HELD);
  assert.equal(await slow, Verdict.FIRST);

  const robbed = once(noted, donation("I-5"), ipn, async (note, lost) => {
    await noted.forgetDonation({ ledger: "test", seriesId: "I-5", donationId: note.donationId, reason: "a test" });
    await once(noted, donation("I-5"), webhook, async () => {});
    assert.equal(lost.aborted, false);
  }, 1);
  await assert.rejects(robbed, (error) => ConnectError.from(error).code === Code.NotFound);

  const overtaken = once({ ...noted, extendHold: () => Promise.reject(new ConnectError("taken over", Code.FailedPrecondition)) }, donation("I-6"), ipn,
    async (_, lost) => { await event(lost, "abort"); lost.throwIfAborted(); }, 1);
  await assert.rejects(overtaken, /taken over/);
});

test("a request that is wrong says what is wrong with it", async () => {
  await assert.rejects(once(noted, { seriesId: "a b" }, ipn, () => assert.fail("processed")), (error: ConnectError) => {
    assert.equal(error.code, Code.InvalidArgument);
    const details = error.details.map((detail) => "debug" in detail ? detail.debug as Record<string, any> : {});
    assert.equal(details[0]!.reason, "INVALID_REQUEST");
    assert.equal(details[1]!.fieldViolations[0].field, "donation.series_id");
    return true;
  });
});

test("without the service nothing is processed, and a lost answer is asked for again", async () => {
  await assert.rejects(once(connectTo("http://127.0.0.1:1"), donation("I-7"), ipn, () => assert.fail("processed")), (error: ConnectError) => error.code === Code.Unavailable);

  let lost = 0;
  const losing = { ...noted, noteDonation: async (...args: Parameters<typeof noted.noteDonation>) => {
    const answer = await noted.noteDonation(...args);
    if (lost++ === 0) throw new ConnectError("the connection broke", Code.Unavailable);
    return answer;
  } };
  assert.equal(await once(losing, donation("I-8"), ipn, async () => {}), Verdict.FIRST);
  assert.equal(lost, 2);
});

test("what is processed is settled, however long the server is busy or in trouble, within reason", async () => {
  for (const code of [Code.ResourceExhausted, Code.Internal, Code.Unknown, Code.Aborted, Code.Unavailable, Code.DeadlineExceeded]) {
    let tries = 0;
    const troubled = { ...noted, settleDonation: async (...args: Parameters<typeof noted.settleDonation>) => {
      if (++tries < 4) throw new ConnectError("busy", code);
      return noted.settleDonation(...args);
    } };
    assert.equal(await once(troubled, donation("I-10-" + code), ipn, async () => {}), Verdict.FIRST, Code[code]);
    assert.equal(await once(noted, donation("I-10-" + code), webhook, () => assert.fail("processed twice")), Verdict.DUPLICATE);
  }
});

test("what is refused for good, and a note in a busy moment, is not asked for again", async () => {
  let tries = 0;
  const refusing = { ...noted, settleDonation: async () => { tries++; throw new ConnectError("taken over", Code.FailedPrecondition); } };
  await assert.rejects(once(refusing, donation("I-11"), ipn, async () => {}), /taken over/);
  const busy = { ...noted, noteDonation: async () => { tries++; throw new ConnectError("too much", Code.ResourceExhausted); } };
  await assert.rejects(once(busy, donation("I-12"), ipn, () => assert.fail("processed")), /too much/);
  assert.equal(tries, 2);
});

test("settling ends after fifteen seconds", { timeout: 30_000 }, async () => {
  const away = { ...noted, settleDonation: async () => { throw new ConnectError("away", Code.Internal); } };
  const began = performance.now();
  await assert.rejects(once(away, donation("I-13"), ipn, async () => {}), /away/);
  const took = performance.now() - began;
  assert.ok(took > 12_000 && took < 16_000, `took ${took} ms`);
});

test("an answer that says neither FIRST, DUPLICATE nor HELD says nothing", async () => {
  for (const change of [{ verdict: Verdict.UNSPECIFIED }, { verdict: 4 as Verdict }, { verdict: Verdict.FIRST, receipt: "" }]) {
    const strange = { ...noted, noteDonation: async (...args: Parameters<typeof noted.noteDonation>) => ({ ...await noted.noteDonation(...args), ...change }) };
    await assert.rejects(once(strange, donation("I-14-" + change.verdict), ipn, () => assert.fail("processed")), /noting I-14-/);
  }
});

test("a hold that cannot be meant is refused before anything is sent", async () => {
  const silent = { ...noted, noteDonation: () => assert.fail("sent") } as unknown as typeof noted;
  for (const seconds of [0, -1, 0.5, 901, NaN]) {
    await assert.rejects(once(silent, donation("I-15"), ipn, () => assert.fail("processed"), seconds), RangeError, `${seconds}`);
  }
});

test("the token goes with every call", async () => {
  let header: string | undefined;
  const spy = createServer((request, response) => { header = request.headers.authorization; response.statusCode = 401; response.end(); }).listen(0, "127.0.0.1");
  await event(spy, "listening");
  const { port } = spy.address() as { port: number };
  await assert.rejects(once(connectTo(`http://127.0.0.1:${port}`, "t-1"), donation("I-1"), ipn, () => assert.fail("processed")),
    (error: ConnectError) => error.code === Code.Unauthenticated);
  assert.equal(header, "Bearer t-1");
  spy.close();
});

test("every protocol that Node speaks is understood, and so are streams", async () => {
  for (const [name, transport] of Object.entries({
    grpc: createGrpcTransport({ baseUrl: grpc }),
    "grpc at the door": createGrpcTransport({ baseUrl: http }),
    "grpc-web": createGrpcWebTransport({ baseUrl: http, httpVersion: "1.1" }),
    connect: createConnectTransport({ baseUrl: http, httpVersion: "2" }),
    binary: createConnectTransport({ baseUrl: http, httpVersion: "2", useBinaryFormat: true }),
  })) {
    const client = createClient(DedupeService, transport);
    assert.equal((await client.donationExists({ donation: donation("I-1") })).exists, true, name);
    if (name === "grpc-web") continue; // over HTTP/1.1 there are no streams
    const verdicts: string[] = [];
    for await (const answer of client.noteDonations((async function* () {
      for (const seriesId of ["I-9-" + name.replaceAll(" ", ""), "a b", "I-1"]) {
        yield { request: { donation: donation(seriesId) } };
      }
    })())) {
      verdicts.push(answer.result.case === "response" ? Verdict[answer.result.value.verdict] : answer.result.value!.reason);
    }
    assert.deepEqual(verdicts, ["FIRST", "INVALID_REQUEST", "DUPLICATE"], name);
  }
});

test("the README shows this, and its receiver works", async (t) => {
  const readme = readFileSync("README.md", "utf8");
  assert.ok(readme.includes("```ts\n" + readFileSync("once.ts", "utf8") + "```"), "README.md does not show once.ts as it is");
  const receiver = readFileSync("receiver.ts", "utf8");
  assert.ok(readme.includes("```ts\n" + receiver + "```"), "README.md does not show receiver.ts as it is");

  const { receive } = await import("./receiver.js");
  const books: string[] = [];
  const listening = createServer(receive(noted, async (note) => { books.push(note.donationId); })).listen(0, "127.0.0.1");
  t.after(() => { listening.close(); listening.closeAllConnections(); });
  await event(listening, "listening");
  const address = listening.address() as { port: number };
  const post = async (body: string) => (await fetch(`http://127.0.0.1:${address.port}/`, { method: "POST", body })).status;
  const pledge = (id: string) => JSON.stringify({ id, pledge: "P-1", paidAt: "2026-11-21T09:31:14Z", amount: "5.00", currency: "EUR" });
  assert.deepEqual([await post(pledge("m-1")), await post(pledge("m-1")), books.length], [200, 200, 1]);
  assert.equal(await post("{}"), 503);
  // In bytes, and also where no length is told.
  const long = (size: number) => pledge("m-1").replace("}", `, "note": "${"ä".repeat(size)}"}`);
  assert.equal(await post(long(100_000)), 200);
  assert.equal(await post(long(140_000)), 413);
  const stream = new ReadableStream({ start: (c) => { c.enqueue(new TextEncoder().encode(long(140_000))); c.close(); } });
  assert.equal((await fetch(`http://127.0.0.1:${address.port}/`, { method: "POST", body: stream, duplex: "half" } as RequestInit)).status, 413);
  assert.equal(await post(pledge("m-1")), 200);
  assert.equal(books.length, 1);
});
