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
 * Reads webhook events.
 *
 * @internal
 */
final class Webhook
{
    /** The events of a series itself. There is no money in them: what they repeat of the last payment is told by a sale's own event. */
    private const STATE_EVENTS = [
        'billing.subscription.created' => Event::Signup, // of a v1 agreement only
        'billing.subscription.activated' => Event::Signup,
        'billing.subscription.updated' => Event::Change,
        'billing.subscription.re-activated' => Event::Reactivation,
        'billing.subscription.suspended' => Event::Suspension,
        'billing.subscription.cancelled' => Event::Cancellation,
        'billing.subscription.expired' => Event::Expiry,
        'billing.subscription.payment.failed' => Event::PaymentFailed,
    ];

    private function __construct(private readonly Document $document, private readonly Reader $reader)
    {
    }

    public static function identify(string $body): Identified
    {
        $document = Document::parse($body);
        $reader = new Reader($document->text(...));
        $type = $reader->text('event_type');
        if ($type === '') {
            throw new Malformed('event_type', 'is missing or no text; pass the event that PayPal posted, not the resource in it');
        }
        $found = (new self($document, $reader))->donations($type, Reader::lower($type));
        if ($found instanceof Identified) { // skipped
            return new Identified([], $found->skipped, $found->unknown, Reader::sanitised($type), $reader->warnings());
        }
        $message = new Message('webhook', $reader->id('id'));
        if ($message->id === '') {
            $reader->warn('id', 'is missing; the message is told without an id');
        }
        $pairs = array_map(static fn (Donation $donation): Pair => new Pair($donation, $message), $found);
        return new Identified($pairs, type: Reader::sanitised($type), warnings: $reader->warnings());
    }

    /** @return list<Donation>|Identified */
    private function donations(string $type, string $kind): array|Identified
    {
        if (isset(self::STATE_EVENTS[$kind])) {
            if ($kind === 'billing.subscription.created' && $this->isVersion2()) {
                return new Identified(skipped: 'a subscription was created but is not agreed to yet');
            }
            return [new Donation(self::named($this->reader->id('resource.id'), 'resource.id'), self::STATE_EVENTS[$kind])];
        }
        switch ($kind) {
            case 'payment.sale.completed':
            case 'payment.sale.pending':
            case 'payment.sale.denied':
                $series = $this->reader->firstId('resource.billing_agreement_id', 'resource.id');
                $event = $this->paymentEvent($kind);
                return [$this->money($event, $series, $this->reader->id('resource.id'), 'resource.billing_agreement_id, resource.id')];
            case 'payment.capture.completed':
            case 'payment.capture.pending':
            case 'payment.capture.denied':
            case 'payment.capture.declined':
                $id = $this->reader->id('resource.id');
                return [$this->money($this->paymentEvent($kind), $id, $id, 'resource.id')];

            case 'payment.sale.refunded':
                $series = $this->reader->firstId('resource.sale_id', 'resource.id');
                return [$this->money(Event::Refund, $series, $this->reader->id('resource.id'), 'resource.sale_id, resource.id')];
            case 'payment.sale.reversed':
                // Without a sale_id the resource may be the sale itself or its reversal: reports differ. As a series either will do; as a
                // transaction it would contradict the IPN's.
                $series = $this->reader->id('resource.sale_id');
                $transaction = $this->reader->id('resource.id');
                if ($series === '') {
                    [$series, $transaction] = [$transaction, ''];
                }
                return [$this->money(Event::Reversal, $series, $transaction, 'resource.sale_id, resource.id')];
            case 'payment.capture.refunded':
            case 'payment.capture.reversed':
                $event = $kind === 'payment.capture.reversed' ? Event::Reversal : Event::Refund;
                $series = $this->linkedCapture();
                $transaction = $this->reader->id('resource.id');
                return [$this->money($event, $series !== '' ? $series : $transaction, $transaction, 'resource.links, resource.id')];

            case 'customer.dispute.created':
                return $this->disputes();
            case 'customer.dispute.updated':
            case 'customer.dispute.resolved':
                return new Identified(skipped: Reader::sanitised($type) . ' tells of a dispute that is known, not of a donation');
        }
        if (str_starts_with($kind, 'checkout.order.') || str_starts_with($kind, 'payments.payment.')) {
            return new Identified(skipped: Reader::sanitised($type) . ' tells of an order, not of money');
        }
        return new Identified(skipped: 'event_type ' . Reader::sanitised($type) . ' is not known', unknown: true);
    }

    /** The series, or an error naming the fields that should have named it. */
    private static function named(string $series, string $candidates): string
    {
        return $series !== '' ? $series : throw new Malformed($candidates, 'no usable id names the series; check that the body is whole');
    }

    /** A donation of an event that moves money. Its time is the resource's: the event's own can lag by hours, and an IPN knows nothing of it. */
    private function money(Event $event, string $series, string $transaction, string $candidates): Donation
    {
        $occurredAt = $this->reader->time('resource.create_time');
        [$amount, $currency] = $this->reader->text('resource.amount.total') !== ''
            ? $this->reader->money('resource.amount.total', 'resource.amount.currency')
            : $this->reader->money('resource.amount.value', 'resource.amount.currency_code');
        return new Donation(self::named($series, $candidates), $event, $occurredAt, $amount, $currency, $transaction);
    }

    /** Tells a payment from one that is pending or failed. The name of the event is not enough: PayPal sends COMPLETED for sales still pending. */
    private function paymentEvent(string $kind): Event
    {
        if (str_ends_with($kind, '.denied') || str_ends_with($kind, '.declined')) {
            return Event::PaymentFailed;
        }
        $state = $this->reader->text('resource.state');
        if ($state === '') {
            $state = $this->reader->text('resource.status');
        }
        $completed = str_ends_with($kind, '.completed') && ($state === '' || Reader::lower($state) === 'completed');
        return $completed ? Event::Payment : Event::PaymentPending;
    }

    /** Tells a subscription of today's API, which is created before the donor agrees to it, from an agreement of the first one. */
    private function isVersion2(): bool
    {
        $version = $this->reader->text('resource_version');
        $resource = $this->reader->text('resource_type');
        return str_starts_with($version, '2') || Reader::lower($resource) === 'subscription';
    }

    /** The capture that a refund belongs to, or "". A refund names it nowhere but in its links. */
    private function linkedCapture(): string
    {
        [$count, $problem] = $this->document->length('resource.links');
        if ($problem !== '') {
            $this->reader->warn('resource.links', "$problem; taken as absent");
        }
        for ($i = 0; $i < $count; $i++) {
            $link = "resource.links.$i";
            if (Reader::lower($this->reader->text("$link.rel")) !== 'up') {
                continue;
            }
            $href = $this->reader->text("$link.href");
            $start = strrpos($href, '/captures/');
            if ($start === false) {
                continue;
            }
            $id = substr($href, $start + strlen('/captures/'));
            $id = substr($id, 0, strcspn($id, '/?#'));
            if (Reader::fits($id)) {
                return $id;
            }
            $this->reader->warn("$link.href", 'names no capture by a usable id; taken as absent');
            return '';
        }
        return '';
    }

    /**
     * A donation of each disputed transaction, in the message's order.
     *
     * @return list<Donation>
     */
    private function disputes(): array
    {
        $list = 'resource.disputed_transactions';
        [$count, $problem] = $this->document->length($list);
        if ($problem !== '') {
            $this->reader->warn($list, "$problem; taken as absent");
        }
        $donations = [];
        $seen = [];
        for ($i = 0; $i < $count; $i++) {
            $field = "$list.$i.seller_transaction_id";
            $series = $this->reader->id($field);
            if ($series === '') {
                $this->reader->warn($field, 'is missing; the dispute of this transaction is left out');
            } elseif (!in_array($series, $seen, true)) {
                $seen[] = $series;
                $donations[] = new Donation($series, Event::Dispute, transactionId: $this->reader->id('resource.dispute_id'));
            }
        }
        if ($donations === []) {
            throw new Malformed($list, 'no seller_transaction_id names a disputed donation; check that the body is whole');
        }
        return $donations;
    }
}
