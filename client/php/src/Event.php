<?php

declare(strict_types=1);

namespace Noted;

/** The thing that happened to a donation. The values are the contract's names. */
enum Event: string
{
    /** Means a payment; only a request has it. */
    case Unspecified = 'EVENT_UNSPECIFIED';
    case Payment = 'EVENT_PAYMENT';
    case PaymentPending = 'EVENT_PAYMENT_PENDING';
    case PaymentFailed = 'EVENT_PAYMENT_FAILED';
    case Refund = 'EVENT_REFUND';
    case Reversal = 'EVENT_REVERSAL';
    case ReversalCanceled = 'EVENT_REVERSAL_CANCELED';
    case Adjustment = 'EVENT_ADJUSTMENT';
    case Signup = 'EVENT_SIGNUP';
    case Change = 'EVENT_CHANGE';
    case Suspension = 'EVENT_SUSPENSION';
    case Reactivation = 'EVENT_REACTIVATION';
    case Cancellation = 'EVENT_CANCELLATION';
    case Expiry = 'EVENT_EXPIRY';
    case Dispute = 'EVENT_DISPUTE';
}
