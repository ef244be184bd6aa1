<?php

declare(strict_types=1);

namespace Noted\Receiver;

/**
 * Fetches and keeps what webhooks are signed with. Name, chain and dates are judged at every use, so a kept certificate ends with its dates, and
 * a file that somebody else has put into the folder is worth nothing.
 *
 * @internal
 */
final class Certificates
{
    /** The names in the certificates that PayPal signs webhooks with, and whether for tests of the sandbox. */
    private const NAMES = ['messageverificationcerts.paypal.com' => false, 'messageverificationcerts.sandbox.paypal.com' => true];

    private readonly string $folder;

    /**
     * @param list<string> $hosts that a certificate may be fetched from, as host or host:port
     * @param string $caFile PEM certificates to trust beside the system's; empty for none
     * @param string $folder where to keep certificates
     * @param float $timeout in seconds
     */
    public function __construct(private readonly array $hosts, private readonly string $caFile, string $folder, private readonly float $timeout)
    {
        $this->folder = $folder !== '' ? $folder : sys_get_temp_dir() . '/noted-certificates';
        if (!is_dir($this->folder) && !@mkdir($this->folder, 0700, true) && !is_dir($this->folder) && $folder !== '') {
            throw new \InvalidArgumentException("keeping certificates in $folder: it cannot be made");
        }
    }

    /**
     * The certificate at a URL in PEM, if PayPal may serve it there and it is PayPal's at that time; and whether it is the sandbox's.
     *
     * @return array{string, bool}
     */
    public function trusted(string $url, float $now): array
    {
        if (!$this->isAllowed($url)) {
            throw new Refusal(400, 'certificate', "the certificate's URL is not one of PayPal's");
        }
        $file = $this->folder . '/' . hash('sha256', $url) . '.pem';
        if (!is_file($file)) {
            return $this->fetch($url, $file, $now);
        }
        try {
            return $this->judged($file, $now);
        } catch (Refusal) { // it has ended, or is not ours
            return $this->fetch($url, $file, $now);
        }
    }

    /** Https, on a host of the list, and nothing in the URL that could make another reader see another host. */
    private function isAllowed(string $url): bool
    {
        if (preg_match('~^https://([a-zA-Z0-9.-]+(?::[0-9]+)?)/[a-zA-Z0-9._/-]*$~D', $url, $found) !== 1) {
            return false;
        }
        $plain = static fn (string $host): string => preg_replace('/:443$/D', '', strtolower(trim($host)));
        return in_array($plain($found[1]), array_map($plain, $this->hosts), true);
    }

    /**
     * Fetches a certificate, one process at a time: when a thousand messages come at once, PayPal is asked once.
     *
     * @return array{string, bool}
     */
    private function fetch(string $url, string $file, float $now): array
    {
        $lock = @fopen("$this->folder/lock", 'c');
        if ($lock !== false) {
            flock($lock, LOCK_EX); // its holder is bounded by the timeout
            if (is_file($file)) {
                try {
                    return $this->judged($file, $now); // another has fetched it meanwhile
                } catch (Refusal) {
                    // as above
                }
            }
        }
        $pem = $this->download($url);
        $new = tempnam($this->folder, 'new'); // in the system's folder where ours cannot be written to: then each message fetches
        file_put_contents($new, $pem);
        try {
            $judged = $this->judged($new, $now);
            if (dirname($new) === $this->folder) {
                rename($new, $file);
            }
            return $judged;
        } finally {
            @unlink($new);
        }
    }

    private function download(string $url): string
    {
        // The host is known by the system's certificates, or by one of ours.
        foreach ($this->caFile === '' ? [[]] : [[], [CURLOPT_CAINFO => $this->caFile]] as $options) {
            try {
                [$status, $pem] = Http::ask($url, null, [], $this->timeout, $options);
                break;
            } catch (\RuntimeException $e) {
                [$status, $pem] = [0, ''];
                $why = $e->getMessage();
                if ($e->getCode() !== CURLE_SSL_CACERT) {
                    break;
                }
            }
        }
        if (in_array($status, [400, 404, 410], true)) {
            throw self::untrusted();
        }
        if ($status !== 200 || !str_contains($pem, '-----BEGIN CERTIFICATE-----')) {
            $why ??= $status !== 200 ? "the host answered with HTTP status $status" : 'the host answered something else';
            throw Refusal::again('verifier', "PayPal's certificate could not be fetched ($why)");
        }
        return $pem;
    }

    /**
     * Checks name, dates and chain of the first certificate in a file; those behind it may be its issuers.
     *
     * @return array{string, bool}
     */
    private function judged(string $file, float $now): array
    {
        $pem = (string) file_get_contents($file);
        $test = self::isPayPals($pem, $now) ?? throw self::untrusted();
        // The system's certificates are what OpenSSL knows by itself, unless it is told of any.
        $trusted = $this->caFile === '' ? [] : [...self::systemCertificates(), $this->caFile];
        // It is a server's certificate by its issue and signs messages by its use: the name says whose it is.
        if (openssl_x509_checkpurpose($pem, X509_PURPOSE_ANY, $trusted, $file) !== true) {
            throw self::untrusted();
        }
        return [$pem, $test];
    }

    /** Whether a certificate in PEM bears PayPal's name and is of that time: null if not, else whether it is the sandbox's. It says nothing of its chain. */
    public static function isPayPals(string $pem, float $now): ?bool
    {
        $certificate = openssl_x509_parse($pem);
        if ($certificate === false || $now < $certificate['validFrom_time_t'] || $now > $certificate['validTo_time_t']) {
            return null;
        }
        $name = $certificate['subject']['CN'] ?? '';
        $others = explode(', ', $certificate['extensions']['subjectAltName'] ?? '');
        return is_string($name) && in_array("DNS:$name", $others, true) ? self::NAMES[$name] ?? null : null;
    }

    /** @return list<string> */
    private static function systemCertificates(): array
    {
        $locations = openssl_get_cert_locations();
        $paths = [$locations['ini_cafile'], $locations['ini_capath'], $locations['default_cert_file'], $locations['default_cert_dir']];
        return array_values(array_filter($paths, static fn (mixed $path): bool => is_string($path) && $path !== '' && file_exists($path)));
    }

    private static function untrusted(): Refusal
    {
        return new Refusal(400, 'certificate', "the certificate is not PayPal's, or not of this time, or its issuer is not known here; in that case add the issuer to the trusted certificates");
    }
}
