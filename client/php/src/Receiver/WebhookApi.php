<?php

declare(strict_types=1);

namespace Noted\Receiver;

use Noted\Exception\Malformed;
use Noted\PayPal\Document;

/**
 * Asks PayPal's API to verify webhooks: two requests for each, but no extension beside
 * curl. PayPal's API cannot verify messages of its webhook simulator.
 */
final class WebhookApi implements Verifier
{
    public const URL = 'https://api-m.paypal.com';

    private readonly bool $test;

    /**
     * @param string $webhookId the webhook's id in PayPal's dashboard
     * @param string $clientId of the REST app that the webhook belongs to
     * @param string $secret of that app
     * @param string $url the API; for sandbox messages https://api-m.sandbox.paypal.com
     * @param float $maxAge in seconds, how old a transmission may be
     * @param float $timeout in seconds, of each of the two requests
     */
    public function __construct(
        private readonly string $webhookId,
        private readonly string $clientId,
        #[\SensitiveParameter] private readonly string $secret,
        private readonly string $url = self::URL,
        private readonly float $maxAge = WebhookSignature::MAX_AGE,
        private readonly float $timeout = 10.0,
    ) {
        if ($webhookId === '' || $clientId === '' || $secret === '') {
            throw new \InvalidArgumentException(
                "verifying webhooks through PayPal's API needs the webhook id, and the client id and secret of the REST app that it belongs to",
            );
        }
        if (!Http::isConfidential($url)) {
            throw new \InvalidArgumentException(
                "verifying webhooks at $url: it must be an https URL: the secret of the app is sent to it",
            );
        }
        $this->test = str_contains((string) parse_url($url, PHP_URL_HOST), 'sandbox');
    }

    /**
     * Sends the body as it came: a genuine body that was parsed and written again fails.
     * It is embedded in JSON, so it must be one whole JSON object. Otherwise a body could
     * end early and bring its own webhook_id.
     */
    public function verify(array $headers, string $body): bool
    {
        $transmission = Transmission::read($headers, microtime(true), $this->maxAge);
        try {
            Document::parse($body); // as it will be read: PHP's own reading refuses more, such as bad UTF-8
        } catch (Malformed) {
            throw new Refusal(400, 'malformed', 'the body is no JSON object');
        }
        $object = str_starts_with($body, "\xef\xbb\xbf") ? substr($body, 3) : $body;
        try {
            $status = $this->ask($transmission, $object);
        } catch (\RuntimeException $e) {
            throw Refusal::again(
                'verifier',
                "PayPal could not be asked whether it sent this message ({$e->getMessage()})",
            );
        }
        return match ($status) {
            'SUCCESS' => $this->test,
            'FAILURE' => throw new Refusal(
                400,
                'invalid',
                'PayPal says that it did not send this message to this webhook',
            ),
            default => throw Refusal::again('verifier', 'PayPal said neither SUCCESS nor FAILURE of this message'),
        };
    }

    private function ask(Transmission $transmission, string $object): mixed
    {
        $basic = 'Authorization: Basic ' . base64_encode("$this->clientId:$this->secret");
        $form = 'Content-Type: application/x-www-form-urlencoded';
        $token =
            $this->post('/v1/oauth2/token', 'grant_type=client_credentials', [$basic, $form])['access_token'] ?? null;
        if (!is_string($token) || preg_match('/^[\x21-\x7e]+$/D', $token) !== 1) {
            throw new \RuntimeException('it gave no token');
        }
        $question = json_encode(
            [
                'transmission_id' => $transmission->id,
                'transmission_time' => $transmission->time,
                'transmission_sig' => $transmission->signature,
                'cert_url' => $transmission->certUrl,
                'auth_algo' => $transmission->algorithm,
                'webhook_id' => $this->webhookId,
            ],
            JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_SLASHES,
        );
        $question = substr($question, 0, -1) . ',"webhook_event":' . $object . '}';
        $headers = ["Authorization: Bearer $token", 'Content-Type: application/json'];
        return $this->post('/v1/notifications/verify-webhook-signature', $question, $headers)['verification_status'] ??
            null;
    }

    /**
     * @param list<string> $headers
     * @return array<string, mixed>
     */
    private function post(string $path, string $body, #[\SensitiveParameter] array $headers): array
    {
        [$status, $answer] = Http::ask(
            rtrim($this->url, '/') . $path,
            $body,
            [...$headers, 'Accept: application/json'],
            $this->timeout,
        );
        if ($status === 401) {
            throw new \RuntimeException('it does not know the client id and secret');
        }
        $decoded = json_decode($answer, true);
        if ($status !== 200 || !is_array($decoded)) {
            throw new \RuntimeException(
                $status !== 200 ? "it answered with HTTP status $status" : 'its answer cannot be read',
            );
        }
        return $decoded;
    }
}
