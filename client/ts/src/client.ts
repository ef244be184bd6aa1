import { createClient, type CallOptions as RpcOptions, type Client as Rpc } from "@connectrpc/connect";
import * as calls from "./calls.js";
import { NotedError } from "./errors.js";
import { DedupeService } from "./gen/noted/v1/noted_pb.js";
import type { Process } from "./hold.js";
import { once } from "./once.js";
import type { ClientOptions } from "./options.js";
import { now, sleep } from "./retry.js";
import { Settings, holdOfOnce, positive } from "./settings.js";
import { failure, telling } from "./status.js";
import { notes } from "./stream.js";
import type {
  Donation,
  Existence,
  ListRequest,
  Message,
  Note,
  NoteRequest,
  NoteResponse,
  NoteResult,
  Page,
  Verdict,
} from "./types.js";

/** How long one call may take. */
export interface CallOptions {
  /** Milliseconds, its retries included; the client's timeoutMs if absent. */
  readonly timeoutMs?: number;
  /** Ends the call early. Whether it has changed anything is then unknown. */
  readonly signal?: AbortSignal;
}

/**
 * Asks one Noted server, or several behind one name. One client for each server is
 * enough; any number of calls may run at a time.
 *
 * It does not connect: the first call does, and fails with Unavailable if the server is
 * away. It speaks plaintext to this machine (127.0.0.1, ::1, localhost), and TLS with
 * Node's certificates to every other, unless the options say otherwise. An idle
 * connection does not keep a program alive.
 */
export class Client {
  private readonly settings: Settings;
  private readonly rpc: Rpc<typeof DedupeService>;

  /**
   * The target is the server's gRPC address, such as "127.0.0.1:50051" or
   * "noted.internal:50051".
   */
  constructor(target: string, options: ClientOptions = {}) {
    this.settings = new Settings(target, options);
    this.rpc = createClient(DedupeService, this.settings.transport);
  }

  /** Closes the connection. Calls under way fail. */
  close(): void {
    this.settings.sessions.abort();
  }

  /**
   * Runs process if this donation is the caller's to process, and keeps others from
   * processing it meanwhile. It notes the donation with a hold and a fresh request id.
   * While process runs, it extends the hold at every third of it. It settles the note
   * when process has ended, and releases it when process has thrown.
   *
   * The outcomes, and the answer to PayPal:
   *
   *     gives FIRST        processed, and settled                                      200
   *     gives DUPLICATE    nothing to do: it is done, or was noted before              200
   *     gives HELD         another is processing it; PayPal comes again                503
   *     throws what        released: the next message is FIRST (if even the release    503
   *     process threw      fails, when the hold has run out)
   *     throws NotSettled  processed, but the note is not final                        503, or see below
   *     throws NotedError  nothing is known, process was not run                       503, or see below
   *
   * An Undecidable would come every time: keep the message for a person and answer 200.
   *
   * NotSettled's cause is a NoteGone when another attempt has processed the donation too,
   * or an operator intervened. PayPal's next try would be a duplicate, or double the
   * donation, so answer 200 and tell a person. The cause is HoldLost when another attempt
   * is processing the donation, and an Unavailable when the server was away for longer
   * than settleTimeoutMs. PayPal's next try may be FIRST again, under the same
   * donationId, and settles it then. A downstream that takes note.donationId as its
   * idempotency key, and refuses a note.attempt below the last it saw, makes that
   * harmless. NotSettled is a NotedError too: look for it first.
   */
  async once(
    donation: Donation,
    message: Message | undefined,
    process: Process,
    options: { readonly holdMs?: number; readonly signal?: AbortSignal } = {},
  ): Promise<Verdict> {
    const { holdMs = this.settings.holdMs, signal } = options;
    return once(this, this.settings, donation, message, process, holdOfOnce(holdMs), signal);
  }

  /**
   * Decides whether the donation has been noted already, and notes it, in one step.
   *
   * With a hold, FIRST comes with a receipt, which the caller must settle or release:
   * once() does that. Without a hold the note is final at once, and a caller that dies
   * before it has processed the donation loses it. A program that repeats a note by
   * itself, such as after a restart, must give the same requestId.
   */
  async note(
    donation: Donation,
    message?: Message,
    options: CallOptions & { readonly holdMs?: number; readonly requestId?: string } = {},
  ): Promise<NoteResponse> {
    const { holdMs, requestId, ...call } = options;
    return this.ask({ donation, message, holdMs, requestId }, call);
  }

  /**
   * Notes many, over one stream: one result for each request, in the order of the
   * requests. An error belongs to its request alone: it stands in the result and is not
   * thrown.
   *
   * Up to 256 requests are read ahead of the results. When a stream breaks, notes() opens
   * another and asks again for each request without an answer, with the same requestId.
   * The answers behind a WrongAnswer may belong to other requests, so notes() makes each
   * of those calls again, by itself. Leaving the loop early ends the stream. It is then
   * unknown whether the requests without an answer have been noted.
   */
  notes(requests: Iterable<NoteRequest> | AsyncIterable<NoteRequest>): AsyncGenerator<NoteResult, void, undefined> {
    return notes(
      {
        budget: this.settings.budget,
        ask: (request) => this.ask(request),
        open: (asked, options) => this.rpc.noteDonations(asked, options),
      },
      requests,
    );
  }

  /**
   * Decides as note() does, and notes nothing. It is for looking: another caller may come
   * between a look and a note.
   */
  async exists(donation: Donation, message?: Message, options: CallOptions = {}): Promise<Existence> {
    const request = calls.toSubject(donation, message);
    const act = `looking for ${donation.seriesId}`;
    return this.call(
      act,
      options,
      (rpc) => this.rpc.donationExists(request, rpc),
      (response) => calls.fromExistence(donation, response),
    );
  }

  /**
   * Makes the note of a receipt final. A repeat is safe. SettledByAnother means that the
   * donation has been processed twice. The reason is for the audit when a person settles
   * by hand.
   */
  async settle(receipt: string, options: CallOptions & { readonly reason?: string } = {}): Promise<Note> {
    const { reason = "", ...call } = options;
    const act = "settling";
    return this.call(
      act,
      call,
      (rpc) => this.rpc.settleDonation({ receipt, reason }, rpc),
      ({ note }) => calls.fromNote(act, note),
    );
  }

  /**
   * Gives a hold up: the next message of the donation is FIRST again. The reason is for
   * the log, without personal data.
   */
  async release(receipt: string, reason = "", options: CallOptions = {}): Promise<Note> {
    const act = "releasing";
    return this.call(
      act,
      options,
      (rpc) => this.rpc.releaseDonation({ receipt, reason }, rpc),
      ({ note }) => calls.fromNote(act, note),
    );
  }

  /**
   * Makes a hold last until now plus holdMs. A hold that has run out can be extended
   * until another attempt takes over.
   */
  async extend(receipt: string, holdMs: number, options: CallOptions = {}): Promise<Note> {
    const act = "extending a hold";
    const request = { receipt, hold: calls.toDuration(holdMs) };
    return this.call(
      act,
      options,
      (rpc) => this.rpc.extendHold(request, rpc),
      ({ note }) => calls.fromNote(act, note),
    );
  }

  /**
   * Yields every note for which all conditions hold, page by page. The timeout bounds
   * each page.
   */
  async *list(request: ListRequest = {}, options: CallOptions = {}): AsyncGenerator<Note, void, undefined> {
    for (let token = ""; ;) {
      const page = await this.page({ ...request, pageToken: token }, options);
      yield* page.notes;
      if ((token = page.nextPageToken) === "") return;
    }
  }

  /**
   * One page of a listing. Its nextPageToken, with the same conditions, asks for the
   * next.
   */
  async page(request: ListRequest & { readonly pageToken?: string } = {}, options: CallOptions = {}): Promise<Page> {
    const asked = calls.toList(request, request.pageToken ?? "");
    return this.call(
      "listing",
      options,
      (rpc) => this.rpc.listDonations(asked, rpc),
      (page) => calls.fromPage(request, page),
    );
  }

  /**
   * Undoes a note and gives it as it was: the next message of the donation is FIRST. It
   * is tried once: after Unavailable, look before another try, because a repeat would
   * find no note.
   */
  async forget(
    seriesId: string,
    donationId: string,
    reason: string,
    options: CallOptions & { readonly ledger?: string } = {},
  ): Promise<Note> {
    const { ledger = "", ...call } = options;
    const act = `forgetting ${donationId}`;
    const request = { ledger, seriesId, donationId, reason };
    return this.call(
      act,
      call,
      (rpc) => this.rpc.forgetDonation(request, rpc),
      ({ note }) => calls.sameNote(act, donationId, calls.ofDonation(act, { ledger, seriesId }, note)),
      false,
    );
  }

  private ask(request: NoteRequest, options: CallOptions = {}): Promise<NoteResponse> {
    const { donation } = request;
    const asked = calls.toRequest(calls.withRequestId(request));
    return this.call(
      calls.noting(donation),
      options,
      (rpc) => this.rpc.noteDonation(asked, rpc),
      (response) => calls.fromResponse(donation, response),
    );
  }

  /**
   * Makes one call, and repeats it while it is UNAVAILABLE. Every request that notes has
   * a request id, so a repeat after a lost reply gets the same answer.
   */
  private async call<Response, Answer>(
    act: string,
    options: CallOptions,
    rpc: (options: RpcOptions) => Promise<Response>,
    answer: (response: Response) => Answer,
    repeatable = true,
  ): Promise<Answer> {
    const { signal } = options;
    const deadline = now() + positive("timeoutMs", options.timeoutMs ?? this.settings.timeoutMs);
    let earlier: NotedError | undefined; // the first try's, or the latest with a reason
    for (let tries = 1; ; tries++) {
      let response: Response;
      try {
        const timeoutMs = Math.max(Math.ceil(deadline - now()), 1);
        response = await rpc(signal === undefined ? { timeoutMs } : { timeoutMs, signal });
      } catch (thrown) {
        const error = failure(act, thrown, signal);
        const wait = repeatable && !isOver(signal) ? this.settings.budget.waitAfter(tries, error, deadline) : undefined;
        if (wait === undefined) throw telling(error, earlier);
        if (earlier === undefined || error.reason !== "") earlier = error;
        if (!(await sleep(wait, signal))) {
          const over = new NotedError(act, "the caller's signal has fired", { code: "CANCELLED", cause: error });
          throw telling(over, earlier);
        }
        continue;
      }
      this.settings.budget.succeed();
      return answer(response);
    }
  }
}

const isOver = (signal: AbortSignal | undefined): boolean => signal?.aborted ?? false;
