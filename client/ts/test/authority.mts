// Certificates made by the tests.
import { webcrypto, X509Certificate } from "node:crypto";
import * as x509 from "@peculiar/x509";

x509.cryptoProvider.set(webcrypto as never);

const day = 24 * 3_600_000;
export const daysFromNow = (days: number): Date => new Date(Date.now() + days * day);

type KeyPair = webcrypto.CryptoKeyPair;

/** An RSA key, as PayPal signs with. */
export const makeKey = (modulusLength = 2048): Promise<KeyPair> =>
  webcrypto.subtle.generateKey(
    { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256", publicExponent: new Uint8Array([1, 0, 1]), modulusLength },
    true,
    ["sign", "verify"],
  );

const someKey = await makeKey(); // shared, because making a key is slow

export interface Leaf {
  readonly pem: string;
  readonly certificate: X509Certificate;
  readonly keyPem: string;
}

export interface LeafOptions {
  from?: Date;
  to?: Date;
  key?: KeyPair;
  extensions?: x509.Extension[];
  hash?: string;
}

let serial = 1;

/** Signs certificates. With another authority above, it is an intermediate one. */
export class Authority {
  private constructor(
    private readonly name: string,
    private readonly keys: KeyPair,
    readonly pem: string,
  ) {}

  get certificate(): X509Certificate {
    return new X509Certificate(this.pem);
  }

  static async make(
    name: string,
    above?: Authority,
    extensions: x509.Extension[] = [authority(), mayCertify()],
    to = daysFromNow(300),
  ): Promise<Authority> {
    const ecdsa = { name: "ECDSA", namedCurve: "P-256" };
    const keys: KeyPair = await webcrypto.subtle.generateKey(ecdsa, true, ["sign", "verify"]);
    const pem = await sign(
      `CN=${name}`,
      keys.publicKey,
      above?.name ?? `CN=${name}`,
      above?.keys ?? keys,
      daysFromNow(-30),
      to,
      extensions,
    );
    return new Authority(`CN=${name}`, keys, pem);
  }

  /** A server's certificate and its key. */
  async leaf(host: string, options: LeafOptions = {}): Promise<Leaf> {
    const { from = daysFromNow(-5), to = daysFromNow(90), extensions = [], hash } = options;
    const key = options.key ?? someKey;
    const names = new x509.SubjectAlternativeNameExtension([
      { type: /^[\d.]+$/.test(host) ? "ip" : "dns", value: host },
    ]);
    const own = [names, new x509.BasicConstraintsExtension(false, undefined, true), ...extensions];
    const pem = await sign(`CN=${host}`, key.publicKey, this.name, this.keys, from, to, own, hash);
    const exported = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", key.privateKey)).toString("base64");
    const keyPem = `-----BEGIN PRIVATE KEY-----\n${exported.match(/.{1,64}/g)!.join("\n")}\n-----END PRIVATE KEY-----\n`;
    return { pem, keyPem, certificate: new X509Certificate(pem) };
  }
}

export const authority = (pathLength?: number): x509.Extension =>
  new x509.BasicConstraintsExtension(true, pathLength, true);
export const mayCertify = (): x509.Extension => new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true);

async function sign(
  subject: string,
  publicKey: webcrypto.CryptoKey,
  issuer: string,
  by: KeyPair,
  notBefore: Date,
  notAfter: Date,
  extensions: x509.Extension[],
  hash = "SHA-256",
): Promise<string> {
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: (serial++).toString(16).padStart(8, "0"),
    subject,
    issuer,
    publicKey,
    signingKey: by.privateKey,
    notBefore,
    notAfter,
    signingAlgorithm: { name: "ECDSA", hash },
    extensions: [
      ...extensions,
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(by.publicKey),
    ],
  });
  return `${certificate.toString("pem")}\n`;
}
