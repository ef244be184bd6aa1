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
    private const REPORTS = __DIR__ . '/../../../../shared/reports';
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
     * Finds a separate warning for each wanted text.
     *
     * @param list<string> $wants
     * @param list<string> $left
     */
    private static function assertWarnings(array $wants, array $left): void
    {
        foreach ($wants as $want) {
            $holding = array_filter($left, static fn(string $warning): bool => str_contains($warning, $want));
            self::assertNotEmpty($holding, "no warning holds \"$want\": " . implode(' | ', $left));
            unset($left[array_key_first($holding)]);
        }
        self::assertSame([], array_values($left), 'these warnings are not in the case');
    }

    /** The shared cases compare printed lines, which have neither unknown nor type. */
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
                ['ipn', 'txn_type=cart&payment_status=Completed&mc_gross=-1', 'cart', false],
                ['ipn', 'txn_type=ca%00rt%22', 'ca?rt?', true],
                ['webhook', '{"event_type":"NEVER.HEARD.OF"}', 'NEVER.HEARD.OF', true],
                ['webhook', '{"event_type":"CHECKOUT.ORDER.APPROVED"}', 'CHECKOUT.ORDER.APPROVED', false],
                ['webhook', '{"event_type":"CUSTOMER.DISPUTE.UPDATED"}', 'CUSTOMER.DISPUTE.UPDATED', false],
            ]
            as [$channel, $body, $type, $unknown]
        ) {
            $got = self::identify($channel, $body);
            self::assertNotSame('', $got->skipped, $body);
            self::assertSame([$type, $unknown], [$got->type, $got->unknown], $body);
        }
    }

    /** Known types that tell of no donation are skipped quietly. Any other type is unknown. */
    public function testKnownTypesAreSkippedQuietly(): void
    {
        $check = static function (string $channel, string $body, bool $unknown): void {
            $got = self::identify($channel, $body);
            self::assertNotSame('', $got->skipped, $body);
            self::assertSame($unknown, $got->unknown, $body);
        };
        $known = [
            'BILLING.PLAN.CREATED',
            'BILLING_AGREEMENTS.AGREEMENT.CREATED',
            'PAYMENT.AUTHORIZATION.CREATED',
            'PAYMENT.REFUND.FAILED',
            'PAYMENT.PAYOUTSBATCH.DENIED',
            'PAYMENT.PAYOUTS-ITEM.UNCLAIMED',
            'PAYMENT.REFERENCED-PAYOUT-ITEM.FAILED',
            'VAULT.PAYMENT-TOKEN.DELETED',
            'CHECKOUT.PAYMENT-APPROVAL.REVERSED',
            'MERCHANT.PARTNER-CONSENT.REVOKED',
        ];
        foreach ($known as $type) {
            $check('webhook', "{\"event_type\":\"$type\"}", false);
        }
        $others = [
            'BILLING.SUBSCRIPTION.TELEPORTED',
            'PAYMENT.SALE.TELEPORTED',
            'CUSTOMER.DISPUTE.TELEPORTED',
            'PAYMENT.PAYOU',
        ];
        foreach ($others as $type) {
            $check('webhook', "{\"event_type\":\"$type\"}", true);
        }
        foreach (['mp_notification', 'payout', 'mp_signup', 'mp_cancel'] as $type) {
            $check('ipn', "txn_type=$type", false);
        }
    }

    /** TestMutants in Go writes many variations of the cases, each with the lines that Go prints. */
    public function testGoReadsMutantsTheSame(): void
    {
        if (Program::run(['sh', '-c', 'command -v go'])[0] !== 0) {
            self::markTestSkipped('go is not installed, so there are no mutants');
        }
        $path = Program::folder() . '/mutants';
        $command = ['go', 'test', '-C', __DIR__ . '/../../..', '-count=1', '-run=^TestMutants$', './client/paypal'];
        [$code, $out, $said] = Program::run([...$command, '-args', "-mutants=$path"]);
        self::assertSame(0, $code, $out . $said);
        $lines = file($path, FILE_IGNORE_NEW_LINES);
        self::assertGreaterThan(5000, count($lines));
        foreach ($lines as $line) {
            $want = json_decode($line, true, flags: JSON_THROW_ON_ERROR);
            $body = base64_decode($want['body'], true);
            unset($want['body']);
            [$found, $field] = [new Identified(), ''];
            try {
                $found = self::identify($want['channel'], $body);
            } catch (Malformed $e) {
                $field = $e->field;
            }
            $got = [
                'channel' => $want['channel'],
                'malformed' => $field,
                'lines' => $found->toLines(),
                'warnings' => $found->warnings,
                'type' => $found->type,
                'unknown' => $found->unknown,
            ];
            self::assertSame($want, $got, $body);
        }
    }

    public function testEventsAreTheContracts(): void
    {
        preg_match_all('/^  (EVENT_[A-Z_]+) = \d+;/m', file_get_contents(self::PROTO), $found);
        self::assertSame($found[1], array_map(static fn(Event $event): string => $event->value, Event::cases()));
    }

    /** PHP limits regular expressions. A body of some megabytes must stay below the limits. */
    public function testALargeBody(): void
    {
        $text = str_repeat('a \\" \\\\ \\u00e4 \\ud83d ', 100_000);
        $numbers = str_repeat('-12.50e3,', 100_000);
        $body =
            '{"event_type":"PAYMENT.SALE.COMPLETED","id":"WH-1","note":"' .
            $text .
            '","list":[' .
            $numbers .
            '0],"resource":{"id":12.50}}';
        $got = PayPal::identifyWebhook($body);
        self::assertSame('12.50', $got->pairs[0]->donation->seriesId);
    }

    /**
     * Some systems forbid the JIT compiler of regular expressions. Without it PHP's limits
     * are lower.
     */
    public function testALargeBodyWithoutJit(): void
    {
        $identify = static fn(string $body, string ...$settings): array => Program::run(
            [
                PHP_BINARY,
                ...array_merge(...array_map(static fn(string $s): array => ['-d', $s], $settings)),
                __DIR__ . '/../bin/noted-identify',
                'webhook',
            ],
            $body,
        );
        $body =
            '{"event_type":"PAYMENT.SALE.COMPLETED","id":"WH-1","note":"' .
            str_repeat('\n', 2_000_000) .
            '","numbers":[' .
            str_repeat('1', 90_000) .
            '],"resource":{"id":12.50}}';
        [$code, $lines, $said] = $identify($body, 'pcre.jit=0');
        self::assertSame([0, ''], [$code, $said]);
        self::assertStringContainsString('"series_id":"12.50"', $lines);
        // Beyond the limit the failure is a sentence too.
        [$code, $lines, $said] = $identify(
            '{"event_type":"A\u0000B","n":12.50}',
            'pcre.jit=0',
            'pcre.backtrack_limit=1',
        );
        self::assertSame([1, ''], [$code, $lines], $said);
        self::assertStringStartsWith('noted-identify: identifying the message: ', $said);
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
        foreach (['ipn' => '*.ipn.txt', 'webhook' => '*.json'] as $channel => $names) {
            foreach (glob(self::REPORTS . "/$names") as $path) {
                yield 'reports/' . basename($path) => [$channel, file_get_contents($path)];
            }
        }
    }

    /**
     * Real messages belong to other projects, so they are not in this repository. Some
     * machines have a folder of them beside it.
     */
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
            [$code, $lines, $said] = Program::run([PHP_BINARY, __DIR__ . '/../bin/noted-identify', $channel], $body);
            [$wantCode, $wantLines, $wantSaid] = Program::run([$notectl, 'identify', $channel], $body);
            self::assertSame([$wantCode, $wantLines], [$code, $lines], "$name: $said$wantSaid");
            self::assertSame(substr_count($wantSaid, "\n"), substr_count($said, "\n"), "$name: $said$wantSaid");
        }
    }

    public function testCommandSaysWhatIsWrong(): void
    {
        $command = [PHP_BINARY, __DIR__ . '/../bin/noted-identify'];
        [$code, $lines, $said] = Program::run([...$command, 'ipn'], '');
        self::assertSame([1, ''], [$code, $lines]);
        self::assertStringContainsString("body: holds no field; pass the body of PayPal's POST unchanged", $said);
        foreach ([[], ['fax'], ['ipn', 'webhook']] as $arguments) {
            [$code, $lines, $said] = Program::run([...$command, ...$arguments], 'txn_type=cart');
            self::assertSame([2, ''], [$code, $lines]);
            self::assertStringContainsString('noted-identify ipn|webhook < body', $said);
        }
    }
}
