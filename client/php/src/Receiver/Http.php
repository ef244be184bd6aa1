<?php

declare(strict_types=1);

namespace Noted\Receiver;

use Noted\Transport;

/**
 * Asks PayPal.
 *
 * @internal
 */
final class Http
{
    /** In bytes. No expected answer is longer. */
    private const MAX_ANSWER = 64 << 10;

    /**
     * Says whether no one on the way can read or change a request to a URL: https, or
     * this machine.
     */
    public static function isConfidential(string $url): bool
    {
        $parts = parse_url($url);
        $scheme = strtolower($parts['scheme'] ?? '');
        $host = $parts['host'] ?? '';
        return $host !== '' && ($scheme === 'https' || ($scheme === 'http' && Transport::isLoopback($host)));
    }

    /**
     * Makes one request, and follows no redirect. Throws a RuntimeException that says why
     * there is no answer.
     *
     * @param ?string $body posted unless it is null
     * @param list<string> $headers
     * @param array<int, mixed> $options of curl
     * @return array{int, string} status and body
     */
    public static function ask(
        string $url,
        ?string $body,
        #[\SensitiveParameter] array $headers,
        float $timeout,
        array $options = [],
    ): array {
        $answer = '';
        $curl = curl_init();
        curl_setopt_array(
            $curl,
            $options + [
                    CURLOPT_URL => $url,
                    CURLOPT_HTTPHEADER => [...$headers, 'Expect:'],
                    CURLOPT_USERAGENT => 'noted',
                    CURLOPT_FOLLOWLOCATION => false,
                    CURLOPT_TIMEOUT_MS => (int) ($timeout * 1000),
                    CURLOPT_NOSIGNAL => true,
                    CURLOPT_WRITEFUNCTION => static function ($curl, string $data) use (&$answer): int {
                        $answer .= $data;
                        return strlen($answer) > self::MAX_ANSWER ? 0 : strlen($data);
                    },
                ] +
                ($body === null ? [] : [CURLOPT_POST => true, CURLOPT_POSTFIELDS => $body]) +
                Transport::proxying((string) parse_url($url, PHP_URL_HOST)),
        );
        curl_exec($curl);
        if (curl_errno($curl) !== 0) {
            throw new \RuntimeException(curl_error($curl), curl_errno($curl));
        }
        return [curl_getinfo($curl, CURLINFO_RESPONSE_CODE), $answer];
    }
}
