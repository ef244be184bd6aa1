<?php

declare(strict_types=1);

namespace Noted\Tests;

use Noted\Client;
use Noted\Donation;
use Noted\Exception;
use Noted\Exception\NotedException;
use Noted\Hold;
use Noted\Message;
use Noted\Note;
use Noted\Pair;
use Noted\Receiver;
use Noted\Verdict;
use PHPUnit\Framework\TestCase;

/** Wrong answers, each reason of the contract, and the fields of requests. */
final class AnswersTest extends TestCase
{
    use Calls;

    private const PAYMENT = 'txn_type=recurring_payment&payment_status=Completed';

    private static Peer $peer;

    public static function setUpBeforeClass(): void
    {
        self::$peer = new Peer();
    }

    protected function setUp(): void
    {
        self::$peer->honest();
    }

    public function testAnAnswerAboutAnotherSeriesIsRefused(): void
    {
        $noted = new Client(self::$peer->url);
        foreach (['series', 'ledger', 'none'] as $to) {
            $donation = new Donation(self::series(), ledger: 'paypal-live');
            $series = $donation->seriesId;
            $id = $noted->note($donation)->note->donationId;
            $calls = [
                'NoteDonation' => fn() => $noted->note($donation),
                'DonationExists' => fn() => $noted->exists($donation),
                'ListDonations' => fn() => iterator_to_array($noted->list('paypal-live', $series)),
                'ForgetDonation' => fn() => $noted->forget($series, $id, 'a test', 'paypal-live'),
            ];
            self::assertEqualsCanonicalizing(self::namingASeries(), array_keys($calls), 'a call is missing here');
            foreach ($calls as $rpc => $call) {
                self::$peer->misdirect($rpc, $to);
                $e = self::failing(Exception\WrongAnswer::class, $call);
                self::assertSame(['internal', ''], [$e->status, $e->reason]);
                self::assertStringContainsString('the answer is about series "', $e->getMessage());
            }
            self::$peer->honest();
        }
        $ledger = 'list-' . bin2hex(random_bytes(6));
        foreach (['I-1', 'I-2', 'I-3'] as $series) {
            $noted->note(new Donation($series, ledger: $ledger));
        }
        self::assertCount(3, iterator_to_array($noted->list($ledger)), 'list() of a ledger has every series');
    }

    /** @return list<string> the calls whose request names a series, and no receipt */
    private static function namingASeries(): array
    {
        $contract = file_get_contents(__DIR__ . '/../../../api/noted/v1/noted.proto');
        preg_match_all('/^  rpc (\w+)\((\w+)\)/m', $contract, $calls, PREG_SET_ORDER);
        $naming = static fn(array $call): bool => preg_match("/^message $call[2] {[^}]* receipt = /m", $contract) === 0;
        return array_column(array_filter($calls, $naming), 1);
    }

    public function testOnceRefusesIt(): void
    {
        $noted = new Client(self::$peer->url, hold: 0.9, settleTimeout: 2.0);
        self::$peer->misdirect('NoteDonation', 'series');
        $never = fn() => self::fail('processed on an error');
        self::failing(Exception\WrongAnswer::class, fn() => $noted->once(new Donation(self::series()), null, $never));

        self::$peer->misdirect('SettleDonation', 'donation');
        $once = fn() => $noted->once(new Donation(self::series()), null, fn() => null);
        $e = self::failing(Exception\NotSettled::class, $once);
        self::assertInstanceOf(Exception\WrongAnswer::class, $e->getPrevious());
        self::assertGreaterThan(1, count(self::$peer->asked('SettleDonation')), 'a wrong answer is no final one');

        self::$peer->misdirect('ExtendHold', 'series');
        $noted->once(new Donation(self::series()), null, function (Note $note, Hold $hold): void {
            usleep(400_000); // more than a third of the hold
            self::failing(Exception\WrongAnswer::class, $hold->extend(...));
        });
    }

    /** The first try to settle gets a wrong answer. The second waits until time is up. */
    public function testALastTryWithoutAnAnswerDoesNotHideTheReason(): void
    {
        $noted = new Client(self::$peer->url, settleTimeout: 2.0);
        self::$peer->misdirectThenHang('SettleDonation', 'donation');
        $once = fn() => $noted->once(new Donation(self::series()), null, fn() => null);
        $e = self::failing(Exception\NotSettled::class, $once);
        self::assertInstanceOf(Exception\WrongAnswer::class, $e->getPrevious());
        self::assertGreaterThan(1, count(self::$peer->asked('SettleDonation')));
    }

    /** The first try to extend gets a wrong answer. Later tries wait until the hold has run out. */
    public function testALastTryToExtendDoesNotHideTheReason(): void
    {
        $noted = new Client(self::$peer->url, hold: 6.0);
        self::$peer->misdirectThenHang('ExtendHold', 'donation');
        $noted->once(new Donation(self::series()), null, function (Note $note, Hold $hold): void {
            usleep(2_100_000); // more than a third of the hold
            self::failing(Exception\WrongAnswer::class, $hold->extend(...));
            self::assertGreaterThan(1, count(self::$peer->asked('ExtendHold')));
            self::$peer->honest();
        });
    }

    /**
     * The first try of a plain call is answered. The second waits until time is up. It may
     * have noted, so the exception is not the first try's.
     */
    public function testALastTryOfACallDoesNotHideTheReason(): void
    {
        $noted = new Client(self::$peer->url, timeout: 3.0);
        self::$peer->failThenHang('NoteDonation', 'STORE_UNAVAILABLE');
        $e = self::failing(
            Exception\DeadlineExceeded::class,
            fn() => $noted->note(new Donation(self::series())),
        );
        $told = '; an earlier try failed: STORE_UNAVAILABLE: as the test wants it';
        self::assertStringContainsString($told, $e->getMessage());
        self::assertCount(2, self::$peer->asked('NoteDonation'));
    }

    /** Each reason has its class, and the callable does not run. */
    public function testTheReasonsThatForbidADecision(): void
    {
        $noted = new Client(self::$peer->url);
        foreach (
            [
                'REQUEST_ID_REUSED' => [Exception\RequestIdReused::class, 3],
                'RECEIVED_TOO_EARLY' => [Exception\ReceivedTooEarly::class, 11],
                'STORE_UNSUITABLE' => [Exception\StoreUnsuitable::class, 9],
            ]
            as $reason => [$class, $code]
        ) {
            self::$peer->fail('NoteDonation', $reason);
            $never = fn() => self::fail('processed on an error');
            $e = self::failing($class, fn() => $noted->once(new Donation(self::series()), null, $never));
            self::assertSame([$reason, $code], [$e->reason, $e->getCode()]);
            self::assertCount(1, self::$peer->asked('NoteDonation'), 'a final refusal is not tried again');
        }
    }

    /** Compares the README's table with the receiver, before and after processing. */
    public function testWhatTheReceiverAnswersToEachReason(): void
    {
        $folder = Program::folder() . '/answers-' . bin2hex(random_bytes(3));
        mkdir($folder);
        $paypal = Processes::php(__DIR__ . '/paypal.php', ['NOTED_TEST_FOLDER' => $folder]);
        [$booked, $person, $log] = [0, [], ''];
        $process = static function () use (&$booked): void {
            $booked++;
        };
        $undecided = static function (Pair $pair, string $reason) use (&$person): void {
            $person[] = $reason;
        };
        $keep = static function (string $line) use (&$log): void {
            $log .= "$line\n";
        };
        $ipn = new Receiver\IpnPostBack("http://$paypal/cgi-bin/webscr");
        $form = ['content-type' => 'application/x-www-form-urlencoded'];
        $post = static function (float $patience) use ($process, $undecided, $keep, $ipn, $form, $folder): int {
            $client = new Client(self::$peer->url, settleTimeout: $patience);
            $receiver = new Receiver($client, $process, $undecided, ipn: $ipn, accounts: ['ours'], log: $keep);
            $body = self::PAYMENT . '&receiver_id=OURS&recurring_payment_id=' . self::series();
            touch("$folder/sent-" . hash('sha256', $body));
            return $receiver->handle('POST', '/paypal/ipn', $form, $body)->status;
        };
        self::eachReason(static function (string $rpc, float $patience) use ($post, &$booked, &$person, &$log): array {
            [$booked, $person, $log] = [0, [], ''];
            $status = $post($patience);
            self::assertSame($rpc === 'SettleDonation' ? 1 : 0, $booked, $log);
            return [$status, $person !== [] || str_contains($log, 'by hand')];
        });
    }

    /** Compares the README's table with its own example of a receiver. */
    public function testWhatAReceiverOfOnesOwnAnswersToEachReason(): void
    {
        preg_match_all('/^```php\n(.*?)^```$/ms', file_get_contents(__DIR__ . '/../README.md'), $snippets);
        $client = "'http://127.0.0.1:8080'";
        self::assertStringContainsString($client, $snippets[1][2]);
        $folder = Program::folder() . '/own-' . bin2hex(random_bytes(3));
        mkdir("$folder/client", 0700, true);
        symlink(dirname(__DIR__), "$folder/client/php");
        $settings = "'" . self::$peer->url . "', settleTimeout: (float) file_get_contents('patience')";
        file_put_contents("$folder/own.php", str_replace($client, $settings, $snippets[1][2]));
        $address = Processes::freeAddress();
        $serve = ['sh', '-c', 'cd "$1" && shift && exec "$@"', 'sh', $folder, PHP_BINARY, '-S', $address, 'own.php'];
        Processes::start($serve, "$folder/log");
        Processes::waitFor($address, "$folder/log");
        self::eachReason(static function (string $rpc, float $patience) use ($address, $folder): array {
            file_put_contents("$folder/patience", $patience);
            @unlink("$folder/books.csv");
            @unlink("$folder/undecided.log");
            $curl = curl_init("http://$address/");
            curl_setopt_array($curl, [
                CURLOPT_POSTFIELDS => self::PAYMENT . '&recurring_payment_id=' . self::series(),
                CURLOPT_RETURNTRANSFER => true,
            ]);
            curl_exec($curl);
            $log = file_get_contents("$folder/log");
            self::assertSame($rpc === 'SettleDonation', file_exists("$folder/books.csv"), $log);
            return [curl_getinfo($curl, CURLINFO_RESPONSE_CODE), file_exists("$folder/undecided.log")];
        });
    }

    /**
     * @param \Closure(string, float): array{int, bool} $answered delivers a message while the RPC fails, with
     *     settleTimeout in seconds; returns the status and whether a person is told
     */
    private static function eachReason(\Closure $answered): void
    {
        self::assertGreaterThan(20, count(Peer::codes()));
        foreach (['NoteDonation' => 'an `Undecidable`', 'SettleDonation' => '`NotSettled` with'] as $rpc => $row) {
            $rest = $rpc === 'NoteDonation' ? 'any other `NotedException`' : 'any other `NotSettled`';
            foreach ([...array_keys(Peer::codes()), 'WRONG_ANSWER'] as $reason) {
                if ($reason === 'WRONG_ANSWER') {
                    self::$peer->misdirect($rpc, 'series');
                } else {
                    self::$peer->fail($rpc, $reason);
                }
                $class = str_replace('_', '', ucwords(strtolower($reason), '_'));
                [$named, $answer] = self::row($row);
                $answer = str_contains($named, "`$class`") ? $answer : self::row($rest)[1];
                $want = [(int) $answer, str_contains($answer, 'person')];
                $patience = $want[0] === 200 ? 15.0 : 0.3; // an error that is tried again ends in a 503, so end it soon
                self::assertSame($want, $answered($rpc, $patience), "$rpc is answered $reason");
            }
        }
    }

    /**
     * @return array{string, string} two cells of a row in the README's table: the event and
     *     the answer to PayPal
     */
    private static function row(string $begins): array
    {
        $readme = file_get_contents(__DIR__ . '/../README.md');
        preg_match_all('/^\| (.*?) \| (' . preg_quote($begins, '/') . '.*?) \|/m', $readme, $rows);
        self::assertCount(1, $rows[0], $begins);
        return [$rows[2][0], $rows[1][0]];
    }

    /** The time of a queued message, and the reason of settling by hand, reach the server. */
    public function testWhatIsAsked(): void
    {
        $noted = new Client(self::$peer->url);
        $received = new \DateTimeImmutable('-1 hour', new \DateTimeZone('Europe/Berlin'));
        self::assertSame('2026-03-01T13:05:00Z', (new Message('ipn', 'm-1', '2026-03-01T13:05:00Z'))->receivedAt);
        self::$peer->misdirect('NoteDonation', 'received');
        $donation = new Donation(self::series());
        $answer = $noted->note($donation, new Message('ipn', 'm-1'), 60);
        self::assertSame('2026-03-01T13:05:00Z', $answer->note->sightings[0]->message->receivedAt);
        $noted->settle($answer->receipt, 'booked by hand');
        iterator_to_array($noted->list(seriesId: $donation->seriesId, transactionId: 'T-9'));
        self::assertSame('booked by hand', self::$peer->asked('SettleDonation')[0]['reason']);
        self::assertSame('T-9', self::$peer->asked('ListDonations')[0]['transactionId']);
        $noted->exists($donation, new Message('ipn', 'm-1', $received));
        $sent = self::$peer->asked('DonationExists')[0]['message']['receivedAt'];
        self::assertStringEndsWith('Z', $sent);
        self::assertEquals($received, new \DateTimeImmutable($sent));
        self::assertArrayNotHasKey('receivedAt', self::$peer->asked('NoteDonation')[0]['message']);
    }

    /** A note keeps the receivedAt of its message, and list() finds it by its transaction id. */
    public function testAMessageThatWaited(): void
    {
        $noted = new Client(Server::shared()->url);
        $series = self::series();
        $received = new \DateTimeImmutable('-1 hour');
        foreach (['T-1', 'T-2'] as $transaction) {
            $donation = new Donation($series, transactionId: $transaction, ledger: $series);
            $noted->note($donation, new Message('ipn', $transaction, $received));
        }
        $notes = iterator_to_array($noted->list($series, transactionId: 'T-2'));
        self::assertCount(1, $notes);
        self::assertSame('T-2', $notes[0]->donation->transactionId);
        $kept = new \DateTimeImmutable($notes[0]->sightings[0]->message->receivedAt);
        self::assertSame($received->format('Uv'), $kept->format('Uv'));
        $old = new Message('ipn', 'old', new \DateTimeImmutable('-400 days'));
        self::failing(Exception\ReceivedTooEarly::class, fn() => $noted->note(new Donation(self::series()), $old));
    }
}
