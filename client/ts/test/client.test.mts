// The calls: against a real server, and against a stand-in that gives wrong answers.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once as event } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { Code } from "@connectrpc/connect";
import * as noted from "../src/index.mjs";
import { Client, NotedError, type Donation } from "../src/index.mjs";
import {
  DedupeService,
  Verdict as PbVerdict,
  type ListDonationsRequest,
  type NoteDonationRequest,
  type SettleDonationRequest,
} from "../src/gen/noted/v1/noted_pb.js";
import { all, Proxy, startNoted } from "./noted.mjs";
import { project } from "./places.mjs";
import { noteOf, refuse, serve } from "./stand.mjs";

const { grpc, http } = await startNoted("-shadow-ledgers", "dark");
const client = new Client(grpc);

const donation = (more: Partial<Donation> = {}): Donation => ({
  ledger: "test",
  seriesId: `I-${randomUUID()}`,
  amount: "25.00",
  currencyCode: "EUR",
  ...more,
});
const ipn = { channel: "ipn", id: "61A0" };
const webhook = { channel: "webhook", id: "WH-7" };

test("in shadow each message is FIRST, and only the true one settles", async () => {
  const told = donation({ ledger: "dark" });
  const first = await client.note(told, ipn, { holdMs: 60_000 });
  assert.deepEqual([first.verdict, first.shadowVerdict], ["FIRST", "FIRST"]);
  const held = await client.note(told, webhook, { holdMs: 60_000 });
  assert.deepEqual([held.verdict, held.shadowVerdict, held.retryAfterMs], ["FIRST", "HELD", undefined]);
  assert.equal((await client.settle(held.receipt)).state, "HELD");
  assert.equal((await client.extend(held.receipt, 60_000)).state, "HELD");
  assert.equal((await client.release(held.receipt)).state, "HELD");
  assert.equal((await client.settle(first.receipt)).state, "SETTLED");

  const seen: unknown[] = [];
  const process = (note: noted.Note, hold: noted.Hold): unknown => seen.push(note.donationId, hold.shadowVerdict);
  assert.equal(await client.once(told, ipn, process), "FIRST");
  assert.deepEqual(seen, [first.note.donationId, "DUPLICATE"]);
  assert.equal((await client.exists(told)).note?.state, "SETTLED");
  assert.equal((await client.note(donation())).shadowVerdict, undefined);
});

test("a note is held, released, settled and forgotten", async () => {
  const occurredAt = new Date(Date.now() - 60_000);
  const told = donation({ occurredAt, transactionId: "8XB3", event: "REFUND" });
  assert.deepEqual(await client.exists(told), { exists: false, note: undefined, evidence: "NONE" });

  const first = await client.note(told, ipn, { holdMs: 60_000 });
  assert.equal(first.verdict, "FIRST");
  assert.equal(first.evidence, "NEW");
  assert.deepEqual(first.note.donation, { ...told });
  assert.deepEqual([first.note.state, first.note.attempt, first.note.sightings.length], ["HELD", 1, 1]);
  assert.deepEqual(first.note.sightings[0]!.message, ipn);
  assert.ok(first.note.heldUntil! > first.note.notedAt!);

  const held = await client.note({ ...told, amount: "26.00" }, webhook);
  assert.deepEqual([held.verdict, held.receipt, held.evidence], ["HELD", "", "SAME_TRANSACTION"]);
  assert.deepEqual(held.differences, ["amount"]);
  assert.ok(held.retryAfterMs! > 50_000 && held.retryAfterMs! <= 60_000);

  assert.equal((await client.extend(first.receipt, 90_000)).state, "HELD");
  assert.equal((await client.release(first.receipt, "a test")).state, "OPEN");
  const open = await client.exists(told);
  assert.deepEqual([open.exists, open.note?.state], [false, "OPEN"]);

  const again = await client.note(told, webhook, { holdMs: 1_500, requestId: "r-1" });
  assert.deepEqual(
    [again.evidence, again.note.attempt, again.note.donationId],
    ["TAKEN_OVER", 2, first.note.donationId],
  );
  assert.equal((await client.note(told, webhook, { holdMs: 1_500, requestId: "r-1" })).receipt, again.receipt);
  await assert.rejects(client.settle(first.receipt), noted.HoldLost);
  assert.equal((await client.settle(again.receipt, { reason: "a test" })).state, "SETTLED");
  await assert.rejects(client.release(again.receipt), noted.AlreadySettled);
  await assert.rejects(client.settle(first.receipt), noted.SettledByAnother);

  const forgotten = await client.forget(told.seriesId, first.note.donationId, "a test", { ledger: "test" });
  assert.equal(forgotten.donationId, first.note.donationId);
  await assert.rejects(
    client.forget(told.seriesId, first.note.donationId, "a test", { ledger: "test" }),
    noted.NoteNotFound,
  );
});

test("list goes through all pages", async () => {
  const ledger = `list-${randomUUID()}`;
  for (let i = 0; i < 7; i++)
    await client.note(donation({ ledger, seriesId: `I-${i}` }), i % 2 ? ipn : webhook, { holdMs: i < 2 ? 60_000 : 0 });
  const listed = async (request: noted.ListRequest): Promise<string[]> =>
    (await all(client.list({ ledger, pageSize: 2, ...request }))).map((note) => note.donation.seriesId).sort();
  assert.deepEqual(await listed({}), ["I-0", "I-1", "I-2", "I-3", "I-4", "I-5", "I-6"]);
  assert.deepEqual(await listed({ state: "HELD" }), ["I-0", "I-1"]);
  assert.deepEqual(await listed({ seenOnlyOn: "ipn" }), ["I-1", "I-3", "I-5"]);
  assert.deepEqual(await listed({ seriesId: "I-4" }), ["I-4"]);
  assert.deepEqual(await listed({ notedBefore: new Date(0) }), []);
  const page = await client.page({ ledger, pageSize: 1 });
  assert.notEqual(page.nextPageToken, "");
});

test("InvalidRequest names every wrong field", async () => {
  const wrong = client.note({ seriesId: "a b", amount: "x", currencyCode: "EUR" }, ipn);
  await assert.rejects(wrong, (error) => {
    assert.ok(error instanceof noted.InvalidRequest && error instanceof NotedError);
    assert.deepEqual(
      [error.name, error.reason, error.code, error.act],
      ["InvalidRequest", "INVALID_REQUEST", "INVALID_ARGUMENT", "noting a b"],
    );
    assert.deepEqual(error.violations.map(({ field }) => field).sort(), ["donation.amount", "donation.series_id"]);
    assert.match(error.message, /^noting a b: INVALID_REQUEST: /);
    return true;
  });
  const old = donation({ occurredAt: new Date("2001-01-01") });
  await assert.rejects(client.note(old), noted.OccurredTooEarly);
});

test("arguments of a wrong type are refused by name before a call is sent", async () => {
  const away = new Client("127.0.0.1:1");
  const wrong: [object, RegExp][] = [
    [{ seriesId: 7 }, /donation\.seriesId has the type number/],
    [{ seriesId: "I-1", amount: 25 }, /donation\.amount has the type number; give it as text, such as "25\.00"/],
    [{ seriesId: "I-1", event: "PAYED" }, /donation\.event is PAYED/],
    [{ seriesId: "I-1", event: "toString" }, /donation\.event is toString/],
    [{ seriesId: "I-1", event: "0" }, /donation\.event is 0/],
    [{ seriesId: "I-1", occurredAt: new Date("x") }, /donation\.occurredAt is no valid Date/],
    [{ seriesId: "I-1", occurredAt: "2026-01-01" }, /donation\.occurredAt is no valid Date/],
  ];
  for (const [asked, want] of wrong) {
    await assert.rejects(
      away.note(asked as Donation),
      (error) => error instanceof TypeError && want.test(error.message),
    );
  }
});

test("impossible targets and settings are refused by the constructor", () => {
  for (const target of ["", "127.0.0.1", "http://127.0.0.1:1", "127.0.0.1:x", "a b:1", "unix:/run/noted.sock"]) {
    assert.throws(() => new Client(target), /give the server's host and port, such as 127\.0\.0\.1:50051/, target);
  }
  for (const target of ["127.0.0.1:1", "[::1]:1", "localhost:80", "dns:///noted.internal:50051"]) new Client(target);
  assert.throws(() => new Client(grpc, { plaintext: true, ca: "-----BEGIN CERTIFICATE-----" }), /choose one/);
  assert.throws(() => new Client(grpc, { ca: "ca.pem" }), /no PEM certificate/);
  assert.throws(() => new Client("noted.internal:1", { plaintext: true, token: "t" }), /use TLS/);
  for (const holdMs of [0, -1, 900_001, NaN]) assert.throws(() => new Client(grpc, { holdMs }), RangeError);
  assert.throws(() => new Client(grpc, { timeoutMs: 0 }), /timeoutMs is 0/);
});

test("without a server a call is Unavailable, after its last try or at its deadline", async () => {
  const away = new Client("127.0.0.1:1");
  await assert.rejects(away.note(donation()), (error) => error instanceof noted.Unavailable && error.reason === "");
  const nowhere = new Client("localhost.invalid:1", { plaintext: true });
  await assert.rejects(nowhere.exists(donation(), undefined, { timeoutMs: 400 }), NotedError);
});

test("the JSON door takes the same calls", async () => {
  assert.equal((await new Client(http).note(donation(), ipn)).verdict, "FIRST");
});

test("a call whose reply is lost is repeated, and the repeat is FIRST", async () => {
  const proxy = await Proxy.to(grpc);
  const far = new Client(proxy.address);
  const told = donation();
  await far.exists(told); // the connection is open
  proxy.swallowAfter = 0;
  const asking = far.note(told, ipn, { holdMs: 60_000 });
  setTimeout(() => (proxy.swallowAfter = Infinity), 150);
  assert.deepEqual([(await asking).verdict, (await client.exists(told)).exists], ["FIRST", true]);
});

test("only UNAVAILABLE is tried again, four times in all, after the server's wait; forget never is", async () => {
  let tries = 0;
  let refusal = refuse(Code.Unavailable, "STORE_UNAVAILABLE");
  const failing = (): never => {
    tries++;
    throw refusal;
  };
  const stand = new Client(await serve({ noteDonation: failing, forgetDonation: failing }));
  const note = (options = {}) => stand.note(donation(), ipn, options);
  await assert.rejects(note(), noted.StoreUnavailable);
  assert.equal(tries, 4);
  for (const [code, reason] of [
    [Code.Unavailable, "STORE_WENT_BACK"],
    [Code.ResourceExhausted, "OVERLOADED"],
    [Code.Internal, "INTERNAL"],
    [Code.FailedPrecondition, "STORE_UNSUITABLE"],
  ] as const) {
    [tries, refusal] = [0, refuse(code, reason)];
    await assert.rejects(note(), (error) => error instanceof NotedError && error.reason === reason);
    assert.equal(tries, 1, reason);
  }
  [tries, refusal] = [0, refuse(Code.Unavailable, "STORE_UNAVAILABLE", "noted.v1", 60_000)];
  await assert.rejects(note(), (error) => error instanceof noted.StoreUnavailable && error.retryAfterMs === 60_000);
  assert.equal(tries, 1, "the wait would outlast the timeout");
  [tries, refusal] = [0, refuse(Code.Unavailable, "OUTCOME_UNKNOWN")];
  await assert.rejects(stand.forget("I-1", "d-1", "a test"), noted.OutcomeUnknown);
  assert.equal(tries, 1);
  [tries, refusal] = [0, refuse(Code.Unavailable, "RATE_LIMITED", "example.org")];
  await assert.rejects(note(), (error) => error instanceof noted.Unavailable && error.reason === "");
});

test("a last try without an answer does not hide why an earlier one failed", async () => {
  let tries = 0;
  let arrived = (): void => undefined;
  const stand = new Client(
    await serve({
      noteDonation: async (_, { signal }) => {
        if (++tries === 1) throw refuse(Code.Unavailable, "STORE_UNAVAILABLE");
        arrived();
        await event(signal, "abort");
        throw refuse(Code.Unavailable, "STORE_UNAVAILABLE");
      },
    }),
    { timeoutMs: 3_000 },
  );
  const told = /; an earlier try failed: STORE_UNAVAILABLE: because of STORE_UNAVAILABLE$/;
  await assert.rejects(
    stand.note(donation()),
    // The last try may have noted, so the class is not the first try's.
    (error) => error instanceof noted.DeadlineExceeded && told.test(error.message) && error.cause !== undefined,
  );
  assert.equal(tries, 2);

  const over = new AbortController();
  tries = 0;
  arrived = () => {
    over.abort();
  };
  await assert.rejects(
    stand.note(donation(), ipn, { signal: over.signal, timeoutMs: 60_000 }),
    (error) => error instanceof NotedError && error.code === "CANCELLED" && told.test(error.message),
  );
  assert.equal(tries, 2);
});

test("while most calls fail, each is tried once", async () => {
  let tries = 0;
  const stand = new Client(
    await serve({
      donationExists: () => {
        tries++;
        throw refuse(Code.Unavailable, "STORE_UNAVAILABLE");
      },
    }),
  );
  const ask = () => assert.rejects(stand.exists(donation()), noted.StoreUnavailable);
  await Promise.all(Array.from({ length: 60 }, ask));
  tries = 0;
  await ask();
  assert.equal(tries, 1);
});

test("every reason has its class, and so has a code without a reason", async () => {
  let refusal = refuse(Code.Aborted, "x");
  const stand = new Client(
    await serve({
      settleDonation: () => {
        throw refusal;
      },
    }),
  );
  for (const [reason, kind] of Object.entries(noted.reasons)) {
    refusal = refuse(Code.FailedPrecondition, reason);
    await assert.rejects(
      stand.settle("r"),
      (error) => error instanceof NotedError && error.constructor === kind && error.reason === reason,
    );
  }
  refusal = refuse(Code.FailedPrecondition, "constructor");
  await assert.rejects(stand.settle("r"), (error) => error instanceof NotedError && error.constructor === NotedError);
});

test("an answer about another donation is refused", async () => {
  let note = noteOf("I-2");
  const answers: Parameters<typeof serve>[0] = {
    noteDonation: () => ({ verdict: PbVerdict.FIRST, note, receipt: "r" }),
    donationExists: () => ({ exists: true, note }),
    listDonations: () => ({ notes: [note] }),
    forgetDonation: () => ({ note }),
    noteDonations: async function* (requests) {
      for await (const { request } of requests) {
        assert.ok(request !== undefined);
        yield { result: { case: "response" as const, value: { verdict: PbVerdict.FIRST, note } } };
      }
    },
  };
  const namingASeries = DedupeService.methods.filter(({ input }) => input.field["receipt"] === undefined);
  assert.deepEqual(Object.keys(answers).sort(), namingASeries.map(({ localName }) => localName).sort());
  const stand = new Client(await serve(answers));
  const asked = { seriesId: "I-1", ledger: "test" };
  const wrong = (error: unknown): boolean =>
    error instanceof noted.WrongAnswer && !(error instanceof noted.Unavailable);
  const calls: (() => Promise<unknown>)[] = [
    () => stand.note(asked),
    () => stand.exists(asked),
    () => all(stand.list(asked)),
    () => stand.forget("I-1", "d-1", "a test", { ledger: "test" }),
    () => stand.once(asked, ipn, () => assert.fail("processed")),
    async () => {
      for await (const { error } of stand.notes([{ donation: asked }]))
        throw error ?? assert.fail("the answer was taken");
    },
  ];
  const third = noteOf("I-1", { donationId: "d-2" });
  for (const [what, other] of [
    ["series", noteOf("I-2")],
    ["ledger", noteOf("I-1", { donation: { ledger: "other", seriesId: "I-1" } })],
  ] as const) {
    note = other;
    for (const call of calls) await assert.rejects(call, wrong, what);
  }
  await assert.rejects(() => all(stand.list({ ledger: "test" })), wrong); // a note of the other ledger
  note = third;
  await assert.rejects(calls[3]!, wrong); // only forget's request has a donation id
  note = noteOf("I-1");
  for (const call of calls.slice(0, 4)) await call();
});

test("an empty answer is refused", async () => {
  let answer: object = {};
  const stand = new Client(
    await serve({ noteDonation: () => answer, donationExists: () => ({ exists: true }), settleDonation: () => ({}) }),
  );
  for (const says of [
    {},
    { verdict: 4 },
    { verdict: PbVerdict.FIRST },
    { verdict: PbVerdict.FIRST, note: noteOf("I-1"), receipt: "" },
  ]) {
    answer = says;
    await assert.rejects(
      stand.once({ seriesId: "I-1", ledger: "test" }, ipn, () => assert.fail("processed")),
      NotedError,
    );
  }
  await assert.rejects(stand.exists({ seriesId: "I-1" }), /sent? it|send it/);
  await assert.rejects(stand.settle("r"), /is it Noted\?/);
});

test("receivedAt, a transaction id and a reason to settle reach the server", async () => {
  const asked: Partial<{ note: NoteDonationRequest; list: ListDonationsRequest; settle: SettleDonationRequest }> = {};
  const receivedAt = new Date("2026-11-01T10:00:00.250Z");
  const note = noteOf("I-1", { sightings: [{ message: { channel: "ipn", receivedAt: { seconds: 1n, nanos: 0 } } }] });
  const stand = new Client(
    await serve({
      noteDonation: (request) => ((asked.note = request), { verdict: PbVerdict.DUPLICATE, note }),
      listDonations: (request) => ((asked.list = request), {}),
      settleDonation: (request) => ((asked.settle = request), { note }),
    }),
  );
  const { note: got } = await stand.note(
    { seriesId: "I-1", ledger: "test" },
    { channel: "ipn", receivedAt },
    { holdMs: 1_500 },
  );
  assert.deepEqual(asked.note!.message!.receivedAt, {
    $typeName: "google.protobuf.Timestamp",
    seconds: 1793527200n,
    nanos: 250_000_000,
  });
  assert.deepEqual([asked.note!.hold!.seconds, asked.note!.hold!.nanos], [1n, 500_000_000]);
  assert.match(asked.note!.requestId, /^[0-9a-f]{32}$/);
  assert.deepEqual(got.sightings[0]!.message.receivedAt, new Date(1000));
  await stand.page({ transactionId: "8XB3" });
  assert.equal(asked.list!.transactionId, "8XB3");
  await stand.settle("r", { reason: "booked by hand" });
  assert.equal(asked.settle!.reason, "booked by hand");
});

test("every call has the token, and a call without one is Unavailable", async () => {
  const headers: (string | null)[] = [];
  const address = await serve({
    donationExists: (_, { requestHeader }) => {
      headers.push(requestHeader.get("authorization"));
      return {};
    },
  });
  let token = "t-1";
  const asking = new Client(address, { token: () => Promise.resolve(token) });
  await asking.exists(donation());
  token = "t-2";
  await asking.exists(donation());
  await new Client(address, { token: "t-3" }).exists(donation());
  assert.deepEqual(headers, ["Bearer t-1", "Bearer t-2", "Bearer t-3"]);
  const lost = new Client(address, { token: () => Promise.reject(new Error("no vault")), timeoutMs: 300 });
  await assert.rejects(
    lost.exists(donation()),
    (error) => error instanceof noted.Unavailable && /no vault/.test(error.message),
  );
});

test("a caller's signal ends a call and its retries", async () => {
  const stand = new Client(
    await serve({
      noteDonation: () => {
        throw refuse(Code.Unavailable, "STORE_UNAVAILABLE", "noted.v1", 3_000);
      },
    }),
  );
  const over = new AbortController();
  setTimeout(() => {
    over.abort();
  }, 50);
  await assert.rejects(
    stand.note(donation(), ipn, { signal: over.signal }),
    (error) => error instanceof NotedError && error.code === "CANCELLED",
  );
  await assert.rejects(
    client.note(donation(), ipn, { signal: over.signal }),
    (error) => error instanceof NotedError && error.code === "CANCELLED",
  );
});

test("an idle client does not keep a program alive, and a closed one connects again", () => {
  const script = `
    import { Client } from ${JSON.stringify(join(project, "build/src/index.mjs"))};
    const client = new Client(${JSON.stringify(grpc)});
    await client.exists({ seriesId: "I-1" });
    client.close();
    await client.exists({ seriesId: "I-1" });
    console.log("done");`;
  const said = execFileSync(process.execPath, ["--input-type=module", "-e", script], {
    timeout: 20_000,
    encoding: "utf8",
  });
  assert.equal(said, "done\n");
});
