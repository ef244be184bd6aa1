<?php

declare(strict_types=1);

namespace Noted\Receiver;

/**
 * Verifies webhooks by their signature, and asks PayPal only for its certificate. Needs
 * PHP's openssl extension; WebhookApi does not.
 */
final class WebhookSignature implements Verifier
{
    /** The hosts that PayPal keeps its certificates on. */
    public const CERT_HOSTS = [
        'api.paypal.com',
        'api-m.paypal.com',
        'api.sandbox.paypal.com',
        'api-m.sandbox.paypal.com',
    ];
    /** In seconds: PayPal redelivers for three days. */
    public const MAX_AGE = 73 * 3600.0;

    private readonly Certificates $certificates;

    /**
     * @param string $webhookId the webhook's id in PayPal's dashboard; the signature
     *     covers it
     * @param list<string> $certHosts that a certificate may be fetched from, as host or host:port
     * @param string $caFile PEM certificates to trust beside the system's; empty for none
     * @param string $folder where to keep PayPal's certificates, writable for this user
     *     alone; empty for a folder in the system's folder for temporary files
     * @param float $maxAge in seconds, how old a transmission may be
     * @param float $timeout in seconds, for the certificate
     */
    public function __construct(
        private readonly string $webhookId,
        array $certHosts = self::CERT_HOSTS,
        string $caFile = '',
        string $folder = '',
        private readonly float $maxAge = self::MAX_AGE,
        float $timeout = 10.0,
    ) {
        if (!self::isPossible()) {
            throw new \RuntimeException(
                "verifying webhooks by their signature needs PHP's openssl extension: install it, or verify through PayPal's API, which needs the client id and secret of your REST app",
            );
        }
        if ($webhookId === '') {
            throw new \InvalidArgumentException(
                "verifying webhooks: the webhook id is empty; PayPal's dashboard shows it",
            );
        }
        $this->certificates = new Certificates($certHosts, $caFile, $folder, $timeout);
    }

    /** Says whether this PHP has the openssl extension. */
    public static function isPossible(): bool
    {
        return extension_loaded('openssl');
    }

    public function verify(array $headers, string $body): bool
    {
        $now = microtime(true);
        $transmission = Transmission::read($headers, $now, $this->maxAge);
        if (strcasecmp($transmission->algorithm, 'SHA256withRSA') !== 0) {
            throw new Refusal(400, 'headers', 'the signature algorithm is not SHA256withRSA');
        }
        [$pem, $test] = $this->certificates->trusted($transmission->certUrl, $now);
        if (!self::isSigned($transmission, $this->webhookId, $body, $pem)) {
            // The answer does not say which part was wrong: that would help a forger.
            throw new Refusal(
                400,
                'invalid',
                "the signature is not PayPal's over this body for this webhook; compare the webhook id with PayPal's dashboard",
            );
        }
        return $test;
    }

    /**
     * Checks the signature over id, time, our webhook id and the checksum of the body,
     * with a trusted certificate.
     */
    public static function isSigned(Transmission $transmission, string $webhookId, string $body, string $pem): bool
    {
        $signature = base64_decode($transmission->signature, true);
        $key = openssl_pkey_get_public($pem);
        if ($signature === false || $key === false) {
            return false;
        }
        $details = openssl_pkey_get_details($key);
        if ($details === false || $details['type'] !== OPENSSL_KEYTYPE_RSA || $details['bits'] < 2048) {
            return false;
        }
        $checksum = hexdec(hash('crc32b', $body));
        $signed = "{$transmission->id}|{$transmission->time}|$webhookId|$checksum";
        return openssl_verify($signed, $signature, $key, OPENSSL_ALGO_SHA256) === 1;
    }
}
