<?php

declare(strict_types=1);

namespace Noted\Tests;

use Noted\Receiver\Certificates;
use Noted\Receiver\Refusal;
use PHPUnit\Framework\TestCase;

/** How PayPal's certificates are fetched and kept. WebhookTest has their effect on messages. */
final class CertificatesTest extends TestCase
{
    private const NAME = 'messageverificationcerts.paypal.com';

    private static Authority $authority;
    private static string $folder;
    private static string $address;
    private static string $served;
    private static string $fetched;

    public static function setUpBeforeClass(): void
    {
        self::$authority = new Authority();
        self::$folder = Program::folder() . '/certificates';
        mkdir(self::$folder);
        self::$address = Processes::freeAddress();
        [self::$served, self::$fetched] = [self::$folder . '/served.pem', self::$folder . '/fetched'];
        $key = Authority::makeKey();
        openssl_pkey_export($key, $pem);
        $host = self::$folder . '/host.pem';
        file_put_contents($host, self::$authority->issue($key, '127.0.0.1', null, 'IP:127.0.0.1,DNS:localhost') . $pem);
        Processes::start(
            [PHP_BINARY, __DIR__ . '/tls.php', self::$address, $host, self::$served, self::$fetched],
            self::$folder . '/tls.log',
        );
        Processes::waitFor(self::$address, self::$folder . '/tls.log');
    }

    protected function setUp(): void
    {
        file_put_contents(self::$served, self::$authority->issue(Authority::makeKey()));
        @unlink(self::$fetched);
    }

    private static function place(): string
    {
        $place = self::$folder . '/' . bin2hex(random_bytes(4));
        mkdir($place, 0700);
        return $place;
    }

    /** @param list<string> $hosts */
    private static function certificates(string $folder, array $hosts = []): Certificates
    {
        return new Certificates([self::$address, ...$hosts], self::$authority->file, $folder, 5.0);
    }

    private static function refusal(\Closure $call): Refusal
    {
        try {
            $call();
        } catch (Refusal $e) {
            return $e;
        }
        self::fail('it is trusted');
    }

    /** curl normalises paths, so many spellings of one URL would fill many files. */
    public function testOneCertificateHasOneUrl(): void
    {
        $folder = self::place();
        $port = parse_url('tcp://' . self::$address, PHP_URL_PORT);
        $certificates = self::certificates($folder, ["localhost:$port"]);
        $now = microtime(true);
        foreach (
            [
                '/./CERT-1',
                '//CERT-1',
                '/x/../CERT-1',
                '/certs/./CERT-1',
                '/certs//CERT-1',
                '/certs/.',
                '/..',
                '/certs/CERT-1/',
                '/',
                '/%43ERT-1',
                '/CERT-1?x',
                '/CERT-1;x',
                '',
            ]
            as $path
        ) {
            $e = self::refusal(static fn() => $certificates->trusted('https://' . self::$address . $path, $now));
            self::assertSame(
                [400, "the certificate's URL is not one of PayPal's"],
                [$e->status, $e->getMessage()],
                $path,
            );
        }
        self::assertFileDoesNotExist(self::$fetched);
        foreach (["localhost:$port", "LocalHost:$port", "LOCALHOST:$port"] as $host) {
            $certificates->trusted("https://$host/v1/notifications/certs/CERT-360caa42-fca2a594", $now);
        }
        self::assertCount(1, file(self::$fetched));
        self::assertCount(1, glob("$folder/*.pem"));
    }

    /** A certificate is kept before a signature is checked. Without a bound a stranger could fill the disk. */
    public function testFewAreKept(): void
    {
        $folder = self::place();
        foreach (['notes.pem', 'noted-news', 'newspaper', 'noted-abc123', 'noted-abc124'] as $name) {
            touch("$folder/$name", time() - ($name === 'noted-abc124' ? 60 : 7200));
        }
        for ($i = 1; $i <= 30; $i++) {
            self::certificates($folder)->trusted('https://' . self::$address . "/CERT-$i", microtime(true));
            // As if fetched one after the other.
            touch("$folder/" . hash('sha256', 'https://' . self::$address . "/CERT-$i") . '.pem', time() - 1000 + $i);
        }
        self::assertCount(30, file(self::$fetched));
        self::assertCount(17, glob("$folder/*.pem"));
        self::certificates($folder)->trusted('https://' . self::$address . '/CERT-30', microtime(true));
        self::assertCount(30, file(self::$fetched), 'the last ones are kept');
        foreach (
            [
                'notes.pem' => true,
                'noted-news' => true,
                'newspaper' => true,
                'noted-abc124' => true,
                'noted-abc123' => false,
            ]
            as $name => $want
        ) {
            self::assertSame($want, file_exists("$folder/$name"), $name); // the last is from a process that was killed
        }
        self::assertLessThanOrEqual(8, count(glob("$folder/lock*")));
    }

    /** Otherwise each process of a web server would wait for the host, one after the other. */
    public function testAHostThatHangsHoldsFew(): void
    {
        // The kernel accepts the connection, and no program answers.
        $hanging = stream_socket_server('tcp://127.0.0.1:0');
        $host = stream_socket_get_name($hanging, false);
        $folder = self::place();
        $began = microtime(true);
        for ($i = 0; $i < 6; $i++) {
            Processes::start(
                [PHP_BINARY, __DIR__ . '/trusted.php', $host, '', $folder, '3', "https://$host/CERT-1"],
                "$folder/said-$i",
            );
        }
        $said = static fn(): array => array_map('file_get_contents', glob("$folder/said-*"));
        Processes::until(
            static fn(): bool => count(array_filter($said())) === 6,
            static fn(): string => implode($said()),
        );
        self::assertLessThan(5, microtime(true) - $began, implode($said()));
        self::assertCount(6, preg_grep('/ refused with 503 verifier: /', $said()), implode($said()));
        self::assertCount(5, preg_grep('/^1\.\d .*another process is still fetching/', $said()), implode($said()));
    }

    /** Starts a process that wants CERT-1, and returns its id and the file of its outcome. */
    private static function wanting(string $folder): array
    {
        $said = "$folder/said-" . bin2hex(random_bytes(4));
        $url = 'https://' . self::$address . '/CERT-1';
        $command = [PHP_BINARY, __DIR__ . '/trusted.php', self::$address, self::$authority->file, $folder, '15', $url];
        return [Processes::start($command, $said), $said];
    }

    /**
     * A process waits a second for another's fetch. On a busy machine the fetch may take longer.
     * Then the process is refused, and PayPal comes again.
     */
    public function testManyWhoWantItFetchOnce(): void
    {
        $folder = self::place();
        $wanting = [];
        for ($i = 0; $i < 8; $i++) {
            $wanting[] = self::wanting($folder)[1];
        }
        Processes::until(
            static function () use (&$wanting, $folder): bool {
                foreach ($wanting as $i => $file) {
                    $said = file_get_contents($file);
                    if (preg_match('/^[1-9]\d*\.\d refused with 503 .*another process is still/', $said) === 1) {
                        $wanting[$i] = self::wanting($folder)[1];
                    } elseif ($said !== '') {
                        self::assertStringEndsWith(" trusted\n", $said);
                        unset($wanting[$i]);
                    }
                }
                return $wanting === [];
            },
            static function () use (&$wanting): string {
                return 'without a certificate: ' . implode(array_map('file_get_contents', $wanting));
            },
        );
        self::assertCount(1, file(self::$fetched));
    }

    /** Otherwise the processes that wait for one fetch would check the certificate one by one. */
    public function testAKeptCertificateNeedsNoLock(): void
    {
        self::certificates(self::place())->trusted('https://' . self::$address . '/CERT-1', microtime(true));
        $name = hash('sha256', 'https://' . self::$address . '/CERT-1') . '.pem';
        $said = '';
        Processes::until(
            static function () use ($name, &$said): bool {
                $folder = self::place();
                for ($i = 0; $i < 8; $i++) {
                    $locks[$i] = fopen("$folder/lock-$i", 'ce'); // closed where another program begins
                    flock($locks[$i], LOCK_EX);
                }
                [$process, $file] = self::wanting($folder);
                $waits = static function () use ($process): bool {
                    $program = (string) @file_get_contents("/proc/$process/cmdline");
                    $path = static fn(string $link): string => (string) @readlink($link);
                    $open = array_map($path, glob("/proc/$process/fd/*"));
                    // Until it is the other program it has our locks, too.
                    return str_contains($program, 'trusted.php') && preg_grep('~/lock-\d$~', $open) !== [];
                };
                Processes::until($waits, static fn(): string => 'it does not wait: ' . file_get_contents($file));
                file_put_contents("$folder/new", file_get_contents(self::$served));
                rename("$folder/new", "$folder/$name"); // at most a second after the process has begun to wait
                $ended = static fn(): bool => str_ends_with(file_get_contents($file), "\n");
                Processes::until($ended, static fn(): string => 'it has no outcome');
                return str_ends_with($said = file_get_contents($file), " trusted\n");
            },
            static function () use (&$said): string {
                return "it was not trusted: $said";
            },
        );
        self::assertCount(1, file(self::$fetched));
    }

    /**
     * Another user of this machine could make the folder first, hold our locks, or make us
     * remove files through a link.
     */
    public function testAFolderOfAnothersIsNotUsed(): void
    {
        $id = fstat(tmpfile())['uid'];
        $ask = static function (string $place): array {
            $command = [
                PHP_BINARY,
                '-d',
                'error_log=',
                '-d',
                'log_errors=1',
                __DIR__ . '/trusted.php',
                self::$address,
                self::$authority->file,
                '',
                '5',
                'https://' . self::$address . '/CERT-1',
            ];
            [$code, $said, $logged] = Program::run($command, '', ['TMPDIR' => $place]);
            self::assertSame(0, $code, $logged);
            self::assertStringEndsWith(" trusted\n", $said);
            self::assertCount(0, glob("$place/noted-??????"), 'nothing is left over');
            return [glob("$place/noted-certificates*/*"), $logged];
        };
        [$files, $logged] = $ask($place = self::place());
        self::assertSame(["$place/noted-certificates-$id"], array_unique(array_map('dirname', $files)));
        self::assertSame('', $logged);
        self::assertSame('0700', substr(sprintf('%o', fileperms("$place/noted-certificates-$id")), -4));
        $makers =
            [
                'open to others' => static fn(string $folder): bool => mkdir($folder) && chmod($folder, 0777),
                'a link' => static fn(string $folder): bool => mkdir("$folder-of-ours", 0700) &&
                    symlink("$folder-of-ours", $folder),
                'a file' => static fn(string $folder): bool => touch($folder),
            ] +
            ($id === 0
                ? ["another's" => static fn(string $folder): bool => mkdir($folder, 0700) && chown($folder, 65534)]
                : []);
        foreach ($makers as $name => $make) {
            $place = self::place();
            $make("$place/noted-certificates-$id");
            $make("$place/noted-certificates");
            [$files, $logged] = $ask($place);
            self::assertSame([], $files, $name);
            self::assertStringContainsString(
                "noted: PayPal's certificates are not kept: $place/noted-certificates-$id ",
                $logged,
                $name,
            );
        }
    }

    /** As in a browser, only the subject alternative names count, each by itself. */
    public function testNames(): void
    {
        $key = Authority::makeKey();
        $judge = static fn(string $common, string $others): ?bool => Certificates::isPayPals(
            self::$authority->issue($key, $common, null, $others),
            microtime(true),
        );
        foreach (['' => false, 'sandbox.' => true] as $sandbox => $test) {
            $name = "messageverificationcerts.{$sandbox}paypal.com";
            self::assertSame($test, $judge($name, "DNS:$name"));
            self::assertSame(
                $test,
                $judge('PayPal, Inc.', "DNS:example.org,DNS:$name,DNS:example.com"),
                'one of several',
            );
            self::assertSame($test, $judge('example.org', "DNS:$name"));
            self::assertSame($test, $judge('example.org', 'DNS:' . strtoupper($name)), 'names have no case');
        }
        foreach (
            [
                'only the common one' => 'DNS:example.org',
                'an e-mail address' => 'email:a@' . self::NAME,
                'a part' => 'DNS:' . self::NAME . '.example.org',
                'all of the domain' => 'DNS:*.paypal.com',
                // PHP prints it as two names.
                'a name in an address' => "@forged\n[forged]\nURI.1=\"http://example.org/, DNS:" . self::NAME . ', x"',
            ]
            as $name => $others
        ) {
            self::assertNull($judge(self::NAME, $others), $name);
        }
    }
}
