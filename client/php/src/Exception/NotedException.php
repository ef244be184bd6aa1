<?php

declare(strict_types=1);

namespace Noted\Exception;

use Noted\Violation;

/**
 * A call of Noted failed, so nothing is known of the donation: do not process it, and do
 * not take it for a duplicate. Answer PayPal 503.
 *
 * Every reason of the contract has a class of its own, named like the Go client's
 * sentinels. getCode() is the number of the gRPC code. An error without a reason, such as
 * a proxy's, is an Unavailable, DeadlineExceeded, Unauthenticated, InvalidRequest or
 * Internal by its code, and otherwise of this class itself.
 */
class NotedException extends \RuntimeException
{
    /** The reasons in the head of noted.proto and their classes; a test compares the two. */
    public const REASONS = [
        'INVALID_REQUEST' => InvalidRequest::class,
        'REQUEST_ID_REUSED' => RequestIdReused::class,
        'OCCURRED_TOO_EARLY' => OccurredTooEarly::class,
        'OCCURRED_TOO_LATE' => OccurredTooLate::class,
        'RECEIVED_TOO_EARLY' => ReceivedTooEarly::class,
        'HOLD_LOST' => HoldLost::class,
        'HOLD_RELEASED' => HoldReleased::class,
        'SETTLED_BY_ANOTHER' => SettledByAnother::class,
        'ALREADY_SETTLED' => AlreadySettled::class,
        'STORE_UNSUITABLE' => StoreUnsuitable::class,
        'NOTE_NOT_FOUND' => NoteNotFound::class,
        'RATE_LIMITED' => RateLimited::class,
        'STORE_FULL' => StoreFull::class,
        'SERIES_FULL' => SeriesFull::class,
        'OVERLOADED' => Overloaded::class,
        'UNAUTHENTICATED' => Unauthenticated::class,
        'LEDGER_DENIED' => LedgerDenied::class,
        'VERB_DENIED' => VerbDenied::class,
        'STORE_UNAVAILABLE' => StoreUnavailable::class,
        'OUTCOME_UNKNOWN' => OutcomeUnknown::class,
        'DURABILITY_NOT_REACHED' => DurabilityNotReached::class,
        'STORE_WENT_BACK' => StoreWentBack::class,
        'POOL_EXHAUSTED' => PoolExhausted::class,
        'DEADLINE_EXCEEDED' => DeadlineExceeded::class,
        'INTERNAL' => Internal::class,
    ];

    /** The classes of the codes, for an error without a reason. */
    private const STATUSES = [
        'unavailable' => Unavailable::class,
        'deadline_exceeded' => DeadlineExceeded::class,
        'unauthenticated' => Unauthenticated::class,
        'invalid_argument' => InvalidRequest::class,
        'internal' => Internal::class,
    ];

    /** The names of the codes in the Connect protocol, and their numbers. */
    private const NUMBERS = [
        'canceled' => 1,
        'unknown' => 2,
        'invalid_argument' => 3,
        'deadline_exceeded' => 4,
        'not_found' => 5,
        'already_exists' => 6,
        'permission_denied' => 7,
        'resource_exhausted' => 8,
        'failed_precondition' => 9,
        'aborted' => 10,
        'out_of_range' => 11,
        'unimplemented' => 12,
        'internal' => 13,
        'unavailable' => 14,
        'data_loss' => 15,
        'unauthenticated' => 16,
    ];

    /**
     * @param string $act the act that failed, such as "noting I-1"
     * @param string $status the name of the code, such as "unavailable"
     * @param string $problem the server's sentence
     * @param string $reason the contract's, such as "RATE_LIMITED"; empty where the error did
     *     not come from Noted, such as a refused connection
     * @param ?float $retryAfter how many seconds the server asks to wait; null if it does
     *     not ask
     * @param list<Violation> $violations the fields that were refused; empty if the
     *     request was not at fault
     */
    final public function __construct(
        public readonly string $act,
        public readonly string $status,
        public readonly string $problem,
        public readonly string $reason = '',
        public readonly ?float $retryAfter = null,
        public readonly array $violations = [],
        ?\Throwable $previous = null,
    ) {
        $why = $reason !== '' ? $reason : $status;
        parent::__construct("$act: $why: $problem", self::NUMBERS[$status] ?? 2, $previous);
    }

    /**
     * Makes the exception of a call that failed, in the class of its reason.
     *
     * @internal
     * @param list<Violation> $violations
     */
    public static function of(
        string $act,
        string $status,
        string $problem,
        string $reason = '',
        ?float $retryAfter = null,
        array $violations = [],
        ?\Throwable $previous = null,
    ): self {
        $class = self::REASONS[$reason] ?? (self::STATUSES[$status] ?? self::class);
        return new $class($act, $status, $problem, $reason, $retryAfter, $violations, $previous);
    }
}
