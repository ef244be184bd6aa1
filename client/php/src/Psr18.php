<?php

declare(strict_types=1);

namespace Noted;

use Psr\Http\Client\ClientExceptionInterface;
use Psr\Http\Client\ClientInterface as HttpClient;
use Psr\Http\Message\RequestFactoryInterface;
use Psr\Http\Message\StreamFactoryInterface;

/**
 * A PSR-18 client for the calls, in the place of curl: for its middleware, its proxies and
 * its certificates. It must follow no redirect and repeat no request. PSR-18 has no timeout,
 * so set one in the HTTP client: somewhat longer than the timeout of Client, by which the
 * server ends a call.
 */
final class Psr18
{
    public function __construct(
        private readonly HttpClient $client,
        private readonly RequestFactoryInterface $requests,
        private readonly StreamFactoryInterface $streams,
    ) {
    }

    /**
     * Posts a body. Throws a RuntimeException that says why there is no answer.
     *
     * @internal
     * @param array<string, string> $headers
     * @return array{int, string} status, and body up to one byte more than $most
     */
    public function post(string $url, #[\SensitiveParameter] array $headers, string $body, int $most): array
    {
        $request = $this->requests->createRequest('POST', $url)->withBody($this->streams->createStream($body));
        foreach ($headers as $name => $value) {
            $request = $request->withHeader($name, $value);
        }
        try {
            $response = $this->client->sendRequest($request);
            $stream = $response->getBody();
            $answer = '';
            while (!$stream->eof() && strlen($answer) <= $most) {
                $answer .= $stream->read(65536);
            }
        } catch (ClientExceptionInterface | \RuntimeException $e) {
            throw new \RuntimeException($e->getMessage(), 0, $e);
        }
        return [$response->getStatusCode(), $answer];
    }
}
