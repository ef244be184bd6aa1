<?php

declare(strict_types=1);

namespace Noted\Tests;

use Noted\Client;
use Noted\Donation;
use Noted\Hold;
use Noted\Note;
use Noted\Receiver;
use Noted\Receiver\Certificates;
use Noted\Receiver\IpnPostBack;
use Noted\Receiver\Refusal;
use Noted\Receiver\Transmission;
use Noted\Receiver\WebhookApi;
use Noted\Receiver\WebhookSignature;
use PHPUnit\Framework\TestCase;

/** public/receiver.php under php -S, before a real Noted; PayPal itself is a stand-in. */
final class ReceiverTest extends TestCase
{
    private const SHARED = __DIR__ . '/../../../../shared/payloads';
    private const IPN = 'application/x-www-form-urlencoded';

    private static string $folder;
    private static string $paypal;
    /** @var list<string> */
    private static array $log;

    public static function setUpBeforeClass(): void
    {
        self::$folder = Program::folder() . '/receiver';
        mkdir(self::$folder);
        self::$paypal = 'http://' . Processes::php(__DIR__ . '/paypal.php', ['NOTED_TEST_FOLDER' => self::$folder]);
    }

    protected function setUp(): void
    {
        array_map('unlink', glob(self::$folder . '/*'));
        self::$log = [];
    }

    /** Starts the script, and returns its URL. @param array<string, string> $settings */
    private static function script(array $settings): string
    {
        return 'http://' .
            Processes::php(
                __DIR__ . '/../public/receiver.php',
                $settings + [
                    'NOTED_TEST_FOLDER' => self::$folder,
                    'NOTED_HANDLER' => __DIR__ . '/handler.php',
                    'NOTED_LEDGER' => 'paypal-live',
                    'PHP_CLI_SERVER_WORKERS' => '4',
                ],
            );
    }

    /**
     * @param array<string, string> $headers @return array{int, string, string} status,
     * body, Retry-After
     */
    private static function post(string $url, string $body, string $type, array $headers = []): array
    {
        $curl = curl_init($url);
        $after = '';
        curl_setopt_array($curl, [
            CURLOPT_POSTFIELDS => $body,
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_HTTPHEADER => [
                "Content-Type: $type",
                ...array_map(static fn(string $k, string $v): string => "$k: $v", array_keys($headers), $headers),
            ],
            CURLOPT_HEADERFUNCTION => static function ($curl, string $line) use (&$after): int {
                $after = stripos($line, 'Retry-After: ') === 0 ? trim(substr($line, 13)) : $after;
                return strlen($line);
            },
        ]);
        $answer = curl_exec($curl);
        return [curl_getinfo($curl, CURLINFO_RESPONSE_CODE), (string) $answer, $after];
    }

    private static function isPayPals(string $body): string
    {
        touch(self::$folder . '/sent-' . hash('sha256', $body));
        return $body;
    }

    /** @return list<string> */
    private static function lines(string $book): array
    {
        return file_exists(self::$folder . "/$book") ? file(self::$folder . "/$book", FILE_IGNORE_NEW_LINES) : [];
    }

    private static function ipn(string $series, string $more = ''): string
    {
        // ä in windows-1252 and a bare percent sign: bytes that must come back as they are.
        return "txn_type=recurring_payment&recurring_payment_id=$series&txn_id=T-$series&payment_status=Completed&payment_date=" .
            urlencode(gmdate('H:i:s M d, Y', time() - 8 * 3600) . ' PST') .
            '&mc_gross=25.00&mc_currency=EUR&first_name=J%e4%&charset=windows-1252' .
            ($more === '' ? '&receiver_id=OURS1&receiver_email=Donations%40example.org' : $more);
    }

    private static function series(): string
    {
        return 'I-' . strtoupper(bin2hex(random_bytes(5)));
    }

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

        // It fails downstream, then comes again.
        $body = self::isPayPals(self::ipn(self::series()));
        touch(self::$folder . '/closed');
        self::assertSame(
            [503, '30'],
            [self::post("$url/paypal/ipn", $body, self::IPN)[0], self::post("$url/paypal/ipn", $body, self::IPN)[2]],
        );
        unlink(self::$folder . '/closed');
        self::assertSame(200, self::post("$url/paypal/ipn", $body, self::IPN)[0]);
        self::assertCount(2, self::lines('books'));

        // Another is processing it.
        $series = self::series();
        $receipt = (new Client($noted->url))->note(
            new Donation($series, transactionId: "T-$series", ledger: 'paypal-live'),
            hold: 60,
        )->receipt;
        [$status, $said, $after] = self::post("$url/paypal/ipn", self::isPayPals(self::ipn($series)), self::IPN);
        self::assertSame([503, '30'], [$status, $after]);
        self::assertStringContainsString('"reason":"held"', $said);
        (new Client($noted->url))->settle($receipt);

        // A first payment in disguise: two donations in one message.
        $series = self::series();
        $body =
            "txn_type=recurring_payment_profile_created&recurring_payment_id=$series&initial_payment_txn_id=T-1&initial_payment_status=Completed" .
            '&initial_payment_amount=9.00&currency_code=EUR&receiver_email=donations%40example.org';
        self::assertSame(200, self::post("$url/paypal/ipn", self::isPayPals($body), self::IPN)[0]);
        self::assertCount(4, self::lines('books'));

        // Not ours, a test, undecided, skipped, malformed.
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

        // Never PayPal's.
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
     * A test that nobody takes costs PayPal no question, and no forger learns whether it
     * was one. Each book is the one that is said, the empty one too.
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
        self::assertStringNotContainsString('25.00', implode(self::$log), 'nothing of a message is logged');
    }

    private static function receiver(
        Client $client,
        ?Receiver\Verifier $ipn,
        ?Receiver\Verifier $webhook = null,
    ): Receiver {
        return new Receiver(
            $client,
            static fn() => self::fail('processed'),
            static fn() => self::fail('undecided'),
            ipn: $ipn,
            accounts: $ipn === null ? [] : ['ours1'],
            webhook: $webhook,
            log: static function (string $line): void {
                self::$log[] = $line;
            },
        );
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
                self::fail("taken: $want");
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

        // A file that lies where a certificate is kept must be one all the same.
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
        // Who asks PayPal need not like what it says: this is read without these fields,
        // so it is asked about as it came.
        foreach (
            [
                'bad UTF-8' => "J\xe4",
                'a surrogate without its twin' => '\ud83d',
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
                [$post($body), str_contains(self::post($url, $body, 'application/json', $headers)[1], 'has not sent')],
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

    /** PayPal's own: its certificate has ended since, so it is judged as of the transmission. */
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
