<?php

declare(strict_types=1);

namespace Noted\Tests;

use Noted\Client;
use Noted\Donation;
use Noted\Exception;
use Noted\Receiver;
use Noted\Verdict;
use PHPUnit\Framework\TestCase;

/** The connection: a server that is away, tokens, TLS, proxies. */
final class ConnectionTest extends TestCase
{
    use Calls;

    public function testAServerThatIsAway(): void
    {
        $address = Processes::freeAddress();
        $noted = new Client("http://$address");
        $began = microtime(true);
        $e = self::failing(
            Exception\Unavailable::class,
            fn() => $noted->once(new Donation(self::series()), null, fn() => self::fail('processed on an error')),
        );
        self::assertSame([14, ''], [$e->getCode(), $e->reason]);
        self::assertLessThan(3, microtime(true) - $began);

        // The server comes back during settling, and during a call.
        $server = Server::start($address);
        $runs = 0;
        self::assertSame(
            Verdict::First,
            (new Client($server->url, timeout: 1.0))->once(new Donation(self::series()), null, static function () use (
                &$runs,
                $server,
            ): void {
                $runs++;
                $server->freeze();
                $server->thaw(2.0);
            }),
        );
        self::assertSame(1, $runs);

        $server->freeze();
        $began = microtime(true);
        self::failing(
            Exception\DeadlineExceeded::class,
            fn() => (new Client($server->url, timeout: 0.5))->note(new Donation(self::series())),
        );
        self::assertEqualsWithDelta(0.5, microtime(true) - $began, 0.3);
        $server->thaw();

        $donation = new Donation(self::series());
        $e = self::failing(
            Exception\NotSettled::class,
            fn() => (new Client($server->url, timeout: 0.3, settleTimeout: 1.0))->once(
                $donation,
                null,
                $server->freeze(...),
            ),
        );
        self::assertInstanceOf(Exception\DeadlineExceeded::class, $e->getPrevious());
        $server->stop();
    }

    /**
     * After processing, a token function that throws causes NotSettled. After a failure of
     * the callable, the callable's exception is the more useful one.
     */
    public function testATokenThatIsNotToBeHad(): void
    {
        $asked = 0;
        $token = static function () use (&$asked): string {
            return ++$asked === 1 ? 't' : throw new \DomainException('the vault is closed');
        };
        $noted = new Client(Server::shared()->url, settleTimeout: 0.5, token: $token);
        $donation = new Donation(self::series());
        $runs = 0;
        $e = self::failing(Exception\NotSettled::class, static function () use ($noted, $donation, &$runs): void {
            $noted->once($donation, null, static function () use (&$runs): void {
                $runs++;
            });
        });
        self::assertSame(1, $runs);
        self::assertInstanceOf(Exception\Unavailable::class, $e->getPrevious());
        self::assertInstanceOf(\DomainException::class, $e->getPrevious()->getPrevious());
        self::assertStringContainsString('the vault is closed', $e->getMessage());

        $asked = 0;
        $books = new \LogicException('the books are closed');
        try {
            $noted->once(new Donation(self::series()), null, static fn() => throw $books);
            self::fail('once() did not throw');
        } catch (\Exception $e) {
            self::assertSame($books, $e);
        }
        foreach (["t\n", "t\u{e4}", null, ['t']] as $strange) {
            $noted = new Client(Server::shared()->url, timeout: 0.2, token: static fn(): mixed => $strange);
            self::failing(Exception\Unavailable::class, static fn() => $noted->exists(new Donation('I-1')));
        }
        $asked = 0;
        $renewed = static function () use (&$asked): string {
            return ++$asked > 1 ? 't' : throw new \DomainException('not yet');
        };
        self::assertFalse(
            (new Client(Server::shared()->url, token: $renewed))->exists(new Donation(self::series()))->exists,
            'another try cures it',
        );
    }

    public function testSecretsAreInNoStackTrace(): void
    {
        foreach (
            [
                'new Noted\Client("ftp://x", token: "s3cret")',
                'new Noted\Receiver\WebhookApi("WH", "app", "s3cret", "http://example.org")',
                'Noted\Receiver\Http::ask("http://127.0.0.1:1", "", ["Authorization: s3cret"], 1.0)',
            ]
 as $code
        ) {
            $code = 'require $argv[1]; try { ' . $code . '; } catch (Exception $e) { print_r($e->getTrace()); }';
            [$exit, $trace, $said] = Program::run([
                PHP_BINARY,
                '-d',
                'zend.exception_ignore_args=0',
                '-r',
                $code,
                __DIR__ . '/../autoload.php',
            ]);
            self::assertSame([0, ''], [$exit, $said]);
            self::assertStringContainsString('[args]', $trace);
            if (PHP_VERSION_ID >= 80200) {
                self::assertStringNotContainsString('s3cret', $trace, $code);
            }
        }
    }

    public function testPlaintextStaysOnThisMachine(): void
    {
        foreach (
            [
                ['http://noted.example.org:8080', [], 'over a network use https'],
                ['http://127.0.0.1.example.org', [], 'over a network use https'],
                ['http://noted.example.org', ['plaintext' => true, 'token' => 't'], 'a token is not sent in plaintext'],
                ['127.0.0.1:8080', [], 'it must be a URL'],
                ['ftp://127.0.0.1', [], 'it must be a URL'],
                ['http://127.0.0.1', ['hold' => 901.0], 'hold between'],
                ['http://127.0.0.1', ['token' => "t\n"], 'is there a newline at its end?'],
                ['http://127.0.0.1', ['timeout' => 0.0], 'must be positive'],
                ['https://noted.example.org', ['caFile' => '/nowhere'], 'cannot be read'],
            ]
 as [$url, $settings, $want]
        ) {
            try {
                new Client($url, ...$settings);
                self::fail("the constructor takes $url");
            } catch (\InvalidArgumentException $e) {
                self::assertStringContainsString($want, $e->getMessage());
            }
        }
        foreach (
            ['http://127.0.0.1', 'http://localhost:8080/', 'http://[::1]:8080', 'https://noted.example.org/prefix']
            as $url
        ) {
            self::assertInstanceOf(Client::class, new Client($url, token: 't'));
        }
        self::assertInstanceOf(Client::class, new Client('http://noted.example.org', plaintext: true));
    }

    /**
     * A proxy of the environment gets no calls to this machine, whose secrets it would see,
     * and none to hosts in no_proxy.
     */
    public function testProxies(): void
    {
        $body = '{}';
        $headers = [
            'paypal-transmission-id' => 'tr',
            'paypal-transmission-time' => gmdate('Y-m-d\TH:i:s\Z'),
            'paypal-transmission-sig' => 's',
            'paypal-cert-url' => 'https://api.paypal.com/c',
            'paypal-auth-algo' => 'SHA256withRSA',
        ];
        $nobody = Processes::freeAddress();
        $plain = new Client('http://noted.invalid', timeout: 0.3, plaintext: true);
        foreach (
            [
                'through the proxy' => [true, '', fn() => $plain->exists(new Donation('I-1'))],
                'named by no_proxy' => [
                    false,
                    'example.org,noted.invalid',
                    fn() => $plain->exists(new Donation('I-1')),
                ],
                'this machine' => [
                    false,
                    '',
                    fn() => (new Client("http://$nobody", timeout: 0.3))->exists(new Donation('I-1')),
                ],
                'a post-back to this machine' => [
                    false,
                    '',
                    fn() => (new Receiver\IpnPostBack("http://$nobody/", 0.3))->verify([], 'a=b'),
                ],
                'a secret for this machine' => [
                    false,
                    '',
                    fn() => (new Receiver\WebhookApi('WH', 'app', 's', "http://$nobody", timeout: 0.3))->verify(
                        $headers,
                        $body,
                    ),
                ],
                'a post-back' => [true, '', fn() => Receiver\Http::ask('http://paypal.invalid', $body, [], 0.3)],
                'a post-back named by no_proxy' => [
                    false,
                    'paypal.invalid',
                    fn() => Receiver\Http::ask('http://paypal.invalid', $body, [], 0.3),
                ],
            ]
 as $name => [$want, $except, $ask]
        ) {
            $proxy = stream_socket_server('tcp://127.0.0.1:0');
            putenv('http_proxy=http://' . stream_socket_get_name($proxy, false));
            putenv("no_proxy=$except");
            try {
                $ask();
                self::fail("$name: the call was answered");
            } catch (\RuntimeException) {
                // Another program's connection may come to this port, too. Only a proxy is
                // asked for a whole URL.
                $connection = @stream_socket_accept($proxy, 0);
                $line = '';
                if ($connection !== false) {
                    stream_set_timeout($connection, 1);
                    $line = (string) fgets($connection);
                }
                self::assertSame($want, preg_match('~^(CONNECT |[A-Z]+ http://)~', $line) === 1, "$name: $line");
            } finally {
                putenv('http_proxy');
                putenv('no_proxy');
            }
        }
    }

    public function testHttpsIsVerified(): void
    {
        $authority = new Authority();
        $key = Authority::makeKey();
        openssl_pkey_export($key, $pem);
        $folder = Program::folder();
        file_put_contents("$folder/door.pem", $authority->issue($key, '127.0.0.1', null, 'IP:127.0.0.1') . $pem);
        file_put_contents("$folder/answer", '{"exists":true,"note":{"donation":{"seriesId":"I-1"}}}');
        $address = Processes::freeAddress();
        Processes::start(
            [PHP_BINARY, __DIR__ . '/tls.php', $address, "$folder/door.pem", "$folder/answer", "$folder/asked"],
            "$folder/tls.log",
        );
        Processes::waitFor($address, "$folder/tls.log");
        self::assertTrue(
            (new Client("https://$address", caFile: $authority->file))->exists(new Donation('I-1'))->exists,
        );
        foreach (['', (new Authority())->file] as $caFile) {
            $e = self::failing(
                Exception\Unavailable::class,
                fn() => (new Client("https://$address", timeout: 0.5, caFile: $caFile))->exists(new Donation('I-1')),
            );
            self::assertStringContainsString('certificate', $e->getMessage());
        }
        $other = str_replace('127.0.0.1', 'localhost', $address);
        self::failing(
            Exception\Unavailable::class,
            fn() => (new Client("https://$other", timeout: 0.5, caFile: $authority->file))->exists(new Donation('I-1')),
        );
    }
}
