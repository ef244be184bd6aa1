<?php

declare(strict_types=1);

namespace Noted\Tests;

use Noted\Receiver\Certificates;
use Noted\Receiver\Refusal;
use Noted\Receiver\Transmission;
use Noted\Receiver\WebhookApi;
use Noted\Receiver\WebhookSignature;

/** public/receiver.php under php -S, and webhooks. */
final class WebhookTest extends ReceiverCase
{
    /** @return array<string, string> */
    private static function signed(
        \OpenSSLAsymmetricKey $key,
        string $url,
        string $body,
        string $webhook = 'WH-TEST',
        string $time = '',
        string $id = 'tr-1',
    ): array {
        $time = $time !== '' ? $time : gmdate('Y-m-d\TH:i:s\Z');
        openssl_sign("$id|$time|$webhook|" . sprintf('%u', crc32($body)), $signature, $key, OPENSSL_ALGO_SHA256);
        return [
            'paypal-transmission-id' => $id,
            'paypal-transmission-time' => $time,
            'paypal-transmission-sig' => base64_encode($signature),
            'paypal-cert-url' => $url,
            'paypal-auth-algo' => 'SHA256withRSA',
        ];
    }

    public function testWebhooksBySignature(): void
    {
        $authority = new Authority();
        $key = Authority::makeKey();
        $address = Processes::freeAddress();
        [$served, $fetched] = [self::$folder . '/served.pem', self::$folder . '/fetched'];
        $hostKey = Authority::makeKey();
        openssl_pkey_export($hostKey, $hostPem);
        file_put_contents(
            self::$folder . '/host.pem',
            $authority->issue($hostKey, '127.0.0.1', null, 'IP:127.0.0.1') . $hostPem,
        );
        file_put_contents($served, $authority->issue($key, issuer: $authority->between()));
        Processes::start(
            [PHP_BINARY, __DIR__ . '/tls.php', $address, self::$folder . '/host.pem', $served, $fetched],
            self::$folder . '/tls.log',
        );
        Processes::waitFor($address, self::$folder . '/tls.log');
        $settings = [
            'NOTED_URL' => Server::shared()->url,
            'NOTED_WEBHOOK_ID' => 'WH-TEST',
            'NOTED_CERT_HOSTS' => $address,
            'NOTED_CERT_ROOTS' => $authority->file,
            'NOTED_CERT_FOLDER' => self::$folder . '-certificates',
            'NOTED_SANDBOX_LEDGER' => 'paypal-sandbox',
        ];
        $url = self::script($settings) . '/paypal/webhook';
        $series = self::series();
        $body =
            '{"id":"WH-1","event_type":"PAYMENT.SALE.COMPLETED","resource":{"id":"T-' .
            $series .
            '","billing_agreement_id":"' .
            $series .
            '","state":"completed","amount":{"total":"25.00","currency":"EUR"},"create_time":"' .
            gmdate('Y-m-d\TH:i:s\Z') .
            '"}}';
        $cert = "https://$address/v1/notifications/certs/CERT-1";
        $post = static fn(array $headers, string $body): int => self::post(
            $url,
            $body,
            'application/json',
            $headers,
        )[0];

        [$status, $said] = self::post($url, $body, 'application/json', self::signed($key, $cert, $body));
        self::assertSame(200, $status, $said);
        self::assertSame(200, $post(self::signed($key, $cert, $body, id: 'tr-2'), $body), 'a redelivery');
        self::assertCount(1, self::lines('books'));
        self::assertSame(['GET /v1/notifications/certs/CERT-1 HTTP/1.1'], self::lines('fetched'), 'it is kept');

        $headers = self::signed($key, $cert, $body);
        foreach (
            [
                'another body' => [$headers, "$body "],
                'another webhook' => [self::signed($key, $cert, $body, 'WH-OTHER'), $body],
                'another key' => [self::signed(Authority::makeKey(), $cert, $body), $body],
                'no signature' => [['paypal-transmission-sig' => ''] + $headers, $body],
                'bad base64' => [['paypal-transmission-sig' => '***'] + $headers, $body],
                'another algorithm' => [['paypal-auth-algo' => 'SHA1withRSA'] + $headers, $body],
                'another host' => [
                    self::signed($key, 'https://example.org/v1/notifications/certs/CERT-1', $body),
                    $body,
                ],
                'a host in disguise' => [self::signed($key, "https://$address@example.org/CERT-1", $body), $body],
                'no https' => [self::signed($key, "http://$address/CERT-1", $body), $body],
                'too old' => [
                    self::signed($key, $cert, $body, time: gmdate('Y-m-d\TH:i:s\Z', time() - 74 * 3600)),
                    $body,
                ],
                'too new' => [self::signed($key, $cert, $body, time: gmdate('Y-m-d\TH:i:s\Z', time() + 3600)), $body],
                'no time' => [self::signed($key, $cert, $body, time: 'now'), $body],
                'a bar' => [self::signed($key, $cert, $body, id: 'tr|1'), $body],
                'no headers' => [[], $body],
            ]
 as $name => [$headers, $sent]
        ) {
            self::assertSame(400, $post($headers, $sent), $name);
        }
        self::assertSame(
            200,
            $post(self::signed($key, $cert, $body, time: gmdate('Y-m-d\TH:i:s\Z', time() - 72 * 3600)), $body),
            'three days late',
        );
        self::assertCount(1, self::lines('fetched'));

        $other = new Authority();
        $stranger = Authority::makeKey();
        $weak = Authority::makeKey(1024);
        foreach (
            [
                'another name' => [$key, $authority->issue($key, 'messageverificationcerts.example.org')],
                'a name that is only the common one' => [$key, $authority->issue($key, other: 'DNS:example.org')],
                'an authority that is not trusted' => [$stranger, $other->issue($stranger)],
                'an issuer that is none' => [$stranger, $authority->issue($stranger, issuer: $other->between())],
                'no issuer between' => [
                    $key,
                    preg_replace(
                        '/(?<=-----END CERTIFICATE-----\n).*/s',
                        '',
                        $authority->issue($key, issuer: $authority->between()),
                    ),
                ],
                'a short key' => [$weak, $authority->issue($weak)],
                'no certificate' => [$key, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
            ]
 as $name => [$signer, $pem]
        ) {
            file_put_contents($served, $pem);
            self::assertSame(400, $post(self::signed($signer, "$cert-" . strtr($name, ' ', '-'), $body), $body), $name);
        }
        foreach (['away' => '', 'something else' => '<html>'] as $name => $answer) {
            file_put_contents($served, $answer);
            self::assertSame(503, $post(self::signed($key, "$cert-" . strtr($name, ' ', '-'), $body), $body), $name);
        }
        $pem = $authority->issue($key);
        self::assertFalse(Certificates::isPayPals($pem, microtime(true)));
        foreach ([-60, 2 * 86400] as $later) {
            self::assertNull(Certificates::isPayPals($pem, microtime(true) + $later), 'of another time');
        }
        // The sandbox signs under another name, and its tests have a ledger of their own.
        file_put_contents($served, $authority->issue($key, 'messageverificationcerts.sandbox.paypal.com'));
        self::assertSame(200, $post(self::signed($key, "$cert-sandbox", $body), $body));
        self::assertStringContainsString(" paypal-sandbox $series ", self::lines('books')[1]);

        // A kept file must still be a certificate.
        file_put_contents(self::$folder . '-certificates/' . hash('sha256', $cert) . '.pem', $other->issue($stranger));
        file_put_contents($served, $authority->issue($key));
        self::assertSame(400, $post(self::signed($stranger, $cert, $body), $body));
        self::assertSame(200, $post(self::signed($key, $cert, $body), $body));
    }

    public function testWebhooksThroughTheApi(): void
    {
        $body =
            '{"id":"WH-2", "event_type":"PAYMENT.SALE.COMPLETED","resource":{"id":"T-1","billing_agreement_id":"' .
            self::series() .
            '"}, "x":1.50}';
        file_put_contents(self::$folder . '/secret', "secret\n");
        $url =
            self::script([
                'NOTED_URL' => Server::shared()->url,
                'NOTED_WEBHOOK_ID' => 'WH-TEST',
                'NOTED_WEBHOOK_VERIFY' => 'api',
                'NOTED_PAYPAL_API' => self::$paypal,
                'NOTED_PAYPAL_CLIENT_ID' => 'app',
                'NOTED_PAYPAL_SECRET_FILE' => self::$folder . '/secret',
            ]) . '/paypal/webhook';
        $headers = self::signed(Authority::makeKey(), 'https://api.paypal.com/v1/notifications/certs/CERT-1', $body);
        $post = static fn(string $body): int => self::post($url, $body, 'application/json', $headers)[0];
        self::assertSame(400, $post($body), 'PayPal has not sent it');
        self::isPayPals($body);
        self::assertSame(200, $post($body));
        self::assertSame(200, $post("\xef\xbb\xbf$body"));
        self::assertCount(1, self::lines('books'));
        self::assertSame(400, $post('{},"webhook_id":"WH-TEST"'), 'it ends early');
        foreach (
            ['[1]', '"{}"', '', "\xef\xbb\xbf\xef\xbb\xbf$body", str_repeat('{"a":', 99) . '1' . str_repeat('}', 99)]
            as $none
        ) {
            self::assertSame(400, $post($none), $none);
        }
        // Fields that the receiver does not read may be broken: PayPal gets the exact body.
        foreach (
            [
                'bad UTF-8' => "J\xe4",
                'a lone surrogate' => '\ud83d',
                'a name that begins with NUL' => '","\u0000":"',
            ]
 as $name => $odd
        ) {
            $series = self::series();
            $body =
                '{"id":"WH-3","event_type":"PAYMENT.SALE.COMPLETED","note":"' .
                $odd .
                '","resource":{"id":"T-' .
                $series .
                '","billing_agreement_id":"' .
                $series .
                '"}}';
            self::assertSame(
                [400, true],
                [$post($body), str_contains(self::post($url, $body, 'application/json', $headers)[1], 'did not send')],
                $name,
            );
            self::assertSame(200, $post(self::isPayPals($body)), $name);
        }
        self::assertCount(4, self::lines('books'));
        file_put_contents(self::$folder . '/trouble', '500');
        self::assertSame(503, $post($body));
        $api = new WebhookApi('WH-TEST', 'app', 'wrong', self::$paypal);
        unlink(self::$folder . '/trouble');
        try {
            $api->verify($headers, $body);
            self::fail('verified');
        } catch (Refusal $e) {
            self::assertSame(503, $e->status);
            self::assertStringContainsString('it does not know the client id and secret', $e->getMessage());
        }
    }

    /** A message of PayPal's own. Its certificate has ended, and was valid at the transmission. */
    public function testGenuineSignatures(): void
    {
        if (!is_dir(self::SHARED)) {
            self::markTestSkipped('no folder of real payloads beside the repository');
        }
        $pem = file_get_contents(self::SHARED . '/webhook_cert.pem');
        $lines = file(self::SHARED . '/webhook_headers.tsv', FILE_IGNORE_NEW_LINES);
        $names = explode("\t", array_shift($lines));
        $verified = 0;
        foreach ($lines as $line) {
            $row = array_combine($names, explode("\t", $line));
            if ($row['transmission_sig'] === '') {
                continue;
            }
            $body = file_get_contents(self::SHARED . "/{$row['file']}");
            $headers = [
                'paypal-transmission-id' => $row['transmission_id'],
                'paypal-transmission-time' => $row['transmission_time'],
                'paypal-transmission-sig' => $row['transmission_sig'],
                'paypal-cert-url' => 'https://api.paypal.com/v1/notifications/certs/CERT-1',
                'paypal-auth-algo' => $row['auth_algo'],
            ];
            $at = (float) strtotime($row['transmission_time']);
            $transmission = Transmission::read($headers, $at, WebhookSignature::MAX_AGE);
            self::assertTrue(WebhookSignature::isSigned($transmission, $row['webhook_id'], $body, $pem), $row['file']);
            self::assertFalse(
                WebhookSignature::isSigned($transmission, $row['webhook_id'], "$body ", $pem),
                $row['file'],
            );
            self::assertFalse(WebhookSignature::isSigned($transmission, 'WH-OTHER', $body, $pem), $row['file']);
            self::assertFalse(Certificates::isPayPals($pem, $at), "PayPal's, and not the sandbox's");
            self::assertNull(Certificates::isPayPals($pem, microtime(true)), 'it has ended');
            $verified++;
        }
        self::assertSame(3, $verified);
    }
}
