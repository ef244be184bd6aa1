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
    /**
     * The events of a series itself. They hold no money: the event of a sale tells of the
     * last payment that they repeat.
     */
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

    /**
     * The known event types that tell of no donation, by their beginning, and what they
     * tell of.
     */
    private const NO_DONATION = [
        'checkout.order.' => 'an order, not of money',
        'payments.payment.' => 'an order, not of money',
        'checkout.payment-approval.' => 'an approval, not of money',
        'payment.authorization.' => 'an authorization, not of money',
        'payment.refund.' => 'a refund that is not done, not of money',
        'payment.payout' => 'payments made, not of a donation',
        'payment.referenced-payout' => 'payments made, not of a donation',
        'billing.plan.' => 'a plan, not of a donation',
        'billing_agreements.' => 'an agreement, not of a donation',
        'vault.' => 'a means of payment, not of a donation',
        'merchant.' => 'an account, not of a donation',
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
            throw new Malformed(
                'event_type',
                'is missing or no text; pass the event that PayPal posted, not the resource in it',
            );
        }
        $found = (new self($document, $reader))->donations($type, Reader::lower($type));
        if ($found instanceof Identified) {
            return new Identified([], $found->skipped, $found->unknown, Reader::sanitised($type), $reader->warnings());
        }
        $message = new Message('webhook', $reader->id('id'));
        if ($message->id === '') {
            $reader->warn('id', 'is missing; the message is told without an id');
        }
        $pairs = array_map(static fn(Donation $donation): Pair => new Pair($donation, $message), $found);
        return new Identified($pairs, type: Reader::sanitised($type), warnings: $reader->warnings());
    }

    /** @return list<Donation>|Identified */
    private function donations(string $type, string $kind): array|Identified
    {
        if (isset(self::STATE_EVENTS[$kind])) {
            if ($kind === 'billing.subscription.created' && $this->isVersion2()) {
                return new Identified(skipped: 'a subscription was created but is not agreed to yet');
            }
            return [
                new Donation(self::named($this->reader->id('resource.id'), 'resource.id'), self::STATE_EVENTS[$kind]),
            ];
        }
        switch ($kind) {
            case 'payment.sale.completed':
            case 'payment.sale.pending':
            case 'payment.sale.denied':
                $series = $this->reader->seriesId('resource.billing_agreement_id');
                $id = $this->reader->id('resource.id');
                $event = $this->paymentEvent($kind);
                $series = $series !== '' ? $series : $id;
                return [$this->money($event, $series, $id, 'resource.billing_agreement_id, resource.id')];
            case 'payment.capture.completed':
            case 'payment.capture.pending':
            case 'payment.capture.denied':
            case 'payment.capture.declined':
                $id = $this->reader->id('resource.id');
                return [$this->money($this->paymentEvent($kind), $id, $id, 'resource.id')];

            case 'payment.sale.refunded':
            case 'payment.capture.refunded':
                // Never the parent: PayPal often leaves it out, and two partial refunds
                // of one sum must not meet.
                $id = $this->reader->id('resource.id');
                return [$this->money(Event::Refund, $id, $id, 'resource.id')];
            case 'payment.sale.reversed':
                $parent = $this->reader->id('resource.sale_id');
                if ($parent === '') {
                    $parent = $this->linked(['sale'], '/sale/');
                }
                return [$this->reversal($parent, 'resource.sale_id, resource.links, resource.id')];
            case 'payment.capture.reversed':
                $related = 'resource.supplementary_data.related_ids.capture_id';
                $parent = $this->linked(['up', 'capture'], '/capture/', '/captures/');
                if ($parent === '') {
                    $parent = $this->reader->firstId('resource.capture_id', $related);
                }
                return [$this->reversal($parent, "resource.links, resource.capture_id, $related, resource.id")];

            case 'customer.dispute.created':
                return $this->disputes();
            case 'customer.dispute.updated':
            case 'customer.dispute.resolved':
                return new Identified(
                    skipped: Reader::sanitised($type) . ' tells of a dispute that is known, not of a donation',
                );
        }
        foreach (self::NO_DONATION as $prefix => $tells) {
            if (str_starts_with($kind, $prefix)) {
                return new Identified(skipped: Reader::sanitised($type) . " tells of $tells");
            }
        }
        return new Identified(skipped: 'event_type ' . Reader::sanitised($type) . ' is not known', unknown: true);
    }

    /** The series, or an error that names the fields in which it should stand. */
    private static function named(string $series, string $candidates): string
    {
        return $series !== ''
            ? $series
            : throw new Malformed($candidates, 'no usable id names the series; check that the body is whole');
    }

    /**
     * A donation of an event that moves money. Its time is the resource's: the event's
     * own time can lag by hours, and no IPN has it.
     */
    private function money(Event $event, string $series, string $transaction, string $candidates): Donation
    {
        $occurredAt = $this->reader->time('resource.create_time');
        [$amount, $currency] = $this->resourceMoney();
        return new Donation(self::named($series, $candidates), $event, $occurredAt, $amount, $currency, $transaction);
    }

    /**
     * A donation of a payment's reversal. A resource that names no parent, or itself, may
     * be the payment: reports differ. Its id serves as a series in either case. As a
     * transaction id, the payment's would contradict the IPN's, and its time can be
     * months back.
     */
    private function reversal(string $parent, string $candidates): Donation
    {
        $id = $this->reader->id('resource.id');
        if ($parent !== '' && $parent !== $id) {
            return $this->money(Event::Reversal, $parent, $id, $candidates);
        }
        [$amount, $currency] = $this->resourceMoney();
        return new Donation(self::named($id, $candidates), Event::Reversal, amount: $amount, currencyCode: $currency);
    }

    /**
     * An amount by the names of the first API, else of the second, and its currency.
     *
     * @return array{string, string}
     */
    private function resourceMoney(): array
    {
        return $this->reader->text('resource.amount.total') !== ''
            ? $this->reader->money('resource.amount.total', 'resource.amount.currency')
            : $this->reader->money('resource.amount.value', 'resource.amount.currency_code');
    }

    /**
     * Tells whether a payment is completed, pending or failed. The name of the event is
     * not enough: PayPal sends COMPLETED for sales that are still pending. A payment
     * remains a payment when its state becomes refunded or reversed: the money came.
     */
    private function paymentEvent(string $kind): Event
    {
        if (str_ends_with($kind, '.denied') || str_ends_with($kind, '.declined')) {
            return Event::PaymentFailed;
        }
        $state = $this->reader->text('resource.state');
        if ($state === '') {
            $state = $this->reader->text('resource.status');
        }
        return match (Reader::lower($state)) {
            'denied', 'declined', 'failed' => Event::PaymentFailed,
            '', 'completed', 'partially_refunded', 'refunded', 'reversed' => str_ends_with($kind, '.completed')
                ? Event::Payment
                : Event::PaymentPending,
            default => Event::PaymentPending,
        };
    }

    /**
     * Tells a subscription of today's API, which is created before the donor agrees to
     * it, from an agreement of the first API.
     */
    private function isVersion2(): bool
    {
        $version = $this->reader->text('resource_version');
        $resource = $this->reader->text('resource_type');
        return str_starts_with($version, '2') || Reader::lower($resource) === 'subscription';
    }

    /**
     * The id of the payment that a link of one of the rels leads to, or "". It stands
     * behind the last of the paths in the link.
     *
     * @param list<string> $rels
     */
    private function linked(array $rels, string ...$paths): string
    {
        [$count, $problem] = $this->document->length('resource.links');
        if ($problem !== '') {
            $this->reader->warn('resource.links', "$problem; taken as absent");
        }
        for ($i = 0; $i < $count; $i++) {
            $link = "resource.links.$i";
            if (!in_array(Reader::lower($this->reader->text("$link.rel")), $rels, true)) {
                continue;
            }
            $href = $this->reader->text("$link.href");
            $start = -1;
            foreach ($paths as $path) {
                $found = strrpos($href, $path);
                if ($found !== false) {
                    $start = max($start, $found + strlen($path));
                }
            }
            if ($start < 0) {
                continue;
            }
            $id = substr($href, $start, strcspn($href, '/?#', $start));
            if (Reader::fits($id)) {
                return $id;
            }
            $this->reader->warn("$link.href", 'names no payment by a usable id; taken as absent');
        }
        return '';
    }

    /**
     * A donation of each disputed transaction, in the message's order, or one donation of
     * the dispute itself if it names no transaction.
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
                $this->reader->warn($field, 'is missing; this transaction is left out');
            } elseif (!in_array($series, $seen, true)) {
                $seen[] = $series;
                $donations[] = new Donation(
                    $series,
                    Event::Dispute,
                    transactionId: $this->reader->id('resource.dispute_id'),
                );
            }
        }
        if ($donations === []) {
            $id = $this->reader->id('resource.dispute_id');
            return [new Donation(self::named($id, "$list, resource.dispute_id"), Event::Dispute, transactionId: $id)];
        }
        return $donations;
    }
}
