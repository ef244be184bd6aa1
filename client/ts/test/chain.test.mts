// Which certificates may sign for PayPal.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { X509Certificate } from "node:crypto";
import { BasicConstraintsExtension, Extension, KeyUsageFlags, KeyUsagesExtension } from "@peculiar/x509";
import { isTrusted } from "../src/receiver/chain.js";
import { Authority, authority, daysFromNow, makeKey, mayCertify } from "./authority.mjs";

const name = "messageverificationcerts.paypal.com";
const now = new Date();
const root = await Authority.make("Root");
const between = await Authority.make("Between", root);
const stranger = await Authority.make("Root"); // has the name of the trusted root
const { certificate: leaf } = await between.leaf(name);

const trusted = (chain: X509Certificate[], roots = [root.certificate], at = now): boolean =>
  isTrusted(chain, roots, name, at);

test("trusted: a chain to a root, in any order, with unrelated certificates, or to a trusted issuer", async () => {
  assert.ok(trusted([leaf, between.certificate]));
  assert.ok(trusted([leaf, root.certificate, stranger.certificate, between.certificate, between.certificate]));
  assert.ok(trusted([leaf], [between.certificate]));
  const direct = await root.leaf(name);
  assert.ok(trusted([direct.certificate]));
  assert.ok(trusted([direct.certificate], [direct.certificate]));
});

test("refused: no chain, another root of the same name, another name", async () => {
  assert.ok(!trusted([]));
  assert.ok(!trusted([leaf]));
  assert.ok(!trusted([leaf, between.certificate], [stranger.certificate]));
  assert.ok(!trusted([(await stranger.leaf(name)).certificate]));
  for (const other of ["messageverificationcerts.paypal.com.example.org", "*.paypal.com", "paypal.com"]) {
    assert.ok(!trusted([(await root.leaf(other)).certificate]), other);
  }
});

test("refused: a certificate of the chain that has ended or not begun", async () => {
  const short = await Authority.make("Short", root, undefined, daysFromNow(10));
  const { certificate } = await short.leaf(name);
  const at = (days: number): boolean =>
    trusted([certificate, short.certificate], [root.certificate], daysFromNow(days));
  assert.deepEqual([at(-6), at(-4), at(9), at(11), at(91)], [false, true, true, false, false]);
  assert.ok(!trusted([leaf, between.certificate], [root.certificate], daysFromNow(400)));
  const old = await Authority.make("Old", undefined, undefined, daysFromNow(-1));
  assert.ok(!trusted([(await old.leaf(name)).certificate], [old.certificate]));
});

test("refused: an issuer that is no authority, may not certify, or not at this depth", async () => {
  const issuedBy = async (extensions: Extension[], above = root): Promise<boolean> => {
    const issuer = await Authority.make("Issuer", above, extensions);
    return trusted([(await issuer.leaf(name)).certificate, issuer.certificate, above.certificate]);
  };
  assert.ok(await issuedBy([authority(), mayCertify()]));
  assert.ok(await issuedBy([authority(0), mayCertify()]));
  assert.ok(!(await issuedBy([])), "without basic constraints");
  assert.ok(!(await issuedBy([mayCertify()])), "without basic constraints");
  assert.ok(
    !(await issuedBy([authority(), new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true)])),
    "without keyCertSign",
  );
  const last = await Authority.make("Last", root, [authority(0), mayCertify()]);
  assert.ok(!(await issuedBy([authority(), mayCertify()], last)), "below a path length of 0");
  assert.ok(!(await issuedBy([new BasicConstraintsExtension(false), mayCertify()])), "a server's certificate");
});

test("refused: unknown critical extensions, name constraints, weak keys and weak hashes", async () => {
  const unknown = new Extension("1.2.3.4", true, new Uint8Array([4, 0]));
  assert.ok(
    !trusted([(await root.leaf(name, { extensions: [unknown] })).certificate]),
    "a critical extension of the leaf",
  );
  assert.ok(
    trusted([
      (await root.leaf(name, { extensions: [new Extension("1.2.3.4", false, new Uint8Array([4, 0]))] })).certificate,
    ]),
  );
  for (const critical of [true, false]) {
    // permitted: example.org
    const constraints = new Extension(
      "2.5.29.30",
      critical,
      Buffer.from("3011a00f300d820b6578616d706c652e6f7267", "hex"),
    );
    const constrained = await Authority.make("Constrained", root, [authority(), mayCertify(), constraints]);
    assert.ok(!trusted([(await constrained.leaf(name)).certificate, constrained.certificate]), "name constraints");
  }
  const weak = await makeKey(1024);
  assert.ok(!trusted([(await root.leaf(name, { key: weak })).certificate]), "a key of 1024 bits");
  assert.ok(!trusted([(await root.leaf(name, { hash: "SHA-1" })).certificate]), "signed with SHA-1");
});
