<?php

declare(strict_types=1);

namespace Noted\Tests;

use Noted\Client;
use Noted\Donation;
use Noted\Exception;
use Noted\Psr18;
use Noted\Verdict;
use PHPUnit\Framework\TestCase;

/** The caller's own headers, which hand a trace on. */
final class HeadersTest extends TestCase
{
    use Calls;

    /** @return iterable<string, array{?Psr18}> */
    public function transports(): iterable
    {
        require_once 'GuzzleHttp/autoload.php';
        $factory = new \GuzzleHttp\Psr7\HttpFactory();
        yield 'curl' => [null];
        yield 'PSR-18' => [new Psr18(new \GuzzleHttp\Client(['timeout' => 6]), $factory, $factory)];
    }

    /** @dataProvider transports */
    public function testNotedContinuesTheTrace(?Psr18 $http): void
    {
        $folder = Program::folder() . '/spans-' . bin2hex(random_bytes(3));
        mkdir($folder);
        touch("$folder/spans");
        $collector = Processes::php(__DIR__ . '/collecting.php', ['NOTED_TEST_FOLDER' => $folder]);
        $server = Server::start('', [
            'OTEL_EXPORTER_OTLP_ENDPOINT' => "http://$collector",
            'OTEL_BSP_SCHEDULE_DELAY' => '50',
        ]);
        [$trace, $parent] = [bin2hex(random_bytes(16)), bin2hex(random_bytes(8))];
        $noted = new Client($server->url, http: $http, headers: fn() => ['traceparent' => "00-$trace-$parent-01"]);
        self::assertSame(Verdict::First, $noted->once(new Donation(self::series()), null, static fn() => null));
        // In protobuf the trace, the span and its parent are bytes, and the name follows.
        foreach (['NoteDonation', 'SettleDonation'] as $rpc) {
            $span =
                '/' .
                preg_quote(hex2bin($trace), '/') .
                '.{1,40}' .
                preg_quote(hex2bin($parent), '/') .
                ".{1,40}noted\.v1\.DedupeService\/$rpc/s";
            Processes::until(
                static fn(): bool => preg_match($span, file_get_contents("$folder/spans")) === 1,
                static fn(): string => "Noted sent no span of $rpc in the trace",
            );
        }
        $server->stop();
    }

    /** @dataProvider transports */
    public function testEachTryHasTheHeadersOfItsTime(?Psr18 $http): void
    {
        $peer = new Peer();
        $peer->fail('DonationExists', 'STORE_UNAVAILABLE');
        $asked = 0;
        $headers = static function () use (&$asked): array {
            return ['Traceparent' => 't-' . ++$asked, 'baggage' => ''];
        };
        $noted = new Client($peer->url, token: 't', http: $http, headers: $headers);
        self::failing(Exception\StoreUnavailable::class, fn() => $noted->exists(new Donation('I-1')));
        self::assertSame(['t-1', 't-2', 't-3', 't-4'], $peer->traces());
        $peer->honest();
        $noted->exists(new Donation('I-1'));
        self::assertSame(['t-5'], $peer->traces());
    }

    /** @dataProvider transports */
    public function testTheLibrarysOwnAreRefused(?Psr18 $http): void
    {
        $peer = new Peer();
        foreach (
            [
                'authorization',
                'Content-Type',
                'content-length',
                'Connect-Timeout-Ms',
                'connect-protocol-version',
                'te',
                'grpc-timeout',
                'grpc-trace-bin',
                'user-agent',
                'accept-encoding',
                'Host',
                'expect',
                'connection',
                'transfer-encoding',
                'proxy-authorization',
            ]
            as $name
        ) {
            $headers = static fn(): array => ['traceparent' => 't', $name => 'x'];
            $noted = new Client($peer->url, token: 't', http: $http, headers: $headers);
            $e = self::failing(Exception\Internal::class, fn() => $noted->exists(new Donation('I-1')));
            self::assertStringContainsString("the headers callable gave $name, which belongs to", $e->getMessage());
        }
        self::assertSame([], $peer->traces(), 'nothing was sent');
    }

    /** A callable that fails costs the call its headers alone, and is told of once. */
    public function testACallableThatFails(): void
    {
        $peer = new Peer();
        $log = Program::folder() . '/headers.log';
        $before = ini_set('error_log', $log);
        try {
            foreach (
                [
                    'no tracer' => static fn() => throw new \DomainException('no tracer'),
                    'it gave null' => static fn() => null,
                    'it gave string' => static fn() => 'traceparent: t',
                    'it gave ArrayObject' => static fn() => new \ArrayObject(['traceparent' => 't']),
                    'the name "0"' => static fn() => ['traceparent: t'],
                    'the name "a b"' => static fn() => ['traceparent' => 't', 'a b' => 'x'],
                    'the name ""' => static fn() => ['traceparent' => 't', '' => 'x'],
                    'a number that' => static fn() => ['traceparent' => 't', 'number' => 1],
                    'a list that' => static fn() => ['traceparent' => 't', 'list' => ['a']],
                    'a line that' => static fn() => ['traceparent' => 't', 'line' => "a\r\nauthorization: b"],
                    'a end that' => static fn() => ['traceparent' => 't', 'end' => "a\n"],
                    'a name that' => static fn() => ['traceparent' => 't', 'name' => "Jos\u{e9}"],
                    'more than 8192 bytes' => static fn() => ['traceparent' => 't', 'b' => str_repeat('x', 8192)],
                ]
                as $why => $headers
            ) {
                $peer->honest();
                file_put_contents($log, '');
                $noted = new Client($peer->url, headers: $headers);
                $noted->exists(new Donation('I-1'));
                $noted->exists(new Donation('I-1'));
                self::assertSame(['', ''], $peer->traces(), $why);
                self::assertCount(1, file($log), $why);
                self::assertStringContainsString('noted: the headers callable failed', file_get_contents($log));
                self::assertStringContainsString($why, file_get_contents($log));
            }
        } finally {
            ini_set('error_log', (string) $before);
        }
    }
}
