<?php

declare(strict_types=1);

namespace Noted\Testing;

use Noted\Client;
use Noted\ClientInterface;
use Noted\Course;
use Noted\Donation;
use Noted\Event;
use Noted\Evidence;
use Noted\Exception\NotedException;
use Noted\Exception\NotSettled;
use Noted\Exception\Unavailable;
use Noted\Existence;
use Noted\Hold;
use Noted\Message;
use Noted\Note;
use Noted\NoteResponse;
use Noted\Page;
use Noted\Retry;
use Noted\Sighting;
use Noted\State;
use Noted\Verdict;

/**
 * Answers the calls from memory, for tests of a program that uses Noted.
 *
 *     $noted = new FakeClient();
 *     $receiver = new MyReceiver($noted);
 *     $noted->failNext('STORE_UNAVAILABLE');
 *     self::assertSame(503, $receiver->take($body));
 *
 * It knows a donation by its request id, its message and its transaction id. It does not
 * pair messages by amount and time, checks no field, and no hold runs out by itself: call
 * runOut(). For the rest, test with a server: `noted -dev`.
 */
final class FakeClient implements ClientInterface
{
    /** The attempt of a receipt that holds nothing: that of a duplicate in shadow. */
    private const SHADOW = 0;

    /** @var array<string, Note> by donation id */
    private array $notes = [];
    /** @var array<string, array{string, int}> receipt → donation id and attempt */
    private array $receipts = [];
    /** @var array<string, NoteResponse> request id → its answer */
    private array $answers = [];
    /** @var list<NotedException> */
    private array $failures = [];
    private bool $shadow = false;

    /**
     * Puts every ledger in shadow, or takes them out of it: in shadow each message is First,
     * with the true verdict in $shadowVerdict.
     */
    public function shadow(bool $on = true): void
    {
        $this->shadow = $on;
    }

    /**
     * Lets the next call fail with a reason of the contract, such as "STORE_UNAVAILABLE".
     * Several reasons queue, one for each call.
     */
    public function failNext(string $reason): void
    {
        $class = NotedException::REASONS[$reason] ?? throw new \InvalidArgumentException(
            "failing with $reason: it is not a reason of the contract; NotedException::REASONS has them all",
        );
        $status = match ($reason) {
            'INVALID_REQUEST', 'REQUEST_ID_REUSED' => 'invalid_argument',
            'OCCURRED_TOO_EARLY', 'OCCURRED_TOO_LATE', 'RECEIVED_TOO_EARLY' => 'out_of_range',
            'NOTE_NOT_FOUND' => 'not_found',
            'RATE_LIMITED', 'STORE_FULL', 'SERIES_FULL', 'OVERLOADED' => 'resource_exhausted',
            'LEDGER_DENIED', 'VERB_DENIED' => 'permission_denied',
            'UNAUTHENTICATED', 'DEADLINE_EXCEEDED', 'INTERNAL' => strtolower($reason),
            default => is_subclass_of($class, Unavailable::class) ? 'unavailable' : 'failed_precondition',
        };
        $this->failures[] = NotedException::of('testing', $status, 'the test lets this call fail', $reason);
    }

    /** Lets the hold of a donation run out: the next message of the donation is First. */
    public function runOut(string $donationId): void
    {
        $note = $this->notes[$donationId] ?? throw self::notFound('running out', $donationId);
        if ($note->state === State::Held) {
            $this->keep($note, State::Open);
        }
    }

    /** @return list<Note> all notes, the oldest first */
    public function notes(): array
    {
        return array_values($this->notes);
    }

    public function once(Donation $donation, ?Message $message, callable $process): Verdict
    {
        $answer = $this->note($donation, $message, Client::DEFAULT_HOLD);
        $extend = function (float $until) use ($answer): float {
            $this->extend($answer->receipt, Client::DEFAULT_HOLD);
            return Retry::now() + Client::DEFAULT_HOLD;
        };
        $settle = function () use ($answer): void {
            try {
                $this->settle($answer->receipt);
            } catch (NotedException $e) {
                throw NotSettled::because($e);
            }
        };
        return Course::run(
            $answer,
            static fn(): Hold => new Hold($extend, Client::DEFAULT_HOLD, $extend(0.0)),
            $process,
            $settle,
            fn(): Note => $this->release($answer->receipt),
        );
    }

    public function note(
        Donation $donation,
        ?Message $message = null,
        float $hold = 0.0,
        string $requestId = '',
    ): NoteResponse {
        $this->fail();
        if (isset($this->answers[$requestId])) {
            $before = $this->answers[$requestId];
            $note = $this->notes[$before->note->donationId] ?? $before->note;
            $same = Evidence::SameRequest;
            return new NoteResponse(
                $before->verdict,
                $note,
                $same,
                $before->receipt,
                null,
                [],
                $this->shadow ? Verdict::First : null,
            );
        }
        [$note, $evidence] = $this->find($donation, $message);
        if ($note !== null && $note->state !== State::Open) {
            $note = $this->keep($note, $note->state, $donation, $message);
            $verdict = $note->state === State::Held ? Verdict::Held : Verdict::Duplicate;
            if ($this->shadow) {
                $receipt = $hold > 0 ? bin2hex(random_bytes(8)) : '';
                $this->receipts[$receipt] = [$note->donationId, self::SHADOW];
                return new NoteResponse(Verdict::First, $note, $evidence, $receipt, null, [], $verdict);
            }
            $retryAfter = $verdict === Verdict::Held ? Client::DEFAULT_HOLD : null;
            return new NoteResponse($verdict, $note, $evidence, '', $retryAfter, []);
        }
        $state = $hold > 0 ? State::Held : State::Settled;
        if ($note === null) {
            $donation = $this->asNoted($donation);
            $note = new Note(bin2hex(random_bytes(8)), $donation, [], $state, self::now(), '', '', 1);
            $note = $this->keep($note, $state, $donation, $message);
        } else {
            $evidence = Evidence::TakenOver;
            $note = $this->keep($note, $state, $donation, $message, $note->attempt + 1);
        }
        $receipt = $hold > 0 ? bin2hex(random_bytes(8)) : '';
        $this->receipts[$receipt] = [$note->donationId, $note->attempt];
        $shadow = $this->shadow ? Verdict::First : null;
        $answer = new NoteResponse(Verdict::First, $note, $evidence, $receipt, null, [], $shadow);
        if ($requestId !== '') {
            $this->answers[$requestId] = $answer;
        }
        return $answer;
    }

    public function exists(Donation $donation, ?Message $message = null): Existence
    {
        $this->fail();
        [$note, $evidence] = $this->find($donation, $message);
        $none = $note === null;
        return new Existence(!$none && $note->state !== State::Open, $note, $none ? Evidence::None : $evidence);
    }

    public function settle(string $receipt, string $reason = ''): Note
    {
        $this->fail();
        $note = $this->held('settling', $receipt);
        if ($this->receipts[$receipt][1] === self::SHADOW) {
            return $note;
        }
        if ($note->state === State::Open && $note->heldUntil === '') {
            throw self::refusal('settling', 'HOLD_RELEASED', 'the hold was released');
        }
        return $this->keep($note, State::Settled);
    }

    public function release(string $receipt, string $reason = ''): Note
    {
        $this->fail();
        $note = $this->held('releasing', $receipt);
        if ($this->receipts[$receipt][1] === self::SHADOW) {
            return $note;
        }
        if ($note->state === State::Settled) {
            throw self::refusal('releasing', 'ALREADY_SETTLED', 'this receipt has settled the note');
        }
        return $this->keep($note, State::Open, released: true);
    }

    public function extend(string $receipt, float $hold): Note
    {
        $this->fail();
        $note = $this->held('extending a hold', $receipt);
        if ($this->receipts[$receipt][1] === self::SHADOW) {
            return $note;
        }
        if ($note->state === State::Settled) {
            throw self::refusal('extending a hold', 'ALREADY_SETTLED', 'this receipt has settled the note');
        }
        if ($note->state === State::Open && $note->heldUntil === '') {
            throw self::refusal('extending a hold', 'HOLD_RELEASED', 'the hold was released');
        }
        return $this->keep($note, State::Held);
    }

    public function list(
        string $ledger = '',
        string $seriesId = '',
        State $state = State::Any,
        string $seenOnlyOn = '',
        string $notedAfter = '',
        string $notedBefore = '',
        int $pageSize = 0,
        string $transactionId = '',
    ): \Generator {
        $page = $this->page(
            $ledger,
            $seriesId,
            $state,
            $seenOnlyOn,
            $notedAfter,
            $notedBefore,
            $pageSize,
            '',
            $transactionId,
        );
        yield from $page->notes;
    }

    /** All notes that fit are on one page. */
    public function page(
        string $ledger = '',
        string $seriesId = '',
        State $state = State::Any,
        string $seenOnlyOn = '',
        string $notedAfter = '',
        string $notedBefore = '',
        int $pageSize = 0,
        string $token = '',
        string $transactionId = '',
    ): Page {
        $this->fail();
        $channels = static fn(Note $note): array => array_unique(
            array_map(static fn(Sighting $seen): string => $seen->message->channel, $note->sightings),
        );
        $fits = static fn(Note $note): bool =>
            $note->donation->ledger === $ledger &&
            ($seriesId === '' || $note->donation->seriesId === $seriesId) &&
            ($state === State::Any || $note->state === $state) &&
            ($seenOnlyOn === '' || $channels($note) === [$seenOnlyOn]) &&
            ($notedAfter === '' || strcmp($note->notedAt, $notedAfter) >= 0) &&
            ($notedBefore === '' || strcmp($note->notedAt, $notedBefore) < 0) &&
            ($transactionId === '' || in_array($transactionId, self::transactions($note), true));
        return new Page(array_values(array_filter($this->notes, $fits)), '');
    }

    public function forget(string $seriesId, string $donationId, string $reason, string $ledger = ''): Note
    {
        $this->fail();
        $note = $this->notes[$donationId] ?? null;
        if ($note?->donation->ledger !== $ledger || $note->donation->seriesId !== $seriesId) {
            throw self::notFound("forgetting $donationId", $donationId);
        }
        unset($this->notes[$donationId]);
        return $note;
    }

    private function fail(): void
    {
        if ($this->failures !== []) {
            throw array_shift($this->failures);
        }
    }

    /** @return array{?Note, Evidence} the note of a message, and the rule that found it */
    private function find(Donation $donation, ?Message $message): array
    {
        $donation = $this->asNoted($donation);
        $same = array_filter(
            $this->notes,
            static fn(Note $note): bool => $note->donation->ledger === $donation->ledger &&
                $note->donation->seriesId === $donation->seriesId &&
                $note->donation->event === $donation->event,
        );
        foreach ($same as $note) {
            foreach ($note->sightings as $seen) {
                $isThis = $message !== null && $message->id !== '' && $seen->message->id === $message->id;
                if ($isThis && $seen->message->channel === $message->channel) {
                    return [$note, Evidence::SameMessage];
                }
            }
        }
        foreach ($same as $note) {
            if ($donation->transactionId !== '' && in_array($donation->transactionId, self::transactions($note), true)) {
                return [$note, Evidence::SameTransaction];
            }
        }
        return [null, Evidence::New];
    }

    /** The note of a receipt that no other attempt has taken over. */
    private function held(string $act, string $receipt): Note
    {
        [$id, $attempt] = $this->receipts[$receipt] ?? throw NotedException::of(
            $act,
            'invalid_argument',
            'the receipt is not one of this client',
            'INVALID_REQUEST',
        );
        $note = $this->notes[$id] ?? throw self::notFound($act, $id);
        if ($attempt !== self::SHADOW && $note->attempt !== $attempt) {
            throw $note->state === State::Settled
                ? self::refusal($act, 'SETTLED_BY_ANOTHER', 'another attempt has settled the note')
                : self::refusal($act, 'HOLD_LOST', 'another attempt has taken over');
        }
        return $note;
    }

    private function keep(
        Note $note,
        State $state,
        ?Donation $told = null,
        ?Message $message = null,
        int $attempt = 0,
        bool $released = false,
    ): Note {
        $sightings = $note->sightings;
        if ($told !== null) {
            $seen = new Sighting($message ?? new Message(), $told->transactionId, self::now());
            $key = static fn(Sighting $s): array => [$s->message->channel, $s->message->id, $s->transactionId];
            if (!in_array($key($seen), array_map($key, $sightings), true)) {
                $sightings[] = $seen;
            }
        }
        return $this->notes[$note->donationId] = new Note(
            $note->donationId,
            $note->donation,
            $sightings,
            $state,
            $note->notedAt,
            match (true) {
                $released, $state === State::Settled => '',
                $state === State::Held => self::now(Client::DEFAULT_HOLD),
                default => self::now(),
            },
            $note->forgetAt,
            $attempt === 0 ? $note->attempt : $attempt,
        );
    }

    /** An unspecified event is noted as a payment. */
    private function asNoted(Donation $d): Donation
    {
        $event = $d->event === Event::Unspecified ? Event::Payment : $d->event;
        return new Donation(
            $d->seriesId,
            $event,
            $d->occurredAt,
            $d->amount,
            $d->currencyCode,
            $d->transactionId,
            $d->ledger,
        );
    }

    /** @return list<string> */
    private static function transactions(Note $note): array
    {
        return array_map(static fn(Sighting $seen): string => $seen->transactionId, $note->sightings);
    }

    private static function refusal(string $act, string $reason, string $problem): NotedException
    {
        return NotedException::of($act, 'failed_precondition', $problem, $reason);
    }

    private static function notFound(string $act, string $id): NotedException
    {
        return NotedException::of($act, 'not_found', "there is no note of $id", 'NOTE_NOT_FOUND');
    }

    private static function now(float $ahead = 0.0): string
    {
        return gmdate('Y-m-d\TH:i:s', time() + (int) $ahead) . '.000Z';
    }
}
