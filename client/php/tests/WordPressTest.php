<?php

declare(strict_types=1);

namespace Noted\Tests;

/** The plugin, with WordPress's own requests and a real Noted. */
final class WordPressTest extends ReceiverCase
{
    private const WORDPRESS = __DIR__ . '/../../../.tools/debian/wordpress/usr/share/wordpress';

    private static function site(): string
    {
        if (!is_dir(self::WORDPRESS)) {
            self::markTestSkipped('WordPress is not there: .ci/need wordpress brings it');
        }
        $settings = [
            'NOTED_TEST_WORDPRESS' => self::WORDPRESS,
            'NOTED_TEST_FOLDER' => self::$folder,
            'NOTED_URL' => Server::shared()->url,
            'NOTED_LEDGER' => 'wordpress',
            'NOTED_ACCOUNTS' => 'OURS, donations@example.org',
            'NOTED_IPN_VERIFY_URL' => self::$paypal . '/cgi-bin/webscr',
            'NOTED_WEBHOOK_ID' => '8PT597110X687430LKGECATA',
        ];
        return 'http://' . Processes::php(__DIR__ . '/wordpress.php', $settings) . '/wp-json/noted/v1/paypal';
    }

    private static function donation(string $series): string
    {
        return 'txn_type=recurring_payment&recurring_payment_id=' . $series . '&txn_id=T-' . $series .
            '&payment_status=Completed&mc_gross=25.00&mc_currency=EUR&receiver_id=OURS';
    }

    public function testAnIpnIsBookedOnce(): void
    {
        $site = self::site();
        $series = 'I-' . bin2hex(random_bytes(6));
        $body = self::isPayPals(self::donation($series));
        for ($i = 0; $i < 2; $i++) {
            self::assertSame([200, '""', ''], self::post("$site/ipn?hook", $body, self::IPN));
        }
        $books = file(self::$folder . '/books', FILE_IGNORE_NEW_LINES);
        self::assertCount(1, $books);
        self::assertMatchesRegularExpression("/^\\S+ $series " . strlen($body) . '$/', $books[0]);
    }

    /** Without code that books it, the donation stays with PayPal. */
    public function testWithoutAnActionPayPalComesAgain(): void
    {
        $site = self::site();
        $body = self::isPayPals(self::donation('I-' . bin2hex(random_bytes(6))));
        [$status, , $after] = self::post("$site/ipn", $body, self::IPN);
        self::assertSame(503, $status);
        self::assertNotSame('', $after);
        self::assertSame(200, self::post("$site/ipn?hook", $body, self::IPN)[0]);
        self::assertCount(1, file(self::$folder . '/books'));
    }

    public function testAForgedMessageIsRefused(): void
    {
        $site = self::site();
        self::assertSame(400, self::post("$site/ipn?hook", self::donation('I-1'), self::IPN)[0]);
        self::assertFileDoesNotExist(self::$folder . '/books');
    }

    /** The signature's headers reach the verifier although WordPress renames them. */
    public function testTheHeadersOfAWebhookAreRead(): void
    {
        $site = self::site();
        $json = 'application/json';
        [$status, $without] = self::post("$site/webhook?hook", '{"id":"WH-1"}', $json);
        self::assertSame(400, $status);
        $headers = [
            'PAYPAL-TRANSMISSION-ID' => 'tr-1',
            'PAYPAL-TRANSMISSION-TIME' => gmdate('Y-m-d\TH:i:s\Z'),
            'PAYPAL-TRANSMISSION-SIG' => base64_encode('no signature'),
            'PAYPAL-CERT-URL' => 'https://forged.example.org/cert',
            'PAYPAL-AUTH-ALGO' => 'SHA256withRSA',
        ];
        [$status, $with] = self::post("$site/webhook?hook", '{"id":"WH-1"}', $json, $headers);
        self::assertSame(400, $status);
        self::assertNotSame($without, $with, 'the headers make no difference');
    }
}
