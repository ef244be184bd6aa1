<?php

declare(strict_types=1);

namespace Noted\Tests;

use GuzzleHttp\Psr7\ServerRequest;
use Noted\Receiver;
use Noted\Receiver\Verifier;
use Noted\Testing\FakeClient;
use PHPUnit\Framework\TestCase;
use Psr\Log\AbstractLogger;
use Symfony\Component\HttpFoundation\Request;

/** Receiver::handle() with frameworks' requests, other paths, and a PSR-3 logger. */
final class FrameworksTest extends TestCase
{
    private const BODY = 'txn_type=recurring_payment&recurring_payment_id=I-1&txn_id=T-1&payment_status=Completed' .
        '&mc_gross=25.00&mc_currency=EUR&receiver_id=OURS';

    /** @var \ArrayObject<string, string> the headers that the verifier got */
    private \ArrayObject $headers;
    /** @var list<string> */
    private array $lines = [];

    public static function setUpBeforeClass(): void
    {
        foreach (['Symfony/Component/HttpFoundation', 'GuzzleHttp/Psr7', 'Psr/Log'] as $package) {
            require_once "$package/autoload.php";
        }
    }

    protected function setUp(): void
    {
        $this->headers = new \ArrayObject();
    }

    private function receiver(mixed ...$options): Receiver
    {
        $verifier = new class ($this->headers) implements Verifier {
            public function __construct(private \ArrayObject $headers)
            {
            }

            public function verify(array $headers, string $body): bool
            {
                $this->headers->exchangeArray($headers);
                return false;
            }
        };
        $process = static fn() => null;
        $undecided = static fn() => null;
        $more = $options + ['ipn' => $verifier, 'accounts' => ['OURS'], 'webhook' => $verifier];
        $log = ['log' => fn(string $line) => $this->lines[] = $line];
        return new Receiver(new FakeClient(), $process, $undecided, ...($more + $log));
    }

    public function testSymfonyAndLaravel(): void
    {
        $server = ['CONTENT_TYPE' => 'application/x-www-form-urlencoded', 'HTTP_PAYPAL_TRANSMISSION_ID' => 'tr-1'];
        $request = Request::create('/paypal/ipn?a=b', 'POST', server: $server, content: self::BODY);
        $answer = $this->receiver()->handle(
            $request->getMethod(),
            $request->getPathInfo(),
            $request->headers->all(),
            $request->getContent(),
        );
        self::assertSame(200, $answer->status, implode("\n", $this->lines));
        self::assertSame('tr-1', $this->headers['paypal-transmission-id']);
    }

    public function testPsr7(): void
    {
        $headers = ['Content-Type' => 'application/json', 'PAYPAL-TRANSMISSION-ID' => 'tr-1'];
        $body = '{"event_type":"CHECKOUT.ORDER.APPROVED","id":"WH-1","resource":{"id":"O-1"}}';
        $request = new ServerRequest('POST', 'https://example.org/paypal/webhook?a=b', $headers, $body);
        $answer = $this->receiver()->handle(
            $request->getMethod(),
            $request->getUri()->getPath(),
            $request->getHeaders(),
            (string) $request->getBody(),
        );
        self::assertSame(200, $answer->status, implode("\n", $this->lines));
        self::assertSame('tr-1', $this->headers['paypal-transmission-id']);
    }

    /** A repeated header is refused, so that a verifier need not choose a value. */
    public function testAHeaderThatCameTwiceIsEmpty(): void
    {
        $type = 'application/x-www-form-urlencoded';
        $headers = ['content-type' => $type, 'PAYPAL-CERT-URL' => ['https://a', 'https://b'], 'X-Empty' => []];
        self::assertSame(200, $this->receiver()->handle('post', '/paypal/ipn', $headers, self::BODY)->status);
        self::assertSame(['', ''], [$this->headers['paypal-cert-url'], $this->headers['x-empty']]);
        $twice = ['Content-Type' => $type, 'content-type' => $type];
        self::assertSame(415, $this->receiver()->handle('POST', '/paypal/ipn', $twice, self::BODY)->status);
    }

    public function testPathsOfOnesOwn(): void
    {
        $receiver = $this->receiver(ipnPath: '/hooks/ipn', webhookPath: '/hooks/pp');
        $headers = ['content-type' => 'application/x-www-form-urlencoded'];
        self::assertSame(200, $receiver->handle('POST', '/app/hooks/ipn', $headers, self::BODY)->status);
        $json = ['content-type' => 'application/json'];
        self::assertSame(400, $receiver->handle('POST', '/hooks/pp', $json, '[]')->status);
        $answer = $receiver->handle('POST', '/paypal/ipn', $headers, self::BODY);
        self::assertSame(404, $answer->status);
        self::assertStringContainsString('PayPal posts to /hooks/ipn and /hooks/pp', $answer->body);
        $this->expectExceptionMessage('two different paths');
        $this->receiver(ipnPath: '/hooks', webhookPath: '/hooks');
    }

    public function testAPsr3Logger(): void
    {
        $logger = new class extends AbstractLogger {
            /** @var list<array{string, string}> */
            public array $lines = [];

            public function log($level, $message, array $context = []): void
            {
                $this->lines[] = [$level, $message];
            }
        };
        $receiver = $this->receiver(log: $logger);
        $headers = ['content-type' => 'application/x-www-form-urlencoded'];
        $receiver->handle('POST', '/paypal/ipn', $headers, '');
        $receiver->handle('POST', '/paypal/ipn', $headers, 'txn_type=never_heard_of&receiver_id=OURS');
        self::assertSame('warning', $logger->lines[0][0]);
        self::assertStringStartsWith('refused with 400 malformed: ', $logger->lines[0][1]);
        self::assertSame('error', $logger->lines[1][0]);
        self::assertStringStartsWith('UNKNOWN: ', $logger->lines[1][1]);
    }
}
