<?php

// The web server of a site, for php -S. It writes every request down, byte for byte, and
// passes it to the listener that the environment names. The listeners beside it treat
// PayPal's messages like the programs of RECIPES.md, as far as the gateway can see: the
// fields that they read, their books, and their answers.
file_put_contents('requests', json_encode([
    'address' => $_SERVER['REQUEST_URI'],
    'headers' => getallheaders(),
    'body' => base64_encode((string) file_get_contents('php://input')),
]) . "\n", FILE_APPEND | LOCK_EX);

require __DIR__ . '/' . getenv('LISTENER') . '.php';

// verified asks PayPal whether it sent this IPN, as the programs do: with the fields,
// encoded anew. It is also false if PayPal does not answer.
function verified(): bool
{
    return ask(getenv('VERIFY_URL'), http_build_query(['cmd' => '_notify-validate'] + $_POST)) === 'VERIFIED';
}

function ask(string $url, string $body, string $type = 'application/x-www-form-urlencoded'): string
{
    $options = ['method' => 'POST', 'header' => "Content-Type: $type", 'content' => $body];
    return (string) @file_get_contents($url, false, stream_context_create(['http' => $options]));
}

function field(string $name): string
{
    return (string) ($_POST[$name] ?? '');
}

// book keeps a line in the books, and booked reports whether it is there.
function book(string $line): void
{
    file_put_contents('books', $line . "\n", FILE_APPEND | LOCK_EX);
}

function booked(string $line): bool
{
    return in_array($line, is_file('books') ? file('books', FILE_IGNORE_NEW_LINES) : [], true);
}
