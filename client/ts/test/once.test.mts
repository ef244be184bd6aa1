// once: against a real server, and against a stand-in whose calls fail.
import assert from "node:assert/strict";
import { once as event } from "node:events";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { Code, type ConnectError } from "@connectrpc/connect";
import * as noted from "../src/index.mjs";
import { Client, type Donation, type Hold } from "../src/index.mjs";
import { State, Verdict } from "../src/gen/noted/v1/noted_pb.js";
import { Settings } from "../src/settings.js";
import { Proxy, startNoted, until } from "./noted.mjs";
import { noteOf, refuse, serve } from "./stand.mjs";

const { grpc } = await startNoted();
const client = new Client(grpc);
const brief = new Client(grpc, { holdMs: 600 });

const donation = (): Donation => ({
  ledger: "test",
  seriesId: `I-${randomUUID()}`,
  amount: "25.00",
  currencyCode: "EUR",
});
const ipn = { channel: "ipn", id: "61A0" };
const webhook = { channel: "webhook", id: "WH-7" };
const never = (): never => assert.fail("processed");

test("a donation of two channels, with two messages each, is processed once", async () => {
  const told = donation();
  const ids: string[] = [];
  const verdicts: string[] = [];
  for (const message of [ipn, webhook, ipn, webhook]) {
    verdicts.push(await client.once(told, message, (note) => ids.push(note.donationId)));
  }
  assert.deepEqual(verdicts, ["FIRST", "DUPLICATE", "DUPLICATE", "DUPLICATE"]);
  const notes: [string, string][] = [];
  for await (const note of client.list({ ledger: "test", seriesId: told.seriesId })) {
    notes.push([note.donationId, note.state]);
  }
  assert.deepEqual([ids.length, notes], [1, [[ids[0], "SETTLED"]]]);
  const { note } = await client.exists(told);
  assert.deepEqual([ids, note?.state], [[note?.donationId], "SETTLED"]);
});

test("after a failure the next message is FIRST at once, under the same id", async () => {
  const told = donation();
  const attempts: [string, number][] = [];
  const trouble = new Error("the books are closed");
  await assert.rejects(
    client.once(told, ipn, (note) => {
      attempts.push([note.donationId, note.attempt]);
      throw trouble;
    }),
    (error) => error === trouble,
  );
  assert.equal(
    await client.once(told, webhook, (note, hold) => {
      attempts.push([note.donationId, note.attempt]);
      assert.equal(hold.evidence, "TAKEN_OVER");
    }),
    "FIRST",
  );
  assert.deepEqual(attempts, [
    [attempts[0]![0], 1],
    [attempts[0]![0], 2],
  ]);
});

test("of twenty calls at once one is FIRST, and only that one processes", async () => {
  const told = donation();
  let processed = 0;
  const verdicts = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      client.once(told, i % 2 ? ipn : webhook, async () => {
        processed++;
        await setTimeout(50);
      }),
    ),
  );
  assert.equal(processed, 1);
  assert.equal(verdicts.filter((verdict) => verdict === "FIRST").length, 1);
});

test("processing that takes longer than the hold keeps it", async () => {
  const told = donation();
  const slow = brief.once(told, ipn, async (_, hold) => {
    await setTimeout(1_500);
    hold.check();
  });
  await setTimeout(1_200);
  assert.equal(await client.once(told, webhook, never), "HELD");
  assert.equal(await slow, "FIRST");
});

test("process learns that its hold is lost, or could not be extended", async () => {
  const told = donation();
  const forgetting = brief.once(told, ipn, async (note, hold) => {
    await client.forget(told.seriesId, note.donationId, "a test", { ledger: "test" });
    await event(hold.signal, "abort");
    assert.ok(hold.signal.reason instanceof noted.NoteNotFound);
    assert.throws(() => {
      hold.check();
    }, noted.NoteNotFound);
  });
  await assert.rejects(
    forgetting,
    (error) =>
      error instanceof noted.NotSettled &&
      error.cause instanceof noted.NoteNotFound &&
      error.reason === "NOTE_NOT_FOUND",
  );

  const proxy = await Proxy.to(grpc);
  const far = new Client(proxy.address, { holdMs: 600, settleTimeoutMs: 300 });
  const cut = far.once(donation(), ipn, async (_, hold) => {
    proxy.down();
    await event(hold.signal, "abort");
    assert.match(String(hold.signal.reason), /the hold ran out/);
    throw new Error("stopped in time");
  });
  await assert.rejects(cut, /stopped in time/);
});

test("check throws after process has blocked the event loop past its hold", async () => {
  await brief.once(donation(), ipn, (_, hold: Hold) => {
    for (const end = performance.now() + 700; performance.now() < end;);
    assert.throws(() => {
      hold.check();
    }, /the hold ran out/);
  });
});

test("a caller's signal reaches process, and ends neither settling nor extending", async () => {
  const told = donation();
  const over = new AbortController();
  const verdict = await brief.once(
    told,
    ipn,
    async (_, hold) => {
      over.abort(new Error("shutting down"));
      assert.throws(() => {
        hold.check();
      }, /shutting down/);
      await setTimeout(900);
      assert.equal((await client.exists(told)).note?.state, "HELD");
    },
    { signal: over.signal },
  );
  assert.deepEqual([verdict, (await client.exists(told)).note?.state], ["FIRST", "SETTLED"]);
  await assert.rejects(client.once(donation(), ipn, never, { signal: over.signal }), noted.NotedError);
});

test("without a server nothing is processed", async () => {
  await assert.rejects(new Client("127.0.0.1:1").once(donation(), ipn, never), noted.Unavailable);
});

/** A server where the first calls of settle fail. */
async function troubled(
  trouble: ConnectError,
  times: number,
  options = {},
): Promise<{ stand: Client; tries: () => number }> {
  let tries = 0;
  const note = noteOf("I-1");
  const address = await serve({
    noteDonation: () => ({ verdict: Verdict.FIRST, note, receipt: "r" }),
    settleDonation: () => {
      if (++tries <= times) throw trouble;
      return { note: { ...note, state: State.SETTLED } };
    },
    releaseDonation: () => {
      throw refuse(Code.FailedPrecondition, "HOLD_LOST");
    },
  });
  return { stand: new Client(address, options), tries: () => tries };
}
const told = { seriesId: "I-1", ledger: "test" };

test("settle is tried again while the server is away, busy or failing", async () => {
  for (const code of [
    Code.ResourceExhausted,
    Code.Internal,
    Code.Unknown,
    Code.Aborted,
    Code.Unavailable,
    Code.DeadlineExceeded,
  ]) {
    const { stand, tries } = await troubled(refuse(code, "OVERLOADED"), 3);
    assert.equal(await stand.once(told, ipn, () => undefined), "FIRST", Code[code]);
    assert.equal(tries(), 4);
  }
});

test("settle is not tried again after a final refusal, and NotSettled has the reason", async () => {
  for (const [reason, kind] of Object.entries({
    HOLD_LOST: noted.HoldLost,
    SETTLED_BY_ANOTHER: noted.SettledByAnother,
    HOLD_RELEASED: noted.HoldReleased,
  })) {
    const { stand, tries } = await troubled(refuse(Code.FailedPrecondition, reason), 9);
    await assert.rejects(
      stand.once(told, ipn, () => undefined),
      (error) => {
        assert.ok(error instanceof noted.NotSettled && error.cause instanceof kind);
        assert.deepEqual([error.reason, error.act], [reason, "settling d-1"]);
        return true;
      },
    );
    assert.equal(tries(), 1);
  }
});

test("settle is tried for settleTimeoutMs, which is 15 s by default", async () => {
  assert.equal(new Settings(grpc, {}).settleTimeoutMs, 15_000);
  // Long enough that a busy machine answers the first try. The deadline of the last try
  // does not hide that answer.
  const { stand, tries } = await troubled(refuse(Code.Unavailable, "STORE_UNAVAILABLE"), Infinity, {
    settleTimeoutMs: 2_000,
  });
  await assert.rejects(
    stand.once(told, ipn, () => undefined),
    (error) => error instanceof noted.NotSettled && error.cause instanceof noted.StoreUnavailable,
  );
  assert.ok(tries() > 1);
});

test("a release that fails does not hide the error of process", async () => {
  const { stand } = await troubled(refuse(Code.Internal, "INTERNAL"), 0);
  await assert.rejects(
    stand.once(told, ipn, () => Promise.reject(new Error("the books are closed"))),
    /the books are closed/,
  );
});

test("settle refuses an answer about another donation", async () => {
  const address = await serve({
    noteDonation: () => ({ verdict: Verdict.FIRST, note: noteOf("I-1"), receipt: "r" }),
    settleDonation: () => ({ note: noteOf("I-1", { donationId: "d-2" }) }),
  });
  const stand = new Client(address, { settleTimeoutMs: 300 });
  await assert.rejects(
    stand.once(told, ipn, () => undefined),
    (error) =>
      error instanceof noted.NotSettled &&
      error.cause instanceof noted.WrongAnswer &&
      /donation d-2/.test(error.message),
  );
});

test("a last try to settle without an answer does not hide the reason of an earlier try", async () => {
  let tries = 0;
  const address = await serve({
    noteDonation: () => ({ verdict: Verdict.FIRST, note: noteOf("I-1"), receipt: "r" }),
    settleDonation: async (_, context) => {
      if (++tries > 1) await event(context.signal, "abort");
      return { note: noteOf("I-1", { donationId: "d-2" }) };
    },
  });
  const stand = new Client(address, { settleTimeoutMs: 2_000 });
  await assert.rejects(
    stand.once(told, ipn, () => undefined),
    (error) => error instanceof noted.NotSettled && error.cause instanceof noted.WrongAnswer,
  );
  assert.ok(tries > 1);
});

test("an extension with an answer about another donation loses the hold", async () => {
  const address = await serve({
    noteDonation: () => ({ verdict: Verdict.FIRST, note: noteOf("I-1"), receipt: "r" }),
    extendHold: () => ({ note: noteOf("I-1", { donationId: "d-2" }) }),
    settleDonation: () => ({ note: noteOf("I-1") }),
  });
  // Long enough that a busy machine answers the extension before the hold runs out.
  await new Client(address, { holdMs: 3_000 }).once(told, ipn, async (_, hold) => {
    await event(hold.signal, "abort");
    assert.ok(hold.signal.reason instanceof noted.WrongAnswer);
  });
});

test("a last try to extend without an answer does not hide the reason of an earlier try", async () => {
  let tries = 0;
  const address = await serve({
    noteDonation: () => ({ verdict: Verdict.FIRST, note: noteOf("I-1"), receipt: "r" }),
    extendHold: async (_, context) => {
      if (++tries > 1) await event(context.signal, "abort");
      return { note: noteOf("I-1", { donationId: "d-2" }) };
    },
    settleDonation: () => ({ note: noteOf("I-1") }),
  });
  await new Client(address, { holdMs: 6_000 }).once(told, ipn, async (_, hold) => {
    await event(hold.signal, "abort");
    assert.ok(hold.signal.reason instanceof noted.WrongAnswer, String(hold.signal.reason));
  });
  assert.ok(tries > 1);
});

test("check() tells the reason of an extension that is under way when the hold ends", async () => {
  let tries = 0;
  const address = await serve({
    noteDonation: () => ({ verdict: Verdict.FIRST, note: noteOf("I-1"), receipt: "r" }),
    extendHold: () => {
      tries++;
      return { note: noteOf("I-1", { donationId: "d-2" }) };
    },
    settleDonation: () => ({ note: noteOf("I-1") }),
  });
  await new Client(address, { holdMs: 3_000 }).once(told, ipn, async (_, hold) => {
    await until(() => tries > 1); // so the client has read the first answer
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3_000); // the work blocks the process
    assert.throws(() => {
      hold.check();
    }, noted.WrongAnswer);
  });
});

test("impossible holds are refused before a call is sent", async () => {
  for (const holdMs of [0, -1, 900_001, NaN]) {
    await assert.rejects(new Client("127.0.0.1:1").once(donation(), ipn, never, { holdMs }), RangeError);
  }
});

test("after a program has died while processing, the next message is FIRST", async () => {
  const told = donation();
  const { note } = await client.note(told, ipn, { holdMs: 100 });
  let second = "";
  await until(async () => (await client.once(told, webhook, (note) => (second = note.donationId))) === "FIRST");
  assert.equal(second, note.donationId);
});
