<?php

/**
 * Plugin Name: Noted
 * Description: Receives PayPal's IPNs and webhooks, and hands each donation to your code once.
 * Version: 0.1.0
 * Requires at least: 6.1
 * Requires PHP: 8.1
 * License: Apache-2.0
 *
 * A plugin for WordPress. Copy the folder client/php to wp-content/plugins/noted, and this
 * file to wp-content/plugins/noted/noted.php. PayPal posts to
 * https://YOUR.SITE/wp-json/noted/v1/paypal/ipn and …/webhook. Your theme or plugin does
 * the work:
 *
 *     add_action('noted_donation', function ($pair, $note, $hold, $body) {
 *         // Book it, with $note->donationId as the idempotency key. If this throws,
 *         // PayPal comes again.
 *     }, 10, 4);
 *     add_action('noted_undecided', function ($pair, $reason, $body) {
 *         // Keep it for a person: Noted cannot decide, and PayPal does not come again.
 *     }, 10, 3);
 *
 * $pair is a Noted\Pair, $note a Noted\Note, $hold a Noted\Hold; $body is PayPal's message.
 *
 * As long as one of the two is missing, PayPal hears 503 and comes again. The settings are
 * constants in wp-config.php:
 *
 *     NOTED_URL             the server's JSON door; default http://127.0.0.1:8080
 *     NOTED_TOKEN           the bearer token, if the server wants one
 *     NOTED_LEDGER          the book that donations belong to; default the empty one
 *     NOTED_ACCOUNTS        your receiver ids and e-mail addresses, separated by commas;
 *                           without them IPNs are refused
 *     NOTED_WEBHOOK_ID      what PayPal's dashboard shows for the webhook; without it webhooks
 *                           are refused
 *     NOTED_IPN_VERIFY_URL  where IPNs are posted back to; default PayPal's
 *     NOTED_CERT_FOLDER     where to keep PayPal's certificates; default a folder for
 *                           temporary files
 */

declare(strict_types=1);

use Noted\Client;
use Noted\Hold;
use Noted\Note;
use Noted\Pair;
use Noted\Receiver;

require_once is_file(__DIR__ . '/autoload.php') ? __DIR__ . '/autoload.php' : __DIR__ . '/../autoload.php';

add_action('rest_api_init', static function (): void {
    $setting = static fn(string $name, string $default = ''): string => defined($name) && constant($name) !== ''
        ? (string) constant($name)
        : $default;
    $hand = static function (string $action, mixed ...$arguments): void {
        if (!has_action($action)) {
            throw new LogicException("no code is hooked to $action, so the donation stays with PayPal");
        }
        do_action($action, ...$arguments);
    };
    $answer = static function (WP_REST_Request $request) use ($setting, $hand): WP_REST_Response {
        $accounts = array_values(array_filter(array_map('trim', explode(',', $setting('NOTED_ACCOUNTS')))));
        $token = $setting('NOTED_TOKEN');
        $webhookId = $setting('NOTED_WEBHOOK_ID');
        $receiver = new Receiver(
            new Client($setting('NOTED_URL', 'http://127.0.0.1:8080'), token: $token === '' ? null : $token),
            process: static fn(Pair $pair, Note $note, Hold $hold, string $body) =>
                $hand('noted_donation', $pair, $note, $hold, $body),
            undecided: static fn(Pair $pair, string $reason, string $body) =>
                $hand('noted_undecided', $pair, $reason, $body),
            ledger: $setting('NOTED_LEDGER'),
            ipn: $accounts === [] ? null : new Receiver\IpnPostBack($setting('NOTED_IPN_VERIFY_URL')),
            accounts: $accounts,
            webhook: $webhookId === ''
                ? null
                : new Receiver\WebhookSignature($webhookId, folder: $setting('NOTED_CERT_FOLDER')),
        );
        // WordPress writes "-" in the names of headers as "_".
        $headers = [];
        foreach ($request->get_headers() as $name => $values) {
            $headers[strtr((string) $name, '_', '-')] = $values;
        }
        $path = "/paypal/{$request->get_url_params()['channel']}"; // not of the body, which may say channel too
        $told = $receiver->handle($request->get_method(), $path, $headers, (string) $request->get_body());
        return new WP_REST_Response(json_decode($told->body) ?? $told->body, $told->status, $told->headers);
    };
    register_rest_route('noted/v1', '/paypal/(?P<channel>ipn|webhook)', [
        'methods' => 'POST',
        'permission_callback' => '__return_true', // the receiver verifies each message with PayPal
        'callback' => $answer,
    ]);
});
