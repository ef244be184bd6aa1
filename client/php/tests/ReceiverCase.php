<?php

declare(strict_types=1);

namespace Noted\Tests;

use Noted\Client;
use Noted\Receiver;
use PHPUnit\Framework\TestCase;

/** A receiver with a real server and a stand-in of PayPal. */
abstract class ReceiverCase extends TestCase
{
    protected const SHARED = __DIR__ . '/../../../../shared/payloads';
    protected const IPN = 'application/x-www-form-urlencoded';

    protected static string $folder;
    protected static string $paypal;
    /** @var list<string> */
    protected static array $log;

    public static function setUpBeforeClass(): void
    {
        self::$folder = Program::folder() . '/receiver-' . bin2hex(random_bytes(3));
        mkdir(self::$folder);
        self::$paypal = 'http://' . Processes::php(__DIR__ . '/paypal.php', ['NOTED_TEST_FOLDER' => self::$folder]);
    }

    protected function setUp(): void
    {
        array_map('unlink', glob(self::$folder . '/*'));
        self::$log = [];
    }

    /** Starts the script, and returns its URL. @param array<string, string> $settings */
    protected static function script(array $settings): string
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
    protected static function post(string $url, string $body, string $type, array $headers = []): array
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

    protected static function isPayPals(string $body): string
    {
        touch(self::$folder . '/sent-' . hash('sha256', $body));
        return $body;
    }

    /** @return list<string> */
    protected static function lines(string $book): array
    {
        return file_exists(self::$folder . "/$book") ? file(self::$folder . "/$book", FILE_IGNORE_NEW_LINES) : [];
    }

    protected static function ipn(string $series, string $more = ''): string
    {
        // ä in windows-1252 and a bare percent sign: the post-back must have the same bytes.
        return "txn_type=recurring_payment&recurring_payment_id=$series&txn_id=T-$series&payment_status=Completed&payment_date=" .
            urlencode(gmdate('H:i:s M d, Y', time() - 8 * 3600) . ' PST') .
            '&mc_gross=25.00&mc_currency=EUR&first_name=J%e4%&charset=windows-1252' .
            ($more === '' ? '&receiver_id=OURS1&receiver_email=Donations%40example.org' : $more);
    }

    protected static function series(): string
    {
        return 'I-' . strtoupper(bin2hex(random_bytes(5)));
    }

    protected static function receiver(
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
}
