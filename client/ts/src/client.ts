import { createClient, type CallOptions as RpcOptions, type Client as Rpc } from "@connectrpc/connect";
import * as calls from "./calls.js";
import { NotedError } from "./errors.js";
import { DedupeService } from "./gen/noted/v1/noted_pb.js";
import type { Process } from "./hold.js";
import { once } from "./once.js";
import type { ClientOptions } from "./options.js";
import { now, sleep } from "./retry.js";
import { Settings, holdOfOnce, positive } from "./settings.js";
import { failure } from "./status.js";
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
  /** Milliseconds, its retries included; the client's timeoutMs where it is absent. */
  readonly timeoutMs?: number;
  /** Ends the call early. Whether it has changed anything is then unknown. */
  readonly signal?: AbortSignal;
}

/**
 * Asks one Noted server, or several behind one name. One for each server is enough; any number of
 * calls may run at a time.
 *
 * It does not connect: the first call does, so a server that is away for the moment is that call's
 * Unavailable. To this machine (127.0.0.1, ::1, localhost) it speaks plaintext, to every other TLS
 * with Node's certificates, unless told otherwise. An idle connection does not keep a program alive.
 */
export class Client {
  private readonly settings: Settings;
  private readonly rpc: Rpc<typeof DedupeService>;

  /** The target is the server's gRPC address, such as "127.0.0.1:50051" or "noted.internal:50051". */
  constructor(target: string, options: ClientOptions = {}) {
    this.settings = new Settings(target, options);
    this.rpc = createClient(DedupeService, this.settings.transport);
  }

  /** Closes the connection. Calls under way fail. */
  close(): void {
    this.settings.sessions.abort();
  }

  /**
   * Runs process if this donation is the caller's to process, and sees to it that nobody else
   * processes it meanwhile. It notes with a hold and a fresh request id, extends the hold at every
   * third of it while process runs, settles when process has ended, and releases when it has thrown.
   *
   * What can happen, and what to tell PayPal:
   *
   *     gives FIRST        processed, and settled                                      200
   *     gives DUPLICATE    nothing to do: it is done, or was noted before              200
   *     gives HELD         another is processing it; PayPal comes again                503
   *     throws what        released: the next message is FIRST (if even the release    503
   *     process threw      fails, when the hold has run out)
   *     throws NotSettled  processed, but the note is not final                        503, or see below
   *     throws NotedError  nothing is known, process was not run                       503, or see below
   *
   * InvalidRequest, OccurredTooEarly, OccurredTooLate, ReceivedTooEarly and SeriesFull would be the
   * answer every time: keep the message for a person and answer 200.
   *
   * NotSettled's cause is SettledByAnother when another attempt has processed the donation too, and
   * HoldReleased or NoteNotFound when an operator intervened: PayPal's next try would be a
   * duplicate, or double it, so answer 200 and tell a person. It is HoldLost when another is at it,
   * and an Unavailable when the server was away for longer than settleTimeoutMs: PayPal's next try
   * may be FIRST again, under the same donationId, and settles it then. A downstream that takes
   * note.donationId as its idempotency key, and refuses a note.attempt below the last it saw, makes
   * that harmless. NotSettled is a NotedError too: look for it first.
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
   * With a hold, FIRST comes with a receipt, and the caller must settle or release it: once() does
   * that. Without one the note is final at once, and a caller that dies before it has processed the
   * donation has lost it. A program that repeats a note by itself, after a restart for instance,
   * must give the same requestId.
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
   * Notes many, over one stream: one result for each request, in the order of the requests. An
   * error belongs to that request alone, and is not thrown but in its result.
   *
   * Up to 256 requests are read ahead of the results. A stream that breaks is opened again, and what
   * was not answered is asked again with the same requestId. Leaving the loop early ends the stream;
   * whether what was not answered yet has been noted is then unknown.
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

  /** Decides as note() does, and notes nothing. It is for looking: between a look and a note another caller may come. */
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
   * Makes the note of a receipt final. Twice is as good as once. SettledByAnother means that the
   * donation has been processed twice. The reason is for the audit, where a person settles by hand.
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

  /** Gives a hold up: the next message of the donation is FIRST again. The reason is for the log, without personal data. */
  async release(receipt: string, reason = "", options: CallOptions = {}): Promise<Note> {
    const act = "releasing";
    return this.call(
      act,
      options,
      (rpc) => this.rpc.releaseDonation({ receipt, reason }, rpc),
      ({ note }) => calls.fromNote(act, note),
    );
  }

  /** Makes a hold last until now plus holdMs, even one that has run out, as long as nobody has taken over. */
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

  /** Yields every note for which all conditions hold, page by page. The timeout bounds each page. */
  async *list(request: ListRequest = {}, options: CallOptions = {}): AsyncGenerator<Note, void, undefined> {
    for (let token = ""; ;) {
      const page = await this.page({ ...request, pageToken: token }, options);
      yield* page.notes;
      if ((token = page.nextPageToken) === "") return;
    }
  }

  /** One page of a listing. The next one is asked for with its nextPageToken and the same conditions. */
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
   * Undoes a note and gives it as it was: the next message of the donation is FIRST. It is tried
   * once: after Unavailable, look before asking again, since a repeat would find no note.
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
      ({ note }) => calls.ofDonation(act, { ledger, seriesId }, note),
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
   * Makes one call, and again while it is UNAVAILABLE. Every request that notes bears a request id,
   * so a repeat of one whose reply was lost gets the same answer again.
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
    for (let tries = 1; ; tries++) {
      let response: Response;
      try {
        const timeoutMs = Math.max(Math.ceil(deadline - now()), 1);
        response = await rpc(signal === undefined ? { timeoutMs } : { timeoutMs, signal });
      } catch (thrown) {
        const error = failure(act, thrown, signal);
        const wait = repeatable && !isOver(signal) ? this.settings.budget.waitAfter(tries, error, deadline) : undefined;
        if (wait === undefined) throw error;
        if (!(await sleep(wait, signal))) {
          throw new NotedError(act, "the caller's signal has fired", { code: "CANCELLED", cause: error });
        }
        continue;
      }
      this.settings.budget.succeed();
      return answer(response);
    }
  }
}

const isOver = (signal: AbortSignal | undefined): boolean => signal?.aborted ?? false;
