<?php

declare(strict_types=1);

namespace Noted\Tests;

use Noted\Event;
use Noted\Exception\Malformed;
use Noted\Identified;
use Noted\PayPal;
use PHPUnit\Framework\TestCase;

final class PayPalTest extends TestCase
{
    private const PAYLOADS = __DIR__ . '/../../../../shared/payloads';
    private const PROTO = __DIR__ . '/../../../api/noted/v1/noted.proto';

    private static function identify(string $channel, string $body): Identified
    {
        return $channel === 'ipn' ? PayPal::identifyIpn($body) : PayPal::identifyWebhook($body);
    }

    /** @return iterable<string, array{string, Cases}> */
    public function cases(): iterable
    {
        return Cases::all();
    }

    /** @dataProvider cases */
    public function testCase(string $channel, Cases $case): void
    {
        if ($case->malformed !== '') {
            $this->expectException(Malformed::class);
            $this->expectExceptionMessage($case->malformed);
        }
        $got = self::identify($channel, $case->body);
        self::assertSame(implode("\n", $case->wants) . "\n", $got->toLines());
        self::assertWarnings($case->warns, $got->warnings);
    }

    /**
     * Pairs each wanted text with a warning of its own.
     *
     * @param list<string> $wants
     * @param list<string> $left
     */
    private static function assertWarnings(array $wants, array $left): void
    {
        foreach ($wants as $want) {
            $holding = array_filter($left, static fn (string $warning): bool => str_contains($warning, $want));
            self::assertNotEmpty($holding, "no warning holds \"$want\": " . implode(' | ', $left));
            unset($left[array_key_first($holding)]);
        }
        self::assertSame([], array_values($left), 'more warnings than wanted');
    }

    /** unknown and type are not in the lines, so the shared cases cannot hold them. */
    public function testUnknownIsSaidLoudly(): void
    {
        foreach (
            [
                ['ipn', 'txn_type=never_heard_of&payment_status=Completed', 'never_heard_of', true],
                ['ipn', 'txn_type=cart&payment_status=Odd', 'cart', true],
                ['ipn', 'txn_type=cart', 'cart', true],
                ['ipn', 'payment_status=Odd', '', true],
                ['ipn', 'hello=world', '', true],
                ['ipn', 'txn_type=masspay', 'masspay', false],
                ['ipn', 'txn_type=mp_notification', 'mp_notification', false],
                ['ipn', 'txn_type=payout', 'payout', false],
                ['ipn', 'txn_type=mp_signup', 'mp_signup', false],
                ['ipn', 'txn_type=mp_cancel', 'mp_cancel', false],
                ['ipn', 'txn_type=cart&payment_status=Completed&mc_gross=-1', 'cart', false],
                ['ipn', 'txn_type=ca%00rt%22', 'ca?rt?', true],
                ['webhook', '{"event_type":"NEVER.HEARD.OF"}', 'NEVER.HEARD.OF', true],
                ['webhook', '{"event_type":"CHECKOUT.ORDER.APPROVED"}', 'CHECKOUT.ORDER.APPROVED', false],
                ['webhook', '{"event_type":"CUSTOMER.DISPUTE.UPDATED"}', 'CUSTOMER.DISPUTE.UPDATED', false],
                ['webhook', '{"event_type":"BILLING.PLAN.CREATED"}', 'BILLING.PLAN.CREATED', false],
                ['webhook', '{"event_type":"BILLING_AGREEMENTS.AGREEMENT.CREATED"}', 'BILLING_AGREEMENTS.AGREEMENT.CREATED', false],
                ['webhook', '{"event_type":"PAYMENT.AUTHORIZATION.CREATED"}', 'PAYMENT.AUTHORIZATION.CREATED', false],
                ['webhook', '{"event_type":"PAYMENT.REFUND.FAILED"}', 'PAYMENT.REFUND.FAILED', false],
                ['webhook', '{"event_type":"PAYMENT.PAYOUTSBATCH.DENIED"}', 'PAYMENT.PAYOUTSBATCH.DENIED', false],
                ['webhook', '{"event_type":"PAYMENT.PAYOUTS-ITEM.UNCLAIMED"}', 'PAYMENT.PAYOUTS-ITEM.UNCLAIMED', false],
                ['webhook', '{"event_type":"PAYMENT.REFERENCED-PAYOUT-ITEM.FAILED"}', 'PAYMENT.REFERENCED-PAYOUT-ITEM.FAILED', false],
                ['webhook', '{"event_type":"VAULT.PAYMENT-TOKEN.DELETED"}', 'VAULT.PAYMENT-TOKEN.DELETED', false],
                ['webhook', '{"event_type":"CHECKOUT.PAYMENT-APPROVAL.REVERSED"}', 'CHECKOUT.PAYMENT-APPROVAL.REVERSED', false],
                ['webhook', '{"event_type":"MERCHANT.PARTNER-CONSENT.REVOKED"}', 'MERCHANT.PARTNER-CONSENT.REVOKED', false],
                ['webhook', '{"event_type":"BILLING.SUBSCRIPTION.TELEPORTED"}', 'BILLING.SUBSCRIPTION.TELEPORTED', true],
                ['webhook', '{"event_type":"PAYMENT.SALE.TELEPORTED"}', 'PAYMENT.SALE.TELEPORTED', true],
                ['webhook', '{"event_type":"CUSTOMER.DISPUTE.TELEPORTED"}', 'CUSTOMER.DISPUTE.TELEPORTED', true],
                ['webhook', '{"event_type":"PAYMENT.PAYOU"}', 'PAYMENT.PAYOU', true],
            ] as [$channel, $body, $type, $unknown]
        ) {
            $got = self::identify($channel, $body);
            self::assertNotSame('', $got->skipped, $body);
            self::assertSame([$type, $unknown], [$got->type, $got->unknown], $body);
        }
    }

    /** TestMutants in Go changes the cases in many ways, and writes down what became of each. */
    public function testGoReadsMutantsTheSame(): void
    {
        if (Program::run(['sh', '-c', 'command -v go'])[0] !== 0) {
            self::markTestSkipped('go is not installed, so there are no mutants');
        }
        $path = Program::folder() . '/mutants';
        [$code, $out, $said] = Program::run(
            ['go', 'test', '-C', __DIR__ . '/../../..', '-count=1', '-run=^TestMutants$', './client/paypal', '-args', "-mutants=$path"],
        );
        self::assertSame(0, $code, $out . $said);
        $lines = file($path, FILE_IGNORE_NEW_LINES);
        self::assertGreaterThan(5000, count($lines));
        foreach ($lines as $line) {
            $want = json_decode($line, true, flags: JSON_THROW_ON_ERROR);
            $body = base64_decode($want['body'], true);
            $got = ['channel' => $want['channel'], 'body' => $want['body'], 'malformed' => '', 'lines' => '', 'warnings' => [], 'type' => '', 'unknown' => false];
            try {
                $found = self::identify($want['channel'], $body);
                $told = ['lines' => $found->toLines(), 'warnings' => $found->warnings, 'type' => $found->type, 'unknown' => $found->unknown];
                $got = array_replace($got, $told);
            } catch (Malformed $e) {
                $got['malformed'] = $e->field;
            }
            self::assertSame($want, $got, $body);
        }
    }

    public function testEventsAreTheContracts(): void
    {
        preg_match_all('/^  (EVENT_[A-Z_]+) = \d+;/m', file_get_contents(self::PROTO), $found);
        self::assertSame($found[1], array_map(static fn (Event $event): string => $event->value, Event::cases()));
    }

    /** Regular expressions have limits in PHP; a body of some megabytes must stay below them. */
    public function testALargeBody(): void
    {
        $text = str_repeat('a \\" \\\\ \\u00e4 \\ud83d ', 100_000);
        $numbers = str_repeat('-12.50e3,', 100_000);
        $body = '{"event_type":"PAYMENT.SALE.COMPLETED","id":"WH-1","note":"' . $text . '","list":[' . $numbers . '0],"resource":{"id":12.50}}';
        $got = PayPal::identifyWebhook($body);
        self::assertSame('12.50', $got->pairs[0]->donation->seriesId);
    }

    /** Without the compiler of regular expressions, which some systems forbid, their limits are nearer. */
    public function testALargeBodyWithoutJit(): void
    {
        $identify = static fn (string $body, string ...$settings): array =>
            Program::run([PHP_BINARY, ...array_merge(...array_map(static fn (string $s): array => ['-d', $s], $settings)), __DIR__ . '/../bin/identify', 'webhook'], $body);
        $body = '{"event_type":"PAYMENT.SALE.COMPLETED","id":"WH-1","note":"' . str_repeat('\n', 2_000_000) . '","numbers":[' . str_repeat('1', 90_000) . '],"resource":{"id":12.50}}';
        [$code, $lines, $said] = $identify($body, 'pcre.jit=0');
        self::assertSame([0, ''], [$code, $said]);
        self::assertStringContainsString('"series_id":"12.50"', $lines);
        // Where even that is too much, it says so as it says everything.
        [$code, $lines, $said] = $identify('{"event_type":"A\u0000B","n":12.50}', 'pcre.jit=0', 'pcre.backtrack_limit=1');
        self::assertSame([1, ''], [$code, $lines], $said);
        self::assertStringStartsWith('identify: identifying the message: ', $said);
        self::assertStringEndsWith("raise pcre.backtrack_limit\n", $said);
    }

    /** @return iterable<string, array{string, string}> */
    private static function payloads(): iterable
    {
        foreach (['ipn', 'webhook'] as $channel) {
            foreach (glob(self::PAYLOADS . "/$channel/*.*") as $path) {
                yield "$channel/" . basename($path) => [$channel, file_get_contents($path)];
            }
        }
    }

    /** Real bodies are other projects' and therefore not in this repository, where a folder of them lies beside it. */
    public function testCommandPrintsWhatGoPrints(): void
    {
        $notectl = Program::go('./client/cmd/notectl');
        if ($notectl === null) {
            self::markTestSkipped('go is not installed, so there is no notectl to compare with');
        }
        $bodies = iterator_to_array(self::payloads());
        $bodies['malformed ipn'] = ['ipn', "\r\n"];
        $bodies['malformed webhook'] = ['webhook', '{"event_type":"PAYMENT.SALE.COMPLETED"}'];
        $bodies['warned'] = ['ipn', 'txn_type=cart&payment_status=Completed&txn_id=1&mc_gross=1,5'];
        $bodies['unknown'] = ['webhook', '{"event_type":"NEVER.HEARD.OF"}'];
        foreach ($bodies as $name => [$channel, $body]) {
            [$code, $lines, $said] = Program::run([PHP_BINARY, __DIR__ . '/../bin/identify', $channel], $body);
            [$wantCode, $wantLines, $wantSaid] = Program::run([$notectl, 'identify', $channel], $body);
            self::assertSame([$wantCode, $wantLines], [$code, $lines], "$name: $said$wantSaid");
            self::assertSame(substr_count($wantSaid, "\n"), substr_count($said, "\n"), "$name: $said$wantSaid");
        }
    }

    public function testCommandSaysWhatIsWrong(): void
    {
        $command = [PHP_BINARY, __DIR__ . '/../bin/identify'];
        [$code, $lines, $said] = Program::run([...$command, 'ipn'], '');
        self::assertSame([1, ''], [$code, $lines]);
        self::assertStringContainsString("body: holds no field; pass the body of PayPal's POST unchanged", $said);
        foreach ([[], ['fax'], ['ipn', 'webhook']] as $arguments) {
            [$code, $lines, $said] = Program::run([...$command, ...$arguments], 'txn_type=cart');
            self::assertSame([2, ''], [$code, $lines]);
            self::assertStringContainsString('identify ipn < body, or identify webhook < body', $said);
        }
    }
}
