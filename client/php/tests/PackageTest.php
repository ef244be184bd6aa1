<?php

declare(strict_types=1);

namespace Noted\Tests;

use PHPUnit\Framework\TestCase;

/** The package as its users install it: with Composer, from an archive, in a fresh project. */
final class PackageTest extends TestCase
{
    private const ROOT = __DIR__ . '/../../..';

    /** A project that Composer has installed the package's archive into. */
    private static function project(): string
    {
        static $project = null;
        if ($project === null) {
            $project = Program::folder() . '/package';
            mkdir("$project/noted", 0700, true);
            $archive = Program::archive();
            self::succeed(['tar', '-xf', $archive, '-C', "$project/noted"]);
            file_put_contents("$project/composer.json", json_encode([
                'repositories' => [['type' => 'path', 'url' => 'noted', 'options' => ['symlink' => false]]],
                'require' => ['donation-dedupe/noted' => '@dev'],
            ]));
            Program::composer($project, 'install');
        }
        return $project;
    }

    /** @param list<string> $command */
    private static function succeed(array $command): string
    {
        [$code, $out, $said] = Program::run($command);
        self::assertSame(0, $code, implode(' ', $command) . ": $said");
        return $out;
    }

    public function testDescription(): void
    {
        Program::composer(dirname(__DIR__), 'validate', '--strict');
        $own = json_decode(file_get_contents(__DIR__ . '/../composer.json'), true, flags: JSON_THROW_ON_ERROR);
        self::assertSame('Apache-2.0', $own['license']);
        foreach (['authors', 'homepage', 'keywords', 'support'] as $key) {
            self::assertNotEmpty($own[$key] ?? null, $key);
        }
        foreach (array_keys($own['require']) as $name) {
            self::assertMatchesRegularExpression('/^(php|ext-[a-z]+)$/D', $name, 'it needs no package');
        }
        self::assertFileEquals(self::ROOT . '/LICENSE', __DIR__ . '/../LICENSE');
        $version = json_decode(file_get_contents(self::ROOT . '/client/ts/package.json'), true)['version'];
        self::assertStringContainsString("\n## $version ", file_get_contents(__DIR__ . '/../CHANGELOG.md'));
    }

    public function testTheArchiveHasWhatItNeedsAndNothingElse(): void
    {
        $files = array_filter(
            explode("\n", self::succeed(['tar', '-tf', Program::archive()])),
            static fn(string $path): bool => $path !== '' && !str_ends_with($path, '/'),
        );
        foreach (['LICENSE', 'README.md', 'CHANGELOG.md', 'composer.json', 'autoload.php'] as $path) {
            self::assertContains($path, $files);
        }
        $known = '~^(LICENSE|(README|CHANGELOG)\.md|composer\.json|autoload\.php|bin/noted-identify|(src|public)/.*\.php)$~D';
        self::assertSame([], array_values(preg_grep($known, $files, PREG_GREP_INVERT)));
    }

    /** A relative link would be broken on a registry's page. */
    public function testLinksAreWhole(): void
    {
        preg_match_all('/\]\(([^)\s]+)\)/', file_get_contents(__DIR__ . '/../README.md'), $links);
        self::assertNotEmpty($links[1]);
        foreach ($links[1] as $link) {
            self::assertMatchesRegularExpression('~^(https://|#)~', $link);
        }
    }

    public function testEveryClassIsFound(): void
    {
        $project = self::project();
        $sources = "$project/vendor/donation-dedupe/noted/src";
        $files = new \RecursiveIteratorIterator(
            new \RecursiveDirectoryIterator($sources, \FilesystemIterator::SKIP_DOTS),
        );
        $classes = [];
        foreach ($files as $file) {
            $classes[] = 'Noted\\' . strtr(substr($file->getPathname(), strlen("$sources/"), -4), '/', '\\');
        }
        self::assertGreaterThan(50, count($classes));
        $script = 'require $argv[1]; $missing = array_filter(array_slice($argv, 2), fn($name) => ' .
            '!class_exists($name) && !interface_exists($name) && !enum_exists($name)); echo implode(" ", $missing);';
        $missing = self::succeed([PHP_BINARY, '-r', $script, '--', "$project/vendor/autoload.php", ...$classes]);
        self::assertSame('', $missing, 'PSR-4 does not find them');
    }

    /** @return iterable<string, array{string, Cases}> */
    public function cases(): iterable
    {
        return Cases::all();
    }

    /** @dataProvider cases */
    public function testTheInstalledCommandReadsTheSharedCases(string $channel, Cases $case): void
    {
        $command = self::project() . '/vendor/bin/noted-identify';
        self::assertFileExists($command);
        [$code, $lines, $said] = Program::run([$command, $channel], $case->body);
        if ($case->malformed !== '') {
            self::assertSame([1, ''], [$code, $lines], $said);
            self::assertStringStartsWith('noted-identify: identifying the message: ', $said);
            self::assertStringContainsString($case->malformed, $said);
            return;
        }
        self::assertSame([0, implode("\n", $case->wants) . "\n"], [$code, $lines], $said);
        foreach ($case->warns as $warning) {
            self::assertStringContainsString($warning, $said);
        }
    }

    public function testTheInstalledCommandSaysHowToUseIt(): void
    {
        foreach ([[], ['fax'], ['ipn', 'webhook']] as $arguments) {
            $command = [self::project() . '/vendor/bin/noted-identify', ...$arguments];
            self::assertSame(
                [2, '', "noted-identify: say what to read: noted-identify ipn|webhook < body\n"],
                Program::run($command, 'txn_type=cart'),
            );
        }
    }

    public function testTheInstalledCommandReadsNoMoreThanFourMebibytes(): void
    {
        $command = [self::project() . '/vendor/bin/noted-identify', 'ipn'];
        [$code, $lines, $said] = Program::run($command, str_repeat('a', (4 << 20) + 1));
        self::assertSame([1, ''], [$code, $lines]);
        self::assertSame("noted-identify: reading the message: it is longer than 4194304 bytes\n", $said);
        [$code, , $said] = Program::run($command, 'txn_type=' . str_repeat('a', (4 << 20) - 9));
        self::assertSame(0, $code, $said);
    }
}
