<?php

// A receiver of PayPal's messages: POST …/paypal/ipn and …/paypal/webhook. It runs as it
// is under php-fpm (let the web server pass every path below /paypal/ to it) and under
// PHP's own server, several messages at a time:
//
//     PHP_CLI_SERVER_WORKERS=4 NOTED_HANDLER=/srv/donations.php NOTED_ACCOUNTS=donations@example.org php -S 127.0.0.1:8081 public/receiver.php
//
// All settings come from the environment (in php-fpm: env[NOTED_…] of the pool, or fastcgi_param):
//
//     NOTED_HANDLER               required: a PHP file that returns ['process' => Closure,
//                                 'undecided' => Closure], see the constructor of Receiver
//     NOTED_URL                   the server's JSON door; default http://127.0.0.1:8080
//     NOTED_TOKEN_FILE            a file that holds the bearer token
//     NOTED_CA_FILE               a file of PEM certificates, one of which must have signed the
//                                 server's; default the system's
//     NOTED_LEDGER                the ledger of donations; default the empty one
//     NOTED_SANDBOX_LEDGER        the ledger of PayPal's tests; without it they are refused
//     NOTED_ACCOUNTS              our receiver ids and e-mail addresses, separated by commas;
//                                 without them there is no /paypal/ipn
//     NOTED_IPN_VERIFY_URL        where IPNs are posted back to; default PayPal's
//     NOTED_WEBHOOK_ID            the webhook's id in PayPal's dashboard; without it there is no
//                                 /paypal/webhook
//     NOTED_WEBHOOK_VERIFY        signature (needs PHP's openssl extension) or api; default
//                                 signature where that is possible, else api
//     NOTED_WEBHOOK_MAX_AGE       how many hours old a transmission may be; default 73
//     NOTED_CERT_HOSTS            the hosts that certificates may be fetched from, separated by
//                                 commas; default PayPal's
//     NOTED_CERT_ROOTS            a file of PEM certificates to trust beside the system's for
//                                 PayPal's certificate
//     NOTED_CERT_FOLDER           where to keep PayPal's certificates, for this user alone;
//                                 default a folder of its own for temporary files
//     NOTED_PAYPAL_API            where api asks; default https://api-m.paypal.com, for the
//                                 sandbox https://api-m.sandbox.paypal.com
//     NOTED_PAYPAL_CLIENT_ID      of the REST app that the webhook belongs to; api needs it
//     NOTED_PAYPAL_SECRET_FILE    a file that holds the secret of that app; api needs it
//
// With an impossible setting every answer is 503, and PHP's error log says which setting.

declare(strict_types=1);

use Noted\Client;
use Noted\Receiver;

require __DIR__ . '/../autoload.php';

http_response_code(503); // if PHP ends early, PayPal comes again
ob_start(); // output of the handler's file, even a blank line at its end, must not be the answer

$setting = static fn(string $name, string $default = ''): string => (getenv($name) ?: '') !== ''
    ? (string) getenv($name)
    : $default;
$list = static fn(string $text): array => array_values(array_filter(array_map('trim', explode(',', $text))));
$secret = static function (string $name) use ($setting): string {
    $file = $setting($name);
    $text = $file === '' ? '' : @file_get_contents($file);
    return $text === false ? throw new InvalidArgumentException("$name: $file cannot be read") : trim($text);
};

try {
    $file = $setting('NOTED_HANDLER');
    if ($file === '' || !is_file($file)) {
        throw new InvalidArgumentException(
            "NOTED_HANDLER must be a PHP file that returns ['process' => Closure, 'undecided' => Closure]",
        );
    }
    $handler = require $file;
    ob_clean();
    if (
        !is_array($handler) ||
        !(($handler['process'] ?? null) instanceof Closure) ||
        !(($handler['undecided'] ?? null) instanceof Closure)
    ) {
        throw new InvalidArgumentException(
            "NOTED_HANDLER: $file must return ['process' => Closure, 'undecided' => Closure]",
        );
    }
    $accounts = $list($setting('NOTED_ACCOUNTS'));
    $webhookId = $setting('NOTED_WEBHOOK_ID');
    $maxAge = (float) $setting('NOTED_WEBHOOK_MAX_AGE', '73') * 3600;
    $how = $setting('NOTED_WEBHOOK_VERIFY', Receiver\WebhookSignature::isPossible() ? 'signature' : 'api');
    if ($maxAge <= 0 || !in_array($how, ['signature', 'api'], true)) {
        throw new InvalidArgumentException(
            'NOTED_WEBHOOK_MAX_AGE must be a number of hours, and NOTED_WEBHOOK_VERIFY signature or api',
        );
    }
    if (
        $how === 'api' &&
        $webhookId !== '' &&
        ($setting('NOTED_PAYPAL_CLIENT_ID') === '' || $setting('NOTED_PAYPAL_SECRET_FILE') === '')
    ) {
        throw new InvalidArgumentException(
            "webhooks cannot be verified: by their signature that needs PHP's openssl extension" .
                (Receiver\WebhookSignature::isPossible() ? ' (which is there)' : ' (which is missing)') .
                ", through PayPal's API it needs NOTED_PAYPAL_CLIENT_ID and NOTED_PAYPAL_SECRET_FILE",
        );
    }
    $webhook = match (true) {
        $webhookId === '' => null,
        $how === 'api' => new Receiver\WebhookApi(
            $webhookId,
            $setting('NOTED_PAYPAL_CLIENT_ID'),
            $secret('NOTED_PAYPAL_SECRET_FILE'),
            $setting('NOTED_PAYPAL_API', Receiver\WebhookApi::URL),
            $maxAge,
        ),
        default => new Receiver\WebhookSignature(
            $webhookId,
            $list($setting('NOTED_CERT_HOSTS')) ?: Receiver\WebhookSignature::CERT_HOSTS,
            $setting('NOTED_CERT_ROOTS'),
            $setting('NOTED_CERT_FOLDER'),
            $maxAge,
        ),
    };
    $token = $secret('NOTED_TOKEN_FILE');
    $receiver = new Receiver(
        new Client(
            $setting('NOTED_URL', 'http://127.0.0.1:8080'),
            token: $token === '' ? null : $token,
            caFile: $setting('NOTED_CA_FILE'),
        ),
        $handler['process'],
        $handler['undecided'],
        $setting('NOTED_LEDGER'),
        $setting('NOTED_SANDBOX_LEDGER'),
        $accounts === [] ? null : new Receiver\IpnPostBack($setting('NOTED_IPN_VERIFY_URL')),
        $accounts,
        $webhook,
    );
} catch (Throwable $e) {
    error_log('noted: starting the receiver: ' . $e->getMessage());
    http_response_code(503);
    header('Retry-After: 300');
    header('Content-Type: application/json');
    echo json_encode(['error' => 'the receiver is not set up; its error log says why', 'reason' => 'configuration']),
        "\n";
    return;
}
$receiver->serve();
