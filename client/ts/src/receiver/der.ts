/**
 * The parts of a certificate that node:crypto does not tell: the algorithm of its
 * signature, and its extensions.
 */
import type { X509Certificate } from "node:crypto";

export interface Details {
  /**
   * The object identifier of the signature's algorithm, in hexadecimal like all of them
   * here.
   */
  readonly signatureAlgorithm: string;
  readonly extensions: ReadonlyMap<string, Extension>;
}

export interface Extension {
  readonly critical: boolean;
  readonly value: Buffer;
}

interface Element {
  readonly tag: number;
  readonly content: Buffer;
}

const tags = { boolean: 0x01, integer: 0x02, octets: 0x04, oid: 0x06, sequence: 0x30, extensions: 0xa3 };

/**
 * Throws for bytes that are not a certificate. OpenSSL has read them before, so that is
 * rare.
 */
export function readDetails(certificate: X509Certificate): Details {
  const [outer] = elements(certificate.raw);
  const [signed, algorithm] = elements(content(outer, tags.sequence));
  const [oid] = elements(content(algorithm, tags.sequence));
  const block = elements(content(signed, tags.sequence)).find(({ tag }) => tag === tags.extensions);
  const extensions = new Map<string, Extension>();
  if (block !== undefined) {
    const [list] = elements(block.content);
    for (const extension of elements(content(list, tags.sequence))) {
      const [id, ...rest] = elements(content(extension, tags.sequence));
      const critical = rest.length > 1 && content(rest[0], tags.boolean)[0] !== 0;
      const name = content(id, tags.oid).toString("hex");
      if (extensions.has(name)) throw new Error("an extension is repeated");
      extensions.set(name, { critical, value: content(rest.at(-1), tags.octets) });
    }
  }
  return { signatureAlgorithm: content(oid, tags.oid).toString("hex"), extensions };
}

/**
 * How many authorities may stand below an authority, by its basic constraints; undefined
 * if the certificate is not an authority's.
 */
export function pathLength({ value }: Extension): number | undefined {
  const [outer] = elements(value);
  const [isAuthority, length] = elements(content(outer, tags.sequence));
  if (isAuthority?.tag !== tags.boolean || isAuthority.content[0] === 0) return undefined;
  if (length === undefined) return Infinity;
  const bytes = content(length, tags.integer);
  if (bytes.length !== 1 || bytes[0] === undefined || bytes[0] > 0x7f)
    throw new Error("the path length is not one byte below 128");
  return bytes[0];
}

function elements(bytes: Buffer): Element[] {
  const found: Element[] = [];
  for (let at = 0; at < bytes.length;) {
    const tag = bytes.readUInt8(at);
    const short = bytes.readUInt8(at + 1);
    const digits = short < 0x80 ? 0 : short & 0x7f;
    if (short === 0x80 || digits > 4) throw new Error("a length is not valid DER");
    const length = digits === 0 ? short : bytes.readUIntBE(at + 2, digits);
    const start = at + 2 + digits;
    if (start + length > bytes.length) throw new Error("an element is longer than its parent");
    found.push({ tag, content: bytes.subarray(start, start + length) });
    at = start + length;
  }
  return found;
}

function content(element: Element | undefined, tag: number): Buffer {
  if (element?.tag !== tag) throw new Error("an element has an unexpected tag");
  return element.content;
}
