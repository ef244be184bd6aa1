<?php

declare(strict_types=1);

namespace Noted\PayPal;

use Noted\Donation;
use Noted\Event;
use Noted\Exception\Malformed;
use Noted\Identified;
use Noted\Message;
use Noted\Pair;

/**
 * Reads IPNs.
 *
 * @internal
 */
final class Ipn
{
    /** The txn_types that alone decide the event. */
    private const TYPE_EVENTS = [
        'subscr_signup' => Event::Signup,
        'recurring_payment_profile_created' => Event::Signup,
        'subscr_modify' => Event::Change,
        'subscr_cancel' => Event::Cancellation,
        'recurring_payment_profile_cancel' => Event::Cancellation,
        'subscr_eot' => Event::Expiry,
        'recurring_payment_expired' => Event::Expiry,
        'recurring_payment_suspended' => Event::Suspension,
        'recurring_payment_suspended_due_to_max_failed_payment' => Event::Suspension,
        'subscr_failed' => Event::PaymentFailed,
        'recurring_payment_skipped' => Event::PaymentFailed,
        'recurring_payment_failed' => Event::PaymentFailed,
        'recurring_payment_outstanding_payment_failed' => Event::PaymentFailed,
        'new_case' => Event::Dispute,
        'adjustment' => Event::Adjustment,
    ];

    /**
     * The txn_types whose payment_status decides the event. Refunds and reversals have no
     * type: that is the empty one.
     */
    private const MONEY_TYPES = [
        '',
        'subscr_payment',
        'recurring_payment',
        'recurring_payment_outstanding_payment',
        'web_accept',
        'express_checkout',
        'cart',
        'send_money',
        'virtual_terminal',
        'merch_pmt',
        'pro_hosted',
        'paypal_here',
        'invoice_payment',
    ];

    /** The known txn_types that tell of no donation, with the reason. */
    private const SKIPPED_TYPES = [
        'masspay' => 'masspay tells of payments made, not of a donation',
        'payout' => 'payout tells of payments made, not of a donation',
        'mp_signup' => 'mp_signup tells of an agreement, not of a donation',
        'mp_cancel' => 'mp_cancel tells of an agreement, not of a donation',
        'mp_notification' => 'mp_notification tells of an agreement, not of a donation',
    ];

    /** The values of payment_status. */
    private const STATUS_EVENTS = [
        'completed' => Event::Payment,
        'processed' => Event::Payment,
        'pending' => Event::PaymentPending,
        'in-progress' => Event::PaymentPending,
        'created' => Event::PaymentPending,
        'denied' => Event::PaymentFailed,
        'declined' => Event::PaymentFailed,
        'failed' => Event::PaymentFailed,
        'expired' => Event::PaymentFailed,
        'voided' => Event::PaymentFailed,
        'refunded' => Event::Refund,
        'partially_refunded' => Event::Refund,
        'reversed' => Event::Reversal,
        'canceled_reversal' => Event::ReversalCanceled,
    ];

    private function __construct(private readonly Reader $reader)
    {
    }

    public static function identify(string $body): Identified
    {
        $form = Form::parse($body);
        if ($form->fields === []) {
            throw new Malformed('body', "holds no field; pass the body of PayPal's POST unchanged");
        }
        $reader = new Reader(static fn(string $field): array => [$form->value($field), '']);
        $type = $reader->text('txn_type');
        $found = (new self($reader))->donations($type);
        if ($found instanceof Identified) {
            return new Identified([], $found->skipped, $found->unknown, Reader::sanitised($type), $reader->warnings());
        }
        $message = new Message('ipn', $form->digest());
        $pairs = array_map(static fn(Donation $donation): Pair => new Pair($donation, $message), $found);
        return new Identified($pairs, type: Reader::sanitised($type), warnings: $reader->warnings());
    }

    /**
     * Decides the event and builds the donations, or says why there is no donation.
     *
     * @return list<Donation>|Identified
     */
    private function donations(string $type): array|Identified
    {
        $kind = Reader::lower($type);
        if (isset(self::SKIPPED_TYPES[$kind])) {
            return new Identified(skipped: self::SKIPPED_TYPES[$kind]);
        }
        $event = self::TYPE_EVENTS[$kind] ?? $this->eventByStatus($type, $kind);
        if ($event instanceof Identified) {
            return $event;
        }
        $donations = [$this->donation($event)];
        if ($kind === 'recurring_payment_profile_created') {
            $payment = $this->initialPayment($donations[0]->seriesId);
            if ($payment !== null) {
                $donations[] = $payment;
            }
        }
        return $donations;
    }

    private function eventByStatus(string $type, string $kind): Event|Identified
    {
        if (!in_array($kind, self::MONEY_TYPES, true)) {
            return self::unknown('txn_type ' . Reader::sanitised($type) . ' is not known');
        }
        $status = $this->reader->text('payment_status');
        $event = self::STATUS_EVENTS[Reader::lower($status)] ?? null;
        if ($event === null) {
            return self::unknown(
                match (true) {
                    $status !== '' => 'payment_status ' . Reader::sanitised($status) . ' is not known',
                    $type !== '' => 'payment_status is missing',
                    default => 'neither txn_type nor payment_status is given',
                },
            );
        }
        // PayPal calls a payment that leaves the account Completed too: the sign tells
        // the direction. As a donation it would be thanked for.
        if (str_starts_with($this->reader->text('mc_gross'), '-') && $event === Event::Payment) {
            if ($this->reader->id('parent_txn_id') === '') {
                return new Identified(skipped: 'money went out and no parent_txn_id says for what');
            }
            return Event::Adjustment;
        }
        return $event;
    }

    private static function unknown(string $reason): Identified
    {
        return new Identified(skipped: $reason, unknown: true);
    }

    /** Fills in the fields by which an event of its kind is known. */
    private function donation(Event $event): Donation
    {
        [$candidates, $series] = match ($event) {
            // Never its parent: the webhook often does not name it, and two partial
            // refunds of one sum must not meet.
            Event::Refund => ['txn_id', $this->reader->id('txn_id')],
            Event::Reversal, Event::ReversalCanceled, Event::Adjustment => [
                'parent_txn_id, txn_id',
                $this->reader->firstId('parent_txn_id', 'txn_id'),
            ],
            Event::Dispute => ['txn_id, case_id', $this->reader->firstId('txn_id', 'case_id')],
            default => ['recurring_payment_id, subscr_id, txn_id, old_subscr_id', $this->series()],
        };
        if ($series === '') {
            throw new Malformed($candidates, 'no usable id names the series; check that the body is whole');
        }
        switch ($event) {
            case Event::Signup:
            case Event::Change:
            case Event::Suspension:
            case Event::Reactivation:
            case Event::Cancellation:
            case Event::Expiry:
                // Never time_created: every message of the series has it, and it is when
                // the series began.
                return new Donation($series, $event);
            case Event::Dispute:
                return new Donation($series, $event, transactionId: $this->reader->id('case_id'));
        }
        $transaction = $this->reader->id('txn_id');
        $occurredAt = $this->reader->time('payment_date');
        [$amount, $currency] = $this->reader->money('mc_gross', 'mc_currency');
        return new Donation($series, $event, $occurredAt, $amount, $currency, $transaction);
    }

    /**
     * The series of money that comes in, and of a series' state. The I- form wins because
     * in 2018 PayPal renamed S- series to it, and the webhook channel knows no other.
     */
    private function series(): string
    {
        $profile = $this->reader->seriesId('recurring_payment_id');
        $button = $this->reader->seriesId('subscr_id');
        if (str_starts_with($button, 'I-') && !str_starts_with($profile, 'I-')) {
            return $button;
        }
        $series = $profile !== '' ? $profile : $button;
        return $series !== '' ? $series : $this->reader->firstId('txn_id', 'old_subscr_id');
    }

    /**
     * Reads the first payment in the message of a profile's creation. No other message
     * tells of it; later ones only repeat the field.
     */
    private function initialPayment(string $series): ?Donation
    {
        if ($this->reader->text('initial_payment_txn_id') === '') {
            return null;
        }
        $event = self::STATUS_EVENTS[Reader::lower($this->reader->text('initial_payment_status'))] ?? null;
        if (!in_array($event, [Event::Payment, Event::PaymentPending, Event::PaymentFailed], true)) {
            $this->reader->warn(
                'initial_payment_status',
                'is none that a payment has; the initial payment is left out, look at it by hand',
            );
            return null;
        }
        $transaction = $this->reader->id('initial_payment_txn_id');
        $occurredAt = $this->reader->time('time_created');
        [$amount, $currency] = $this->reader->money('initial_payment_amount', 'currency_code');
        return new Donation($series, $event, $occurredAt, $amount, $currency, $transaction);
    }
}
