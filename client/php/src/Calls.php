<?php

declare(strict_types=1);

namespace Noted;

use Noted\Exception\NotedException;
use Noted\Exception\StoreWentBack;
use Noted\Exception\Unavailable;
use Noted\Exception\WrongAnswer;

/**
 * The calls that Client and HeldNote make, and the checks of their answers.
 *
 * @internal
 */
final class Calls
{
    public function __construct(private readonly Transport $transport)
    {
    }

    /**
     * Makes one call, and repeats it while it is unavailable.
     *
     * @param array<string, mixed> $request
     * @param float $timeout in seconds, of all tries together
     * @return array<string, mixed>
     */
    public function make(string $act, string $rpc, array $request, float $timeout): array
    {
        $request = Wire::given($request);
        $deadline = Retry::now() + $timeout;
        $earlier = null; // the first try's exception, or the latest with a reason
        for ($try = 1;; $try++) {
            try {
                return $this->transport->post($act, $rpc, $request, $deadline - Retry::now());
            } catch (NotedException $e) {
                // A store that has lost notes waits for its operator.
                if (
                    !$e instanceof Unavailable ||
                    $e instanceof StoreWentBack ||
                    $try === Retry::MAX_TRIES ||
                    !Retry::sleep(Retry::waitAfter($try, $e), $deadline - Retry::LEAST_TIME)
                ) {
                    throw Retry::telling($e, $earlier);
                }
                $earlier = $earlier === null || $e->reason !== '' ? $e : $earlier;
            }
        }
    }

    /**
     * Makes one call, and never repeats it.
     *
     * @param array<string, mixed> $request
     * @return array<string, mixed>
     */
    public function makeOnce(string $act, string $rpc, array $request, float $timeout): array
    {
        return $this->transport->post($act, $rpc, Wire::given($request), $timeout, fresh: true);
    }

    public function settle(string $receipt, string $reason, float $timeout): Note
    {
        $answer = $this->make('settling', 'SettleDonation', ['receipt' => $receipt, 'reason' => $reason], $timeout);
        return Wire::note($answer['note'] ?? []);
    }

    public function extend(string $receipt, float $hold, float $timeout): Note
    {
        $request = ['receipt' => $receipt, 'hold' => Wire::duration($hold)];
        $answer = $this->make('extending a hold', 'ExtendHold', $request, $timeout);
        return Wire::note($answer['note'] ?? []);
    }

    /**
     * Refuses a note of another ledger or series than the request's, or another than the
     * known note.
     */
    public static function check(
        string $act,
        string $ledger,
        string $seriesId,
        ?Note $note,
        string $donationId = '',
    ): void {
        $got = $note?->donation;
        if ($got?->ledger !== $ledger || $got->seriesId !== $seriesId) {
            $about = "series \"{$got?->seriesId}\" of ledger \"{$got?->ledger}\"";
        } elseif ($donationId !== '' && $note->donationId !== $donationId) {
            $about = "donation {$note->donationId}";
        } else {
            return;
        }
        throw new WrongAnswer(
            $act,
            'internal',
            "the answer is about $about, so nothing is known; " .
                'find the proxy that mixes answers up between client and server',
        );
    }

    /** Refuses an answer about another note than the held one. */
    public static function checkSame(string $act, Note $known, Note $note): void
    {
        self::check($act, $known->donation->ledger, $known->donation->seriesId, $note, $known->donationId);
    }
}
