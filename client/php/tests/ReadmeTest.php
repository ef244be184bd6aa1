<?php

declare(strict_types=1);

namespace Noted\Tests;

use PHPUnit\Framework\TestCase;

/** Runs every snippet of README.md. */
final class ReadmeTest extends TestCase
{
    private const IPN =
        'txn_type=recurring_payment&recurring_payment_id=I-README&txn_id=T-1&payment_status=Completed&mc_gross=25.00&mc_currency=EUR' .
        '&receiver_email=donations%40example.org';

    /** @return list<string> */
    private static function snippets(string $language): array
    {
        preg_match_all("/^```$language\n(.*?)^```$/ms", file_get_contents(__DIR__ . '/../README.md'), $found);
        return $found[1];
    }

    /** A folder with client/php in it, where snippets run. */
    private static function folder(): string
    {
        $folder = Program::folder() . '/readme-' . bin2hex(random_bytes(3));
        mkdir("$folder/client", 0700, true);
        symlink(dirname(__DIR__), "$folder/client/php");
        return $folder;
    }

    /** Replaces texts of a snippet. Each must be in it. */
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

    /**
     * Runs a script under php -S in a folder, and returns its URL.
     *
     * @param list<string> $settings of PHP
     */
    private static function serve(string $folder, string $script, array $settings = []): string
    {
        $name = 'receiver-' . bin2hex(random_bytes(3)) . '.php';
        file_put_contents("$folder/$name", $script);
        $address = Processes::freeAddress();
        $options = array_merge(
            ...array_map(static fn(string $setting): array => ['-d', $setting], [
                'log_errors=1',
                'error_log=',
                ...$settings,
            ]),
        );
        Processes::start(
            [
                'sh',
                '-c',
                'cd "$1" && shift && exec "$@"',
                'sh',
                $folder,
                PHP_BINARY,
                ...$options,
                '-S',
                $address,
                $name,
            ],
            "$folder/log",
        );
        Processes::waitFor($address, "$folder/log");
        return "http://$address/paypal/ipn";
    }

    public function testSnippetsAreAllHere(): void
    {
        self::assertCount(5, self::snippets('php'));
        self::assertCount(3, self::snippets('sh'));
        self::assertCount(1, self::snippets('json'));
        self::assertSame(
            18,
            substr_count(file_get_contents(__DIR__ . '/../README.md'), '```'),
            'a snippet in another language',
        );
    }

    public function testTheReceiver(): void
    {
        $folder = self::folder();
        $paypal = Processes::php(__DIR__ . '/paypal.php', ['NOTED_TEST_FOLDER' => $folder]);
        $series = 'I-' . bin2hex(random_bytes(5));
        $body = str_replace('I-README', $series, self::IPN);
        touch("$folder/sent-" . hash('sha256', $body));
        $url = self::serve(
            $folder,
            self::with(
                self::snippets('php')[0],
                'http://127.0.0.1:8080',
                Server::shared()->url,
                'IpnPostBack()',
                "IpnPostBack('http://$paypal/cgi-bin/webscr')",
            ),
        );
        self::assertSame(
            [200, 200, 400],
            [self::post($url, $body), self::post($url, $body), self::post($url, "$body&forged=1")],
        );
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
        $url = self::serve(
            $folder,
            self::with(self::snippets('php')[2], 'http://127.0.0.1:8080', Server::shared()->url),
        );
        self::assertSame([200, 200, 400], [self::post($url, $body), self::post($url, $body), self::post($url, '')]);
        self::assertCount(1, file("$folder/books.csv"));
        $away = self::serve($folder, self::with(self::snippets('php')[2], '127.0.0.1:8080', Processes::freeAddress()));
        self::assertSame(503, self::post($away, $body));
    }

    /**
     * With a full disk PHP only warns. The snippet must turn that into an exception, or the
     * donation would be settled and not be booked.
     */
    public function testWhatIsNotWrittenComesAgain(): void
    {
        $folder = self::folder();
        $paypal = Processes::php(__DIR__ . '/paypal.php', ['NOTED_TEST_FOLDER' => $folder]);
        $receiver = self::with(
            self::snippets('php')[0],
            'http://127.0.0.1:8080',
            Server::shared()->url,
            'IpnPostBack()',
            "IpnPostBack('http://$paypal/cgi-bin/webscr')",
        );
        $own = self::with(self::snippets('php')[2], 'http://127.0.0.1:8080', Server::shared()->url);
        foreach (['the receiver' => $receiver, 'one of your own' => $own] as $name => $script) {
            foreach (['1', '0'] as $shown) {
                // or the text of the warning would be the answer
                $url = self::serve($folder, $script, ["display_errors=$shown", 'output_buffering=0']);
                $body = str_replace('I-README', 'I-' . bin2hex(random_bytes(5)), self::IPN);
                $old =
                    str_replace(['I-', 'T-1'], ['I-OLD-', 'T-2'], $body) .
                    '&payment_date=' .
                    urlencode('10:15:00 Mar 02, 2011 PST');
                touch("$folder/sent-" . hash('sha256', $body));
                touch("$folder/sent-" . hash('sha256', $old));
                mkdir("$folder/books.csv");
                mkdir("$folder/undecided.log");
                self::assertSame(
                    [503, 503],
                    [self::post($url, $body), self::post($url, $old)],
                    "$name: nothing can be written",
                );
                rmdir("$folder/books.csv");
                rmdir("$folder/undecided.log");
                self::assertSame(
                    [200, 200, 200],
                    [self::post($url, $body), self::post($url, $body), self::post($url, $old)],
                    $name,
                );
                self::assertCount(1, file("$folder/books.csv"), $name);
                self::assertCount(1, file("$folder/undecided.log"), $name);
                unlink("$folder/books.csv");
                unlink("$folder/undecided.log");
            }
        }
        foreach (
            [
                "echo 'booked'; exit;",
                'ob_start(); nothing_of_that_name();',
                "ini_set('memory_limit', '4M'); str_repeat('a', 9_000_000);",
            ]
 as $end
        ) {
            $url = self::serve($folder, self::with($receiver, '$d = $pair->donation;', $end), [
                'display_errors=1',
                'output_buffering=0',
            ]);
            $body = str_replace('I-README', 'I-' . bin2hex(random_bytes(5)), self::IPN);
            touch("$folder/sent-" . hash('sha256', $body));
            self::assertSame(503, self::post($url, $body), $end);
        }
    }

    public function testAReceiverOfOnesOwnTellsAPerson(): void
    {
        $folder = self::folder();
        $script = self::with(self::snippets('php')[2], 'http://127.0.0.1:8080', Server::shared()->url);
        $url = self::serve($folder, $script);
        $series = 'I-' . bin2hex(random_bytes(5));
        $body = str_replace('I-README', $series, self::IPN);
        $person = static fn(): array => array_map(
            static fn(string $line): string => strtok($line, ' '),
            @file("$folder/undecided.log") ?: [],
        );
        self::assertSame(200, self::post($url, 'txn_type=never_heard_of'));
        self::assertSame(['UNKNOWN'], $person());
        self::assertSame(200, self::post($url, 'txn_type=masspay'));
        self::assertSame(200, self::post($url, "$body&payment_date=" . urlencode('10:15:00 Mar 02, 2011 PST')));
        self::assertSame(200, self::post($url, "$body&payment_date=" . urlencode('10:15:00 Mar 02, 2091 PST')));
        self::assertSame(['UNKNOWN', 'OCCURRED_TOO_EARLY', 'OCCURRED_TOO_LATE'], $person());
        self::assertSame(200, self::post($url, "$body&payment_date=yesterday"));
        self::assertStringContainsString('payment_date: ', file_get_contents("$folder/log"), 'a warning is told');
        self::assertCount(3, $person());

        // During processing an operator forgets the note, or the server goes away.
        $meanwhile = static fn(string $script, string $code): string => self::with(
            $script,
            "file_put_contents('books.csv'",
            "$code file_put_contents('books.csv'",
        );
        $forget =
            "\$GLOBALS['noted']->forget(\$pair->donation->seriesId, \$note->donationId, 'a test', 'paypal-live');";
        $url = self::serve($folder, $meanwhile($script, $forget));
        self::assertSame(
            200,
            self::post($url, str_replace('I-README', "$series-2", self::IPN)),
            'it would be another donation by now',
        );
        self::assertSame('NOTE_NOT_FOUND', $person()[3]);
        $server = Server::start();
        $script = self::with(
            self::snippets('php')[2],
            "'http://127.0.0.1:8080'",
            "'$server->url', timeout: 0.3, settleTimeout: 0.5",
        );
        $url = self::serve($folder, $meanwhile($script, "posix_kill($server->process, SIGSTOP); usleep(100_000);"));
        self::assertSame(503, self::post($url, $body), 'not settled: PayPal comes again, and the id is the same');
        $server->stop();
        self::assertCount(4, $person());
    }

    public function testTheCommands(): void
    {
        $folder = self::folder();
        [, $serve, $identify] = self::snippets('sh');
        $address = Processes::freeAddress();
        copy(__DIR__ . '/handler.php', "$folder/handler.php");
        $serve = self::with(
            $serve,
            '127.0.0.1:8081',
            $address,
            'PHP_CLI_SERVER_WORKERS=4 ',
            '',
            ' php -S',
            ' exec php -S',
        );
        Processes::start(['sh', '-c', "cd $folder && $serve"], "$folder/log");
        Processes::waitFor($address, "$folder/log");
        self::assertSame(400, self::post("http://$address/paypal/ipn", ''), (string) file_get_contents("$folder/log"));

        file_put_contents("$folder/composer.json", self::snippets('json')[0]);
        Program::composer($folder, 'install');
        file_put_contents("$folder/message.txt", self::IPN);
        [$code, $lines, $said] = Program::run(['sh', '-c', "cd $folder && $identify"]);
        self::assertSame(0, $code, $said);
        self::assertStringStartsWith('{"donation":{"series_id":"I-README","event":"EVENT_PAYMENT"', $lines);
    }

    /** From a repository with this folder's files in it and nothing else. */
    public function testTheInstallation(): void
    {
        $folder = self::folder();
        $archive = Program::archive();
        $origin = "$folder/origin";
        mkdir("$folder/app");
        file_put_contents("$folder/app/composer.json", '{}');
        $make = 'mkdir -p "$1/client/php" && tar -xf "$2" -C "$1/client/php" && cd "$1" && git init -q && git add . && ' .
            'git -c user.name=test -c user.email=test@example.org commit -q -m test';
        [$code, , $said] = Program::run(['sh', '-c', $make, 'sh', $origin, $archive]);
        self::assertSame(0, $code, $said);

        $commands = self::snippets('sh')[0];
        $github = 'https://github.com/donation-dedupe/noted';
        self::assertStringContainsString("git clone --depth 1 $github ../noted\n", $commands);
        $environment = [
            'GIT_CONFIG_COUNT' => '1',
            'GIT_CONFIG_KEY_0' => "url.file://$origin.insteadOf",
            'GIT_CONFIG_VALUE_0' => $github,
        ];
        $environment += Program::composerEnvironment();
        [$code, , $said] = Program::run(['sh', '-ec', "cd $folder/app && $commands"], environment: $environment);
        self::assertSame(0, $code, $said);
        $program = 'require "vendor/autoload.php"; echo get_class(new Noted\Client("http://127.0.0.1:1"));';
        [$code, $out, $said] = Program::run(['sh', '-c', 'cd "$1" && php -r "$2"', 'sh', "$folder/app", $program]);
        self::assertSame([0, 'Noted\Client'], [$code, $out], $said);
    }

    public function testTheController(): void
    {
        require_once 'Symfony/Component/HttpFoundation/autoload.php';
        $snippet = self::with(self::snippets('php')[1], "require 'vendor/autoload.php';", '', '<?php', '');
        eval($snippet);
        $receiver = new \Noted\Receiver(
            new \Noted\Testing\FakeClient(),
            static fn() => null,
            static fn() => null,
            ipn: new \Noted\Receiver\IpnPostBack(),
            accounts: ['ours'],
            log: static fn() => null,
        );
        $request = \Symfony\Component\HttpFoundation\Request::create('/paypal/webhook', 'POST', content: '{}');
        $answer = \paypal($receiver, $request);
        self::assertSame(404, $answer->getStatusCode(), 'it takes no webhooks');
        self::assertSame('application/json', $answer->headers->get('Content-Type'));
        self::assertStringContainsString('"reason":"not_found"', $answer->getContent());
    }

    public function testTheFake(): void
    {
        $folder = self::folder();
        file_put_contents("$folder/composer.json", self::snippets('json')[0]);
        Program::composer($folder, 'install');
        $snippet = self::snippets('php')[3];
        file_put_contents("$folder/fake.php", $snippet);
        [$code, $lines, $said] = Program::run(['sh', '-c', "cd $folder && php fake.php"]);
        self::assertSame(0, $code, $said);
        preg_match_all('~// (\w+)$~m', $snippet, $comments);
        self::assertSame(implode("\n", $comments[1]) . "\n", $lines);
    }

    /** ext-grpc is not installed, so the snippet does not run. It must be PHP, with classes of gen/php. */
    public function testTheGeneratedStubs(): void
    {
        $snippet = self::snippets('php')[4];
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
        foreach (['NoteDonationResponse', 'Note'] as $class) {
            // a class without a use statement
            $generated .= file_get_contents(__DIR__ . "/../../../gen/php/Noted/V1/$class.php");
        }
        foreach (array_diff($methods[1], ['wait', 'setSeconds']) as $method) {
            // gRPC's and protobuf's own
            self::assertTrue(str_contains($generated, "function $method("), "gen/php has no $method");
        }
    }
}
