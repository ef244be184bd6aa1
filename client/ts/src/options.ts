import type { SecureContextOptions } from "node:tls";

/** How to reach a server and how long to wait for it. Every field is optional. */
export interface ClientOptions {
  /**
   * Milliseconds that a call without a timeout of its own may take, its retries included:
   * 5,000.
   */
  readonly timeoutMs?: number;
  /**
   * Milliseconds that once() holds a donation at a time: 60,000. once() extends the hold
   * while the function runs.
   */
  readonly holdMs?: number;
  /** Milliseconds that once() tries to settle or release after the function: 15,000. */
  readonly settleTimeoutMs?: number;
  /** PEM certificates: one of them must have signed the server's. Turns TLS on. */
  readonly ca?: string | Buffer;
  /**
   * Further options of TLS, such as a client certificate (`cert` and `key`). Turns TLS
   * on.
   */
  readonly tls?: SecureContextOptions;
  /**
   * No TLS, also to another machine. Anyone on the way can then read, forge and suppress
   * donations.
   */
  readonly plaintext?: boolean;
  /**
   * The bearer token, or a function that returns it, so that it can be renewed. Needs
   * TLS, except to this machine.
   */
  readonly token?: string | (() => string | Promise<string>);
  /**
   * Gives further headers for each try of a call, and for each stream of notes(): such as
   * the traceparent that hands a trace on to the server. Up to 8 KiB together, in
   * printable ASCII. If the function throws or returns anything else, the call goes
   * without them, because a trace must not cost a donation; a warning of the process
   * (process.emitWarning) says so once. A header that is not the caller's to set, such as
   * authorization or grpc-timeout, fails the call with the code INTERNAL and its name,
   * before anything is sent.
   */
  readonly headers?: () => Readonly<Record<string, string>>;
}
