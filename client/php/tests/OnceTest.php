<?php

declare(strict_types=1);

namespace Noted\Tests;

use Noted\Client;
use Noted\Donation;
use Noted\Event;
use Noted\Exception;
use Noted\Hold;
use Noted\Message;
use Noted\Note;
use Noted\State;
use Noted\Verdict;
use PHPUnit\Framework\TestCase;

/** Client::once() against a real server. Every test has a series of its own. */
final class OnceTest extends TestCase
{
    use Calls;

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

    public function testShadow(): void
    {
        $noted = new Client(Server::shared()->url);
        $donation = new Donation(self::series(), Event::Payment, transactionId: 'T-1', ledger: 'dark');
        $runs = 0;
        $other = function () use (&$runs): void {
            $runs++;
        };
        $process = function () use (&$runs, $noted, $donation, $other): void {
            $runs++;
            self::assertSame(Verdict::First, $noted->once($donation, new Message('webhook', 'm-2'), $other));
            self::assertSame(State::Held, $noted->exists($donation)->note->state, 'the other has settled nothing');
        };
        self::assertSame(Verdict::First, $noted->once($donation, new Message('ipn', 'm-1'), $process));
        self::assertSame(Verdict::First, $noted->once($donation, new Message('ipn', 'm-1'), $other));
        self::assertSame(3, $runs);
        self::assertSame(State::Settled, $noted->exists($donation)->note->state);
    }

    public function testOnceReleasesWhenTheCallableThrows(): void
    {
        $noted = new Client(Server::shared()->url);
        $donation = new Donation(self::series(), Event::Payment, transactionId: 'T-1');
        $thrown = new \DomainException('the books are closed');
        try {
            $noted->once($donation, null, static fn() => throw $thrown);
            self::fail('once() did not throw');
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
                self::assertSame(Verdict::Held, $noted->note($donation)->verdict, 'the hold was extended');
            }),
        );

        // The hold is lost while the callable goes on.
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
        usleep(200_000); // not by a connection: the relay would count it
        $runs = 0;
        $donation = new Donation(self::series(), Event::Payment, transactionId: 'T-1');
        $verdict = (new Client("http://$address"))->once($donation, null, static function () use (&$runs): void {
            $runs++;
        });
        self::assertSame([Verdict::First, 1], [$verdict, $runs], (string) file_get_contents($log));
        Processes::stop($relay);
    }
}
