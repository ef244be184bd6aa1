<?php

declare(strict_types=1);

namespace Noted\Tests;

use Noted\Client;
use Noted\Donation;
use Noted\Event;
use Noted\Evidence;
use Noted\Exception;
use Noted\Exception\NotedException;
use Noted\Message;
use Noted\Note;
use Noted\State;
use Noted\Verdict;
use PHPUnit\Framework\TestCase;

/**
 * Against a real server. Every test has a series of its own. FakeClientTest has the tests
 * that the fake client passes too.
 */
final class ClientTest extends TestCase
{
    use Calls;

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
        $first = $noted->note($donation, new Message('ipn', 'm-1'), 60);
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
        $held = $noted->note($donation, new Message('webhook', 'm-2'));
        self::assertSame([Verdict::Held, ''], [$held->verdict, $held->receipt]);
        self::assertEqualsWithDelta(60, $held->retryAfter, 10);

        $extended = $noted->extend($first->receipt, 600);
        self::assertGreaterThan($first->note->heldUntil, $extended->heldUntil);
        $noted->release($first->receipt, 'a test');
        $released = self::failing(Exception\HoldReleased::class, fn() => $noted->settle($first->receipt));
        self::assertSame('HOLD_RELEASED', $released->reason);

        $second = $noted->note($donation, new Message('ipn', 'm-1'), 60);
        self::assertSame(
            [Verdict::First, Evidence::TakenOver, 2],
            [$second->verdict, $second->evidence, $second->note->attempt],
        );
        self::assertSame(State::Settled, $noted->settle($second->receipt)->state);
        $other = $noted->note(
            new Donation($series, amount: '30', currencyCode: 'EUR', transactionId: 'T-1', ledger: 'paypal-live'),
            new Message('webhook', 'm-3'),
        );
        self::assertSame(
            [Verdict::Duplicate, Evidence::SameTransaction, ['amount']],
            [$other->verdict, $other->evidence, $other->differences],
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
        self::assertSame($id, $noted->forget($series, $id, 'a test', 'paypal-live')->donationId);
        $gone = self::failing(
            Exception\NoteNotFound::class,
            fn() => $noted->forget($series, $id, 'a test', 'paypal-live'),
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

    /** A proxy may answer instead of Noted. Its answer is never a verdict. */
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

        // RetryInfo of 20 s and of 30 ms. After the first no further try would be in time.
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
        // Broken details are ignored.
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

    /** Compares the head of noted.proto with NotedException::REASONS. */
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
