<?php

declare(strict_types=1);

namespace Noted;

use Noted\Exception\NotedException;

/**
 * Posts one call over the Connect protocol, unary and in JSON, and keeps the connection
 * for the next call.
 *
 * @internal
 */
final class Transport
{
    /**
     * In bytes. A page of a thousand notes with sixteen sightings each stays below it.
     */
    private const MAX_RESPONSE = 16 << 20;

    private readonly string $url;
    private readonly string $host;
    private readonly \CurlHandle $curl;
    private readonly ?Psr18 $http;

    /**
     * @param null|string|\Closure(): string $token
     */
    public function __construct(
        string $url,
        #[\SensitiveParameter] private readonly null|string|\Closure $token,
        private readonly string $caFile,
        bool $plaintext,
        private readonly Headers $headers,
        ?Psr18 $http = null,
    ) {
        $parts = parse_url($url);
        $scheme = strtolower($parts['scheme'] ?? '');
        if (
            !in_array($scheme, ['http', 'https'], true) ||
            !isset($parts['host']) ||
            isset($parts['user']) ||
            isset($parts['query']) ||
            isset($parts['fragment'])
        ) {
            throw new \InvalidArgumentException(
                "making a client of $url: it must be a URL such as http://127.0.0.1:8080 or https://noted.example.org",
            );
        }
        $this->url = rtrim($url, '/') . '/noted.v1.DedupeService/';
        $this->host = $parts['host'];
        if ($scheme === 'http' && !self::isLoopback($this->host)) {
            if (!$plaintext) {
                throw new \InvalidArgumentException(
                    "making a client of $url: over a network use https, or set plaintext and accept that anyone on the way can read, forge and suppress donations",
                );
            }
            if ($token !== null) {
                throw new \InvalidArgumentException(
                    "making a client of $url: a token is not sent in plaintext over a network: use https",
                );
            }
        }
        if (is_string($token) && $token !== '' && !self::isToken($token)) {
            throw new \InvalidArgumentException(
                "making a client of $url: the token holds something that is not printable ASCII; is there a newline at its end?",
            );
        }
        if ($caFile !== '' && !is_readable($caFile)) {
            throw new \InvalidArgumentException("making a client of $url: the CA file $caFile cannot be read");
        }
        if ($caFile !== '' && $http !== null) {
            throw new \InvalidArgumentException(
                "making a client of $url: a CA file is for curl; set it in the PSR-18 client instead",
            );
        }
        $this->http = $http;
        $this->curl = curl_init();
    }

    /** Says whether a host is surely this machine. An unknown form is not. */
    public static function isLoopback(string $host): bool
    {
        $host = trim($host, '[]');
        $address = @inet_pton($host);
        return strtolower($host) === 'localhost' ||
            $address === inet_pton('::1') ||
            ($address !== false && strlen($address) === 4 && $address[0] === "\x7f");
    }

    /**
     * curl's options for proxies. A proxy of the environment is for the network, not for
     * this machine. For other hosts the environment's no_proxy counts.
     *
     * @return array<int, string>
     */
    public static function proxying(string $host): array
    {
        return self::isLoopback($host) ? [CURLOPT_NOPROXY => '*'] : [];
    }

    /**
     * Makes one call, once.
     *
     * @param string $act for the exception, in the gerund: "noting I-1"
     * @param array<string, mixed> $request
     * @param float $timeout in seconds
     * @return array<string, mixed>
     */
    public function post(string $act, string $rpc, array $request, float $timeout, bool $fresh = false): array
    {
        if ($timeout <= 0) {
            throw NotedException::of($act, 'deadline_exceeded', 'there is no time left for it');
        }
        try {
            $body = json_encode((object) $request, JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES);
        } catch (\JsonException $e) {
            throw NotedException::of($act, 'invalid_argument', 'a field is not valid UTF-8: ' . $e->getMessage());
        }
        $milliseconds = max(1, (int) ($timeout * 1000));
        $headers = $this->headers->now($act) + [
            'Content-Type' => 'application/json',
            'Connect-Protocol-Version' => '1',
            'Connect-Timeout-Ms' => (string) $milliseconds,
        ];
        $token = $this->token instanceof \Closure ? self::renewed($this->token, $act) : $this->token ?? '';
        if ($token !== '') {
            $headers['Authorization'] = "Bearer $token";
        }
        if ($this->http !== null) {
            try {
                [$status, $answer] = $this->http->post($this->url . $rpc, $headers, $body, self::MAX_RESPONSE);
            } catch (\RuntimeException $e) {
                $problem = "the server cannot be reached: {$e->getMessage()}";
                throw NotedException::of($act, 'unavailable', $problem, previous: $e);
            }
            return self::read($act, $status, $answer);
        }
        [$status, $answer] = $this->curl($act, $rpc, $headers, $body, $milliseconds, $fresh);
        return self::read($act, $status, $answer);
    }

    /**
     * @param array<string, string> $headers
     * @return array{int, string} status, and body up to somewhat more than the limit
     */
    private function curl(
        string $act,
        string $rpc,
        #[\SensitiveParameter] array $headers,
        string $body,
        int $milliseconds,
        bool $fresh,
    ): array {
        $lines = array_map(static fn(string $k, string $v): string => "$k: $v", array_keys($headers), $headers);
        $answer = '';
        curl_reset($this->curl); // keeps the connection
        $set = curl_setopt_array(
            $this->curl,
            [
                CURLOPT_URL => $this->url . $rpc,
                CURLOPT_POST => true,
                CURLOPT_POSTFIELDS => $body,
                CURLOPT_HTTPHEADER => [...$lines, 'Expect:'],
                CURLOPT_HTTP_VERSION => CURL_HTTP_VERSION_1_1,
                CURLOPT_TIMEOUT_MS => $milliseconds,
                CURLOPT_CONNECTTIMEOUT_MS => $milliseconds,
                CURLOPT_NOSIGNAL => true,
                CURLOPT_TCP_KEEPALIVE => 1,
                CURLOPT_FOLLOWLOCATION => false,
                // curl itself repeats a request that a kept connection did not answer. A
                // call that must not be repeated gets a new connection.
                CURLOPT_FRESH_CONNECT => $fresh,
                CURLOPT_WRITEFUNCTION => static function ($curl, string $data) use (&$answer): int {
                    $answer .= $data;
                    return strlen($answer) > self::MAX_RESPONSE ? 0 : strlen($data);
                },
                // A folder without certificates: otherwise the system's would count
                // beside the file.
            ] +
                ($this->caFile !== '' ? [CURLOPT_CAINFO => $this->caFile, CURLOPT_CAPATH => __DIR__] : []) +
                self::proxying($this->host),
        );
        if (!$set) {
            throw new \LogicException("$act: curl refused an option: " . curl_error($this->curl));
        }
        curl_exec($this->curl);
        $trouble = curl_errno($this->curl);
        if (strlen($answer) > self::MAX_RESPONSE) {
            return [0, $answer]; // too long, so the transfer was stopped
        }
        if ($trouble === CURLE_OPERATION_TIMEDOUT) {
            throw NotedException::of($act, 'deadline_exceeded', 'no answer in time: ' . curl_error($this->curl));
        }
        if ($trouble !== 0) {
            throw NotedException::of($act, 'unavailable', 'the server cannot be reached: ' . curl_error($this->curl));
        }
        return [curl_getinfo($this->curl, CURLINFO_RESPONSE_CODE), $answer];
    }

    /** @return array<string, mixed> */
    private static function read(string $act, int $status, string $answer): array
    {
        if (strlen($answer) > self::MAX_RESPONSE) {
            throw NotedException::of(
                $act,
                'internal',
                'the answer is longer than ' . self::MAX_RESPONSE . ' bytes; ask for smaller pages',
            );
        }
        $decoded = json_decode($answer, true);
        if ($status === 200 && is_array($decoded)) {
            return $decoded;
        }
        throw self::failed($act, $status, $decoded);
    }

    /**
     * Asks for the token. A failure is Unavailable, because another try may cure it. Another
     * exception would look like the caller's own, such as a failure of the work that once()
     * settles.
     */
    private static function renewed(\Closure $token, string $act): string
    {
        try {
            $value = $token();
        } catch (\Throwable $e) {
            throw NotedException::of(
                $act,
                'unavailable',
                'the token function threw ' . get_class($e) . ": {$e->getMessage()}",
                previous: $e,
            );
        }
        if ($value === '' || (is_string($value) && self::isToken($value))) {
            return $value;
        }
        throw NotedException::of(
            $act,
            'unavailable',
            'the token function returned more than printable ASCII; is there a newline at its end?',
        );
    }

    private static function isToken(#[\SensitiveParameter] string $token): bool
    {
        return preg_match('/^[\x21-\x7e]+$/D', $token) === 1;
    }

    /**
     * Reads the JSON of an error. Any other answer comes from a proxy on the way; its
     * HTTP status decides, as in the Connect protocol.
     */
    private static function failed(string $act, int $status, mixed $error): NotedException
    {
        if ($status !== 200 && is_array($error) && is_string($error['code'] ?? null)) {
            $details = new ErrorDetails(is_array($error['details'] ?? null) ? array_values($error['details']) : []);
            $problem = is_string($error['message'] ?? null) ? $error['message'] : '';
            return NotedException::of(
                $act,
                $error['code'],
                $problem,
                $details->reason,
                $details->retryAfter,
                $details->violations,
            );
        }
        $code = match ($status) {
            200, 400 => 'internal',
            401 => 'unauthenticated',
            403 => 'permission_denied',
            404 => 'unimplemented',
            408 => 'deadline_exceeded',
            429, 502, 503, 504 => 'unavailable',
            default => 'unknown',
        };
        return NotedException::of(
            $act,
            $code,
            "the answer with HTTP status $status is not from Noted; check the URL and the proxies on the way",
        );
    }
}
