<?php

// A proxy that answers instead of Noted, run by php -S. The first part of the path is the
// answer, as base64url of JSON: status and body. {headers} in the body becomes the request's
// headers.

declare(strict_types=1);

$coded = explode('/', $_SERVER['REQUEST_URI'])[1];
[$status, $type, $body] = json_decode(base64_decode(strtr($coded, '-_', '+/')), true);
http_response_code($status);
header("Content-Type: $type");
header('Location: /elsewhere', true, $status);
echo str_replace('{headers}', addslashes(json_encode(array_change_key_case(getallheaders()))), $body);
