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
}
