<?php

// As much of WordPress as public/wordpress.php meets, for php -S: WordPress's own classes
// of requests and answers, from the folder of the environment's NOTED_TEST_WORDPRESS, and
// our own functions for hooks and routes. With "hook" in the query the site has actions.

declare(strict_types=1);

// phpcs:disable PSR1.Files.SideEffects -- wp-config.php defines its constants, too

$includes = getenv('NOTED_TEST_WORDPRESS') . '/wp-includes';

/** @var array<string, list<callable>> $hooks */
$hooks = [];

require __DIR__ . '/wordpress-hooks.php';
require "$includes/class-wp-http-response.php";
require "$includes/rest-api/class-wp-rest-response.php";
require "$includes/rest-api/class-wp-rest-request.php";
foreach (['NOTED_URL', 'NOTED_LEDGER', 'NOTED_ACCOUNTS', 'NOTED_WEBHOOK_ID', 'NOTED_IPN_VERIFY_URL'] as $name) {
    define($name, (string) getenv($name));
}
require __DIR__ . '/../public/wordpress.php';

if (str_contains($_SERVER['QUERY_STRING'] ?? '', 'hook')) {
    add_action('noted_donation', static function (Noted\Pair $pair, Noted\Note $note, Noted\Hold $hold, string $body): void {
        $line = "$note->donationId {$pair->donation->seriesId} " . strlen($body);
        file_put_contents(getenv('NOTED_TEST_FOLDER') . '/books', "$line\n", FILE_APPEND | LOCK_EX);
    }, 10, 4);
    add_action('noted_undecided', static function (Noted\Pair $pair, string $reason): void {
        file_put_contents(getenv('NOTED_TEST_FOLDER') . '/undecided', "$reason\n", FILE_APPEND | LOCK_EX);
    }, 10, 2);
}
do_action('rest_api_init');
