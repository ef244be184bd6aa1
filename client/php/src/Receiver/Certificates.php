<?php

declare(strict_types=1);

namespace Noted\Receiver;

/**
 * Fetches and keeps the certificates that webhooks are signed with. It checks name, chain
 * and dates at every use, so a kept certificate ends with its dates, and a file that
 * another user has put into the folder has no effect.
 *
 * @internal
 */
final class Certificates
{
    /**
     * The names in the certificates that PayPal signs webhooks with, and whether for
     * tests of the sandbox.
     */
    private const NAMES = [
        'messageverificationcerts.paypal.com' => false,
        'messageverificationcerts.sandbox.paypal.com' => true,
    ];

    /**
     * PayPal uses one or two at a time. Only trusted certificates are kept, and the
     * oldest goes first.
     */
    private const MAX_KEPT = 16;
    /**
     * Of all processes that share the folder, at a time. Forged messages cannot cause
     * more.
     */
    private const MAX_FETCHES = 8;
    /**
     * In seconds, for another process that is fetching. With a longer wait, a host that
     * hangs would hold every process of a web server.
     */
    private const WAIT = 1.0;

    /** Empty without a folder: then each message fetches. */
    private readonly string $folder;

    /**
     * @param list<string> $hosts that a certificate may be fetched from, as host or host:port
     * @param string $caFile PEM certificates to trust beside the system's; empty for none
     * @param string $folder where to keep certificates, writable for this user alone; empty for
     *     a folder in the system's folder for temporary files
     * @param float $timeout in seconds
     */
    public function __construct(
        private readonly array $hosts,
        private readonly string $caFile,
        string $folder,
        private readonly float $timeout,
    ) {
        if ($folder !== '' && !is_dir($folder) && !@mkdir($folder, 0700, true) && !is_dir($folder)) {
            throw new \InvalidArgumentException("keeping certificates in $folder: it cannot be made");
        }
        $this->folder = $folder !== '' ? $folder : self::folderOfOurs();
    }

    /**
     * A folder of a known name, in a folder that every user may write to. Another user of
     * this machine could have made it, to hold our locks, or a link in its place, to let
     * us remove files elsewhere. So it counts only if it belongs to us alone.
     */
    private static function folderOfOurs(): string
    {
        // Its owner is the user that PHP runs as. getmyuid() is the script's owner, and the
        // extension posix may be missing.
        $file = tmpfile();
        if ($file === false) {
            return '';
        }
        $us = fstat($file)['uid'];
        $folder = sys_get_temp_dir() . "/noted-certificates-$us";
        @mkdir($folder, 0700);
        clearstatcache(true, $folder);
        $found = @lstat($folder);
        $isFolder = $found !== false && ($found['mode'] & 0170000) === 0040000;
        if ($isFolder && $found['uid'] === $us && (($found['mode'] & 0077) === 0 || PHP_OS_FAMILY === 'Windows')) {
            return $folder;
        }
        error_log(
            "noted: PayPal's certificates are not kept: $folder does not belong to this user alone; remove it, or set another folder",
        );
        return '';
    }

    /**
     * The certificate at a URL in PEM, if the host is PayPal's and the certificate is
     * PayPal's at that time; and whether it is the sandbox's.
     *
     * @return array{string, bool}
     */
    public function trusted(string $url, float $now): array
    {
        $url =
            $this->allowed($url) ??
            throw new Refusal(400, 'certificate', "the certificate's URL is not one of PayPal's");
        if ($this->folder === '') {
            return $this->fetch($url, null, $now);
        }
        $name = hash('sha256', $url);
        return $this->kept("$this->folder/$name.pem", $now) ?? $this->fetchAlone($url, $name, $now);
    }

    /**
     * Https, on a host of the list, without a part of the URL by which another reader
     * could see another host. It returns the one spelling of the URL: no part is empty or
     * begins with a dot, because curl takes such parts out before it asks the host.
     */
    private function allowed(string $url): ?string
    {
        if (
            preg_match(
                '~^https://([a-zA-Z0-9.-]+(?::[0-9]+)?)((?:/[a-zA-Z0-9_-][a-zA-Z0-9._-]*)+)$~D',
                $url,
                $found,
            ) !== 1
        ) {
            return null;
        }
        $plain = static fn(string $host): string => preg_replace('/:443$/D', '', strtolower(trim($host)));
        $host = $plain($found[1]);
        return in_array($host, array_map($plain, $this->hosts), true) ? "https://$host$found[2]" : null;
    }

    /**
     * The certificate in a file, or null if there is no file, or its certificate is out
     * of date or not PayPal's.
     *
     * @return ?array{string, bool}
     */
    private function kept(string $file, float $now): ?array
    {
        try {
            return is_file($file) ? $this->judged($file, $now) : null;
        } catch (Refusal) {
            return null;
        }
    }

    /**
     * Fetches a certificate, one process at a time: a thousand messages at once cause one
     * request to PayPal. Processes that wait take the certificate as soon as it is kept, all
     * at once.
     *
     * @return array{string, bool}
     */
    private function fetchAlone(string $url, string $name, float $now): array
    {
        $file = "$this->folder/$name.pem";
        $lock = @fopen("$this->folder/lock-" . hexdec($name[0]) % self::MAX_FETCHES, 'c');
        $end = hrtime(true) + self::WAIT * 1e9;
        while ($lock !== false && !flock($lock, LOCK_EX | LOCK_NB, $taken) && $taken) {
            // some file systems have no locks
            if (hrtime(true) > $end) {
                throw Refusal::again(
                    'verifier',
                    "another process is still fetching PayPal's certificate; come again",
                );
            }
            usleep(20_000);
            $kept = $this->kept($file, $now);
            if ($kept !== null) {
                return $kept;
            }
        }
        // Another process may have fetched it meanwhile.
        return $this->kept($file, $now) ?? $this->fetch($url, $file, $now);
    }

    /**
     * Fetches a certificate, and keeps it if it is trusted.
     *
     * @return array{string, bool}
     */
    private function fetch(string $url, ?string $file, float $now): array
    {
        $pem = $this->download($url);
        $folder = $file !== null ? $this->folder : sys_get_temp_dir();
        // In the system's folder if ours is not writable: then each message fetches.
        $new = @tempnam($folder, 'noted-');
        try {
            if ($new === false || file_put_contents($new, $pem) !== strlen($pem)) {
                // a truncated certificate would be refused until it is removed
                throw Refusal::again(
                    'verifier',
                    "PayPal's certificate could not be checked: there is no room for temporary files",
                );
            }
            $judged = $this->judged($new, $now);
            if ($file !== null && dirname($new) === $this->folder) {
                rename($new, $file);
                $this->thin();
            }
            return $judged;
        } finally {
            @unlink((string) $new);
        }
    }

    /**
     * Removes the oldest certificates if there are too many, and files that a killed
     * process has left behind. A process that needs a removed certificate fetches it
     * again.
     */
    private function thin(): void
    {
        $kept = [];
        foreach (scandir($this->folder) ?: [] as $name) {
            $at = @filemtime("$this->folder/$name");
            if (preg_match('/^[0-9a-f]{64}\.pem$/D', $name) === 1) {
                $kept[$name] = (int) $at;
            } elseif (preg_match('/^noted-[a-zA-Z0-9]{6}$/D', $name) === 1 && is_int($at) && $at < time() - 3600) {
                @unlink("$this->folder/$name");
            }
        }
        asort($kept);
        foreach (array_slice(array_keys($kept), 0, max(0, count($kept) - self::MAX_KEPT)) as $name) {
            @unlink("$this->folder/$name");
        }
    }

    private function download(string $url): string
    {
        // The host's certificate is signed by the system's, or by one of ours.
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
            $why ??=
                $status !== 200 ? "the host answered with HTTP status $status" : 'the host answered something else';
            throw Refusal::again('verifier', "PayPal's certificate could not be fetched ($why)");
        }
        return $pem;
    }

    /**
     * Checks name, dates and chain of the first certificate in a file. The ones behind it
     * may be its issuers.
     *
     * @return array{string, bool}
     */
    private function judged(string $file, float $now): array
    {
        $pem = (string) @file_get_contents($file); // another process may have removed it
        $test = self::isPayPals($pem, $now) ?? throw self::untrusted();
        // OpenSSL knows the system's certificates only if it is told of no others.
        $trusted = $this->caFile === '' ? [] : [...self::systemCertificates(), $this->caFile];
        // It was issued as a server's certificate and is used to sign messages, so its
        // purpose does not count. The name says whose it is.
        if (openssl_x509_checkpurpose($pem, X509_PURPOSE_ANY, $trusted, $file) !== true) {
            throw self::untrusted();
        }
        return [$pem, $test];
    }

    /**
     * Whether a certificate in PEM has PayPal's name and is valid at that time: null if
     * not, else whether it is the sandbox's. It does not check the chain.
     */
    public static function isPayPals(string $pem, float $now): ?bool
    {
        $certificate = openssl_x509_parse($pem);
        if (
            $certificate === false ||
            $now < $certificate['validFrom_time_t'] ||
            $now > $certificate['validTo_time_t']
        ) {
            return null;
        }
        $text = strtolower((string) ($certificate['extensions']['subjectAltName'] ?? ''));
        // PHP joins the names to one text, in which a URI or an address can read like
        // another name. PayPal's certificates have neither.
        if (preg_match('/^dns:[a-z0-9.*-]+(, dns:[a-z0-9.*-]+)*$/D', $text) !== 1) {
            return null;
        }
        $names = explode(', ', $text);
        foreach (self::NAMES as $name => $test) {
            if (in_array("dns:$name", $names, true)) {
                return $test;
            }
        }
        return null;
    }

    /** @return list<string> */
    private static function systemCertificates(): array
    {
        $locations = openssl_get_cert_locations();
        $paths = [
            $locations['ini_cafile'],
            $locations['ini_capath'],
            $locations['default_cert_file'],
            $locations['default_cert_dir'],
        ];
        return array_values(
            array_filter(
                $paths,
                static fn(mixed $path): bool => is_string($path) && $path !== '' && file_exists($path),
            ),
        );
    }

    private static function untrusted(): Refusal
    {
        return new Refusal(
            400,
            'certificate',
            "the certificate is not PayPal's, or not valid at this time, or its issuer is not known here; in that case add the issuer to the trusted certificates",
        );
    }
}
