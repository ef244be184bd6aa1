/** How to reach a server: TLS or not, the token, and the settings of the connection. */
import { isIP } from "node:net";
import { Code, ConnectError, type Interceptor, type Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { adding } from "./headers.js";
import type { ClientOptions } from "./options.js";
import { Budget } from "./retry.js";

/** The longest hold of the contract, in milliseconds. */
const maxHold = 15 * 60_000;

export class Settings {
  readonly timeoutMs: number;
  readonly holdMs: number;
  readonly settleTimeoutMs: number;
  readonly budget = new Budget();
  readonly transport: Transport;
  readonly sessions: Http2SessionManager;

  constructor(target: string, options: ClientOptions) {
    this.timeoutMs = positive("timeoutMs", options.timeoutMs ?? 5_000);
    this.holdMs = holdOfOnce(options.holdMs ?? 60_000);
    this.settleTimeoutMs = positive("settleTimeoutMs", options.settleTimeoutMs ?? 15_000);
    const { host, port } = readTarget(target);
    const url = `${isEncrypted(host, options) ? "https" : "http"}://${host}:${port}`;
    const tls = { ...options.tls, ...(options.ca === undefined ? {} : { ca: options.ca }) };
    this.sessions = new Http2SessionManager(
      url,
      // A connection that a router has forgotten is noticed before the next call has to
      // wait for it. The server tolerates a ping every 10 s.
      { pingIntervalMs: 30_000, pingTimeoutMs: 10_000, pingIdleConnection: true },
      tls,
    );
    this.transport = createGrpcTransport({
      baseUrl: url,
      sessionManager: this.sessions,
      // A page of a thousand notes with sixteen sightings each. No other answer of Noted
      // is larger.
      readMaxBytes: 16 << 20,
      interceptors: [
        ...(options.token === undefined ? [] : [bearer(options.token)]),
        ...(options.headers === undefined ? [] : [adding(options.headers)]),
      ],
    });
  }
}

/**
 * The milliseconds of a hold that can be settled. With 0 the note would be final and have
 * no receipt: the donation would be a duplicate from then on, and never processed.
 */
export function holdOfOnce(holdMs: number): number {
  if (!(holdMs >= 1 && holdMs <= maxHold)) {
    throw new RangeError(`holdMs is ${holdMs}; it must be between 1 ms and 15 minutes (${maxHold} ms)`);
  }
  return holdMs;
}

export function positive(name: string, ms: number): number {
  if (!(ms > 0 && ms <= 2 ** 31 - 1)) throw new RangeError(`${name} is ${ms}; it must be more than 0 ms`);
  return ms;
}

function readTarget(target: string): { host: string; port: string } {
  const found = /^(?:dns:\/\/\/)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})$/.exec(target);
  const [, host, port] = found ?? [];
  if (host === undefined || port === undefined) {
    throw new TypeError(`target is ${target}; give the server's host and port, such as 127.0.0.1:50051`);
  }
  return { host, port };
}

function isEncrypted(host: string, options: ClientOptions): boolean {
  const encrypt = options.ca !== undefined || options.tls !== undefined;
  if (options.ca !== undefined && !options.ca.includes("-----BEGIN CERTIFICATE-----")) {
    throw new TypeError("ca holds no PEM certificate; give the content of the file");
  }
  if (options.plaintext === true && encrypt) throw new TypeError("plaintext and ca or tls are both given; choose one");
  if (options.plaintext === true && options.token !== undefined && !isThisMachine(host)) {
    throw new TypeError("a token is not sent in plaintext over a network; use TLS");
  }
  return encrypt || (options.plaintext !== true && !isThisMachine(host));
}

/** Whether a host's name or address is surely this machine's. */
export function isThisMachine(host: string): boolean {
  const bare = host.startsWith("[") ? host.slice(1, -1) : host;
  return bare === "localhost" || bare === "::1" || (isIP(bare) === 4 && bare.startsWith("127."));
}

/**
 * Sends the token with each call. If the token function throws, the call is
 * Unavailable, because another try may cure it.
 */
function bearer(token: string | (() => string | Promise<string>)): Interceptor {
  return (next) => async (request) => {
    let current: string;
    try {
      current = typeof token === "string" ? token : await token();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new ConnectError(`the token function threw ${why}`, Code.Unavailable, undefined, undefined, error);
    }
    if (current !== "") request.header.set("authorization", `Bearer ${current}`);
    return next(request);
  };
}
