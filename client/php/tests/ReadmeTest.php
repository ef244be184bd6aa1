<?php

declare(strict_types=1);

namespace Noted\Tests;

use PHPUnit\Framework\TestCase;

/** Runs every snippet of README.md. */
final class ReadmeTest extends TestCase
{
    private const IPN = 'txn_type=recurring_payment&recurring_payment_id=I-README&txn_id=T-1&payment_status=Completed&mc_gross=25.00&mc_currency=EUR'
        . '&receiver_email=donations%40example.org';

    /** @return list<string> */
    private static function snippets(string $language): array
    {
        preg_match_all("/^```$language\n(.*?)^```$/ms", file_get_contents(__DIR__ . '/../README.md'), $found);
        return $found[1];
    }

    /** A folder that looks like the one beside client/php, where snippets run. */
    private static function folder(): string
    {
        $folder = Program::folder() . '/readme-' . bin2hex(random_bytes(3));
        mkdir("$folder/client", 0700, true);
        symlink(dirname(__DIR__), "$folder/client/php");
        return $folder;
    }

    /** Replaces what must be in a snippet. */
    private static function with(string $snippet, string ...$replacements): string
    {
        foreach (array_chunk($replacements, 2) as [$old, $new]) {
            self::assertStringContainsString($old, $snippet);
            $snippet = str_replace($old, $new, $snippet);
        }
        return $snippet;
    }

    /** @return int the status */
    private static function post(string $url, string $body): int
    {
        $curl = curl_init($url);
        curl_setopt_array($curl, [CURLOPT_POSTFIELDS => $body, CURLOPT_RETURNTRANSFER => true]);
        curl_exec($curl);
        return curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
    }

    /** Runs a script under php -S in a folder, and returns its URL. */
    private static function serve(string $folder, string $script): string
    {
        file_put_contents("$folder/receiver.php", $script);
        $address = Processes::freeAddress();
        Processes::start(['sh', '-c', 'cd "$1" && exec "$2" -S "$3" receiver.php', 'sh', $folder, PHP_BINARY, $address], "$folder/log");
        Processes::waitFor($address, "$folder/log");
        return "http://$address/paypal/ipn";
    }

    public function testSnippetsAreAllHere(): void
    {
        self::assertCount(3, self::snippets('php'));
        self::assertCount(2, self::snippets('sh'));
        self::assertCount(1, self::snippets('json'));
        self::assertSame(12, substr_count(file_get_contents(__DIR__ . '/../README.md'), '```'), 'a snippet in another language');
    }

    public function testTheReceiver(): void
    {
        $folder = self::folder();
        $paypal = Processes::php(__DIR__ . '/paypal.php', ['NOTED_TEST_FOLDER' => $folder]);
        $series = 'I-' . bin2hex(random_bytes(5));
        $body = str_replace('I-README', $series, self::IPN);
        touch("$folder/sent-" . hash('sha256', $body));
        $url = self::serve($folder, self::with(
            self::snippets('php')[0],
            'http://127.0.0.1:8080',
            Server::shared()->url,
            'IpnPostBack()',
            "IpnPostBack('http://$paypal/cgi-bin/webscr')",
        ));
        self::assertSame([200, 200, 400], [self::post($url, $body), self::post($url, $body), self::post($url, "$body&forged=1")]);
        $books = file("$folder/books.csv");
        self::assertCount(1, $books);
        self::assertStringEndsWith(",$series,EVENT_PAYMENT,25.00,EUR\n", $books[0]);
        self::assertFileDoesNotExist("$folder/undecided.log");
        self::assertSame(404, self::post(dirname($url), ''));
    }

    public function testAReceiverOfOnesOwn(): void
    {
        $folder = self::folder();
        $series = 'I-' . bin2hex(random_bytes(5));
        $body = str_replace('I-README', $series, self::IPN);
        $url = self::serve($folder, self::with(self::snippets('php')[1], 'http://127.0.0.1:8080', Server::shared()->url));
        self::assertSame([200, 200, 400], [self::post($url, $body), self::post($url, $body), self::post($url, '')]);
        self::assertCount(1, file("$folder/books.csv"));
        $away = self::serve($folder, self::with(self::snippets('php')[1], '127.0.0.1:8080', Processes::freeAddress()));
        self::assertSame(503, self::post($away, $body));
    }

    public function testTheCommands(): void
    {
        $folder = self::folder();
        [$serve, $identify] = self::snippets('sh');
        $address = Processes::freeAddress();
        copy(__DIR__ . '/handler.php', "$folder/handler.php");
        $serve = self::with($serve, '127.0.0.1:8081', $address, 'PHP_CLI_SERVER_WORKERS=4 ', '', ' php -S', ' exec php -S');
        Processes::start(['sh', '-c', "cd $folder && $serve"], "$folder/log");
        Processes::waitFor($address, "$folder/log");
        self::assertSame(400, self::post("http://$address/paypal/ipn", ''), (string) file_get_contents("$folder/log"));

        file_put_contents("$folder/message.txt", self::IPN);
        [$code, $lines, $said] = Program::run(['sh', '-c', "cd $folder && $identify"]);
        self::assertSame(0, $code, $said);
        self::assertStringStartsWith('{"donation":{"series_id":"I-README","event":"EVENT_PAYMENT"', $lines);
    }

    public function testComposer(): void
    {
        $said = json_decode(self::snippets('json')[0], true, flags: JSON_THROW_ON_ERROR);
        $own = json_decode(file_get_contents(__DIR__ . '/../composer.json'), true, flags: JSON_THROW_ON_ERROR);
        self::assertArrayHasKey($own['name'], $said['require']);
        self::assertSame(['Noted\\' => 'src/'], $own['autoload']['psr-4']);
        foreach (new \RecursiveIteratorIterator(new \RecursiveDirectoryIterator(__DIR__ . '/../src', \FilesystemIterator::SKIP_DOTS)) as $file) {
            $class = 'Noted\\' . strtr(substr($file->getPathname(), strlen(__DIR__ . '/../src/'), -4), '/', '\\');
            self::assertTrue(class_exists($class) || interface_exists($class) || enum_exists($class), "$class is not where PSR-4 looks for it");
        }
    }

    /** ext-grpc is not there to run it with: it must be PHP, and name what gen/php has. */
    public function testTheGeneratedStubs(): void
    {
        $snippet = self::snippets('php')[2];
        $file = Program::folder() . '/grpc.php';
        file_put_contents($file, $snippet);
        [$code, , $said] = Program::run([PHP_BINARY, '-l', $file]);
        self::assertSame(0, $code, $said);
        preg_match('/^use Noted\\\\V1\\\\\{(.*)\};$/m', $snippet, $found);
        $generated = '';
        foreach (explode(', ', $found[1]) as $class) {
            $path = __DIR__ . "/../../../gen/php/Noted/V1/$class.php";
            self::assertFileExists($path);
            $generated .= file_get_contents($path);
        }
        self::assertTrue(str_contains($generated, 'const VERDICT_FIRST'));
        preg_match_all('/->([A-Za-z]+)\(/', $snippet, $methods);
        self::assertContains('NoteDonation', $methods[1]);
        foreach (['NoteDonationResponse', 'Note'] as $class) { // named by no use, but called
            $generated .= file_get_contents(__DIR__ . "/../../../gen/php/Noted/V1/$class.php");
        }
        foreach (array_diff($methods[1], ['wait', 'setSeconds']) as $method) { // gRPC's and protobuf's own
            self::assertTrue(str_contains($generated, "function $method("), "gen/php has no $method");
        }
    }
}
