<?php

// What may stand between a client and Noted, for php -S: it answers with the status and
// the body that the first part of the path says, in base64url of JSON; {headers} in the
// body is what it was asked with.

declare(strict_types=1);

$coded = explode('/', $_SERVER['REQUEST_URI'])[1];
[$status, $type, $body] = json_decode(base64_decode(strtr($coded, '-_', '+/')), true);
http_response_code($status);
header("Content-Type: $type");
header('Location: /elsewhere', true, $status);
echo str_replace('{headers}', addslashes(json_encode(array_change_key_case(getallheaders()))), $body);
