<?php

declare(strict_types=1);

namespace Noted\Tests;

/** A certificate authority for the time of the tests. */
final class Authority
{
    private const NAME = 'messageverificationcerts.paypal.com';

    private readonly string $config;
    private readonly \OpenSSLAsymmetricKey $key;
    private readonly \OpenSSLCertificate $root;
    /** A file of its root certificate. */
    public readonly string $file;
    private int $serial = 1;

    public function __construct()
    {
        $this->config = Program::folder() . '/openssl-' . bin2hex(random_bytes(4)) . '.cnf';
        file_put_contents(
            $this->config,
            "[req]\ndistinguished_name=name\n[name]\n[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n",
        );
        $this->key = self::makeKey();
        $this->root = $this->sign('Test Root ' . bin2hex(random_bytes(4)), $this->key, null, $this->key, 'ca', 2);
        openssl_x509_export($this->root, $pem);
        $this->file = "$this->config.pem";
        file_put_contents($this->file, $pem);
    }

    public static function makeKey(int $bits = 2048): \OpenSSLAsymmetricKey
    {
        return openssl_pkey_new(['private_key_bits' => $bits, 'private_key_type' => OPENSSL_KEYTYPE_RSA]);
    }

    /**
     * An intermediate issuer: its certificate and key.
     *
     * @return array{\OpenSSLCertificate, \OpenSSLAsymmetricKey}
     */
    public function between(): array
    {
        $key = self::makeKey();
        return [$this->sign('Test Issuer', $key, $this->root, $this->key, 'ca', 2), $key];
    }

    /**
     * A certificate in PEM, followed by its issuer unless that is the root.
     *
     * @param ?array{\OpenSSLCertificate, \OpenSSLAsymmetricKey} $issuer
     */
    public function issue(
        \OpenSSLAsymmetricKey $key,
        string $name = self::NAME,
        ?array $issuer = null,
        string $other = '',
        int $days = 1,
    ): string {
        $section = 'leaf' . $this->serial;
        file_put_contents(
            $this->config,
            "[$section]\nbasicConstraints=critical,CA:FALSE\nsubjectAltName=" .
                ($other !== '' ? $other : "DNS:$name") .
                "\n",
            FILE_APPEND,
        );
        [$certificate, $signer] = $issuer ?? [$this->root, $this->key];
        openssl_x509_export($this->sign($name, $key, $certificate, $signer, $section, $days), $pem);
        if ($issuer !== null) {
            openssl_x509_export($issuer[0], $behind);
            $pem .= $behind;
        }
        return $pem;
    }

    private function sign(
        string $name,
        \OpenSSLAsymmetricKey $key,
        ?\OpenSSLCertificate $issuer,
        \OpenSSLAsymmetricKey $signer,
        string $section,
        int $days,
    ): \OpenSSLCertificate {
        $options = ['config' => $this->config, 'digest_alg' => 'sha256', 'x509_extensions' => $section];
        $request = openssl_csr_new(['commonName' => $name], $key, [
            'config' => $this->config,
            'digest_alg' => 'sha256',
        ]);
        return openssl_csr_sign($request, $issuer, $signer, $days, $options, $this->serial++);
    }
}
