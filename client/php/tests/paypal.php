<?php

// A stand-in of PayPal's own hosts, run by php -S. The folder NOTED_TEST_FOLDER decides the
// answers: a file sent-SHA256 means that PayPal has sent the body with this hash, and a file
// trouble has another answer.

declare(strict_types=1);

$folder = getenv('NOTED_TEST_FOLDER');
$path = $_SERVER['REQUEST_URI'];
$posted = file_get_contents('php://input');
$sent = static fn(string $body): bool => file_exists("$folder/sent-" . hash('sha256', $body));
file_put_contents("$folder/asked", "$path\n", FILE_APPEND);

$trouble = (string) @file_get_contents("$folder/trouble");
if ($trouble === 'slow') {
    sleep(3);
} elseif ($trouble !== '') {
    http_response_code((int) $trouble);
    header('Location: /', true, (int) $trouble);
    echo '<html>sorry</html>';
    return;
}
switch ($path) {
    case '/cgi-bin/webscr':
        [$command, $body] = explode('&', $posted, 2);
        echo $command === 'cmd=_notify-validate' && $sent($body) ? 'VERIFIED' : 'INVALID';
        break;
    case '/v1/oauth2/token':
        if (
            $_SERVER['HTTP_AUTHORIZATION'] !== 'Basic ' . base64_encode('app:secret') ||
            $posted !== 'grant_type=client_credentials'
        ) {
            http_response_code(401);
        }
        echo '{"access_token":"A21.token","expires_in":32400}';
        break;
    case '/v1/notifications/verify-webhook-signature':
        // The event is the rest of the body, byte for byte.
        [$head, $event] = explode(',"webhook_event":', substr($posted, 0, -1), 2);
        $question = json_decode("$head}", true);
        $fits =
            $_SERVER['HTTP_AUTHORIZATION'] === 'Bearer A21.token' &&
            $question['webhook_id'] === 'WH-TEST' &&
            $question['transmission_id'] === 'tr-1' &&
            $question['auth_algo'] === 'SHA256withRSA' &&
            $sent($event);
        echo json_encode(['verification_status' => $fits ? 'SUCCESS' : 'FAILURE']);
        break;
    default:
        http_response_code(404);
}
