<?php

declare(strict_types=1);

namespace Noted\Tests;

use Noted\Client;
use Noted\Donation;
use Noted\Event;
use Noted\Evidence;
use Noted\Exception;
use Noted\Exception\NotedException;
use Noted\Hold;
use Noted\Message;
use Noted\Note;
use Noted\Receiver;
use Noted\State;
use Noted\Verdict;
use PHPUnit\Framework\TestCase;

/** Against a real server. Every test has a series of its own. */
final class ClientTest extends TestCase
{
    private static function series(): string
    {
        return 'I-' . bin2hex(random_bytes(6));
    }

    /**
     * Runs something that must fail with a NotedException, and returns that. @param
     * class-string<NotedException> $class
     */
    private static function failing(string $class, \Closure $call): NotedException
    {
        try {
            $call();
        } catch (NotedException $e) {
            self::assertSame($class, get_class($e), $e->getMessage());
            return $e;
        }
        self::fail("no $class was thrown");
    }

    public function testTheCallsOfADonationsLife(): void
    {
        $noted = new Client(Server::shared()->url);
        $series = self::series();
        $donation = new Donation(
            $series,
            Event::Payment,
            new \DateTimeImmutable('-1 hour'),
            '25.00',
            'EUR',
            'T-1',
            'paypal-live',
        );

        self::assertFalse($noted->exists($donation)->exists);
        self::assertNull($noted->exists($donation)->note);
        $first = $noted->note($donation, new Message('ipn', 'm-1'), 60, 'r-1' . $series);
        self::assertSame(
            [Verdict::First, Evidence::New, State::Held],
            [$first->verdict, $first->evidence, $first->note->state],
        );
        self::assertNotSame('', $first->receipt);
        self::assertEquals(
            [$series, Event::Payment, '25.00', 'EUR', 'T-1', 'paypal-live', substr($donation->occurredAt, 0, 23) . 'Z'],
            [
                $first->note->donation->seriesId,
                $first->note->donation->event,
                $first->note->donation->amount,
                $first->note->donation->currencyCode,
                $first->note->donation->transactionId,
                $first->note->donation->ledger,
                $first->note->donation->occurredAt,
            ],
        );
        $again = $noted->note($donation, new Message('ipn', 'm-1'), 60, 'r-1' . $series);
        self::assertSame(
            [Verdict::First, $first->receipt],
            [$again->verdict, $again->receipt],
            'the same request id gets the same answer',
        );
        $held = $noted->note($donation, new Message('webhook', 'm-2'));
        self::assertSame([Verdict::Held, ''], [$held->verdict, $held->receipt]);
        self::assertEqualsWithDelta(60, $held->retryAfter, 10);

        $extended = $noted->extend($first->receipt, 600);
        self::assertGreaterThan($first->note->heldUntil, $extended->heldUntil);
        self::assertSame(State::Open, $noted->release($first->receipt, 'a test')->state);
        self::assertSame(
            'HOLD_RELEASED',
            self::failing(Exception\HoldReleased::class, fn() => $noted->settle($first->receipt))->reason,
        );

        $second = $noted->note($donation, new Message('ipn', 'm-1'), 60);
        self::assertSame(
            [Verdict::First, Evidence::TakenOver, 2],
            [$second->verdict, $second->evidence, $second->note->attempt],
        );
        self::assertSame(State::Settled, $noted->settle($second->receipt)->state);
        self::assertSame(State::Settled, $noted->settle($second->receipt)->state, 'twice is as good as once');
        self::failing(Exception\AlreadySettled::class, fn() => $noted->release($second->receipt));
        $twin = $noted->note(
            new Donation($series, amount: '30', currencyCode: 'EUR', transactionId: 'T-1', ledger: 'paypal-live'),
            new Message('webhook', 'm-3'),
        );
        self::assertSame(
            [Verdict::Duplicate, Evidence::SameTransaction, ['amount']],
            [$twin->verdict, $twin->evidence, $twin->differences],
        );
        $found = $noted->exists($donation);
        self::assertTrue($found->exists);
        self::assertSame(
            ['ipn m-1', 'webhook m-2', 'webhook m-3'],
            array_map(
                static fn($sighting): string => "{$sighting->message->channel} {$sighting->message->id}",
                $found->note->sightings,
            ),
        );

        $id = $first->note->donationId;
        self::assertSame($id, $noted->forget('paypal-live', $series, $id, 'a test')->donationId);
        $gone = self::failing(
            Exception\NoteNotFound::class,
            fn() => $noted->forget('paypal-live', $series, $id, 'a test'),
        );
        self::assertSame([5, 'not_found', 'NOTE_NOT_FOUND'], [$gone->getCode(), $gone->status, $gone->reason]);
    }

    public function testListGoesThroughAllPages(): void
    {
        $noted = new Client(Server::shared()->url);
        $series = self::series();
        for ($i = 1; $i <= 5; $i++) {
            $noted->note(new Donation($series, transactionId: "T-$i"), new Message('ipn', "m-$i"), $i === 5 ? 60 : 0);
        }
        $transactions = static fn(iterable $notes): array => array_map(
            static fn(Note $note): string => $note->donation->transactionId,
            iterator_to_array($notes),
        );
        $all = $transactions($noted->list(seriesId: $series, pageSize: 2));
        sort($all);
        self::assertSame(['T-1', 'T-2', 'T-3', 'T-4', 'T-5'], $all);
        self::assertSame(['T-5'], $transactions($noted->list(seriesId: $series, state: State::Held)));
        self::assertCount(2, $noted->page(seriesId: $series, pageSize: 2)->notes);
        self::assertSame([], $transactions($noted->list(seriesId: $series, notedAfter: '2999-01-01T00:00:00Z')));
        self::assertSame([], $transactions($noted->list(seriesId: $series, seenOnlyOn: 'webhook')));
    }

    public function testEveryViolationIsNamed(): void
    {
        $noted = new Client(Server::shared()->url);
        $e = self::failing(
            Exception\InvalidRequest::class,
            fn() => $noted->note(new Donation('I 1', amount: 'much', currencyCode: 'eur')),
        );
        self::assertSame(['INVALID_REQUEST', 3], [$e->reason, $e->getCode()]);
        $fields = array_map(static fn($violation): string => $violation->field, $e->violations);
        sort($fields);
        self::assertSame(['donation.amount', 'donation.currency_code', 'donation.series_id'], $fields);
        foreach ($e->violations as $violation) {
            self::assertNotSame('', $violation->description);
        }
        self::failing(
            Exception\InvalidRequest::class,
            fn() => $noted->note(new Donation(self::series(), occurredAt: 'yesterday')),
        );
        self::failing(Exception\InvalidRequest::class, fn() => $noted->note(new Donation("I-\xff")));
        self::failing(
            Exception\OccurredTooEarly::class,
            fn() => $noted->note(new Donation(self::series(), occurredAt: '1999-01-01T00:00:00Z')),
        );
        self::failing(
            Exception\OccurredTooLate::class,
            fn() => $noted->note(new Donation(self::series(), occurredAt: new \DateTimeImmutable('+1 month'))),
        );
    }

    public function testOnceRunsTheCallableOnce(): void
    {
        $noted = new Client(Server::shared()->url);
        $donation = new Donation(self::series(), Event::Payment, transactionId: 'T-1');
        $runs = [];
        $process = function (Note $note, Hold $hold) use (&$runs, $noted, $donation): void {
            $runs[] = $note->donationId;
            self::assertEqualsWithDelta(60, $hold->left(), 5);
            $hold->extend();
            self::assertSame(
                Verdict::Held,
                $noted->once($donation, new Message('webhook', 'm-2'), fn() => self::fail('ran under the other hold')),
            );
        };
        self::assertSame(Verdict::First, $noted->once($donation, new Message('ipn', 'm-1'), $process));
        self::assertSame(Verdict::Duplicate, $noted->once($donation, new Message('webhook', 'm-2'), $process));
        self::assertSame(Verdict::Duplicate, $noted->once($donation, null, $process));
        self::assertCount(1, $runs);
        self::assertSame(State::Settled, $noted->exists($donation)->note->state);
    }

    public function testOnceReleasesWhenTheCallableThrows(): void
    {
        $noted = new Client(Server::shared()->url);
        $donation = new Donation(self::series(), Event::Payment, transactionId: 'T-1');
        $thrown = new \DomainException('the books are closed');
        try {
            $noted->once($donation, null, static fn() => throw $thrown);
            self::fail('the exception is gone');
        } catch (\DomainException $e) {
            self::assertSame($thrown, $e);
        }
        self::assertSame(State::Open, $noted->exists($donation)->note->state);
        $attempts = [];
        self::assertSame(
            Verdict::First,
            $noted->once($donation, null, static function (Note $note) use (&$attempts): void {
                $attempts[] = $note->attempt;
            }),
        );
        self::assertSame([2], $attempts);
    }

    public function testAHoldIsExtendedAndLost(): void
    {
        $noted = new Client(Server::shared()->url, hold: 0.9);
        $donation = new Donation(self::series(), Event::Payment, transactionId: 'T-1');
        self::assertSame(
            Verdict::First,
            $noted->once($donation, null, function (Note $note, Hold $hold) use ($noted, $donation): void {
                for ($end = microtime(true) + 1.5; microtime(true) < $end; usleep(50_000)) {
                    $hold->extend();
                    self::assertGreaterThan(0.3, $hold->left());
                }
                self::assertSame(Verdict::Held, $noted->note($donation)->verdict, 'held for longer than one hold');
            }),
        );

        // Lost, and the work goes on regardless: it is settled only if the other has not got there.
        $donation = new Donation(self::series(), Event::Payment, transactionId: 'T-1');
        $e = self::failing(Exception\NotSettled::class, function () use ($noted, $donation): void {
            $noted->once($donation, null, function (Note $note, Hold $hold) use ($noted, $donation): void {
                Processes::until(
                    static fn(): bool => $noted->note($donation, hold: 60)->verdict === Verdict::First,
                    static fn(): string => 'no takeover',
                );
                self::assertLessThanOrEqual(0, $hold->left());
                self::failing(Exception\HoldLost::class, $hold->extend(...));
            });
        });
        self::assertInstanceOf(Exception\HoldLost::class, $e->getPrevious());
        self::assertSame('HOLD_LOST', $e->reason);
        self::assertStringStartsWith('processed, but not settled: settling: HOLD_LOST: ', $e->getMessage());
    }

    public function testManyProcessesRaceForOneDonation(): void
    {
        $series = self::series();
        $book = Program::folder() . "/$series";
        $running = [];
        for ($i = 0; $i < 16; $i++) {
            $running[] = Processes::start(
                [PHP_BINARY, __DIR__ . '/race.php', Server::shared()->url, $series, $book, 'm-' . $i % 4],
                "$book.$i",
            );
        }
        $said = static fn(): array => array_map(
            static fn(int $i): string => file_get_contents("$book.$i"),
            array_keys($running),
        );
        Processes::until(
            static fn(): bool => !in_array('', $said(), true),
            static fn(): string => implode(' ', $said()),
        );
        $count = array_count_values($said()) + ['Held' => 0, 'Duplicate' => 0];
        self::assertSame(1, $count['First'], implode(' ', $said()));
        self::assertSame(15, $count['Held'] + $count['Duplicate'], implode(' ', $said()));
        self::assertCount(1, file($book));
        array_map(Processes::stop(...), $running);
    }

    public function testALostAnswerLosesNothing(): void
    {
        $address = Processes::freeAddress();
        $log = Program::folder() . '/losing.log';
        $relay = Processes::start(
            [PHP_BINARY, __DIR__ . '/losing.php', $address, Server::shared()->address, '2'],
            $log,
        );
        usleep(200_000); // a connection to see whether it is there would be one that it counts
        $runs = 0;
        $donation = new Donation(self::series(), Event::Payment, transactionId: 'T-1');
        $verdict = (new Client("http://$address"))->once($donation, null, static function () use (&$runs): void {
            $runs++;
        });
        self::assertSame([Verdict::First, 1], [$verdict, $runs], (string) file_get_contents($log));
        Processes::stop($relay);
    }

    public function testAServerThatIsAway(): void
    {
        $address = Processes::freeAddress();
        $noted = new Client("http://$address");
        $began = microtime(true);
        $e = self::failing(
            Exception\Unavailable::class,
            fn() => $noted->once(new Donation(self::series()), null, fn() => self::fail('processed on an error')),
        );
        self::assertSame([14, ''], [$e->getCode(), $e->reason]);
        self::assertLessThan(3, microtime(true) - $began);

        // It comes back while the callable's work is being settled, and while it is asked.
        $server = Server::start($address);
        $runs = 0;
        self::assertSame(
            Verdict::First,
            (new Client($server->url, timeout: 1.0))->once(new Donation(self::series()), null, static function () use (
                &$runs,
                $server,
            ): void {
                $runs++;
                $server->freeze();
                $server->thaw(2.0);
            }),
        );
        self::assertSame(1, $runs);

        $server->freeze();
        $began = microtime(true);
        self::failing(
            Exception\DeadlineExceeded::class,
            fn() => (new Client($server->url, timeout: 0.5))->note(new Donation(self::series())),
        );
        self::assertEqualsWithDelta(0.5, microtime(true) - $began, 0.3);
        $server->thaw();

        $donation = new Donation(self::series());
        $e = self::failing(
            Exception\NotSettled::class,
            fn() => (new Client($server->url, timeout: 0.3, settleTimeout: 1.0))->once(
                $donation,
                null,
                $server->freeze(...),
            ),
        );
        self::assertInstanceOf(Exception\DeadlineExceeded::class, $e->getPrevious());
        $server->stop();
    }

    /**
     * The work is done by then, so what is wrong with the token must say so; and where
     * the work failed, that says more.
     */
    public function testATokenThatIsNotToBeHad(): void
    {
        $asked = 0;
        $token = static function () use (&$asked): string {
            return ++$asked === 1 ? 't' : throw new \DomainException('the vault is closed');
        };
        $noted = new Client(Server::shared()->url, settleTimeout: 0.5, token: $token);
        $donation = new Donation(self::series());
        $runs = 0;
        $e = self::failing(Exception\NotSettled::class, static function () use ($noted, $donation, &$runs): void {
            $noted->once($donation, null, static function () use (&$runs): void {
                $runs++;
            });
        });
        self::assertSame(1, $runs);
        self::assertInstanceOf(Exception\Unavailable::class, $e->getPrevious());
        self::assertInstanceOf(\DomainException::class, $e->getPrevious()->getPrevious());
        self::assertStringContainsString('the vault is closed', $e->getMessage());

        $asked = 0;
        $books = new \LogicException('the books are closed');
        try {
            $noted->once(new Donation(self::series()), null, static fn() => throw $books);
            self::fail('the exception is gone');
        } catch (\Exception $e) {
            self::assertSame($books, $e);
        }
        foreach (["t\n", "t\u{e4}", null, ['t']] as $strange) {
            $noted = new Client(Server::shared()->url, timeout: 0.2, token: static fn(): mixed => $strange);
            self::failing(Exception\Unavailable::class, static fn() => $noted->exists(new Donation('I-1')));
        }
        $asked = 0;
        $renewed = static function () use (&$asked): string {
            return ++$asked > 1 ? 't' : throw new \DomainException('not yet');
        };
        self::assertFalse(
            (new Client(Server::shared()->url, token: $renewed))->exists(new Donation(self::series()))->exists,
            'another try cures it',
        );
    }

    public function testSecretsAreInNoStackTrace(): void
    {
        foreach (
            [
                'new Noted\Client("ftp://x", token: "s3cret")',
                'new Noted\Receiver\WebhookApi("WH", "app", "s3cret", "http://example.org")',
                'Noted\Receiver\Http::ask("http://127.0.0.1:1", "", ["Authorization: s3cret"], 1.0)',
            ]
 as $code
        ) {
            $code = 'require $argv[1]; try { ' . $code . '; } catch (Exception $e) { print_r($e->getTrace()); }';
            [$exit, $trace, $said] = Program::run([
                PHP_BINARY,
                '-d',
                'zend.exception_ignore_args=0',
                '-r',
                $code,
                __DIR__ . '/../autoload.php',
            ]);
            self::assertSame([0, ''], [$exit, $said]);
            self::assertStringContainsString('[args]', $trace);
            if (PHP_VERSION_ID >= 80200) {
                self::assertStringNotContainsString('s3cret', $trace, $code);
            }
        }
    }

    /** What is between may answer in Noted's place; that is never a verdict. */
    public function testWhatIsNotNoted(): void
    {
        $address = Processes::php(__DIR__ . '/between.php');
        $ask = static function (
            int $status,
            string $body,
            string $type = 'application/json',
            mixed ...$settings
        ) use (
            $address,
        ): \Closure {
            $coded = strtr(base64_encode(json_encode([$status, $type, $body])), '+/', '-_');
            return static fn() => (new Client("http://$address/$coded", ...$settings))->note(new Donation('I-1'));
        };
        self::failing(Exception\Internal::class, $ask(200, '<html>welcome</html>', 'text/html'));
        self::failing(Exception\Internal::class, $ask(200, '{}')); // no verdict
        self::failing(Exception\Internal::class, $ask(200, '{"verdict":"VERDICT_MAYBE"}'));
        self::failing(Exception\Internal::class, $ask(200, '{"code":"unavailable"}'));
        self::failing(NotedException::class, $ask(302, ''));
        self::failing(NotedException::class, $ask(404, 'nothing here', 'text/plain'));
        self::failing(NotedException::class, $ask(500, '{"verdict":"VERDICT_FIRST"}'));
        self::failing(Exception\Unauthenticated::class, $ask(401, ''));
        self::failing(Exception\Unavailable::class, $ask(502, '<html>bad gateway</html>', 'text/html'));

        // RetryInfo of 20 s and of 30 ms; with the first, no try would end within the deadline.
        $details = static fn(string $retry, string $reason): string => sprintf(
            '{"code":"unavailable","message":"away","details":[{"type":"google.rpc.RetryInfo","value":"%s"},{"type":"google.rpc.ErrorInfo","value":"%s"}]}',
            rtrim(base64_encode($retry), '='),
            rtrim(
                base64_encode("\x0a" . chr(strlen($reason)) . "$reason\x12\x08noted.v1\x1a\x06\x0a\x01k\x12\x01v"),
                '=',
            ),
        );
        $began = microtime(true);
        $e = self::failing(
            Exception\StoreUnavailable::class,
            $ask(503, $details("\x0a\x02\x08\x14", 'STORE_UNAVAILABLE')),
        );
        self::assertSame(20.0, $e->retryAfter);
        self::assertLessThan(0.5, microtime(true) - $began);
        $e = self::failing(
            Exception\OutcomeUnknown::class,
            $ask(503, $details("\x0a\x05\x10\x80\x87\xa7\x0e", 'OUTCOME_UNKNOWN')),
        );
        self::assertSame(0.03, $e->retryAfter);
        self::assertInstanceOf(Exception\Unavailable::class, $e);
        self::failing(Exception\StoreWentBack::class, $ask(503, $details("\x0a\x00", 'STORE_WENT_BACK')));
        // Broken details say nothing, and break nothing.
        self::failing(Exception\Unavailable::class, $ask(503, $details("\x0a\x7f\x08", "\xff")));

        $headers = '{"code":"unknown","message":"{headers}"}';
        $e = self::failing(
            NotedException::class,
            $ask(500, $headers, token: static fn(): string => 't0ken', timeout: 3.0),
        );
        $sent = json_decode($e->problem, true);
        self::assertSame(
            ['Bearer t0ken', '1', 'application/json'],
            [$sent['authorization'], $sent['connect-protocol-version'], $sent['content-type']],
        );
        self::assertEqualsWithDelta(3000, (int) $sent['connect-timeout-ms'], 500);
        self::assertArrayNotHasKey(
            'authorization',
            json_decode(self::failing(NotedException::class, $ask(500, $headers))->problem, true),
        );
    }

    public function testPlaintextStaysOnThisMachine(): void
    {
        foreach (
            [
                ['http://noted.example.org:8080', [], 'over a network use https'],
                ['http://127.0.0.1.example.org', [], 'over a network use https'],
                ['http://noted.example.org', ['plaintext' => true, 'token' => 't'], 'a token is not sent in plaintext'],
                ['127.0.0.1:8080', [], 'it must be a URL'],
                ['ftp://127.0.0.1', [], 'it must be a URL'],
                ['http://127.0.0.1', ['hold' => 901.0], 'hold between'],
                ['http://127.0.0.1', ['token' => "t\n"], 'is there a newline at its end?'],
                ['http://127.0.0.1', ['timeout' => 0.0], 'must be positive'],
                ['https://noted.example.org', ['caFile' => '/nowhere'], 'cannot be read'],
            ]
 as [$url, $settings, $want]
        ) {
            try {
                new Client($url, ...$settings);
                self::fail("$url was taken");
            } catch (\InvalidArgumentException $e) {
                self::assertStringContainsString($want, $e->getMessage());
            }
        }
        foreach (
            ['http://127.0.0.1', 'http://localhost:8080/', 'http://[::1]:8080', 'https://noted.example.org/prefix']
            as $url
        ) {
            self::assertInstanceOf(Client::class, new Client($url, token: 't'));
        }
        self::assertInstanceOf(Client::class, new Client('http://noted.example.org', plaintext: true));
    }

    /**
     * The environment's proxy is for the network: not for this machine, whose secrets it
     * would see, and not for what no_proxy names.
     */
    public function testProxies(): void
    {
        $body = '{}';
        $headers = [
            'paypal-transmission-id' => 'tr',
            'paypal-transmission-time' => gmdate('Y-m-d\TH:i:s\Z'),
            'paypal-transmission-sig' => 's',
            'paypal-cert-url' => 'https://api.paypal.com/c',
            'paypal-auth-algo' => 'SHA256withRSA',
        ];
        $nobody = Processes::freeAddress();
        $plain = new Client('http://noted.invalid', timeout: 0.3, plaintext: true);
        foreach (
            [
                'through the proxy' => [true, '', fn() => $plain->exists(new Donation('I-1'))],
                'named by no_proxy' => [
                    false,
                    'example.org,noted.invalid',
                    fn() => $plain->exists(new Donation('I-1')),
                ],
                'this machine' => [
                    false,
                    '',
                    fn() => (new Client("http://$nobody", timeout: 0.3))->exists(new Donation('I-1')),
                ],
                'a post-back to this machine' => [
                    false,
                    '',
                    fn() => (new Receiver\IpnPostBack("http://$nobody/", 0.3))->verify([], 'a=b'),
                ],
                'a secret for this machine' => [
                    false,
                    '',
                    fn() => (new Receiver\WebhookApi('WH', 'app', 's', "http://$nobody", timeout: 0.3))->verify(
                        $headers,
                        $body,
                    ),
                ],
                'a post-back' => [true, '', fn() => Receiver\Http::ask('http://paypal.invalid', $body, [], 0.3)],
                'a post-back named by no_proxy' => [
                    false,
                    'paypal.invalid',
                    fn() => Receiver\Http::ask('http://paypal.invalid', $body, [], 0.3),
                ],
            ]
 as $name => [$want, $except, $ask]
        ) {
            $proxy = stream_socket_server('tcp://127.0.0.1:0');
            putenv('http_proxy=http://' . stream_socket_get_name($proxy, false));
            putenv("no_proxy=$except");
            try {
                $ask();
                self::fail("$name: there was an answer");
            } catch (\RuntimeException) {
                self::assertSame($want, @stream_socket_accept($proxy, 0) !== false, $name);
            } finally {
                putenv('http_proxy');
                putenv('no_proxy');
            }
        }
    }

    public function testHttpsIsVerified(): void
    {
        $authority = new Authority();
        $key = Authority::makeKey();
        openssl_pkey_export($key, $pem);
        $folder = Program::folder();
        file_put_contents("$folder/door.pem", $authority->issue($key, '127.0.0.1', null, 'IP:127.0.0.1') . $pem);
        file_put_contents("$folder/answer", '{"exists":true,"note":{"donation":{"seriesId":"I-1"}}}');
        $address = Processes::freeAddress();
        Processes::start(
            [PHP_BINARY, __DIR__ . '/tls.php', $address, "$folder/door.pem", "$folder/answer", "$folder/asked"],
            "$folder/tls.log",
        );
        Processes::waitFor($address, "$folder/tls.log");
        self::assertTrue(
            (new Client("https://$address", caFile: $authority->file))->exists(new Donation('I-1'))->exists,
        );
        foreach (['', (new Authority())->file] as $caFile) {
            $e = self::failing(
                Exception\Unavailable::class,
                fn() => (new Client("https://$address", timeout: 0.5, caFile: $caFile))->exists(new Donation('I-1')),
            );
            self::assertStringContainsString('certificate', $e->getMessage());
        }
        $other = str_replace('127.0.0.1', 'localhost', $address);
        self::failing(
            Exception\Unavailable::class,
            fn() => (new Client("https://$other", timeout: 0.5, caFile: $authority->file))->exists(new Donation('I-1')),
        );
    }

    /** One fact, two places: this compares them. */
    public function testReasonsAndEnumsAreTheContracts(): void
    {
        $proto = file_get_contents(__DIR__ . '/../../../api/noted/v1/noted.proto');
        $start = strpos($proto, '//   INVALID_ARGUMENT     INVALID_REQUEST');
        $table = substr($proto, $start, strpos($proto, 'syntax =') - $start);
        $table = preg_replace('/^\/\/   [A-Z_]+ /m', '', preg_replace('/\([^()]*\)/', '', $table));
        preg_match_all('/[A-Z][A-Z_]+/', $table, $found);
        $reasons = array_keys(NotedException::REASONS);
        sort($reasons);
        sort($found[0]);
        self::assertSame($found[0], $reasons);
        foreach (NotedException::REASONS as $reason => $class) {
            self::assertSame(
                $reason,
                strtoupper(preg_replace('/(?<=[a-z])(?=[A-Z])/', '_', substr(strrchr($class, '\\'), 1))),
            );
            self::assertTrue(is_subclass_of($class, NotedException::class));
        }
        foreach (
            [Verdict::class => 'VERDICT', Evidence::class => 'EVIDENCE', State::class => 'STATE']
            as $enum => $prefix
        ) {
            preg_match_all("/^  ({$prefix}_[A-Z_]+) = \d+;/m", $proto, $found);
            $values = array_map(static fn(\BackedEnum $case): string => $case->value, $enum::cases());
            self::assertSame($enum === Verdict::class ? array_slice($found[1], 1) : $found[1], $values);
        }
    }
}
