import type { SecureContextOptions } from "node:tls";

/** How to reach a server and how long to wait for it. Every field may be left out. */
export interface ClientOptions {
  /** Milliseconds that a call may take, its retries included, where it is given no timeout of its own: 5,000. */
  readonly timeoutMs?: number;
  /** Milliseconds that once() holds a donation at a time: 60,000. It is extended while the function runs. */
  readonly holdMs?: number;
  /** Milliseconds that once() tries to settle or release after the function: 15,000. */
  readonly settleTimeoutMs?: number;
  /** PEM certificates: the server's must be signed by one of them. Turns TLS on. */
  readonly ca?: string | Buffer;
  /** Everything else that TLS can do, such as a certificate of one's own (`cert` and `key`). Turns TLS on. */
  readonly tls?: SecureContextOptions;
  /** No TLS, also to another machine. Whoever is between can then read, forge and suppress donations. */
  readonly plaintext?: boolean;
  /** The bearer token, or a function that returns it, so that it can be renewed. Needs TLS, except to this machine. */
  readonly token?: string | (() => string | Promise<string>);
}
