/**
 * Whether certificates lead to a trusted authority.
 *
 * Node checks chains only inside TLS, and PayPal's certificates sign messages. So this
 * code builds the path, and OpenSSL checks each link: the issuer, by names, key ids and
 * key usage (checkIssued), and the issuer's signature (verify). This code checks the rest
 * of RFC 5280: dates, basic constraints, and no unknown critical extension. It is
 * stricter than the RFC for simplicity: it does not trust an authority with name
 * constraints.
 */
import type { X509Certificate } from "node:crypto";
import { pathLength, readDetails, type Details } from "./der.js";

const basicConstraints = "551d13";
const nameConstraints = "551d1e";

/**
 * Key usage, subject alternative names, basic constraints, policies, extended key usage.
 * This code checks the third, OpenSSL the first two.
 */
const understood: ReadonlySet<string> = new Set(["551d0f", "551d11", basicConstraints, "551d20", "551d25"]);

/** RSA with SHA-256, 384, 512, and PSS; ECDSA with the same three; Ed25519. */
const algorithms: ReadonlySet<string> = new Set([
  "2a864886f70d01010b",
  "2a864886f70d01010c",
  "2a864886f70d01010d",
  "2a864886f70d01010a",
  "2a8648ce3d040302",
  "2a8648ce3d040303",
  "2a8648ce3d040304",
  "2b6570",
]);

/**
 * Whether the first certificate has the name, and leads to one of the roots at that time,
 * directly or through the others.
 */
export function isTrusted(
  [leaf, ...between]: readonly X509Certificate[],
  roots: readonly X509Certificate[],
  name: string,
  at: Date,
): boolean {
  if (leaf?.checkHost(name, { subject: "never", wildcards: false }) === undefined) return false;
  try {
    return new Path(roots, between, at).leadsToRoot(leaf, 0, [leaf]);
  } catch {
    return false; // what cannot be read is not trusted
  }
}

class Path {
  constructor(
    private readonly roots: readonly X509Certificate[],
    private readonly between: readonly X509Certificate[],
    private readonly at: Date,
  ) {}

  /** below: how many authorities stand between the certificate and the leaf. */
  leadsToRoot(certificate: X509Certificate, below: number, walked: readonly X509Certificate[]): boolean {
    const details = readDetails(certificate);
    if (!this.isUsable(certificate, details)) return false;
    if (this.roots.some((root) => root.raw.equals(certificate.raw))) return true;
    if (!algorithms.has(details.signatureAlgorithm)) return false;
    const isIssuer = (other: X509Certificate): boolean =>
      certificate.checkIssued(other) && mayIssue(other, below) && certificate.verify(other.publicKey);
    if (this.roots.some((root) => isIssuer(root) && this.isUsable(root, readDetails(root)))) return true;
    return this.between.some(
      (other) => !walked.includes(other) && isIssuer(other) && this.leadsToRoot(other, below + 1, [...walked, other]),
    );
  }

  private isUsable(certificate: X509Certificate, { extensions }: Details): boolean {
    const now = this.at.getTime();
    if (!(Date.parse(certificate.validFrom) <= now && now <= Date.parse(certificate.validTo))) return false;
    return isStrong(certificate) && [...extensions].every(([name, { critical }]) => !critical || understood.has(name));
  }
}

function mayIssue(authority: X509Certificate, below: number): boolean {
  const { extensions } = readDetails(authority);
  const constraints = extensions.get(basicConstraints);
  if (constraints === undefined || extensions.has(nameConstraints)) return false;
  const length = pathLength(constraints);
  return length !== undefined && below <= length;
}

/** Whether the key is too strong to guess. */
export function isStrong({ publicKey }: X509Certificate): boolean {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = publicKey;
  return type === "rsa" || type === "rsa-pss"
    ? (details?.modulusLength ?? 0) >= 2048
    : type === "ec" || type === "ed25519";
}
