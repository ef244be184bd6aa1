<?php

declare(strict_types=1);

namespace Noted\Tests;

use Noted\Client;
use Noted\Donation;
use Noted\Receiver;
use Noted\Receiver\IpnPostBack;
use Noted\Receiver\WebhookApi;
use Noted\Receiver\WebhookSignature;

/** public/receiver.php under php -S, and IPNs. */
final class ReceiverTest extends ReceiverCase
{
    public function testIpns(): void
    {
        $noted = Server::shared();
        $url = self::script([
            'NOTED_URL' => $noted->url,
            'NOTED_ACCOUNTS' => 'donations@example.org, ours2',
            'NOTED_SANDBOX_LEDGER' => 'paypal-sandbox',
            'NOTED_IPN_VERIFY_URL' => self::$paypal . '/cgi-bin/webscr',
        ]);
        $series = self::series();
        $body = self::ipn($series);
        self::assertSame(400, self::post("$url/paypal/ipn", $body, self::IPN)[0], 'not verified');
        self::isPayPals($body);
        [$status, $said] = self::post("$url/paypal/ipn", $body, self::IPN . '; charset=windows-1252');
        self::assertSame([200, ''], [$status, $said]);
        self::isPayPals("$body&resend=true");
        self::assertSame(200, self::post("$url/paypal/ipn", "$body&resend=true", self::IPN)[0]);
        self::assertCount(1, self::lines('books'));
        self::assertStringEndsWith(" paypal-live $series Payment 25.00 " . strlen($body), self::lines('books')[0]);

        // Processing fails, and PayPal comes again.
        $body = self::isPayPals(self::ipn(self::series()));
        touch(self::$folder . '/closed');
        self::assertSame(
            [503, '30'],
            [self::post("$url/paypal/ipn", $body, self::IPN)[0], self::post("$url/paypal/ipn", $body, self::IPN)[2]],
        );
        unlink(self::$folder . '/closed');
        self::assertSame(200, self::post("$url/paypal/ipn", $body, self::IPN)[0]);
        self::assertCount(2, self::lines('books'));

        // Another attempt is processing it.
        $series = self::series();
        $receipt = (new Client($noted->url))->note(
            new Donation($series, transactionId: "T-$series", ledger: 'paypal-live'),
            hold: 60,
        )->receipt;
        [$status, $said, $after] = self::post("$url/paypal/ipn", self::isPayPals(self::ipn($series)), self::IPN);
        self::assertSame([503, '30'], [$status, $after]);
        self::assertStringContainsString('"reason":"held"', $said);
        (new Client($noted->url))->settle($receipt);

        // A first payment within a signup: two donations in one message.
        $series = self::series();
        $body =
            "txn_type=recurring_payment_profile_created&recurring_payment_id=$series&initial_payment_txn_id=T-1&initial_payment_status=Completed" .
            '&initial_payment_amount=9.00&currency_code=EUR&receiver_email=donations%40example.org';
        self::assertSame(200, self::post("$url/paypal/ipn", self::isPayPals($body), self::IPN)[0]);
        self::assertCount(4, self::lines('books'));

        // Another account, a test, undecided, skipped, malformed.
        $foreign = '&receiver_id=THEIRS&receiver_email=they%40example.org&business=donations%40example.org';
        self::assertSame(
            403,
            self::post("$url/paypal/ipn", self::isPayPals(self::ipn(self::series(), $foreign)), self::IPN)[0],
        );
        self::assertSame(
            200,
            self::post(
                "$url/paypal/ipn",
                self::isPayPals(self::ipn('I-TEST' . self::series(), '&test_ipn=1&business=OURS2')),
                self::IPN,
            )[0],
        );
        self::assertStringContainsString(' paypal-sandbox I-TEST', self::lines('books')[4]);
        self::assertSame(
            200,
            self::post("$url/paypal/ipn", self::isPayPals(self::ipn('I-NOBODY', '&x=1')), self::IPN)[0],
        );
        $old = str_replace(gmdate('Y', time() - 8 * 3600), '2011', self::ipn('I-OLD'));
        self::assertSame(200, self::post("$url/paypal/ipn", self::isPayPals($old), self::IPN)[0]);
        self::assertSame(['RECEIVER_MISSING I-NOBODY', 'OCCURRED_TOO_EARLY I-OLD'], self::lines('undecided'));
        touch(self::$folder . '/closed');
        self::assertSame(503, self::post("$url/paypal/ipn", $old, self::IPN)[0], 'a person has not been told');
        unlink(self::$folder . '/closed');
        foreach (
            [
                'txn_type=masspay' => 200,
                'txn_type=never_heard_of' => 200,
                'txn_type=cart&payment_status=Completed' => 400,
            ]
 as $body => $want
        ) {
            self::assertSame($want, self::post("$url/paypal/ipn", self::isPayPals($body), self::IPN)[0], $body);
        }
        self::assertCount(5, self::lines('books'));

        // Requests that PayPal would not send.
        self::assertSame(404, self::post("$url/paypal/webhook", '{}', 'application/json')[0], 'no webhook id is set');
        self::assertSame(404, self::post("$url/", $old, self::IPN)[0]);
        self::assertSame(415, self::post("$url/paypal/ipn", $old, 'text/plain')[0]);
        self::assertSame(415, self::post("$url/paypal/ipn", $old, self::IPN, ['Content-Encoding' => 'gzip'])[0]);
        self::assertSame(413, self::post("$url/paypal/ipn", str_repeat('a', 300_000), self::IPN)[0]);
        self::assertSame(400, self::post("$url/paypal/ipn", '', self::IPN)[0]);
        $curl = curl_init("$url/paypal/ipn");
        curl_setopt_array($curl, [CURLOPT_RETURNTRANSFER => true]);
        curl_exec($curl);
        self::assertSame(405, curl_getinfo($curl, CURLINFO_RESPONSE_CODE));
    }

    /**
     * Without a sandbox ledger a test is refused before PayPal is asked. With one, each message
     * goes into its ledger, the empty one included.
     */
    public function testLedgersOfTests(): void
    {
        $test = self::isPayPals(self::ipn(self::series(), '&test_ipn=1&receiver_id=OURS1'));
        $client = new Client(Server::shared()->url);
        $books = [];
        foreach (['' => 403, 'tests' => 200] as $sandboxLedger => $want) {
            $receiver = new Receiver(
                $client,
                static function (\Noted\Pair $pair) use (&$books): void {
                    $books[] = $pair->donation->ledger;
                },
                static fn() => self::fail('undecided'),
                ledger: '',
                sandboxLedger: $sandboxLedger,
                ipn: new IpnPostBack(self::$paypal . '/cgi-bin/webscr'),
                accounts: ['ours1'],
                log: static fn() => null,
            );
            $answer = $receiver->handle('POST', '/paypal/ipn', ['content-type' => self::IPN], $test);
            self::assertSame($want, $answer->status, $answer->body);
            self::assertSame($want === 200, self::lines('asked') !== [], 'PayPal is asked');
            $real = self::isPayPals(self::ipn(self::series(), '&test_ipn=0&receiver_id=OURS1'));
            self::assertSame(
                200,
                $receiver->handle('POST', '/paypal/ipn', ['content-type' => self::IPN], $real)->status,
            );
            @unlink(self::$folder . '/asked');
        }
        self::assertSame(['', 'tests', ''], $books);
    }

    public function testTheSameIpnAtTheSameMoment(): void
    {
        $url = self::script([
            'NOTED_URL' => Server::shared()->url,
            'NOTED_ACCOUNTS' => 'ours1',
            'NOTED_IPN_VERIFY_URL' => self::$paypal . '/cgi-bin/webscr',
        ]);
        $body = self::isPayPals(self::ipn(self::series()));
        $multi = curl_multi_init();
        $handles = [];
        for ($i = 0; $i < 8; $i++) {
            $handles[$i] = curl_init("$url/paypal/ipn");
            curl_setopt_array($handles[$i], [CURLOPT_POSTFIELDS => $body, CURLOPT_RETURNTRANSFER => true]);
            curl_multi_add_handle($multi, $handles[$i]);
        }
        do {
            curl_multi_exec($multi, $left);
            curl_multi_select($multi, 0.1);
        } while ($left > 0);
        $statuses = array_map(
            static fn(\CurlHandle $handle): int => curl_getinfo($handle, CURLINFO_RESPONSE_CODE),
            $handles,
        );
        self::assertContains(200, $statuses);
        self::assertSame([], array_diff($statuses, [200, 503]));
        self::assertCount(1, self::lines('books'));
    }

    public function testWhatIsAway(): void
    {
        $nobody = 'http://' . Processes::freeAddress();
        $body = self::isPayPals(self::ipn(self::series()));
        $receiver = self::receiver(
            new Client($nobody, timeout: 0.2),
            new IpnPostBack(self::$paypal . '/cgi-bin/webscr', 1.0),
        );
        $answer = $receiver->handle('POST', '/paypal/ipn', ['content-type' => self::IPN], $body);
        self::assertSame([503, '30'], [$answer->status, $answer->headers['Retry-After']], $answer->body);
        self::assertStringContainsString('"reason":"noted"', $answer->body);
        foreach (['500', '403', '302', '200', 'slow'] as $trouble) {
            file_put_contents(self::$folder . '/trouble', $trouble);
            $answer = $receiver->handle('POST', '/paypal/ipn', ['content-type' => self::IPN], $body);
            self::assertSame(503, $answer->status, $trouble);
            self::assertStringContainsString('"reason":"verifier"', $answer->body, $trouble);
        }
        $away = self::receiver(new Client($nobody), new IpnPostBack("$nobody/"));
        self::assertSame(503, $away->handle('POST', '/paypal/ipn', ['content-type' => self::IPN], $body)->status);
        self::assertStringNotContainsString('25.00', implode(self::$log), 'the log has no field of a message');
    }

    public function testSettingsThatCannotBeMeant(): void
    {
        $client = new Client('http://127.0.0.1');
        $none = static fn() => null;
        $ipn = new IpnPostBack();
        foreach (
            [
                'or both' => fn() => new Receiver($client, $none, $none),
                'accounts that are ours' => fn() => new Receiver($client, $none, $none, ipn: $ipn),
                'tests would count' => fn() => new Receiver(
                    $client,
                    $none,
                    $none,
                    'a',
                    'a',
                    ipn: $ipn,
                    accounts: ['x'],
                ),
                'https URL' => fn() => new IpnPostBack('http://example.org'),
                'secret of the app' => fn() => new WebhookApi('WH', 'a', 'b', 'http://example.org'),
                'client id and secret' => fn() => new WebhookApi('WH', 'a', ''),
                'webhook id is empty' => fn() => new WebhookSignature(''),
                'cannot be made' => fn() => new WebhookSignature('WH', folder: '/dev/null/certificates'),
            ]
 as $want => $make
        ) {
            try {
                $make();
                self::fail("the constructor does not throw: $want");
            } catch (\InvalidArgumentException $e) {
                self::assertStringContainsString($want, $e->getMessage());
            }
        }
        file_put_contents(
            self::$folder . '/printing.php',
            str_repeat("\n", 5000) . "<?php return require '" . __DIR__ . "/handler.php';",
        );
        foreach (
            [
                [['NOTED_HANDLER' => ''], 'NOTED_HANDLER must be a PHP file'],
                [['NOTED_ACCOUNTS' => 'a'], null],
                [['NOTED_ACCOUNTS' => 'a', 'NOTED_HANDLER' => self::$folder . '/printing.php'], null],
                [[], 'give it a verifier'],
                [
                    ['NOTED_WEBHOOK_ID' => 'WH', 'NOTED_WEBHOOK_VERIFY' => 'api'],
                    'through PayPal\'s API it needs NOTED_PAYPAL_CLIENT_ID',
                ],
                [['NOTED_WEBHOOK_ID' => 'WH', 'NOTED_WEBHOOK_VERIFY' => 'guess'], 'signature or api'],
            ]
 as [$settings, $want]
        ) {
            [$status, $said] = self::post(self::script($settings) . '/paypal/ipn', 'a=b', 'text/plain');
            self::assertSame($want === null ? 415 : 503, $status, $said);
            if ($want !== null) {
                self::assertStringContainsString(
                    $want,
                    (string) file_get_contents(Program::folder() . '/receiver.php.log'),
                );
            }
        }
    }
}
