/** notes(), over one gRPC stream after the other as they break. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { CallOptions } from "@connectrpc/connect";
import { fromResponse, noting, toRequest, withRequestId } from "./calls.js";
import { WrongAnswer, type NotedError } from "./errors.js";
import type { NoteDonationsRequestSchema, NoteDonationsResponse } from "./gen/noted/v1/noted_pb.js";
import { maxTries, retriable, sleep, waitAfter, type Budget } from "./retry.js";
import { breach, failed, failure, make } from "./status.js";
import type { NoteRequest, NoteResponse, NoteResult } from "./types.js";

type Asked = MessageInitShape<typeof NoteDonationsRequestSchema>;
type Source = Iterable<NoteRequest> | AsyncIterable<NoteRequest>;

/** The parts of the client that a stream needs. */
export interface Streaming {
  readonly budget: Budget;
  ask(request: NoteRequest): Promise<NoteResponse>;
  open(asked: AsyncIterable<Asked>, options: CallOptions): AsyncIterable<NoteDonationsResponse>;
}

/**
 * How many requests may wait for an answer: enough to keep a server busy, few enough to
 * ask again.
 */
const window = 256;

/**
 * The requests before and after sending, shared by the reader of the source, the sender and
 * the consumer.
 */
class Queue {
  waiting: NoteRequest[] = []; // not sent yet
  asked: NoteRequest[] = []; // sent on the open stream, oldest first
  trouble: { readonly thrown: unknown } | undefined; // the source threw
  private ended = false; // the source has no more
  private stopped = false; // the consumer wants no more
  private wake: (() => void)[] = []; // resolves each waiting until()

  async read(source: Source): Promise<void> {
    try {
      for await (const given of source) {
        const request = withRequestId(given);
        toRequest(request); // throws for an impossible request, which is the source's fault
        await this.until(() => this.stopped || this.waiting.length + this.asked.length < window);
        if (this.stopped) return;
        this.waiting.push(request);
        this.change();
      }
    } catch (thrown) {
      this.trouble = { thrown };
    } finally {
      this.ended = true;
      this.change();
    }
  }

  /**
   * Waits for a request, so that no stream is opened in vain; false at the end of the
   * source.
   */
  async more(): Promise<boolean> {
    await this.until(() => this.waiting.length > 0 || this.ended);
    return this.waiting.length > 0;
  }

  /**
   * The requests that one gRPC stream sends, until the source ends or the stream is
   * closed.
   */
  async *requests(closed: AbortSignal): AsyncGenerator<Asked> {
    for (;;) {
      await this.until(() => closed.aborted || this.waiting.length > 0 || this.ended);
      const request = closed.aborted ? undefined : this.waiting.shift();
      if (request === undefined) return;
      this.asked.push(request);
      yield { request: toRequest(request) };
    }
  }

  answered(): NoteRequest | undefined {
    const request = this.asked.shift();
    this.change();
    return request;
  }

  /** Ends the sending. Requests without an answer go back to the waiting ones. */
  close(): void {
    this.waiting.unshift(...this.asked);
    this.asked = [];
    this.change();
  }

  /** Takes all waiting requests. */
  take(): NoteRequest[] {
    const requests = this.waiting;
    this.waiting = [];
    this.change();
    return requests;
  }

  stop(): void {
    this.stopped = true;
    this.change();
  }

  private change(): void {
    for (const wake of this.wake.splice(0)) wake();
  }

  private async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((wake) => this.wake.push(wake));
  }
}

export async function* notes(client: Streaming, source: Source): AsyncGenerator<NoteResult, void, undefined> {
  const queue = new Queue();
  void queue.read(source);
  let tries = 0; // since the last answer
  try {
    while (await queue.more()) {
      const closed = new AbortController();
      let broken: NotedError | undefined;
      try {
        for await (const response of client.open(queue.requests(closed.signal), { signal: closed.signal })) {
          const request = queue.answered();
          if (request === undefined) {
            broken = breach("noting", "the server sent an answer without a request");
            break;
          }
          tries = 0;
          const answer = await result(client, request, response);
          yield answer;
          if (answer.error instanceof WrongAnswer) {
            broken = answer.error; // later answers may belong to other requests
            break;
          }
        }
        if (broken === undefined && queue.asked.length + queue.waiting.length > 0) {
          broken = make("noting", "the server ended the stream", { code: "UNAVAILABLE" });
        }
      } catch (thrown) {
        broken = failure("noting", thrown);
      } finally {
        closed.abort();
        queue.close();
      }
      // Every request has its answer, or an idle stream was closed.
      if (broken === undefined || queue.waiting.length === 0) continue;
      tries++;
      if (!retriable(broken)) {
        // One of the requests broke the stream, or its answers are mixed up: make each call by
        // itself.
        tries = 0;
        for (const request of queue.take()) yield await alone(client, request);
      } else if (client.budget.spend() && tries < maxTries) {
        await sleep(waitAfter(tries, broken));
      } else {
        tries = 0;
        for (const request of queue.take()) yield { request, error: broken };
      }
    }
    if (queue.trouble !== undefined) throw queue.trouble.thrown;
  } finally {
    queue.stop();
  }
}

/**
 * Makes the call of a request again by itself if the store could not answer it, while the
 * other requests wait.
 */
async function result(client: Streaming, request: NoteRequest, { result }: NoteDonationsResponse): Promise<NoteResult> {
  const act = noting(request.donation);
  if (result.case === "response") {
    client.budget.succeed();
    try {
      return { request, response: fromResponse(request.donation, result.value) };
    } catch (thrown) {
      return { request, error: failure(act, thrown) };
    }
  }
  if (result.case === undefined)
    return { request, error: breach(act, "the server answered with neither a response nor an error") };
  const { code, message, reason } = result.value;
  const error = failed(act, code, message, reason);
  if (!retriable(error) || !client.budget.spend()) return { request, error };
  await sleep(waitAfter(1, error));
  return alone(client, request);
}

async function alone(client: Streaming, request: NoteRequest): Promise<NoteResult> {
  try {
    return { request, response: await client.ask(request) };
  } catch (thrown) {
    return { request, error: failure(noting(request.donation), thrown) };
  }
}
