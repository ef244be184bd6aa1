<?php

declare(strict_types=1);

namespace Noted\Tests;

use Noted\Client;
use Noted\ClientInterface;
use Noted\Donation;
use Noted\Event;
use Noted\Exception;
use Noted\Exception\NotedException;
use Noted\Hold;
use Noted\Message;
use Noted\Note;
use Noted\NoteResponse;
use Noted\Psr18;
use Noted\State;
use Noted\Testing\FakeClient;
use Noted\Verdict;
use PHPUnit\Framework\TestCase;

/** The fake client answers like a real server. Where possible a test runs on both. */
final class FakeClientTest extends TestCase
{
    use Calls;

    /** @return iterable<string, array{\Closure(): ClientInterface}> */
    public function clients(): iterable
    {
        yield 'a server' => [static fn(): ClientInterface => new Client(Server::shared()->url)];
        yield 'a server, over PSR-18' => [static function (): ClientInterface {
            require_once 'GuzzleHttp/autoload.php';
            $factory = new \GuzzleHttp\Psr7\HttpFactory();
            $http = new \GuzzleHttp\Client(['timeout' => 6, 'allow_redirects' => false]);
            return new Client(Server::shared()->url, http: new Psr18($http, $factory, $factory));
        }];
        yield 'the fake' => [static fn(): ClientInterface => new FakeClient()];
    }

    public function testTheInterfaceHasTheCallsOfTheClient(): void
    {
        $calls = array_diff(get_class_methods(Client::class), ['__construct', 'requestId']);
        self::assertEqualsCanonicalizing($calls, get_class_methods(ClientInterface::class));
    }

    /** @return iterable<string, array{\Closure(): ClientInterface}> */
    public function clientsInShadow(): iterable
    {
        yield 'a server' => [static fn(): ClientInterface => new Client(Server::shared()->url)];
        yield 'the fake' => [static function (): ClientInterface {
            $fake = new FakeClient();
            $fake->shadow();
            return $fake;
        }];
    }

    /** @dataProvider clientsInShadow */
    public function testShadow(\Closure $client): void
    {
        $noted = $client();
        $id = self::series();
        $donation = new Donation($id, transactionId: 'T-1', ledger: 'dark');
        $first = $noted->note($donation, new Message('ipn', 'm-1'), 60, "r-$id");
        self::assertSame([Verdict::First, Verdict::First], [$first->verdict, $first->shadowVerdict]);
        $again = $noted->note($donation, new Message('ipn', 'm-1'), 60, "r-$id");
        self::assertSame([Verdict::First, $first->receipt], [$again->shadowVerdict, $again->receipt]);

        $held = $noted->note($donation, new Message('webhook', 'm-2'), 60);
        self::assertSame([Verdict::First, Verdict::Held], [$held->verdict, $held->shadowVerdict]);
        self::assertSame([$first->note->donationId, null], [$held->note->donationId, $held->retryAfter]);
        self::assertNotContains($held->receipt, ['', $first->receipt]);
        self::assertSame('', $noted->note($donation, new Message('webhook', 'm-2'))->receipt);
        $states = fn(): array => [
            $noted->settle($held->receipt)->state,
            $noted->release($held->receipt)->state,
            $noted->extend($held->receipt, 60)->state,
        ];
        self::assertSame([State::Held, State::Held, State::Held], $states());
        self::assertSame(State::Settled, $noted->settle($first->receipt)->state);
        self::assertSame([State::Settled, State::Settled, State::Settled], $states());

        $late = $noted->note($donation, new Message('ipn', 'm-1'), 60);
        self::assertSame([Verdict::First, Verdict::Duplicate], [$late->verdict, $late->shadowVerdict]);
        $noted->forget($id, $first->note->donationId, 'a test', 'dark');
        self::failing(Exception\NoteNotFound::class, fn() => $noted->settle($late->receipt));
    }

    /** @return list<mixed> the parts of an answer that are the same in every run */
    private static function told(NoteResponse $answer): array
    {
        $seen = array_map(
            static fn($seen): array => [$seen->message->channel, $seen->message->id, $seen->transactionId],
            $answer->note->sightings,
        );
        return [
            $answer->verdict,
            $answer->evidence,
            $answer->note->state,
            $answer->note->attempt,
            $answer->receipt !== '',
            $answer->retryAfter !== null,
            $answer->note->donation->event,
            $seen,
        ];
    }

    /** @dataProvider clients */
    public function testALife(\Closure $client): void
    {
        $noted = $client();
        $id = self::series();
        $ipn = new Donation($id, transactionId: 'T-1', ledger: 'live');
        $event = Event::Payment;
        self::assertFalse($noted->exists($ipn)->exists);
        $first = $noted->note($ipn, new Message('ipn', 'm-1'), 60, "r-$id");
        $seen = [['ipn', 'm-1', 'T-1']];
        $new = \Noted\Evidence::New;
        self::assertSame([Verdict::First, $new, State::Held, 1, true, false, $event, $seen], self::told($first));
        $again = $noted->note($ipn, new Message('ipn', 'm-1'), 60, "r-$id");
        self::assertSame([Verdict::First, $first->receipt], [$again->verdict, $again->receipt]);
        self::assertSame(\Noted\Evidence::SameRequest, $again->evidence);

        $held = $noted->note($ipn, new Message('webhook', 'm-2'), 60);
        $seen[] = ['webhook', 'm-2', 'T-1'];
        $same = \Noted\Evidence::SameTransaction;
        self::assertSame([Verdict::Held, $same, State::Held, 1, false, true, $event, $seen], self::told($held));

        self::assertSame(State::Open, $noted->release($first->receipt)->state);
        self::assertFalse($noted->exists($ipn)->exists);
        self::assertNotNull($noted->exists($ipn)->note);
        self::failing(Exception\HoldReleased::class, fn() => $noted->settle($first->receipt));
        self::failing(Exception\HoldReleased::class, fn() => $noted->extend($first->receipt, 60));

        $second = $noted->note($ipn, new Message('ipn', 'm-1'), 60);
        $over = \Noted\Evidence::TakenOver;
        self::assertSame([Verdict::First, $over, State::Held, 2, true, false, $event, $seen], self::told($second));
        self::assertSame($first->note->donationId, $second->note->donationId);
        self::failing(Exception\HoldLost::class, fn() => $noted->settle($first->receipt));
        self::assertSame(State::Held, $noted->extend($second->receipt, 60)->state);
        self::assertSame(State::Settled, $noted->settle($second->receipt)->state);
        self::assertSame(State::Settled, $noted->settle($second->receipt)->state);
        self::failing(Exception\SettledByAnother::class, fn() => $noted->settle($first->receipt));
        self::failing(Exception\AlreadySettled::class, fn() => $noted->release($second->receipt));
        self::failing(Exception\AlreadySettled::class, fn() => $noted->extend($second->receipt, 60));

        $done = $noted->note($ipn, new Message('ipn', 'm-1'));
        $same = \Noted\Evidence::SameMessage;
        self::assertSame([Verdict::Duplicate, $same, State::Settled, 2, false, false, $event, $seen], self::told($done));
        self::assertTrue($noted->exists($ipn)->exists);

        $refund = new Donation($id, Event::Refund, transactionId: 'T-1', ledger: 'live');
        self::assertSame(Verdict::First, $noted->note($refund, new Message('ipn', 'm-1'))->verdict);
        $ids = static fn(iterable $notes): array => array_map(
            static fn(Note $note): Event => $note->donation->event,
            [...$notes],
        );
        self::assertEqualsCanonicalizing([$event, Event::Refund], $ids($noted->list('live', $id)));
        self::assertSame([Event::Refund], $ids($noted->list('live', $id, seenOnlyOn: 'ipn')));
        self::assertCount(2, $noted->page('live', $id, State::Settled, transactionId: 'T-1')->notes);
        self::assertCount(0, $noted->page('live', $id, State::Held)->notes);
        self::assertSame($first->note->donationId, $noted->forget($id, $first->note->donationId, 'why', 'live')->donationId);
        $gone = fn() => $noted->forget($id, $first->note->donationId, 'why', 'live');
        self::failing(Exception\NoteNotFound::class, $gone);
        self::assertSame([Event::Refund], $ids($noted->list('live', $id)));
        self::failing(Exception\InvalidRequest::class, fn() => $noted->settle('no receipt'));
    }

    /** @dataProvider clients */
    public function testOnce(\Closure $client): void
    {
        $noted = $client();
        $donation = new Donation(self::series(), transactionId: 'T-1');
        $attempts = [];
        $process = static function (Note $note, Hold $hold) use (&$attempts): void {
            $hold->extend();
            $attempts[] = $note->attempt;
            if ($note->attempt === 1) {
                throw new \DomainException('the books are closed');
            }
        };
        try {
            $noted->once($donation, null, $process);
            self::fail('once() did not throw');
        } catch (\DomainException) {
            self::assertSame([1], $attempts);
        }
        self::assertSame(Verdict::First, $noted->once($donation, null, $process));
        self::assertSame(Verdict::Duplicate, $noted->once($donation, null, $process));
        self::assertSame([1, 2], $attempts);
        $another = new Donation(self::series(), transactionId: 'T-1');
        $noted->note($another, null, 60);
        self::assertSame(Verdict::Held, $noted->once($another, null, $process));

        $third = new Donation(self::series(), transactionId: 'T-1');
        $forgets = static fn(Note $note) => $noted->forget($third->seriesId, $note->donationId, 'a test');
        $e = self::failing(Exception\NotSettled::class, fn() => $noted->once($third, null, $forgets));
        self::assertInstanceOf(Exception\NoteNotFound::class, $e->getPrevious());
    }

    public function testPsr18Failures(): void
    {
        require_once 'GuzzleHttp/autoload.php';
        $factory = new \GuzzleHttp\Psr7\HttpFactory();
        $http = new Psr18(new \GuzzleHttp\Client(['timeout' => 6]), $factory, $factory);
        $away = new Client('http://' . Processes::freeAddress(), timeout: 0.5, http: $http);
        self::failing(Exception\Unavailable::class, fn() => $away->note(new Donation('I-1')));
        $noted = new Client(Server::shared()->url, http: $http);
        $e = self::failing(Exception\InvalidRequest::class, fn() => $noted->note(new Donation('I 1')));
        self::assertSame('donation.series_id', $e->violations[0]->field);
        $this->expectExceptionMessage('set it in the PSR-18 client instead');
        new Client('https://noted.example.org', caFile: __FILE__, http: $http);
    }

    public function testRunOut(): void
    {
        $noted = new FakeClient();
        $donation = new Donation('I-1', transactionId: 'T-1');
        $first = $noted->note($donation, null, 60);
        $noted->runOut($first->note->donationId);
        self::assertSame(State::Open, $noted->notes()[0]->state);
        self::assertSame(State::Settled, $noted->settle($first->receipt)->state, 'the receipt may still settle');
        self::assertSame(Verdict::Duplicate, $noted->note($donation, null, 60)->verdict);
        self::failing(Exception\NoteNotFound::class, fn() => $noted->runOut('d-none'));
    }

    public function testFailuresAreTheContracts(): void
    {
        $noted = new FakeClient();
        $codes = Peer::codes();
        foreach (NotedException::REASONS as $reason => $class) {
            $noted->failNext($reason);
            $e = self::failing($class, fn() => $noted->note(new Donation('I-1')));
            self::assertSame([$codes[$reason], $reason], [$e->status, $e->reason]);
        }
        self::assertSame([], $noted->notes());
        $noted->failNext('STORE_FULL');
        $noted->failNext('OVERLOADED');
        self::failing(Exception\StoreFull::class, fn() => $noted->exists(new Donation('I-1')));
        self::failing(Exception\Overloaded::class, fn() => $noted->once(new Donation('I-1'), null, fn() => null));
        self::assertSame(Verdict::First, $noted->note(new Donation('I-1'))->verdict);
        $this->expectException(\InvalidArgumentException::class);
        $noted->failNext('MADE_UP');
    }
}
