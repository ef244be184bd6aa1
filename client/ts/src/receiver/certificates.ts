/** The certificates that PayPal signs webhooks with: fetched, judged and kept. */
import { X509Certificate } from "node:crypto";
import * as tls from "node:tls";
import { isTrusted } from "./chain.js";
import { again, Refusal } from "./refusal.js";
import { Peer, Unanswered, type Reply } from "./web.js";

const paypalHosts = ["api.paypal.com", "api-m.paypal.com", "api.sandbox.paypal.com", "api-m.sandbox.paypal.com"];

/** The names in PayPal's certificates: for donations, and for tests of the sandbox. */
const liveName = "messageverificationcerts.paypal.com";
const sandboxName = "messageverificationcerts.sandbox.paypal.com";

const mostKept = 16; // PayPal uses one or two at a time; only trusted ones are kept, so strangers cannot fill this
const mostFetched = 8; // at a time; forged messages can cause no more
const mostBytes = 64 << 10;
const mostCertificates = 8; // of one chain
const mostBetween = 3; // issuers that are fetched for one certificate
/**
 * Milliseconds between two fetches of a certificate that is out of date, and stays so
 * after a fetch.
 */
const renewEvery = 60_000;

/** The names of PayPal's certificates. */
const path = /^\/v1\/notifications\/certs\/[A-Za-z0-9_-]+$/;

/** The leaf first. */
type Chain = readonly X509Certificate[];

/** One of PayPal's certificates, and whether it is the sandbox's. */
export interface Trusted {
  readonly certificate: X509Certificate;
  readonly test: boolean;
}

export const untrusted = (): Refusal =>
  new Refusal(400, "certificate", "the certificate is not PayPal's, or not valid at this time");

/**
 * Name, chain and dates are checked at every use, so a kept certificate ends with its
 * dates. Then it is fetched again, because PayPal may have renewed it under the same
 * address.
 */
export class Certificates {
  private readonly hosts: ReadonlySet<string>;
  private readonly roots: readonly X509Certificate[];
  private readonly peer: Peer;
  private readonly kept = new Map<string, Chain>(); // by address, the oldest first
  /**
   * The address of a kept certificate that is out of date → when it was last fetched
   * again.
   */
  private readonly renewed = new Map<string, number>();
  private readonly under = new Map<string, Promise<Chain>>(); // by address, the fetches under way

  constructor(
    hosts: readonly string[] | undefined,
    roots: string | Buffer | undefined,
    private readonly timeoutMs: number,
  ) {
    this.hosts = new Set((hosts ?? paypalHosts).map(bare));
    const known = nodesRoots();
    this.roots = readPem(roots === undefined ? known.join("\n") : roots.toString());
    if (this.roots.length === 0)
      throw new TypeError("certRoots holds no PEM certificate; give the content of the file");
    // Node's authorities count too for the host that serves certificates: certRoots may
    // name only an intermediate issuer.
    this.peer = new Peer(roots === undefined ? undefined : [...known, roots.toString()]);
  }

  /**
   * The certificate at a URL, if the host is PayPal's and the certificate is PayPal's at
   * that time.
   */
  async trusted(url: string, at: Date): Promise<Trusted> {
    const address = this.address(url);
    if (address === undefined) throw new Refusal(400, "certificate", "the certificate's URL is not one of PayPal's");
    const kept = this.kept.get(address);
    if (kept !== undefined && (this.judge(kept, at) !== undefined || !this.mayRenew(address)))
      return this.judged(kept, at);
    return this.judged(await this.fetch(address, at), at);
  }

  /**
   * The one spelling of a certificate's URL: https, a host of the list in lower case, a
   * path like PayPal's. Any other is refused, because the URL is in an unverified header:
   * with a query, or a host in capitals, a stranger could have a kept certificate fetched
   * as often as he likes.
   */
  private address(written: string): string | undefined {
    const [, host, rest] = /^https:\/\/([^/\\?#@\s]+)(\/[^\s]*)$/.exec(written) ?? [];
    if (host === undefined || rest === undefined || !this.hosts.has(bare(host)) || !path.test(rest)) return undefined;
    return `https://${bare(host)}${rest}`;
  }

  private judged(chain: Chain, at: Date): Trusted {
    const trusted = this.judge(chain, at);
    if (trusted === undefined) throw untrusted();
    return trusted;
  }

  /** Checks chain, name and dates. */
  private judge(chain: Chain, at: Date): Trusted | undefined {
    const [certificate] = chain;
    const name = [liveName, sandboxName].find((name) => isTrusted(chain, this.roots, name, at));
    return certificate === undefined || name === undefined ? undefined : { certificate, test: name === sandboxName };
  }

  private mayRenew(address: string): boolean {
    const now = performance.now();
    if (!this.under.has(address) && now - (this.renewed.get(address) ?? -Infinity) < renewEvery) return false;
    this.renewed.set(address, now);
    return true;
  }

  /**
   * Fetches a chain, once for all messages that wait for it. They share its failure,
   * which is not kept: the next message tries again.
   */
  private fetch(address: string, at: Date): Promise<Chain> {
    const under = this.under.get(address);
    if (under !== undefined) return under;
    if (this.under.size >= mostFetched) throw again("verifier", "too many certificates are fetched at once");
    const fetching = this.download(address, at)
      .then((chain) => {
        if (this.judge(chain, at) !== undefined) this.keep(address, chain);
        return chain;
      })
      .finally(() => this.under.delete(address));
    this.under.set(address, fetching);
    return fetching;
  }

  private keep(address: string, chain: Chain): void {
    this.kept.delete(address);
    this.renewed.delete(address);
    for (const oldest of this.kept.keys()) {
      if (this.kept.size < mostKept) break;
      this.kept.delete(oldest);
      this.renewed.delete(oldest);
    }
    this.kept.set(address, chain);
  }

  /** If the host refuses for good, so does the receiver; otherwise PayPal comes again. */
  private async download(address: string, at: Date): Promise<Chain> {
    const until = performance.now() + this.timeoutMs;
    const { status, body } = await this.get(address, until, "");
    if ([400, 404, 410].includes(status)) throw untrusted();
    if (status !== 200) throw unknown(`the host answered ${status}`);
    const chain = readPem(body.toString("latin1"));
    if (chain.length === 0) throw unknown("the host answered something else");
    return this.complete(chain, at, until);
  }

  /**
   * Fetches the issuers that PayPal's host leaves out, from the address in the
   * certificate. They come over plain http, as is common: a certificate that no root has
   * issued is not trusted.
   */
  private async complete(chain: Chain, at: Date, until: number): Promise<Chain> {
    for (let fetched = 0; fetched < mostBetween && this.judge(chain, at) === undefined; fetched++) {
      const issuer = await this.issuer(chain.at(-1), until);
      if (issuer === undefined) break;
      chain = [...chain, issuer];
    }
    return chain;
  }

  private async issuer(certificate: X509Certificate | undefined, until: number): Promise<X509Certificate | undefined> {
    const url = /^CA Issuers - URI:(https?:\/\/[^\s"]+)$/m.exec(certificate?.infoAccess ?? "")?.[1];
    if (url === undefined || !URL.canParse(url)) return undefined;
    const { status, body } = await this.get(url, until, "its issuer's: ");
    if (status !== 200) throw unknown(`its issuer's host answered ${status}`);
    try {
      return new X509Certificate(body); // DER or PEM
    } catch {
      return undefined;
    }
  }

  private async get(url: string, until: number, whose: string): Promise<Reply> {
    try {
      return await this.peer.fetch(url, until - performance.now(), mostBytes);
    } catch (error) {
      throw error instanceof Unanswered ? unknown(whose + error.message, { cause: error }) : error;
    }
  }
}

function bare(host: string): string {
  return host.trim().toLowerCase().replace(/:443$/, "");
}

/**
 * The authorities that Node trusts in TLS: its own list, and from Node 22 on those of its
 * environment.
 */
function nodesRoots(): readonly string[] {
  const { getCACertificates } = tls as { getCACertificates?: (type: "default") => string[] };
  return getCACertificates === undefined ? tls.rootCertificates : getCACertificates("default");
}

/** The certificates of a text; an empty list if one of them cannot be read. */
function readPem(text: string): Chain {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  try {
    return blocks.length > mostCertificates && text.length <= mostBytes
      ? []
      : blocks.map((block) => new X509Certificate(block));
  } catch {
    return [];
  }
}

const unknown = (why: string, options?: ErrorOptions): Refusal =>
  again("verifier", `PayPal's certificate could not be fetched (${why})`, options);
